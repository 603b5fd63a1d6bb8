//! What is refused when a store is opened, and what messages that are not of a store do to a program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use annals_es::blocking::{block_on, iter};
use annals_es::{
    AppendError, Commit, EventStore, Expected, MemoryStore, NewEvent, OrderedStore, Query, ReadAll,
    ReadStream, StoreError, Subscribe, Version,
};
use annals_jetstream::async_nats::ConnectOptions;
use annals_jetstream::async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use annals_jetstream::{Durability, Error, JetStreamOptions, JetStreamStore};
use uuid::Uuid;

use crate::support::{Name, RUNTIME, Tests, client, context, servers};

pub(crate) const TESTS: Tests = &[
    ("server_out_of_reach_is_named", server_out_of_reach_is_named),
    ("unknown_user_is_refused", unknown_user_is_refused),
    ("older_server_is_refused", older_server_is_refused),
    ("unstated_durability_is_refused", unstated_durability_is_refused),
    ("servers_that_do_not_sync_are_refused", servers_that_do_not_sync_are_refused),
    ("invalid_name_is_refused", invalid_name_is_refused),
    ("missing_store_is_named", missing_store_is_named),
    ("other_stream_is_no_store", other_stream_is_no_store),
    ("stream_of_another_format_is_refused", stream_of_another_format_is_refused),
    ("settings_that_lose_events_are_refused", settings_that_lose_events_are_refused),
    ("storage_in_memory_is_refused", storage_in_memory_is_refused),
    ("altered_subjects_are_named", altered_subjects_are_named),
    ("foreign_message_is_named", foreign_message_is_named),
    ("message_of_another_format_is_named", message_of_another_format_is_named),
    ("boundary_is_refused_at_once", boundary_is_refused_at_once),
    ("too_many_ids_are_refused", too_many_ids_are_refused),
    ("token_of_another_store_is_refused", token_of_another_store_is_refused),
    ("deleted_stream_is_named", deleted_stream_is_named),
];

fn error(options: JetStreamOptions) -> Error {
    block_on(options.open()).expect_err("the store does not open")
}

fn append(store: &JetStreamStore) -> Result<(), AppendError> {
    let commit = Commit::to("a-1", Expected::Any, [NewEvent::new("A", "")]);
    block_on(store.append(commit)).map(drop)
}

fn backend(error: StoreError) -> Error {
    match error {
        StoreError::Backend(cause) => *cause.downcast().expect("an error of the crate"),
        error => panic!("{error:?}"),
    }
}

fn refused(done: Result<(), AppendError>) -> Error {
    match done {
        Err(AppendError::Store(error)) => backend(error),
        done => panic!("{done:?}"),
    }
}

fn server_out_of_reach_is_named() {
    let nowhere = JetStreamOptions::new("nats://127.0.0.1:1").expect("an address");
    let error = error(nowhere.durability(Durability::AcceptLoss));
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

fn unknown_user_is_refused() {
    let address = servers()[0].replace("app:app@", "app:wrong@");
    let options = JetStreamOptions::new(address).expect("an address");
    let error = error(options.durability(Durability::AcceptLoss));
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

/// Answers one connection as a server of a version would.
fn answer(stream: TcpStream, version: &str) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    write!(
        writer,
        "INFO {{\"version\":\"{version}\",\"max_payload\":1048576,\"headers\":true}}\r\n"
    )?;
    for line in BufReader::new(stream).lines() {
        if line?.starts_with("PING") {
            writer.write_all(b"PONG\r\n")?;
        }
    }
    Ok(())
}

fn older_server_is_refused() {
    for version in ["2.9.25", "2.11.11", "2.12.0", "2.12.1"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("nats://{}", listener.local_addr().expect("an address"));
        thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            answer(stream, version)
        });
        let options = JetStreamOptions::new(address).expect("an address");
        let error = error(options.durability(Durability::AcceptLoss));
        assert!(
            matches!(&error, Error::ServerTooOld { version: it } if it == version),
            "{error:?}"
        );
    }
}

fn unstated_durability_is_refused() {
    let options = JetStreamOptions::new(&servers()[..]).expect("addresses");
    let error = error(options);
    assert!(matches!(error, Error::DurabilityNotStated), "{error:?}");
}

fn servers_that_do_not_sync_are_refused() {
    let name = Name::replicated();
    let system = || ConnectOptions::with_user_and_password("system".into(), "system".into());
    let options = || JetStreamOptions::new(&servers()[..]).expect("addresses").name(&*name.name);
    let syncs = std::env::var("ANNALS_NATS_SYNC").is_ok_and(|it| it == "always");
    match block_on(options().system_account(system()).open()) {
        Err(Error::NotDurable { setting }) => {
            assert!(!syncs && setting.contains("sync_interval"), "{setting}");
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => assert!(syncs),
    }
    let stated = options().system_account(system()).durability(Durability::Replicated);
    block_on(stated.open()).expect("three replicas");
    drop(name);
    let name = Name::single();
    drop(name.store());
    let options = JetStreamOptions::new(&servers()[..]).expect("addresses").name(&*name.name);
    let error = error(options.durability(Durability::Replicated));
    assert!(
        matches!(&error, Error::NotDurable { setting } if setting.contains("replicas")),
        "{error:?}"
    );
}

fn invalid_name_is_refused() {
    for name in ["", "a.b", "a b", "größe", "*", &"a".repeat(101)] {
        let options = JetStreamOptions::new(&servers()[..]).expect("addresses").name(name);
        let error = error(options.durability(Durability::AcceptLoss));
        assert!(matches!(&error, Error::InvalidName { name: it } if it == name), "{error:?}");
    }
}

fn missing_store_is_named() {
    let name = Name::replicated();
    let error = error(name.options().create(false));
    assert!(matches!(&error, Error::NoStore { name: it } if *it == name.name), "{error:?}");
}

/// Creates a stream with the name of a store.
fn create(name: &Name, change: impl FnOnce(&mut Config)) {
    let subjects = vec![format!("{}.other.>", name.name)];
    let mut config = Config { name: name.name.clone(), subjects, ..Config::default() };
    change(&mut config);
    RUNTIME.block_on(context().create_stream(config)).expect("it is created");
}

fn other_stream_is_no_store() {
    let name = Name::single();
    create(&name, |_| {});
    let error = error(name.options());
    assert!(matches!(&error, Error::NotAStore { name: it } if *it == name.name), "{error:?}");
}

fn stream_of_another_format_is_refused() {
    let name = Name::single();
    create(&name, |config| drop(config.metadata.insert("annals-format".into(), "7".into())));
    let error = error(name.options());
    assert!(matches!(error, Error::FormatVersion { found: 7, supported: 1 }), "{error:?}");
}

fn settings_that_lose_events_are_refused() {
    let name = Name::single();
    drop(name.store());
    let changes: [fn(&mut Config); 3] = [
        |config| config.discard = DiscardPolicy::Old,
        |config| config.max_age = std::time::Duration::from_secs(3600),
        |config| config.max_messages_per_subject = 100,
    ];
    for change in changes {
        let mut before = None;
        name.change(|config| {
            before = Some(config.clone());
            change(config);
        });
        let error = error(name.options());
        assert!(matches!(error, Error::NotDurable { .. }), "{error:?}");
        name.change(|config| *config = before.take().expect("the settings"));
    }
    drop(name.store());
}

fn storage_in_memory_is_refused() {
    let name = Name::single();
    let store = name.store();
    drop(store);
    let mut config = None;
    name.change(|it| config = Some(it.clone()));
    let mut config = config.expect("the settings");
    config.storage = StorageType::Memory;
    RUNTIME.block_on(async {
        context().delete_stream(&name.name).await.expect("it is deleted");
        context().create_stream(config).await.expect("it is created");
    });
    let error = error(name.options().durability(Durability::Synced));
    assert!(
        matches!(&error, Error::NotDurable { setting } if setting.contains("memory")),
        "{error:?}"
    );
    drop(name.store());
}

fn altered_subjects_are_named() {
    let name = Name::single();
    drop(name.store());
    name.change(|config| config.subjects.push(format!("{}.more", config.name)));
    let error = error(name.options());
    assert!(matches!(&error, Error::Altered { what } if what.contains("subjects")), "{error:?}");
}

/// Publishes a message in the subjects of a store.
fn publish(subject: &str, header: Option<&str>, payload: &'static str) {
    RUNTIME.block_on(async {
        let mut headers = annals_jetstream::async_nats::HeaderMap::new();
        if let Some(header) = header {
            headers.insert("Annals-Commit", header);
        }
        // The server of this client may not have heard of a new stream yet.
        for _ in 0..50 {
            let (subject, headers) = (subject.to_owned(), headers.clone());
            let sent = context().publish_with_headers(subject, headers, payload.into()).await;
            if sent.expect("it is sent").await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("it is not stored");
    });
}

fn foreign_message_is_named() {
    let id = Uuid::from_u128(7).simple().to_string();
    let sound = format!("1 {id} 2 1 0 0 1");
    let headers = [None, Some("nonsense"), Some("1 x 1 1 0 0 1"), Some(&*sound)];
    for header in headers {
        let name = Name::single();
        let store = name.store();
        append(&store).expect("it is new");
        publish(&format!("{}.event.a.1", name.name), header, "{\"amount\":5}");
        let is_foreign = |error| match backend(error) {
            Error::Foreign { subject, sequence: 2, .. } => assert!(subject.ends_with("event.a.1")),
            error => panic!("{error:?}"),
        };
        let read: Result<Vec<_>, _> = iter(store.read_stream(ReadStream::of("a-1"))).collect();
        is_foreign(read.expect_err("the message is foreign"));
        let read: Result<Vec<_>, _> = iter(store.read_all(ReadAll::new())).collect();
        is_foreign(read.expect_err("the message is foreign"));
        let mut messages = iter(store.subscribe(Subscribe::after(0.into())));
        let found = messages.find_map(|it: Result<_, StoreError>| it.err());
        is_foreign(found.expect("an error"));
        if header != Some(&sound) {
            // The version of the stream is not known. With a sound header it is.
            let error = refused(append(&store));
            assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
        }
        // Other streams are not concerned.
        let other = Commit::to("b-1", Expected::NoStream, [NewEvent::new("B", "")]);
        block_on(store.append(other)).expect("it is recorded");
        assert_eq!(iter(store.read_stream(ReadStream::of("b-1"))).count(), 1);
    }
}

fn message_of_another_format_is_named() {
    let name = Name::single();
    let store = name.store();
    publish(&format!("{}.event.a.1", name.name), Some("2 and more"), "");
    let read: Result<Vec<_>, _> = iter(store.read_stream(ReadStream::of("a-1"))).collect();
    let error = backend(read.expect_err("the format is another one"));
    assert!(matches!(error, Error::FormatVersion { found: 2, supported: 1 }), "{error:?}");
}

fn boundary_is_refused_at_once() {
    let name = Name::single();
    let store = name.store();
    let commit = Commit::<MemoryStore>::to("a-1", Expected::Any, [NewEvent::new("A", "")]);
    let commit = commit.fail_if_exists(Query::all());
    let error = refused(block_on(store.append(Commit::from_parts(commit.into_parts()))).map(drop));
    assert!(matches!(error, Error::NotOffered { what: "boundaries" }), "{error:?}");
    let version = block_on(store.stream_version(&"a-1".into()));
    assert_eq!(version.expect("a version"), Version::NONE);
}

fn too_many_ids_are_refused() {
    let name = Name::single();
    let store = name.store();
    let events = |number| {
        let ids = (1..=number).map(Uuid::from_u128);
        Commit::to("a-1", Expected::NoStream, ids.map(|id| NewEvent::new("A", "").id(id)))
    };
    let done = block_on(store.append(events(1000)));
    assert!(matches!(done, Err(AppendError::TooLarge { size: 1001, max: 1000, .. })), "{done:?}");
    let done = block_on(store.append(events(999))).expect("it is recorded");
    assert_eq!(done.versions, [Version::new(999)]);
    assert!(block_on(store.append(events(999))).expect("it is recorded").already_recorded);
}

fn token_of_another_store_is_refused() {
    let (one, other) = (Name::single(), Name::single());
    let (one, other) = ((one.store(), one), (other.store(), other));
    for store in [&one.0, &other.0] {
        append(store).expect("it is new");
    }
    let head = block_on(one.0.head()).expect("the head");
    let token = block_on(one.0.checkpoint_token(head)).expect("a token");
    let verified = block_on(other.0.verify_token(&token));
    assert!(matches!(verified, Err(StoreError::OtherHistory(_))), "{verified:?}");
}

fn deleted_stream_is_named() {
    let name = Name::single();
    let options = name.options().time_limit(std::time::Duration::from_secs(1));
    let store = block_on(options.open()).expect("the store opens");
    append(&store).expect("it is new");
    RUNTIME.block_on(context().delete_stream(&name.name)).expect("it is deleted");
    RUNTIME.block_on(client().flush()).expect("no error");
    assert!(append(&store).is_err());
    let version = block_on(store.stream_version(&"a-1".into()));
    let error = backend(version.expect_err("there is no stream"));
    assert!(matches!(&error, Error::NoStore { name: it } if *it == name.name), "{error:?}");
}
