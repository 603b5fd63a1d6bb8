//! `snapshot`: the states that applications keep beside the events.
//!
//! Owns the printed form of a snapshot. Must never create one: only its application can compute the
//! state.

use annals::{
    Position,
    snapshot::{Mark, Snapshot},
};
use annals_control::Request;
use annals_lines::{lines, time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::{DeleteSnapshots, Format, ListSnapshots, ShowSnapshot, SnapshotCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::{control, open};

#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    schema_version: u32,
    saved_at: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_base64: Option<String>,
}

/// `annals snapshot`
pub(crate) fn run(command: &SnapshotCommand, quiet: bool) -> Result<(), Failure> {
    match command {
        SnapshotCommand::List(args) => list(args),
        SnapshotCommand::Show(args) => show(args),
        SnapshotCommand::Delete(args) => delete(args, quiet),
    }
}

fn list(args: &ListSnapshots) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let mut out = Output::new(args.format);
    let mut found = store.snapshots().list(&args.prefix)?;
    found.sort_unstable_by(|a, b| (&a.key, a.mark).cmp(&(&b.key, b.mark)));
    for info in found {
        let (version, position) = numbers(info.mark);
        let saved_at = time::to_rfc3339(info.saved_at);
        match args.format {
            Format::Ndjson => out.json(&Line {
                key: &info.key,
                version,
                position,
                schema_version: info.schema_version,
                saved_at,
                bytes: info.state_len,
                state: None,
                state_base64: None,
            })?,
            Format::Text => {
                let (name, mark) = (out.name(&info.key), described(info.mark));
                let bytes = info.state_len;
                out.line(format_args!("{name}  {mark}  {saved_at}  {bytes} bytes"))?;
            }
        }
    }
    out.flush()
}

fn show(args: &ShowSnapshot) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let snapshots = store.snapshots();
    let found = match (args.up_to_version, args.up_to_position) {
        (Some(version), _) => snapshots.load_at_most(&args.key, version)?,
        (None, Some(position)) => snapshots.load_at_most(&args.key, Position::new(position))?,
        (None, None) => snapshots.load(&args.key)?,
    };
    let Some(snapshot) = found else {
        return Err(Failure::missing(
            format_args!("such snapshot of {:?}", args.key),
            "snapshot list",
        ));
    };
    let mut out = Output::new(args.format);
    if args.raw {
        out.raw(snapshot.state())?;
    } else {
        print(&mut out, args.format, &snapshot)?;
    }
    out.flush()
}

fn print(out: &mut Output, format: Format, snapshot: &Snapshot) -> Result<(), Failure> {
    let (version, position) = numbers(snapshot.mark());
    let saved_at = time::to_rfc3339(snapshot.saved_at());
    let schema_version = snapshot.schema_version();
    match format {
        Format::Ndjson => {
            let state = lines::verbatim(snapshot.state());
            out.json(&Line {
                key: snapshot.key(),
                version,
                position,
                schema_version,
                saved_at,
                bytes: snapshot.state().len() as u64,
                state,
                state_base64: state.is_none().then(|| BASE64.encode(snapshot.state())),
            })
        }
        Format::Text => {
            let (name, mark) = (out.name(snapshot.key()), described(snapshot.mark()));
            out.line(format_args!("{name}  {mark}  {saved_at}  schema {schema_version}"))?;
            out.line(Output::data(snapshot.state()))
        }
    }
}

fn delete(args: &DeleteSnapshots, quiet: bool) -> Result<(), Failure> {
    let request = Request::DeleteSnapshots { key: args.key.clone() };
    if control::change(&args.store, args.wait, quiet, &request)? {
        Ok(())
    } else {
        Err(Failure::missing(format_args!("snapshot of {:?}", args.key), "snapshot list"))
    }
}

fn numbers(mark: Mark) -> (Option<u64>, Option<u64>) {
    match mark {
        Mark::Version(version) => (Some(version), None),
        Mark::Position(position) => (None, Some(position.get())),
        _ => (None, None),
    }
}

fn described(mark: Mark) -> String {
    match mark {
        Mark::Version(version) => format!("version {version}"),
        Mark::Position(position) => format!("position {position}"),
        _ => "another mark".to_owned(),
    }
}
