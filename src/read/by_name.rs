//! Lists by name: pages of what sealed segments have, merged with what the others have.
//!
//! Owns the merge and the place in it. Must never hold more than one page and what was collected of the others.

use std::collections::VecDeque;
use std::iter::Peekable;

use crate::catalog::{NamePage, Unsealed};
use crate::error::Result;
use crate::index::names::NameRange;

/// The number of names that are looked up together.
const PAGE: usize = 256;

/// The number of names that are collected first of segments that are not sealed, and what it is multiplied with for each
/// following part: each part is a walk over all of them.
pub(super) const FIRST_PART: usize = 256;
const GROWTH: usize = 32;

/// The names of a range in segments that are not sealed.
#[derive(Debug)]
pub(super) struct Collected<T> {
    /// These segments.
    pub(super) known: Unsealed,
    pub(super) names: NamePage<T>,
    /// There may be more names after the last one.
    pub(super) has_more: bool,
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Self { known: Unsealed::default(), names: NamePage::new(), has_more: false }
    }
}

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
    unsealed: Peekable<std::vec::IntoIter<(Box<str>, T)>>,
    /// More names follow `unsealed`.
    has_more: bool,
    /// How many names the next part has.
    part: usize,
}

impl<T> ByName<T> {
    /// A list of the names in a range, of which `collected` are the first ones that are not in sealed segments.
    pub(super) fn new(range: &NameRange<'_>, collected: Collected<T>) -> Self {
        let Collected { known, names, has_more } = collected;
        Self {
            last: range.after.map(Box::from),
            known,
            prefix: range.prefix.into(),
            after: range.after.map(Box::from),
            page: VecDeque::new(),
            is_last: false,
            unsealed: names.into_iter().peekable(),
            has_more,
            part: FIRST_PART.saturating_mul(GROWTH),
        }
    }

    /// The next name. `fetch` returns the page of the sealed segments that begins a range, of a number of names at most, or
    /// `None` if more segments are not sealed than are known. `collect` returns those, and the first names of the range in
    /// them, at least a number or all. `join` makes one value of that of the sealed segments and that of the others.
    pub(super) fn next(
        &mut self,
        mut fetch: impl FnMut(&Unsealed, &NameRange<'_>, usize) -> Result<Option<NamePage<T>>>,
        mut collect: impl FnMut(&NameRange<'_>, usize) -> Result<Collected<T>>,
        join: impl FnOnce(T, T) -> T,
    ) -> Result<Option<(Box<str>, T)>> {
        if self.has_more && self.unsealed.peek().is_none() {
            self.collect_rest(&mut collect)?;
        }
        while self.page.is_empty() && !self.is_last {
            let range = NameRange { prefix: &self.prefix, after: self.after.as_deref() };
            match fetch(&self.known, &range, PAGE)? {
                Some(page) => {
                    self.page = page.into();
                    self.is_last = self.page.len() < PAGE;
                    self.after = self.page.back().map(|(name, _)| name.clone());
                }
                None => self.collect_rest(&mut collect)?,
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

    /// Begins again after the last name that was returned: what is sealed may have changed.
    fn collect_rest(
        &mut self,
        collect: &mut impl FnMut(&NameRange<'_>, usize) -> Result<Collected<T>>,
    ) -> Result<()> {
        let rest = NameRange { prefix: &self.prefix, after: self.last.as_deref() };
        let Collected { known, names, has_more } = collect(&rest, self.part)?;
        self.known = known;
        self.unsealed = names.into_iter().peekable();
        self.has_more = has_more;
        self.part = self.part.saturating_mul(GROWTH);
        self.page.clear();
        self.is_last = false;
        self.after = self.last.clone();
        Ok(())
    }
}
