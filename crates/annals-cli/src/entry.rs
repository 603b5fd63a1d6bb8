//! An event with everything that it has, over several lines.
//!
//! Owns this form, which `log`, `show` and `read --long` share.

use annals::EventRef;

use crate::failure::Failure;
use crate::output::Output;

/// Prints an event whole, after an empty line unless it is the first one.
pub(crate) fn print(
    event: EventRef<'_>,
    is_first: &mut bool,
    out: &mut Output,
) -> Result<(), Failure> {
    if !std::mem::take(is_first) {
        out.line("")?;
    }
    let name = out.name(event.stream());
    out.line(format_args!("event {}  {name}@{}", event.position(), event.version()))?;
    facts(event, out)?;
    body(event, out)
}

/// Prints a name and a value.
pub(crate) fn row(
    out: &mut Output,
    name: &str,
    value: impl std::fmt::Display,
) -> Result<(), Failure> {
    out.line(format_args!("{name:<12} {value}"))
}

/// What an event has beside its place and its contents.
pub(crate) fn facts(event: EventRef<'_>, out: &mut Output) -> Result<(), Failure> {
    let event_type = out.name(event.event_type());
    row(out, "type", event_type)?;
    row(out, "id", event.id())?;
    let recorded_at = out.time(event.recorded_at());
    row(out, "recorded at", recorded_at)?;
    let tags: Vec<String> = event.tags().map(|tag| out.name(tag)).collect();
    if !tags.is_empty() {
        row(out, "tags", tags.join(" "))?;
    }
    if event.schema_version() > 0 {
        row(out, "schema", event.schema_version())?;
    }
    Ok(())
}

/// The data and the metadata, indented.
pub(crate) fn body(event: EventRef<'_>, out: &mut Output) -> Result<(), Failure> {
    for (name, bytes) in [("metadata", event.metadata()), ("data", event.data())] {
        if bytes.is_empty() {
            continue;
        }
        out.line(format_args!("{name}"))?;
        for line in Output::pretty(bytes).lines() {
            out.line(format_args!("    {line}"))?;
        }
    }
    Ok(())
}
