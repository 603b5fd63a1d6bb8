//! `types`, `categories` and `tags`: names with the number of their events.

use annals::{Store, TermCount, TermCounts};
use serde::Serialize;

use crate::args::{Format, TermOrder, TermsArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::{inspect, interrupt, open};

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    events: u64,
}

/// Prints the names of one kind.
pub(crate) fn run(
    args: &TermsArgs,
    list: fn(&Store) -> TermCounts,
    quiet: bool,
) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let mut out = Output::new(args.format);
    let mut terms = list(&store).prefix(args.prefix.as_str());
    if let Some(after) = &args.after {
        terms = terms.after(after.as_str());
    }
    match args.sort {
        TermOrder::Count => {
            let most = args.limit.and_then(|limit| usize::try_from(limit).ok());
            for term in terms.most_frequent(most.unwrap_or(usize::MAX))? {
                print(&mut out, args.format, &term)?;
            }
        }
        TermOrder::Name => {
            let (mut printed, mut end) = (0, None);
            // One more shows whether the limit ends the listing.
            let most = args.limit.map_or(u64::MAX, |limit| limit.saturating_add(1));
            for term in terms.limit(most) {
                if interrupt::requested() {
                    out.flush()?;
                    return Err(Failure::Interrupted);
                }
                let term = term?;
                if args.limit == Some(printed) {
                    out.flush()?;
                    inspect::say_how_to_continue(end.as_deref(), quiet);
                    break;
                }
                print(&mut out, args.format, &term)?;
                printed += 1;
                end = Some(term.name);
            }
        }
    }
    out.flush()?;
    open::must_be_whole(&store)
}

fn print(out: &mut Output, format: Format, term: &TermCount) -> Result<(), Failure> {
    let (name, events) = (term.name.as_str(), term.events);
    match format {
        Format::Ndjson => out.json(&Line { name, events }),
        Format::Text => {
            let name = out.name(if name.is_empty() { "\"\"" } else { name });
            out.line(format_args!("{events:>10}  {name}"))
        }
    }
}
