//! `append`: one event from the command line.
//!
//! Owns the source of the event's data. Must never flag data as JSON that is not valid JSON.

use annals::{Appended, ContentType, NewEvent, Options};
use annals_lines::{encoding, time};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::{AppendArgs, Format};
use crate::failure::Failure;
use crate::input;
use crate::open;
use crate::output::Output;

#[derive(Serialize)]
struct Printed<'a> {
    stream: &'a str,
    position: u64,
    version: u64,
    recorded_at: String,
    already_recorded: bool,
}

/// `annals append`
pub(crate) fn run(args: &AppendArgs, quiet: bool) -> Result<(), Failure> {
    let event = event(args)?;
    let store =
        open::for_writing(&args.store, open::with_cold_segments(Options::new()), args.wait, quiet)?;
    let done = store.append(&args.stream, args.expect, [event])?;
    open::close(store)?;
    print(args, &done)
}

fn event(args: &AppendArgs) -> Result<NewEvent, Failure> {
    let load = |given: &str| input::load(given, Options::MAX_EVENT_SIZE);
    let (data, content_type) = match args.data.as_deref() {
        None => (Vec::new(), ContentType::Binary),
        Some(given) if args.binary => (load(given)?, ContentType::Binary),
        Some(given) => (json("--data", given, &load(given)?)?, ContentType::Json),
    };
    let mut event = NewEvent::new(args.event_type.as_str(), data)
        .content_type(content_type)
        .tags(args.tags.iter().map(String::as_str))
        .schema_version(args.schema_version);
    if let Some(metadata) = &args.metadata {
        event = event.metadata(json("--metadata", "", metadata.as_bytes())?);
    }
    if let Some(id) = args.id {
        event = event.id(id);
    }
    Ok(event)
}

/// The bytes without surrounding white space and byte order mark, if they are JSON.
fn json(option: &str, given: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    if let Some(what) = encoding::foreign(bytes) {
        return Err(Failure::Fault(format!("{option} {given} is {what}")));
    }
    match serde_json::from_slice::<&RawValue>(encoding::without_mark(bytes)) {
        Ok(raw) => Ok(raw.get().as_bytes().to_vec()),
        Err(e) if given == "-" || given.starts_with('@') => {
            Err(Failure::Fault(format!("{option} {given} is not JSON: {e}")))
        }
        Err(e) => {
            let hint =
                if option == "--data" { " (use --binary for data that is not JSON)" } else { "" };
            Err(Failure::Usage(format!("{option} is not JSON: {e}{hint}")))
        }
    }
}

fn print(args: &AppendArgs, done: &Appended) -> Result<(), Failure> {
    let mut out = Output::new(args.format);
    let position = done.last_position.get();
    match args.format {
        Format::Ndjson => out.json(&Printed {
            stream: &args.stream,
            position,
            version: done.version,
            recorded_at: time::to_rfc3339(done.recorded_at),
            already_recorded: done.already_recorded,
        })?,
        Format::Text => {
            let already = if done.already_recorded { " (already recorded)" } else { "" };
            let name = out.name(&args.stream);
            out.line(format_args!("position {position}, {name}@{}{already}", done.version))?;
        }
    }
    out.flush()
}
