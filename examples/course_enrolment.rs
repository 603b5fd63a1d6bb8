//! Course enrolment, the example of the specification of dynamic consistency boundaries
//! (<https://dcb.events>), with threads that fight over the same courses, students and names.
//!
//! ```text
//! cargo run --example course_enrolment [STORE]
//! ```
//!
//! `STORE` is the directory of a new store (default: a temporary one, removed at the end).
//!
//! An enrolment concerns a course and a student. Its rules need what happened to both, and nothing
//! else: that is a query, and the boundary of the commit. Enrolments in other courses by other students
//! do not get in its way, as they would if all courses were one stream.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use annals::{ExpectedVersion, FailedCheck, NewEvent, Query, QueryItem, Store};
use serde::{Deserialize, Serialize};

/// How many courses a student may take.
pub(crate) const COURSES_PER_STUDENT: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
struct Capacity {
    capacity: usize,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rule {
    #[error("the name is taken")]
    NameTaken,
    #[error("there is no such course")]
    NoSuchCourse,
    #[error("there is no such student")]
    NoSuchStudent,
    #[error("the course is full")]
    CourseFull,
    #[error("the student is enrolled already")]
    AlreadyEnrolled,
    #[error("the student takes {COURSES_PER_STUDENT} courses already")]
    TooManyCourses,
    #[error("the student is not enrolled")]
    NotEnrolled,
}

/// The result of a command; an error of the store is not an answer.
type Answer<T = ()> = annals::Result<Result<T, Rule>>;

/// The state that a decision about a course and a student is based on.
#[derive(Debug, Default)]
struct Decision {
    capacity: Option<usize>,
    student_is_known: bool,
    enrolled_in_course: usize,
    courses_of_student: usize,
    is_enrolled: bool,
    /// The query and the head of the read: the boundary of the decision.
    boundary: Query,
}

#[derive(Debug, Clone)]
pub(crate) struct School {
    pub(crate) store: Store,
}

fn course_tag(course: &str) -> String {
    format!("course:{course}")
}

fn student_tag(student: &str) -> String {
    format!("student:{student}")
}

impl School {
    /// Reads every fact about the course or the student that a rule looks at.
    fn decide(&self, course: &str, student: &str) -> annals::Result<Decision> {
        let (course, student) = (course_tag(course), student_tag(student));
        let of_course = ["CourseDefined", "CapacityChanged", "Enrolled", "Left"];
        let of_student = ["StudentRegistered", "Enrolled", "Left"];
        let query = Query::from(QueryItem::new().types(of_course).tag(&course))
            .or(QueryItem::new().types(of_student).tag(&student));
        let facts = self.store.read_all().matching(query.clone()).start()?;
        let mut decision = Decision { boundary: query.after(facts.head()), ..Decision::default() };
        for event in facts {
            let event = event?;
            let here = event.tags().any(|tag| tag == course);
            let theirs = event.tags().any(|tag| tag == student);
            match event.event_type() {
                "StudentRegistered" => decision.student_is_known = true,
                "Enrolled" => {
                    decision.enrolled_in_course += usize::from(here);
                    decision.courses_of_student += usize::from(theirs);
                    decision.is_enrolled |= here && theirs;
                }
                "Left" => {
                    decision.enrolled_in_course -= usize::from(here);
                    decision.courses_of_student -= usize::from(theirs);
                    decision.is_enrolled &= !(here && theirs);
                }
                _ => decision.capacity = Some(event.json::<Capacity>()?.capacity),
            }
        }
        Ok(decision)
    }

    /// Appends if nothing that was decided on has changed; `false`: it has.
    fn append_within(
        &self,
        boundary: Query,
        stream: String,
        event: NewEvent,
    ) -> annals::Result<bool> {
        let commit = self
            .store
            .transaction()
            .append(stream, ExpectedVersion::Any, [event])
            .fail_if(boundary);
        match commit.commit() {
            Ok(_) => Ok(true),
            // The conflicting commit is visible by now: reading again shows it.
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Defines a course with a new name; no read is needed for that.
    pub(crate) fn define(&self, course: &str, capacity: usize) -> Answer {
        let event = NewEvent::json("CourseDefined", &Capacity { capacity })?;
        self.append_first(format!("course-{course}"), course_tag(course), event)
    }

    /// Registers a student under a new name.
    pub(crate) fn register(&self, student: &str) -> Answer {
        let event = NewEvent::new("StudentRegistered", "");
        self.append_first(format!("student-{student}"), student_tag(student), event)
    }

    fn append_first(&self, stream: String, tag: String, event: NewEvent) -> Answer {
        let taken = Query::tagged([tag.as_str()]);
        let commit = self
            .store
            .transaction()
            .append(stream, ExpectedVersion::Any, [event.tag(tag)])
            .fail_if_exists(taken);
        match commit.commit() {
            Ok(_) => Ok(Ok(())),
            Err(error) if matches!(error.failed_checks(), [FailedCheck::AlreadyExists { .. }]) => {
                Ok(Err(Rule::NameTaken))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn change_capacity(&self, course: &str, capacity: usize) -> Answer {
        loop {
            let decision = self.decide(course, "")?;
            if decision.capacity.is_none() {
                return Ok(Err(Rule::NoSuchCourse));
            }
            let event = NewEvent::json("CapacityChanged", &Capacity { capacity })?;
            let event = event.tag(course_tag(course));
            if self.append_within(decision.boundary, format!("course-{course}"), event)? {
                return Ok(Ok(()));
            }
        }
    }

    pub(crate) fn enrol(&self, student: &str, course: &str) -> Answer {
        loop {
            let decision = self.decide(course, student)?;
            let broken = match decision.capacity {
                None => Some(Rule::NoSuchCourse),
                _ if !decision.student_is_known => Some(Rule::NoSuchStudent),
                _ if decision.is_enrolled => Some(Rule::AlreadyEnrolled),
                Some(capacity) if decision.enrolled_in_course >= capacity => Some(Rule::CourseFull),
                _ if decision.courses_of_student >= COURSES_PER_STUDENT => {
                    Some(Rule::TooManyCourses)
                }
                Some(_) => None,
            };
            if let Some(rule) = broken {
                return Ok(Err(rule));
            }
            let event =
                NewEvent::new("Enrolled", "").tags([course_tag(course), student_tag(student)]);
            if self.append_within(
                decision.boundary,
                format!("enrolment-{course}-{student}"),
                event,
            )? {
                return Ok(Ok(()));
            }
        }
    }

    pub(crate) fn leave(&self, student: &str, course: &str) -> Answer {
        loop {
            let decision = self.decide(course, student)?;
            if !decision.is_enrolled {
                return Ok(Err(Rule::NotEnrolled));
            }
            let event = NewEvent::new("Left", "").tags([course_tag(course), student_tag(student)]);
            if self.append_within(
                decision.boundary,
                format!("enrolment-{course}-{student}"),
                event,
            )? {
                return Ok(Ok(()));
            }
        }
    }

    /// How many are enrolled in a course now, and how many courses a student takes.
    pub(crate) fn count(&self, course: &str, student: &str) -> annals::Result<(usize, usize)> {
        let decision = self.decide(course, student)?;
        Ok((decision.enrolled_in_course, decision.courses_of_student))
    }
}

/// Runs the same command in this number of threads at once; returns how many succeeded.
pub(crate) fn fight(threads: usize, command: impl Fn(usize) -> Answer + Sync) -> usize {
    thread::scope(|scope| {
        let spawn = |number| {
            let command = &command;
            scope.spawn(move || command(number).expect("the store works").is_ok())
        };
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        threads.into_iter().map(|it| it.join().expect("no panic")).filter(|&yes| yes).count()
    })
}

pub(crate) fn run(path: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let school = School { store: Store::open(path)? };
    let won = fight(16, |_| school.register("ann"));
    writeln!(out, "16 threads register \"ann\": {won} does")?;
    for number in 0..40 {
        school.register(&format!("student-{number}"))??;
    }
    for course in ["logic", "rhetoric", "grammar", "music", "geometry"] {
        school.define(course, 10)??;
    }
    writeln!(out, "define logic again: {}", school.define("logic", 99)?.expect_err("a rule"))?;

    let won = fight(40, |number| school.enrol(&format!("student-{number}"), "logic"));
    writeln!(out, "40 students want one of 10 places in logic: {won} get one")?;
    writeln!(out, "ann: {}", school.enrol("ann", "logic")?.expect_err("it is full"))?;
    school.change_capacity("logic", 11)??;
    let won = fight(16, |_| school.enrol("ann", "logic"));
    writeln!(out, "there is one place more, and ann asks 16 times at once: {won} enrolment")?;

    let rest = ["rhetoric", "grammar", "music", "geometry"];
    let won = fight(rest.len(), |number| school.enrol("ann", rest[number]));
    writeln!(out, "ann wants {} more courses at once: {won} of them", rest.len())?;
    school.leave("ann", "logic")??;
    let won = fight(40, |number| school.enrol(&format!("student-{number}"), "logic"));
    writeln!(out, "ann leaves logic, and the 40 try again: {won} gets her place")?;

    let (enrolled, courses) = school.count("logic", "ann")?;
    writeln!(out, "in the end: {enrolled} in logic, ann takes {courses} courses")?;
    let head = school.store.head();
    let all = school.store.read_all().matching(Query::types(["Enrolled"]));
    writeln!(out, "{} enrolments among {head} events", all.into_iter().count())?;
    school.store.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    run(&path.unwrap_or_else(|| temporary.path().join("school")), &mut io::stdout().lock())
}
