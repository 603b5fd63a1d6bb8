//! What the tests share: events, a naive model, and the asynchronous trait behind the synchronous one.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unnecessary_wraps, reason = "the traits take options")]

use annals_umadb::UmaStore;
use annals_umadb::umadb_dcb::{
    DcbAppendCondition, DcbEvent, DcbEventStoreAsync, DcbEventStoreSync, DcbQuery, DcbQueryItem,
    DcbReadResponseSync, DcbResult, DcbSequencedEvent, TrackingInfo,
};
use futures::executor::block_on;

/// The asynchronous trait, called by blocking.
pub(crate) struct Awaited(pub(crate) UmaStore);

impl DcbEventStoreSync for Awaited {
    fn read(
        &self,
        query: Option<DcbQuery>,
        start: Option<u64>,
        backwards: bool,
        limit: Option<u32>,
    ) -> DcbResult<Box<dyn DcbReadResponseSync + Send + 'static>> {
        DcbEventStoreSync::read(&self.0, query, start, backwards, limit)
    }

    fn read_with_head(
        &self,
        query: Option<DcbQuery>,
        start: Option<u64>,
        backwards: bool,
        limit: Option<u32>,
    ) -> DcbResult<(Vec<DcbSequencedEvent>, Option<u64>)> {
        block_on(DcbEventStoreAsync::read_with_head(&self.0, query, start, backwards, limit))
    }

    fn head(&self) -> DcbResult<Option<u64>> {
        block_on(DcbEventStoreAsync::head(&self.0))
    }

    fn get_tracking_info(&self, source: &str) -> DcbResult<Option<u64>> {
        block_on(DcbEventStoreAsync::get_tracking_info(&self.0, source))
    }

    fn append(
        &self,
        events: Vec<DcbEvent>,
        condition: Option<DcbAppendCondition>,
        tracking: Option<TrackingInfo>,
    ) -> DcbResult<u64> {
        block_on(DcbEventStoreAsync::append(&self.0, events, condition, tracking))
    }
}

pub(crate) fn event(event_type: &str, data: &str, tags: &[&str]) -> DcbEvent {
    DcbEvent::default().event_type(event_type).data(data).tags(tags.iter().copied())
}

pub(crate) fn item(types: &[&str], tags: &[&str]) -> DcbQueryItem {
    DcbQueryItem::new().types(types.iter().copied()).tags(tags.iter().copied())
}

pub(crate) fn query<const N: usize>(items: [DcbQueryItem; N]) -> DcbQuery {
    DcbQuery::with_items(items)
}

pub(crate) fn condition(query: DcbQuery, after: Option<u64>) -> Option<DcbAppendCondition> {
    Some(DcbAppendCondition::new(query).after(after))
}

pub(crate) fn tracking(source: &str, position: u64) -> Option<TrackingInfo> {
    Some(TrackingInfo { source: source.into(), position })
}

/// All events in a vector, read by examining each.
#[derive(Default)]
pub(crate) struct Model(pub(crate) Vec<DcbEvent>);

impl Model {
    pub(crate) fn matches(query: &DcbQuery, event: &DcbEvent) -> bool {
        let of_item = |item: &DcbQueryItem| {
            (item.types.is_empty() || item.types.contains(&event.event_type))
                && item.tags.iter().all(|tag| event.tags.contains(tag))
        };
        query.items.is_empty() || query.items.iter().any(of_item)
    }

    pub(crate) fn head(&self) -> Option<u64> {
        (!self.0.is_empty()).then_some(self.0.len() as u64)
    }

    /// The positions that a read returns, and its head.
    pub(crate) fn read(
        &self,
        query: Option<&DcbQuery>,
        start: Option<u64>,
        backwards: bool,
        limit: Option<u32>,
    ) -> (Vec<u64>, Option<u64>) {
        let all = DcbQuery::default();
        let query = query.unwrap_or(&all);
        let numbered = self.0.iter().zip(1_u64..);
        let mut found: Vec<u64> =
            numbered.filter(|(event, _)| Self::matches(query, event)).map(|it| it.1).collect();
        found.retain(|position| match (start, backwards) {
            (None, _) => true,
            (Some(start), false) => *position >= start,
            (Some(start), true) => *position <= start,
        });
        if backwards {
            found.reverse();
        }
        match limit {
            None => (found, self.head()),
            Some(limit) => {
                found.truncate(limit as usize);
                let last = found.last().copied();
                (found, last)
            }
        }
    }
}
