//! Lists by name: pages of what sealed segments have, merged with what the others had when the list began.
//!
//! Owns the merge and the place in it. Must never hold more than one page and what is not sealed.

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::iter::Peekable;

use crate::catalog::{NamePage, Unsealed};
use crate::error::Result;
use crate::index::names::NameRange;

/// The number of names that are looked up together.
const PAGE: usize = 256;

/// The place in a list by name.
#[derive(Debug)]
pub(super) struct ByName<T> {
    prefix: Box<str>,
    after: Option<Box<str>>,
    /// The last name that was returned, or before which the list begins.
    last: Option<Box<str>>,
    known: Unsealed,
    page: VecDeque<(Box<str>, T)>,
    /// No page follows.
    is_last: bool,
    unsealed: Peekable<btree_map::IntoIter<Box<str>, T>>,
}

impl<T> ByName<T> {
    /// A list of the names in a range, of which `unsealed` are those in the segments `known` not to be sealed.
    pub(super) fn new(
        range: &NameRange<'_>,
        known: Unsealed,
        unsealed: BTreeMap<Box<str>, T>,
    ) -> Self {
        Self {
            last: range.after.map(Box::from),
            known,
            prefix: range.prefix.into(),
            after: range.after.map(Box::from),
            page: VecDeque::new(),
            is_last: false,
            unsealed: unsealed.into_iter().peekable(),
        }
    }

    /// The next name. `fetch` returns the page of the sealed segments that begins a range, of a number of names at most, or
    /// `None` if more segments are not sealed than are known: then `collect` returns those, and the names of the range in
    /// them. `join` makes one value of that of the sealed segments and that of the others.
    pub(super) fn next(
        &mut self,
        mut fetch: impl FnMut(&Unsealed, &NameRange<'_>, usize) -> Result<Option<NamePage<T>>>,
        mut collect: impl FnMut(&NameRange<'_>) -> Result<(Unsealed, BTreeMap<Box<str>, T>)>,
        join: impl FnOnce(T, T) -> T,
    ) -> Result<Option<(Box<str>, T)>> {
        while self.page.is_empty() && !self.is_last {
            let range = NameRange { prefix: &self.prefix, after: self.after.as_deref() };
            match fetch(&self.known, &range, PAGE)? {
                Some(page) => {
                    self.page = page.into();
                    self.is_last = self.page.len() < PAGE;
                    self.after = self.page.back().map(|(name, _)| name.clone());
                }
                None => {
                    let rest = NameRange { prefix: &self.prefix, after: self.last.as_deref() };
                    let (known, unsealed) = collect(&rest)?;
                    self.known = known;
                    self.unsealed = unsealed.into_iter().peekable();
                    self.after = self.last.clone();
                }
            }
        }
        let sealed = self.page.front().map(|(name, _)| name);
        let unsealed = self.unsealed.peek().map(|(name, _)| name);
        let next = match (sealed, unsealed) {
            (Some(sealed), Some(unsealed)) => sealed.cmp(unsealed),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        let found = match next {
            std::cmp::Ordering::Less => self.page.pop_front(),
            std::cmp::Ordering::Greater => self.unsealed.next(),
            std::cmp::Ordering::Equal => {
                let newer = self.unsealed.next();
                let older = self.page.pop_front();
                older.zip(newer).map(|((name, older), (_, newer))| (name, join(older, newer)))
            }
        };
        if let Some((name, _)) = &found {
            self.last = Some(name.clone());
        }
        Ok(found)
    }
}
