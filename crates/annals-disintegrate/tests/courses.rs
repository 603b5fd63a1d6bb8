//! The school of disintegrate's example, retold: students take courses. A decision is made from states of a course and of
//! a student, and a listener keeps the list of courses.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_tests::in_every_way;
use annals_disintegrate::annals::Store;
use annals_disintegrate::disintegrate::serde::json::Json;
use annals_disintegrate::disintegrate::{
    Decision, DecisionError, Event, EventListener, EventStore, PersistedEvent, StateMutate,
    StateQuery, StreamQuery, WithSnapshot, query,
};
use annals_disintegrate::{
    AnnalsDecisionMaker, AnnalsEventListener, AnnalsEventStore, AnnalsSnapshotter, Error, EventId,
    ListenerConfig, decision_maker,
};
use async_trait::async_trait;
use futures::executor::block_on;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[stream(SeatEvent, [CourseOffered, CourseEnded, Joined, Left])]
#[stream(TimetableEvent, [Enrolled, Joined, Left])]
#[stream(MembershipEvent, [Joined, Left])]
enum SchoolEvent {
    CourseOffered {
        #[id]
        course: String,
        title: String,
        seats: u32,
    },
    CourseRetitled {
        #[id]
        course: String,
        title: String,
    },
    CourseEnded {
        #[id]
        course: String,
    },
    Enrolled {
        #[id]
        student: String,
    },
    Joined {
        #[id]
        course: String,
        #[id]
        student: String,
    },
    Left {
        #[id]
        course: String,
        #[id]
        student: String,
    },
}

use SchoolEvent::{CourseEnded, CourseOffered, CourseRetitled, Enrolled, Joined, Left};

/// The seats of a course.
#[derive(Debug, Clone, Default, StateQuery, Serialize, Deserialize)]
#[state_query(SeatEvent)]
struct Seats {
    #[id]
    course: String,
    is_offered: bool,
    free: u32,
}

impl StateMutate for Seats {
    fn mutate(&mut self, event: SeatEvent) {
        match event {
            SeatEvent::CourseOffered { seats, .. } => (self.is_offered, self.free) = (true, seats),
            SeatEvent::CourseEnded { .. } => self.is_offered = false,
            SeatEvent::Joined { .. } => self.free -= 1,
            SeatEvent::Left { .. } => self.free += 1,
        }
    }
}

/// The courses of a student.
#[derive(Debug, Clone, Default, StateQuery, Serialize, Deserialize)]
#[state_query(TimetableEvent)]
struct Timetable {
    #[id]
    student: String,
    is_enrolled: bool,
    courses: Vec<String>,
}

impl StateMutate for Timetable {
    fn mutate(&mut self, event: TimetableEvent) {
        match event {
            TimetableEvent::Enrolled { .. } => self.is_enrolled = true,
            TimetableEvent::Joined { course, .. } => self.courses.push(course),
            TimetableEvent::Left { course, .. } => self.courses.retain(|it| *it != course),
        }
    }
}

/// Whether a student takes a course: two identifiers.
#[derive(Debug, Clone, Default, StateQuery, Serialize, Deserialize)]
#[state_query(MembershipEvent)]
struct Membership {
    #[id]
    course: String,
    #[id]
    student: String,
    is_member: bool,
}

impl StateMutate for Membership {
    fn mutate(&mut self, event: MembershipEvent) {
        self.is_member = matches!(event, MembershipEvent::Joined { .. });
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("there is such a course")]
    CourseExists,
    #[error("no such course is offered")]
    NotOffered,
    #[error("the student is not enrolled")]
    NotEnrolled,
    #[error("the course is full")]
    Full,
    #[error("the student takes the course")]
    Member,
    #[error("the student does not take the course")]
    NoMember,
    #[error("the student takes two courses")]
    Busy,
}

fn seats_of(course: &str) -> Seats {
    Seats { course: course.into(), ..Seats::default() }
}

/// A course with a number of seats.
struct Offer(&'static str, u32);

impl Decision for Offer {
    type Event = SchoolEvent;
    type StateQuery = Seats;
    type Error = Refused;

    fn state_query(&self) -> Seats {
        seats_of(self.0)
    }

    fn process(&self, state: &Seats) -> Result<Vec<SchoolEvent>, Refused> {
        if state.is_offered {
            return Err(Refused::CourseExists);
        }
        let title = format!("Introduction to {}", self.0);
        Ok(vec![CourseOffered { course: self.0.into(), title, seats: self.1 }])
    }
}

/// A student takes a course.
struct Join(String, &'static str);

impl Decision for Join {
    type Event = SchoolEvent;
    type StateQuery = (Seats, Timetable);
    type Error = Refused;

    fn state_query(&self) -> (Seats, Timetable) {
        (seats_of(self.1), Timetable { student: self.0.clone(), ..Timetable::default() })
    }

    fn process(
        &self,
        (course, timetable): &(Seats, Timetable),
    ) -> Result<Vec<SchoolEvent>, Refused> {
        if !timetable.is_enrolled {
            return Err(Refused::NotEnrolled);
        }
        if !course.is_offered {
            return Err(Refused::NotOffered);
        }
        if timetable.courses.iter().any(|it| it == self.1) {
            return Err(Refused::Member);
        }
        if course.free == 0 {
            return Err(Refused::Full);
        }
        if timetable.courses.len() == 2 {
            return Err(Refused::Busy);
        }
        Ok(vec![Joined { course: self.1.into(), student: self.0.clone() }])
    }
}

/// A student gives up a course.
struct Leave(&'static str, &'static str);

impl Decision for Leave {
    type Event = SchoolEvent;
    type StateQuery = Membership;
    type Error = Refused;

    fn state_query(&self) -> Membership {
        Membership { student: self.0.into(), course: self.1.into(), is_member: false }
    }

    fn process(&self, state: &Membership) -> Result<Vec<SchoolEvent>, Refused> {
        if !state.is_member {
            return Err(Refused::NoMember);
        }
        Ok(vec![Left { course: self.1.into(), student: self.0.into() }])
    }
}

/// A course in the list of courses: title, free seats, whether it is offered.
type Entry = (String, u32, bool);

/// The list of courses, and the last event that was applied to it.
#[derive(Clone, Default)]
struct Catalogue(Arc<Mutex<BTreeMap<String, Entry>>>, Arc<Mutex<EventId>>);

struct Projection(StreamQuery<EventId, SchoolEvent>, Catalogue);

#[async_trait]
impl EventListener<EventId, SchoolEvent> for Projection {
    type Error = Refused;

    fn id(&self) -> &'static str {
        "catalogue"
    }

    fn query(&self) -> &StreamQuery<EventId, SchoolEvent> {
        &self.0
    }

    async fn handle(&self, event: PersistedEvent<EventId, SchoolEvent>) -> Result<(), Refused> {
        let mut applied = self.1.1.lock().unwrap();
        // The last events before a crash may be delivered again.
        if event.id() <= *applied {
            return Ok(());
        }
        *applied = event.id();
        let mut courses = self.1.0.lock().unwrap();
        match event.into_inner() {
            CourseOffered { course, title, seats } => {
                courses.insert(course, (title, seats, true));
            }
            CourseRetitled { course, title } => courses.get_mut(&course).unwrap().0 = title,
            CourseEnded { course } => courses.get_mut(&course).unwrap().2 = false,
            Joined { course, .. } => courses.get_mut(&course).unwrap().1 -= 1,
            Left { course, .. } => courses.get_mut(&course).unwrap().1 += 1,
            Enrolled { .. } => {}
        }
        Ok(())
    }
}

type Maker =
    AnnalsDecisionMaker<SchoolEvent, Json<SchoolEvent>, WithSnapshot<EventId, AnnalsSnapshotter>>;

fn school(store: &Store) -> Maker {
    let event_store = AnnalsEventStore::new(store.clone(), Json::default());
    decision_maker(event_store, WithSnapshot::new(AnnalsSnapshotter::new(store.clone(), 1)))
}

/// Makes a decision, again as long as other decisions interfere.
macro_rules! decide {
    ($store:expr, $decision:expr) => {
        loop {
            match block_on(school($store).make($decision)) {
                Ok(_) => break Ok(()),
                Err(DecisionError::Domain(refused)) => break Err(refused),
                Err(DecisionError::StateStore(error)) => {
                    assert!(matches!(error.downcast_ref(), Some(Error::Concurrency(_))), "{error}")
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
}

fn event_store(store: &Store) -> AnnalsEventStore<SchoolEvent, Json<SchoolEvent>> {
    AnnalsEventStore::new(store.clone(), Json::default())
}

/// Appends what needs no decision.
fn record(store: &Store, event: SchoolEvent) {
    block_on(event_store(store).append_without_validation(vec![event])).unwrap();
}

fn join(store: &Store, student: &str, course: &'static str) -> Result<(), Refused> {
    decide!(store, Join(student.to_owned(), course))
}

/// Runs the projection until it has handled all events.
fn project(store: &Store, catalogue: &Catalogue) {
    let head = EventId::try_from(store.head().get()).unwrap();
    let applied = Arc::clone(&catalogue.1);
    let projection = Projection(query!(SchoolEvent), catalogue.clone());
    let listener = AnnalsEventListener::builder(event_store(store))
        .register_listener(projection, ListenerConfig::default());
    block_on(listener.start_with_shutdown(async move {
        while *applied.lock().unwrap() < head {
            futures_timer::Delay::new(Duration::from_millis(1)).await;
        }
    }));
}

#[test]
fn students_take_courses_within_their_rules_and_the_catalogue_follows() {
    in_every_way(|life| {
        let catalogue = Catalogue::default();
        let listed = |course: &str| catalogue.0.lock().unwrap()[course].clone();
        life.step(|store| {
            assert_eq!(decide!(store, Offer("logic", 2)), Ok(()));
            assert_eq!(decide!(store, Offer("logic", 9)), Err(Refused::CourseExists));
            for course in ["rhetoric", "music"] {
                assert_eq!(decide!(store, Offer(course, 10)), Ok(()));
            }
            for student in ["ann", "bob", "eve"] {
                record(store, Enrolled { student: student.into() });
            }
        });
        life.step(|store| project(store, &catalogue));
        assert_eq!(listed("logic"), ("Introduction to logic".into(), 2, true));
        life.step(|store| {
            assert_eq!(join(store, "dan", "logic"), Err(Refused::NotEnrolled));
            assert_eq!(join(store, "ann", "dance"), Err(Refused::NotOffered));
            assert_eq!(join(store, "ann", "logic"), Ok(()));
            assert_eq!(join(store, "ann", "logic"), Err(Refused::Member));
            assert_eq!(join(store, "bob", "logic"), Ok(()));
            assert_eq!(join(store, "eve", "logic"), Err(Refused::Full));
        });
        life.step(|store| {
            assert_eq!(decide!(store, Leave("eve", "logic")), Err(Refused::NoMember));
            assert_eq!(decide!(store, Leave("bob", "logic")), Ok(()));
            assert_eq!(decide!(store, Leave("bob", "logic")), Err(Refused::NoMember));
            assert_eq!(join(store, "eve", "logic"), Ok(()));
            assert_eq!(join(store, "eve", "rhetoric"), Ok(()));
            assert_eq!(join(store, "eve", "music"), Err(Refused::Busy));
        });
        life.step(|store| {
            record(store, CourseEnded { course: "rhetoric".into() });
            let title = "Music for everyone".to_owned();
            record(store, CourseRetitled { course: "music".into(), title });
            assert_eq!(join(store, "bob", "rhetoric"), Err(Refused::NotOffered));
        });
        life.step(|store| project(store, &catalogue));
        assert_eq!(listed("logic").1, 0);
        assert_eq!(listed("rhetoric"), ("Introduction to rhetoric".into(), 9, false));
        assert_eq!(listed("music"), ("Music for everyone".into(), 10, true));

        // More students than seats at once: each seat is taken once.
        life.step(|store| {
            (0..16).for_each(|n| record(store, Enrolled { student: format!("student {n}") }));
            std::thread::scope(|scope| {
                for n in 0..16 {
                    scope.spawn(move || {
                        let joined = join(store, &format!("student {n}"), "music");
                        assert!(matches!(joined, Ok(()) | Err(Refused::Full)));
                    });
                }
            });
        });
        life.step(|store| {
            project(store, &catalogue);
            assert_eq!(listed("music").1, 0);
            assert_eq!(join(store, "ann", "music"), Err(Refused::Full));
        });
    });
}
