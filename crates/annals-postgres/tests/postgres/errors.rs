//! What is refused when a store is opened, and what a broken table does to a program.

use annals_es::blocking::block_on;
use annals_es::{AppendError, Commit, EventStore, Expected, NewEvent, OrderedStore, StoreError};
use annals_postgres::{Error, Positions, PostgresOptions};

use crate::support::{Schema, Tests, config};

pub(crate) const TESTS: Tests = &[
    ("server_out_of_reach_is_named", server_out_of_reach_is_named),
    ("unknown_user_is_refused", unknown_user_is_refused),
    ("unknown_database_is_refused", unknown_database_is_refused),
    ("server_without_fsync_is_refused", server_without_fsync_is_refused),
    ("missing_store_is_named", missing_store_is_named),
    ("other_positions_are_refused", other_positions_are_refused),
    ("tables_of_another_version_are_refused", tables_of_another_version_are_refused),
    ("missing_column_is_named", missing_column_is_named),
    ("missing_unique_index_is_named", missing_unique_index_is_named),
    ("additional_column_is_accepted", additional_column_is_accepted),
    ("table_dropped_while_open_is_an_error", table_dropped_while_open_is_an_error),
    ("missing_privilege_is_named", missing_privilege_is_named),
    ("token_of_another_store_is_refused", token_of_another_store_is_refused),
    ("token_of_another_history_is_refused", token_of_another_history_is_refused),
];

fn error(options: PostgresOptions) -> Error {
    block_on(options.open()).expect_err("the store does not open")
}

fn append(store: &annals_postgres::PostgresStore) -> Result<(), AppendError> {
    let commit = Commit::to("a-1", Expected::Any, [NewEvent::new("A", "")]);
    block_on(store.append(commit)).map(drop)
}

fn server_out_of_reach_is_named() {
    let nowhere = "host=127.0.0.1 port=1 user=postgres".parse().expect("parameters");
    let error = error(PostgresOptions::new(nowhere));
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

fn unknown_user_is_refused() {
    let mut config = config();
    config.user("annals_nobody");
    let error = error(PostgresOptions::new(config));
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

fn unknown_database_is_refused() {
    let mut config = config();
    config.dbname("annals_nowhere");
    let error = error(PostgresOptions::new(config));
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

fn server_without_fsync_is_refused() {
    let schema = Schema::dense();
    let is_off = schema.number("SELECT (current_setting('fsync') = 'off')::integer::bigint") == 1;
    let opened = block_on(PostgresOptions::new(config()).schema(schema.name.as_str()).open());
    match opened {
        Err(Error::NotDurable { setting }) => assert!(is_off && setting == "fsync"),
        Err(error) => panic!("{error}"),
        Ok(_) => assert!(!is_off),
    }
}

fn missing_store_is_named() {
    let schema = Schema::dense();
    let error = error(schema.options().create(false));
    assert!(matches!(&error, Error::NoStore { schema: it } if *it == schema.name), "{error:?}");
}

fn other_positions_are_refused() {
    let schema = Schema::dense();
    drop(schema.store());
    let error = error(schema.options().positions(Positions::Fast));
    assert!(matches!(error, Error::OtherPositions { found: Positions::Dense, .. }), "{error:?}");
}

fn tables_of_another_version_are_refused() {
    let schema = Schema::dense();
    drop(schema.store());
    schema.execute("UPDATE {schema}.store SET schema_version = 7");
    let error = error(schema.options());
    assert!(matches!(error, Error::SchemaVersion { found: 7, .. }), "{error:?}");
}

fn missing_column_is_named() {
    let schema = Schema::dense();
    drop(schema.store());
    schema.execute("ALTER TABLE {schema}.events DROP COLUMN metadata");
    let error = error(schema.options());
    assert!(matches!(&error, Error::Altered { what } if what.contains("metadata")), "{error:?}");
}

fn missing_unique_index_is_named() {
    let schema = Schema::fast();
    drop(schema.store());
    schema.execute("ALTER TABLE {schema}.events DROP CONSTRAINT events_version");
    let error = error(schema.options());
    assert!(
        matches!(&error, Error::Altered { what } if what.contains("stream, version")),
        "{error:?}"
    );
}

fn additional_column_is_accepted() {
    let schema = Schema::dense();
    append(&schema.store()).expect("it is recorded");
    schema.execute("ALTER TABLE {schema}.events ADD COLUMN note text");
    append(&schema.store()).expect("it is recorded");
}

fn table_dropped_while_open_is_an_error() {
    let schema = Schema::dense();
    let store = schema.store();
    append(&store).expect("it is recorded");
    schema.execute("DROP TABLE {schema}.events");
    let done = append(&store);
    let Err(AppendError::Store(StoreError::Backend(cause))) = done else { panic!("{done:?}") };
    let error = cause.downcast_ref::<Error>().expect("an error of the crate");
    assert!(matches!(error, Error::Altered { .. }), "{error:?}");
}

fn missing_privilege_is_named() {
    let schema = Schema::dense();
    drop(schema.store());
    let role = format!("{}_reader", schema.name);
    schema.execute(&format!("CREATE ROLE {role} LOGIN"));
    let mut config = config();
    config.user(&role);
    let options = PostgresOptions::new(config).schema(schema.name.as_str()).accept_loss();
    let error = error(options);
    schema.execute(&format!("DROP ROLE {role}"));
    assert!(matches!(error, Error::NotPermitted(_)), "{error:?}");
}

fn token_of_another_store_is_refused() {
    let (one, other) = (Schema::dense(), Schema::dense());
    let (one, other) = (one.store(), other.store());
    append(&one).expect("it is recorded");
    append(&other).expect("it is recorded");
    let token = block_on(one.checkpoint_token(1.into())).expect("a token");
    let verified = block_on(other.verify_token(&token));
    assert!(matches!(verified, Err(StoreError::OtherHistory(_))), "{verified:?}");
}

fn token_of_another_history_is_refused() {
    let schema = Schema::dense();
    let store = schema.store();
    append(&store).expect("it is recorded");
    append(&store).expect("it is recorded");
    let token = block_on(store.checkpoint_token(2.into())).expect("a token");
    // What a restore to an older state leaves.
    schema.execute(
        "DELETE FROM {schema}.events WHERE position = 2; UPDATE {schema}.head SET position = 1",
    );
    let verified = block_on(store.verify_token(&token));
    assert!(matches!(verified, Err(StoreError::PositionAhead { .. })), "{verified:?}");
    append(&store).expect("it is recorded");
    let verified = block_on(store.verify_token(&token));
    assert!(matches!(verified, Err(StoreError::OtherHistory(_))), "{verified:?}");
}
