//! Lists by name: pages of what sealed segments have, merged with what the others had when the list began.
//!
//! Owns the merge and the place in it. Must never hold more than one page and what is not sealed.

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::iter::Peekable;

use crate::catalog::NamePage;
use crate::error::Result;
use crate::index::names::NameRange;

/// The number of names that are looked up together.
const PAGE: usize = 256;

/// The place in a list by name.
#[derive(Debug)]
pub(super) struct ByName<T> {
    prefix: Box<str>,
    after: Option<Box<str>>,
    page: VecDeque<(Box<str>, T)>,
    /// No page follows.
    is_last: bool,
    unsealed: Peekable<btree_map::IntoIter<Box<str>, T>>,
}

impl<T> ByName<T> {
    /// A list of the names in a range, of which `unsealed` are those in segments that are not sealed.
    pub(super) fn new(range: &NameRange<'_>, unsealed: BTreeMap<Box<str>, T>) -> Self {
        Self {
            prefix: range.prefix.into(),
            after: range.after.map(Box::from),
            page: VecDeque::new(),
            is_last: false,
            unsealed: unsealed.into_iter().peekable(),
        }
    }

    /// The next name. `fetch` returns the page of the sealed segments that begins a range, of a number of names at most;
    /// `join` makes one value of that of the sealed segments and that of the others.
    pub(super) fn next(
        &mut self,
        fetch: impl FnOnce(&NameRange<'_>, usize) -> Result<NamePage<T>>,
        join: impl FnOnce(T, T) -> T,
    ) -> Result<Option<(Box<str>, T)>> {
        if self.page.is_empty() && !self.is_last {
            let range = NameRange { prefix: &self.prefix, after: self.after.as_deref() };
            self.page = fetch(&range, PAGE)?.into();
            self.is_last = self.page.len() < PAGE;
            self.after = self.page.back().map(|(name, _)| name.clone());
        }
        let sealed = self.page.front().map(|(name, _)| name);
        let unsealed = self.unsealed.peek().map(|(name, _)| name);
        let next = match (sealed, unsealed) {
            (Some(sealed), Some(unsealed)) => sealed.cmp(unsealed),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        Ok(match next {
            std::cmp::Ordering::Less => self.page.pop_front(),
            std::cmp::Ordering::Greater => self.unsealed.next(),
            std::cmp::Ordering::Equal => {
                let newer = self.unsealed.next();
                let older = self.page.pop_front();
                older.zip(newer).map(|((name, older), (_, newer))| (name, join(older, newer)))
            }
        })
    }
}
