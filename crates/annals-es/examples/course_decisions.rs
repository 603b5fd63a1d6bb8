//! Course enrolment, the example of the specification of dynamic consistency boundaries (<https://dcb.events>): a
//! course has a capacity, and a student takes at most three courses.
//!
//! ```text
//! cargo run -p annals-es --example course_decisions
//! ```

use std::io::{self, Write};
use std::thread;

use annals_es::{Decision, Decisions, Event, Events, Fold, MemoryStore, Query, Tag};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum SchoolEvent {
    CourseDefined {
        #[tag]
        course: String,
        capacity: usize,
    },
    Enrolled {
        #[tag]
        course: String,
        #[tag]
        student: String,
    },
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) &'static str);

pub(crate) struct Enrol {
    pub(crate) course: String,
    pub(crate) student: String,
}

/// The places of a course.
#[derive(Default)]
pub(crate) struct Places {
    capacity: Option<usize>,
    taken: usize,
}

impl Decision for Enrol {
    type Event = SchoolEvent;
    type Facts = (Fold<SchoolEvent, Places>, Fold<SchoolEvent, Vec<String>>);
    type Error = Refusal;
    const CATEGORY: &'static str = "school";

    fn facts(&self) -> Self::Facts {
        let places = Query::tagged([Tag::new("course", &self.course)]);
        let places = Fold::new(places, |places: &mut Places, event| match event {
            SchoolEvent::CourseDefined { capacity, .. } => places.capacity = Some(*capacity),
            SchoolEvent::Enrolled { .. } => places.taken += 1,
        });
        let courses = Query::types(["Enrolled"]).and_tag(Tag::new("student", &self.student));
        let courses = Fold::new(courses, |courses: &mut Vec<String>, event| {
            if let SchoolEvent::Enrolled { course, .. } = event {
                courses.push(course.clone());
            }
        });
        (places, courses)
    }

    fn decide(&self, (places, courses): &Self::Facts) -> Result<Events<SchoolEvent>, Refusal> {
        match places.capacity {
            None => Err(Refusal("there is no such course")),
            Some(capacity) if places.taken >= capacity => Err(Refusal("the course is full")),
            _ if courses.contains(&self.course) => Err(Refusal("the student is enrolled already")),
            _ if courses.len() >= 3 => Err(Refusal("the student takes three courses already")),
            _ => {
                let (course, student) = (self.course.clone(), self.student.clone());
                Ok(SchoolEvent::Enrolled { course, student }.into())
            }
        }
    }
}

pub(crate) struct Define {
    pub(crate) course: String,
    pub(crate) capacity: usize,
}

impl Decision for Define {
    type Event = SchoolEvent;
    type Facts = Fold<SchoolEvent, bool>;
    type Error = Refusal;
    const CATEGORY: &'static str = "school";

    fn facts(&self) -> Self::Facts {
        let defined = Query::types(["CourseDefined"]).and_tag(Tag::new("course", &self.course));
        Fold::new(defined, |is_defined: &mut bool, _| *is_defined = true)
    }

    fn decide(&self, is_defined: &Self::Facts) -> Result<Events<SchoolEvent>, Refusal> {
        if **is_defined {
            return Err(Refusal("the course is defined already"));
        }
        let (course, capacity) = (self.course.clone(), self.capacity);
        Ok(SchoolEvent::CourseDefined { course, capacity }.into())
    }
}

pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let school = Decisions::<SchoolEvent, _>::new(MemoryStore::new())?.attempts(100).blocking();
    for course in ["logic", "rhetoric", "grammar", "music"] {
        school.execute(&Define { course: course.into(), capacity: 10 })?;
    }
    let define = Define { course: "logic".into(), capacity: 99 };
    let refused = school.execute(&define).expect_err("it is defined");
    writeln!(out, "define logic again: {refused}")?;

    let enrol =
        |student: String, course: &str| school.execute(&Enrol { course: course.into(), student });
    let enrolled = thread::scope(|scope| {
        let students = (0..40).map(|number| format!("student-{number}"));
        let threads: Vec<_> = students.map(|it| scope.spawn(move || enrol(it, "logic"))).collect();
        threads.into_iter().filter_map(|it| it.join().expect("no panic").ok()).count()
    });
    writeln!(out, "40 students want one of 10 places in logic at once: {enrolled} get one")?;
    writeln!(out, "ann: {}", enrol("ann".into(), "logic").expect_err("it is full"))?;
    for course in ["rhetoric", "grammar", "music"] {
        enrol("ann".into(), course)?;
    }
    writeln!(out, "ann takes three other courses")?;
    let again = enrol("ann".into(), "music").expect_err("she is enrolled");
    writeln!(out, "ann, music again: {again}")?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&mut io::stdout().lock())
}
