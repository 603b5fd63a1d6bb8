//! Course enrolment: each rule, and threads that race to break it.

use annals::Store;

use crate::course_enrolment::{COURSES_PER_STUDENT, Rule, School, fight, run};
use crate::printed;

fn school(dir: &tempfile::TempDir) -> School {
    School { store: Store::open(dir.path().join("store")).unwrap() }
}

#[test]
fn courses_example_prints_a_term() {
    let out = printed(run);
    for line in [
        "16 threads register \"ann\": 1 does",
        "define logic again: the name is taken",
        "40 students want one of 10 places in logic: 10 get one",
        "ann: the course is full",
        "there is one place more, and ann asks 16 times at once: 1 enrolment",
        "ann wants 4 more courses at once: 2 of them",
        "ann leaves logic, and the 40 try again: 1 gets her place",
        "in the end: 11 in logic, ann takes 2 courses",
        "14 enrolments among 62 events",
    ] {
        assert!(out.lines().any(|it| it == line), "{line:?} is not in\n{out}");
    }
}

#[test]
fn broken_rule_of_enrolment_is_an_error_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let school = school(&dir);
    assert_eq!(school.enrol("ann", "logic").unwrap(), Err(Rule::NoSuchCourse));
    assert_eq!(school.change_capacity("logic", 2).unwrap(), Err(Rule::NoSuchCourse));
    school.define("logic", 1).unwrap().unwrap();
    assert_eq!(school.define("logic", 1).unwrap(), Err(Rule::NameTaken));
    assert_eq!(school.enrol("ann", "logic").unwrap(), Err(Rule::NoSuchStudent));
    school.register("ann").unwrap().unwrap();
    school.register("bob").unwrap().unwrap();
    assert_eq!(school.register("ann").unwrap(), Err(Rule::NameTaken));
    assert_eq!(school.leave("ann", "logic").unwrap(), Err(Rule::NotEnrolled));
    school.enrol("ann", "logic").unwrap().unwrap();
    assert_eq!(school.enrol("ann", "logic").unwrap(), Err(Rule::AlreadyEnrolled));
    assert_eq!(school.enrol("bob", "logic").unwrap(), Err(Rule::CourseFull));
    school.leave("ann", "logic").unwrap().unwrap();
    school.enrol("bob", "logic").unwrap().unwrap();
    assert_eq!(school.count("logic", "ann").unwrap(), (1, 0));
    for n in 0..=COURSES_PER_STUDENT {
        school.define(&format!("c{n}"), 9).unwrap().unwrap();
        let answer = school.enrol("ann", &format!("c{n}")).unwrap();
        let expected = if n < COURSES_PER_STUDENT { Ok(()) } else { Err(Rule::TooManyCourses) };
        assert_eq!(answer, expected);
    }
    assert_eq!(school.store.head().get(), 3 + 3 + 4 + 3);
}

#[test]
fn racing_enrolments_break_no_rule() {
    const STUDENTS: usize = 12;
    const COURSES: usize = 5;
    const CAPACITY: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let school = school(&dir);
    let won = fight(8, |_| school.define("c0", CAPACITY));
    assert_eq!(won, 1);
    for course in 1..COURSES {
        school.define(&format!("c{course}"), CAPACITY).unwrap().unwrap();
    }
    for student in 0..STUDENTS {
        school.register(&format!("s{student}")).unwrap().unwrap();
    }
    // Every student tries to join every course, twice.
    let wishes = STUDENTS * COURSES * 2;
    let won = fight(wishes, |wish| {
        let (student, course) = (wish % STUDENTS, wish / STUDENTS % COURSES);
        school.enrol(&format!("s{student}"), &format!("c{course}"))
    });
    let mut enrolled = 0;
    for course in 0..COURSES {
        let (here, _) = school.count(&format!("c{course}"), "").unwrap();
        assert!(here <= CAPACITY, "course {course} holds {here}");
        enrolled += here;
    }
    assert_eq!(won, enrolled, "who was told yes is enrolled, and nobody else");
    for student in 0..STUDENTS {
        let (_, courses) = school.count("c0", &format!("s{student}")).unwrap();
        assert!(courses <= COURSES_PER_STUDENT, "student {student} takes {courses}");
    }
    // Places are free only in courses that no student may join.
    for student in 0..STUDENTS {
        for course in 0..COURSES {
            let answer = school.enrol(&format!("s{student}"), &format!("c{course}")).unwrap();
            assert!(answer.is_err(), "student {student} could have been in {course}");
        }
    }
}
