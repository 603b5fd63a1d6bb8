//! The texts of errors with those of their causes.

use std::error::Error;
use std::fmt::Write;

/// The text of an error, followed by the texts of its causes that are not part of it: some errors, such as those of
/// database clients, say only in their causes what has happened.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            // Writing to a string does not fail.
            let _ = write!(text, ": {next_text}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cause;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Cause>,
    }

    fn layers(texts: &[&'static str]) -> Option<Cause> {
        let (first, rest) = texts.split_first()?;
        Some(Box::new(Layer { text: first, source: layers(rest) }))
    }

    #[test]
    fn causes_are_added_once() {
        for (texts, expected) in [
            (&["db error"][..], "db error"),
            (&["db error", "no such table"], "db error: no such table"),
            (&["cannot add: db error", "db error", "no table"], "cannot add: db error: no table"),
        ] {
            let error = layers(texts).expect("a layer");
            assert_eq!(with_causes(&*error), expected);
        }
    }
}
