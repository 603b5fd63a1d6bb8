//! The table of results, in Markdown.

use crate::bug::{Bug, CaughtBy};
use crate::catcher::Verdict;

/// The longest message that the table shows, in characters.
const MESSAGE: usize = 110;

/// The table's head.
pub const HEAD: &str =
    "| bug | what it breaks | caught by | took | what was said |\n|---|---|---|---|---|";

/// A bug's row.
pub fn row(bug: &Bug, outcome: &anyhow::Result<Verdict>) -> String {
    let by = match &bug.caught_by {
        CaughtBy::Simulator { .. } => "the simulator".to_owned(),
        CaughtBy::Test { target, name, .. } => format!("`{target}` `{name}`"),
    };
    let (by, took, message) = match outcome {
        Ok(Verdict::Caught { took, message }) => (by, took.clone(), brief(message)),
        Ok(Verdict::Missed { took }) => ("**nobody**".into(), took.clone(), String::new()),
        Err(error) => ("**not run**".into(), String::new(), brief(&format!("{error:#}"))),
    };
    format!("| `{}` | {} | {by} | {took} | {message} |", bug.name, bug.breaks)
}

/// A bug's line in the list.
pub fn line(bug: &Bug) -> String {
    let by = match &bug.caught_by {
        CaughtBy::Simulator { seeds: [from, to] } => format!("simulator, seeds {from}..{to}"),
        CaughtBy::Test { target, name, because, .. } => format!("{target} {name}: {because}"),
    };
    format!("{}: {} [{by}]", bug.name, bug.breaks)
}

/// One line that fits a cell.
fn brief(message: &str) -> String {
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(MESSAGE).collect();
    let more = if short.len() < words.len() { "…" } else { "" };
    format!("{}{more}", short.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_its_cell() {
        assert_eq!(brief("a\n  b | c"), "a b \\| c");
        assert_eq!(brief(&"é".repeat(200)).chars().count(), MESSAGE + 1);
    }
}
