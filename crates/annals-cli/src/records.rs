//! `record`: small durable values under a key.
//!
//! Owns the printed form of a record. Must never change a byte of a value.

use annals::{Record, Records};
use annals_lines::lines;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::{Format, GetRecord, ListRecords, PutRecord, RecordCommand};
use crate::failure::Failure;
use crate::input;
use crate::interrupt;
use crate::open;
use crate::output::Output;
use crate::progress::note;

#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    version: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    key: &'a str,
    version: u64,
}

/// `annals record`
pub(crate) fn run(command: &RecordCommand, quiet: bool) -> Result<(), Failure> {
    match command {
        RecordCommand::List(args) => list(args, quiet),
        RecordCommand::Get(args) => get(args),
        RecordCommand::Put(args) => put(args, quiet),
        RecordCommand::Delete(args) => {
            let store = open::for_changing(&args.store, args.wait, quiet)?;
            store.records().delete(&args.key, args.expect)?;
            open::close(store)
        }
    }
}

fn list(args: &ListRecords, quiet: bool) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let mut out = Output::new(args.format);
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut last = None;
    for record in store.records().list().prefix(args.prefix.as_str()).after(&args.after) {
        if interrupt::requested() {
            out.flush()?;
            return Err(Failure::Interrupted);
        }
        let record = record?;
        if left == 0 {
            out.flush()?;
            if let (Some(last), false) = (last, quiet) {
                note(format_args!("there are more records; to continue, add --after {last:?}"));
            }
            break;
        }
        left -= 1;
        print(&mut out, args.format, &record)?;
        last = Some(record.key);
    }
    out.flush()?;
    open::must_be_whole(&store)
}

fn get(args: &GetRecord) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let Some(record) = store.records().get(&args.key)? else {
        // In a damaged store, the record may be in the part that cannot be read.
        open::must_be_whole(&store)?;
        return Err(Failure::missing(format_args!("record {:?}", args.key), "record list"));
    };
    let mut out = Output::new(args.format);
    if args.raw {
        out.raw(&record.value)?;
    } else {
        print(&mut out, args.format, &record)?;
    }
    out.flush()?;
    open::must_be_whole(&store)
}

fn put(args: &PutRecord, quiet: bool) -> Result<(), Failure> {
    let value = input::load(&args.value, Records::MAX_VALUE_LEN as u64)?;
    let store = open::for_changing(&args.store, args.wait, quiet)?;
    let version = store.records().put(&args.key, value, args.expect)?;
    open::close(store)?;
    let mut out = Output::new(args.format);
    match args.format {
        Format::Ndjson => out.json(&Written { key: &args.key, version })?,
        Format::Text => {
            let name = out.name(&args.key);
            out.line(format_args!("{name}@{version}"))?;
        }
    }
    out.flush()
}

fn print(out: &mut Output, format: Format, record: &Record) -> Result<(), Failure> {
    let Record { key, value, version, .. } = record;
    match format {
        Format::Ndjson => {
            let json = lines::verbatim(value);
            out.json(&Line {
                key,
                version: *version,
                bytes: value.len() as u64,
                value: json,
                value_base64: json.is_none().then(|| BASE64.encode(value)),
            })
        }
        Format::Text => {
            let (name, value) = (out.name(key), Output::data(value));
            out.line(format_args!("{version:>8}  {name}  {value}"))
        }
    }
}
