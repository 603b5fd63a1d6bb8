//! Events: names, tags, codecs, earlier versions, histories.

#![allow(missing_docs)]

use std::error::Error;

use annals_es::blocking::block_on;
use annals_es::{
    Codec, Commit, ContentType, Event, EventCause, EventParts, EventStore, Events, Expected,
    History, Json, MemoryStore, NewEvent, Position, RawEvent, RecordedEvent, Schema, SchemaError,
    SchemaProblem, Schemas, StreamName, Timestamp, Unknown, Upcast, Upcasters, Version, encode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
enum Full {
    #[event(name = "FullUnit")]
    Unit,
    #[event(name = "FullNewtype")]
    Newtype(#[tag("number")] u32),
    Tuple(u32, String),
    #[event(version = 3)]
    #[serde(rename_all = "camelCase")]
    Struct {
        #[tag("owner")]
        owner_id: Uuid,
        #[tag]
        seats: Vec<u8>,
        #[tag("course")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        course: Option<String>,
        #[serde(with = "as_text")]
        amount: u64,
    },
    #[event(nested)]
    Inner(Inner),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
struct Inner {
    #[tag("{odd}")]
    map: Text,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Text(String);

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&number.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

fn all() -> Vec<(Full, &'static str, &'static str, Vec<&'static str>)> {
    let owner_id = Uuid::from_u128(5);
    let of = |course: Option<&str>| Full::Struct {
        owner_id,
        seats: vec![1, 2],
        course: course.map(Into::into),
        amount: 7,
    };
    let owner = "owner:00000000-0000-0000-0000-000000000005";
    vec![
        (Full::Unit, "FullUnit", "{}", vec![]),
        (Full::Newtype(4), "FullNewtype", "4", vec!["number:4"]),
        (Full::Tuple(4, "a".into()), "Tuple", r#"[4,"a"]"#, vec![]),
        (
            of(Some("b")),
            "Struct",
            r#"{"ownerId":"00000000-0000-0000-0000-000000000005","seats":[1,2],"course":"b","amount":"7"}"#,
            vec![owner, "seats:1", "seats:2", "course:b"],
        ),
        (
            of(None),
            "Struct",
            r#"{"ownerId":"00000000-0000-0000-0000-000000000005","seats":[1,2],"amount":"7"}"#,
            vec![owner, "seats:1", "seats:2"],
        ),
        (Full::Inner(Inner { map: Text("m".into()) }), "Inner", r#"{"map":"m"}"#, vec!["{odd}:m"]),
    ]
}

/// The event as a store returns it.
fn recorded(event: NewEvent) -> RecordedEvent {
    let (stream, version) = (StreamName::from("a-1"), Version::new(3));
    let (id, time) = (Uuid::from_u128(9), Timestamp::from_micros(1));
    EventParts::of(event, id, stream, version, Position::new(17), time).into()
}

fn decode<E: Event>(schemas: &Schemas<E>, event: NewEvent) -> Result<Vec<E>, EventCause> {
    let mut found = Vec::new();
    schemas.decode(&recorded(event), |event| found.push(event)).map_err(|error| *error.cause)?;
    Ok(found)
}

#[test]
fn every_form_of_variant_round_trips_as_json() {
    let schemas = Schemas::<Full>::with(Upcasters::new().first_version("Struct", 3));
    let schemas = schemas.expect("no earlier version was recorded");
    for (event, name, data, tags) in all() {
        let new = encode(&event).expect("it is JSON");
        assert_eq!((&*new.event_type, std::str::from_utf8(&new.data)), (name, Ok(data)));
        assert_eq!(new.tags, tags);
        assert_eq!(new.schema_version, if name == "Struct" { 3 } else { 1 });
        assert_eq!(new.content_type, ContentType::Json);
        assert_eq!(decode(&schemas, new).expect("it is of the present version"), [event]);
    }
    let more = NewEvent::new("FullUnit", r#"{"added":[1,{"later":2}]}"#);
    assert_eq!(decode(&schemas, more).expect("fields may be added"), [Full::Unit]);
    let without_version = NewEvent::new("FullNewtype", "4").schema_version(0);
    assert_eq!(decode(&schemas, without_version).expect("0 is 1"), [Full::Newtype(4)]);
}

#[cfg(any(feature = "postcard", feature = "cbor"))]
macro_rules! with_codec {
    ($test:ident, $codec:ident) => {
        #[test]
        fn $test() {
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
            #[event(codec = annals_es::$codec)]
            enum Coded {
                Unit,
                Newtype(u32),
                Tuple(u32, String),
                Struct { id: Uuid, list: Vec<Option<u8>> },
            }
            let schemas = Schemas::<Coded>::new().expect("no earlier version");
            let (id, list) = (Uuid::from_u128(5), vec![Some(1), None]);
            for event in [
                Coded::Unit,
                Coded::Newtype(70_000),
                Coded::Tuple(4, "a".into()),
                Coded::Struct { id, list },
            ] {
                let new = encode(&event).expect("it can be written");
                assert_eq!(new.content_type, ContentType::Binary);
                let mut longer = new.clone();
                longer.data = [&new.data[..], &[0]].concat().into();
                let error = decode(&schemas, longer).expect_err("a byte follows");
                assert!(matches!(error, EventCause::Data(_)), "{error:?}");
                assert_eq!(decode(&schemas, new).expect("it can be read"), [event]);
            }
            // Recorded as JSON, before the codec was changed.
            let json = NewEvent::new("Newtype", "5").content_type(ContentType::Json);
            assert_eq!(decode(&schemas, json).expect("JSON is read"), [Coded::Newtype(5)]);
            for length in 0..3 {
                let torn = NewEvent::new("Struct", vec![0xff; length]);
                assert!(decode(&schemas, torn).is_err());
            }
        }
    };
}

#[cfg(feature = "postcard")]
with_codec!(every_form_of_variant_round_trips_as_postcard, Postcard);
#[cfg(feature = "cbor")]
with_codec!(every_form_of_variant_round_trips_as_cbor, Cbor);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
enum Money {
    #[event(version = 4)]
    Deposited {
        cents: u64,
        currency: String,
    },
    FeeTaken {
        cents: u64,
    },
    #[event(unknown)]
    #[serde(skip)]
    Other(RawEvent),
}

fn steps() -> Upcasters<Money> {
    Upcasters::new()
        .rename("MoneyIn", 1, Schema::new("Deposited", 1))
        .fields("Deposited", 1, |fields| {
            let euros = fields.remove("euros").and_then(|it| it.as_u64()).ok_or("no euros")?;
            fields.insert("cents".into(), (100 * euros).into());
            Ok(())
        })
        .value("Deposited", 2, |mut value| {
            value.as_object_mut().ok_or("no object")?.insert("currency".into(), "EUR".into());
            Ok(value)
        })
        .split(
            "Deposited",
            3,
            [Schema::new("Deposited", 4), Schema::new("FeeTaken", 1)],
            |mut value| {
                let fee = value.as_object_mut().and_then(|it| it.remove("fee"));
                let fee = fee.map(|fee| Upcast::new("FeeTaken", 1, json!({ "cents": fee })));
                Ok([Upcast::new("Deposited", 4, value)].into_iter().chain(fee).collect())
            },
        )
        .typed("Interest", 1, |cents: u64| {
            if cents == 13 {
                return Err("interest of 13 was never paid".into());
            }
            Ok(Money::Deposited { cents, currency: "EUR".into() }.into())
        })
        .typed("Nothing", 1, |(): ()| Ok(Events::none()))
        .ignore("Printed", 1)
}

fn deposited(cents: u64) -> Money {
    Money::Deposited { cents, currency: "EUR".into() }
}

#[test]
fn earlier_versions_become_present_events() {
    let schemas = Schemas::with(steps()).expect("every version has a path");
    for (name, version, data, expected) in [
        ("MoneyIn", 1, r#"{"euros":2}"#, vec![deposited(200)]),
        ("Deposited", 1, r#"{"euros":2}"#, vec![deposited(200)]),
        ("Deposited", 2, r#"{"cents":3}"#, vec![deposited(3)]),
        (
            "Deposited",
            3,
            r#"{"cents":9,"currency":"EUR","fee":1}"#,
            vec![deposited(9), Money::FeeTaken { cents: 1 }],
        ),
        ("Deposited", 4, r#"{"cents":9,"currency":"EUR"}"#, vec![deposited(9)]),
        ("Interest", 1, "5", vec![deposited(5)]),
        ("Nothing", 1, "null", vec![]),
        ("Printed", 1, "anything", vec![]),
    ] {
        let event = NewEvent::new(name, data).schema_version(version);
        assert_eq!(decode(&schemas, event).expect(name), expected, "{name} {version}");
    }
}

#[test]
fn error_names_place_type_and_cause() {
    let schemas = Schemas::with(steps()).expect("every version has a path");
    for (name, version, data, text) in [
        (
            "Deposited",
            1,
            r#"{"dollars":2}"#,
            "the step from \"Deposited\" version 1 failed: no euros",
        ),
        ("Deposited", 1, "[]", "the data is no object, but []"),
        ("Deposited", 2, "{", "not JSON of the expected form: EOF"),
        ("Deposited", 4, r#"{"cents":-1,"currency":"EUR"}"#, "invalid value: integer `-1`"),
        ("Deposited", 5, "{}", "versions up to 4; a newer program recorded the event"),
        ("Interest", 1, "13", "interest of 13 was never paid"),
        ("Interest", 1, "\"x\"", "invalid type: string"),
        ("Unheard", 1, "{}", "does not know this type"),
    ] {
        let event = recorded(NewEvent::new(name, data).schema_version(version));
        let error = schemas.decode(&event, drop).expect_err(name).to_string();
        let place = format!(
            "event {name:?} version {version}, at version 3 of stream \"a-1\" (position 17): "
        );
        assert!(error.starts_with(&place) && error.contains(text), "{error}");
    }
    let undeclared = Upcasters::<Money>::new().first_version("Deposited", 4).split(
        "Old",
        1,
        [Schema::new("FeeTaken", 1)],
        |value| Ok(vec![Upcast::new("Deposited", 4, value)]),
    );
    let schemas = Schemas::with(undeclared).expect("every version has a path");
    let error = decode(&schemas, NewEvent::new("Old", "{}")).expect_err("it is not declared");
    assert!(matches!(error, EventCause::Undeclared { .. }), "{error}");
}

#[test]
fn unknown_event_is_treated_as_chosen() {
    let event = || NewEvent::new("Unheard", r#"{"a":1}"#).schema_version(2);
    let with = |unknown| Schemas::with(steps().unknown(unknown)).expect("every version has a path");
    let failed = decode(&with(Unknown::Fail), event()).expect_err("it is unknown");
    assert!(matches!(failed, EventCause::UnknownType), "{failed}");
    assert_eq!(decode(&with(Unknown::Skip), event()).expect("it is skipped"), []);
    let kept = decode(&with(Unknown::Keep), event()).expect("it is kept");
    let [Money::Other(raw)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((&*raw.event_type, raw.version, &raw.data[..]), ("Unheard", 2, &br#"{"a":1}"#[..]));
    assert!(encode(&kept[0]).is_err(), "a kept event is not written");
}

#[derive(Debug, Serialize, Deserialize, Event)]
enum Plain {
    #[event(version = 3)]
    Known,
}

#[test]
fn faulty_schemas_are_refused_at_the_start() {
    let problems = |upcasters: Upcasters<Plain>| match Schemas::with(upcasters) {
        Err(SchemaError { problems }) => problems,
        Ok(_) => Vec::new(),
    };
    let at = |version| Schema::new("Known", version);
    let same = |value: Value| Ok(value);
    let full = || Upcasters::new().value("Known", 1, same).value("Known", 2, same);
    assert_eq!(problems(full()), []);
    assert_eq!(problems(Upcasters::new().first_version("Known", 3)), []);
    assert_eq!(
        problems(Upcasters::new()),
        [SchemaProblem::NoPath(at(1)), SchemaProblem::NoPath(at(2))]
    );
    assert_eq!(
        problems(Upcasters::new().value("Known", 1, same)),
        [SchemaProblem::NoPath(at(2)), SchemaProblem::LeadsNowhere { from: at(1), to: at(2) }]
    );
    assert_eq!(problems(full().ignore("Known", 2)), [SchemaProblem::SameStep(at(2))]);
    assert_eq!(problems(full().ignore("Known", 3)), [SchemaProblem::StepFromPresent(at(3))]);
    assert_eq!(problems(full().unknown(Unknown::Keep)), [SchemaProblem::NoPlaceForUnknown]);
    let (a, b) = (Schema::new("A", 1), Schema::new("B", 1));
    let round = full().rename("A", 1, b.clone()).rename("B", 1, a.clone());
    assert_eq!(problems(round), [SchemaProblem::Circle(a), SchemaProblem::Circle(b)]);
    let error = Schemas::<Plain>::new().expect_err("two versions have no path").to_string();
    assert!(error.contains("\"Known\" version 2 has no step to a later version"), "{error}");
}

#[derive(Debug, Serialize, Deserialize, Event)]
enum Twice {
    Known,
    #[event(nested)]
    #[serde(skip)]
    #[allow(dead_code)]
    Inner(Plain),
}

#[test]
fn name_that_two_nested_enums_have_is_refused() {
    let Err(SchemaError { problems }) = Schemas::<Twice>::new() else { panic!("one name twice") };
    assert!(problems.contains(&SchemaProblem::SameName("Known".into())), "{problems:?}");
}

#[test]
fn values_of_a_codec_without_values_are_refused() {
    struct Opaque;

    impl Codec for Opaque {
        const NAME: &'static str = "opaque";
        const CONTENT_TYPE: ContentType = ContentType::Binary;
        const HAS_VALUES: bool = false;

        fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, annals_es::CodecError> {
            Json::encode(value)
        }

        fn decode<'de, T: serde::de::DeserializeSeed<'de>>(
            seed: T,
            data: &'de [u8],
        ) -> Result<T::Value, annals_es::CodecError> {
            Json::decode(seed, data)
        }
    }

    #[derive(Serialize, Deserialize, Event)]
    #[event(codec = Opaque, version = 2, upcasters = opaque)]
    struct Closed;

    fn opaque() -> Upcasters<Closed> {
        Upcasters::new().value("Closed", 1, Ok)
    }

    let Err(SchemaError { problems }) = Schemas::<Closed>::new() else { panic!("no values") };
    let from = Schema::new("Closed", 1);
    assert_eq!(problems, [SchemaProblem::NoValues { from, codec: "opaque" }]);
}

#[test]
fn history_report_lists_what_cannot_be_read() -> Result<(), Box<dyn Error>> {
    #[derive(Serialize, Deserialize, Event)]
    enum Part {
        #[event(name = "FullUnit")]
        Unit,
        #[event(name = "FullNewtype")]
        Newtype(u32),
    }

    let store = MemoryStore::new();
    let append = |stream: &str, events: Vec<NewEvent>| {
        block_on(store.append(Commit::to(stream, Expected::Any, events)))
    };
    append("a-1", vec![encode(&Full::Unit)?, encode(&Full::Newtype(4))?])?;
    append("a-2", vec![NewEvent::new("FullNewtype", "true"), NewEvent::new("Unheard", "{}")])?;
    append("b-1", vec![encode(&Inner { map: Text("m".into()) })?])?;

    let history = History::new().with::<Inner>()?;
    let report = block_on(history.check_history(&store))?;
    assert_eq!((report.events, report.failed), (5, 4));

    let report = block_on(history.with::<Part>()?.check_history(&store))?;
    assert_eq!((report.events, report.failed), (5, 2));
    let places: Vec<_> =
        report.errors.iter().map(|it| (&*it.event_type, it.version.get())).collect();
    assert_eq!(places, [("FullNewtype", 1), ("Unheard", 2)]);
    assert_eq!(report.schemas[&("FullNewtype".to_owned(), 1)], 2);
    Ok(())
}
