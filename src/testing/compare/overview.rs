//! Compares pages of streams, the first streams by a number, and the counts of types, categories and tags with the model.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, ensure};
use crate::error::Result as StoreResult;
use crate::event::category_of;
use crate::read::{StreamInfo, Streams, TermCount, TermCounts};
use crate::store::Store;
use crate::testing::metadata;
use crate::testing::model::{Model, ModelEvent};

/// Names on a page, fewer than there are.
const PAGE: u64 = 2;
const FIRST: usize = 3;

/// The pages of a listing, and its first streams by size and by last change, are those of the whole listing, if that is
/// still what the store has.
pub(super) fn pages(
    listing: &Streams,
    whole: &[StreamInfo],
    unchanged: impl Fn() -> bool,
) -> Checked<StoreResult<()>> {
    let asked = (|| {
        let mut paged: Vec<StreamInfo> = Vec::new();
        loop {
            let mut page = listing.clone().limit(PAGE);
            if let Some(last) = paged.last() {
                page = page.after(&*last.name);
            }
            let before = paged.len();
            for info in page {
                paged.push(info?);
            }
            if paged.len() == before {
                break;
            }
        }
        Ok((paged, listing.clone().largest(FIRST)?, listing.clone().last_changed(FIRST)?))
    })();
    let (paged, largest, changed) = match asked {
        Ok(answers) => answers,
        Err(error) => return Ok(Err(error)),
    };
    if !unchanged() {
        return Ok(Ok(()));
    }
    let first_by = |rank: fn(&StreamInfo) -> u64| {
        let mut ranked = whole.to_vec();
        ranked.sort_by_key(|info| std::cmp::Reverse(rank(info)));
        ranked.truncate(FIRST);
        ranked
    };
    ensure!(paged == whole, "pages have {paged:?}, the listing {whole:?}");
    let expected = first_by(|info| info.version);
    ensure!(largest == expected, "the largest are {largest:?}, not {expected:?}");
    let expected = first_by(|info| info.last_position.get());
    ensure!(changed == expected, "last changed are {changed:?}, not {expected:?}");
    Ok(Ok(()))
}

/// The names of one kind that an event has.
type NamesOf<'a> = &'a dyn Fn(&ModelEvent) -> BTreeSet<String>;

/// The event types, categories and tags that begin with a prefix, in one list and in pages.
pub(super) fn terms(store: &Store, model: &Model, prefix: &str) -> Checked<StoreResult<()>> {
    let types = |event: &ModelEvent| BTreeSet::from([event.contents.event_type.to_string()]);
    let categories = |event: &ModelEvent| BTreeSet::from([category_of(&event.stream).to_owned()]);
    let tags = |event: &ModelEvent| event.contents.tags.iter().cloned().collect();
    let kinds: [(&str, TermCounts, NamesOf<'_>); 3] = [
        ("types", store.event_types(), &types),
        ("categories", store.categories(), &categories),
        ("tags", store.tags(), &tags),
    ];
    for (kind, list, names_of) in kinds {
        let before = metadata::visible(store);
        let (found, paged) = match both_ways(&list.prefix(prefix)) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        if metadata::visible(store) != before {
            continue;
        }
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let events = model.events().iter().take_while(|event| event.position <= before.events);
        for name in events.flat_map(names_of).filter(|name| name.starts_with(prefix)) {
            *expected.entry(name).or_default() += 1;
        }
        let told = |terms: Vec<TermCount>| -> Vec<(String, u64)> {
            terms.into_iter().map(|term| (term.name, term.events)).collect()
        };
        let expected: Vec<(String, u64)> = expected.into_iter().collect();
        let (found, paged) = (told(found), told(paged));
        ensure!(
            found == expected && paged == expected,
            "{kind} with {prefix:?} at {before:?}: {found:?}, in pages {paged:?}, not {expected:?}"
        );
    }
    Ok(Ok(()))
}

fn both_ways(list: &TermCounts) -> StoreResult<(Vec<TermCount>, Vec<TermCount>)> {
    let found = list.clone().into_iter().collect::<StoreResult<Vec<_>>>()?;
    let mut paged: Vec<TermCount> = Vec::new();
    loop {
        let mut page = list.clone().limit(PAGE);
        if let Some(last) = paged.last() {
            page = page.after(&*last.name);
        }
        let before = paged.len();
        for term in page {
            paged.push(term?);
        }
        if paged.len() == before {
            return Ok((found, paged));
        }
    }
}
