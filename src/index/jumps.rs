//! Shortcuts through a list that is linked from its newest member back to its oldest.
//!
//! Each member has a link to its predecessor and at most one shortcut to an older member, so that any
//! member is reached from the newest in a logarithmic number of steps, and adding a member costs a
//! constant. The target of a shortcut follows from the member's depth alone, its rank from the oldest:
//! the skew-binary scheme of Myers, "An applicative random-access stack" (Information Processing Letters
//! 17, 1983).
//!
//! A missing shortcut costs steps and does not change a result.

use std::ops::Range;

use super::touched::touch;
use crate::format::Defect;

/// The value of a link or a shortcut without a target.
pub(crate) const NONE: u32 = u32::MAX;

const BROKEN: Defect = Defect::Invalid("the chain of a list does not reach its oldest entry");

/// A member, and its rank from the oldest, which has 1. Unreachable members are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: u32,
    pub(crate) depth: u64,
}

/// A list: a larger node is a newer member.
pub(crate) trait Links {
    /// The member before `node`; `None` if it is the oldest reachable one.
    fn previous(&self, node: u32) -> Result<Option<u32>, Defect>;

    /// The target of the shortcut of `node`, if there is one and it is reachable.
    fn shortcut(&self, node: u32) -> Result<Option<u32>, Defect>;
}

/// The depth of the target of a member's shortcut; 0 is before the oldest member. The distance is the
/// smallest term of the depth written as a sum of terms `2^k - 1`, largest first.
pub(crate) fn target(depth: u64) -> u64 {
    let mut rest = depth;
    loop {
        let term = (1_u64 << rest.saturating_add(1).ilog2()) - 1;
        rest -= term;
        if rest == 0 {
            return depth - term;
        }
    }
}

/// The shortcut of the member after `previous`; [`NONE`] if it would lead to the predecessor, or to
/// an unreachable member.
pub(crate) fn shortcut_after(links: &impl Links, previous: Option<Member>) -> Result<u32, Defect> {
    let Some(previous) = previous else { return Ok(NONE) };
    let depth = previous.depth + 1;
    if target(depth) + 1 == depth {
        return Ok(NONE);
    }
    let first = follow(links, previous)?;
    let second = first.map_or(Ok(None), |first| follow(links, first))?;
    Ok(second.map_or(NONE, |second| second.node))
}

/// What one and two steps along shortcuts lead to from the newest member. Kept from one addition to the next, so that most
/// additions read nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    /// [`NONE`], [`UNKNOWN`] or a node.
    first: u32,
    second: u32,
}

/// Of [`Steps`]: it has to be looked up.
const UNKNOWN: u32 = NONE - 1;

impl Steps {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Self = Self { first: UNKNOWN, second: UNKNOWN };

    /// Those of a member without a reachable one before it.
    const OLDEST: Self = Self { first: NONE, second: NONE };
}

/// [`shortcut_after`] for the member after `previous`, whose steps are these; also returns the new member's.
pub(crate) fn add(
    links: &impl Links,
    previous: Option<Member>,
    steps: Steps,
) -> Result<(u32, Steps), Defect> {
    let Some(previous) = previous else { return Ok((NONE, Steps::OLDEST)) };
    let depth = previous.depth + 1;
    if target(depth) + 1 == depth {
        return Ok((NONE, Steps { first: previous.node, second: steps.first }));
    }
    let shortcut = match steps.second {
        UNKNOWN => shortcut_after(links, Some(previous))?,
        known => known,
    };
    let second = if shortcut == NONE { NONE } else { UNKNOWN };
    Ok((shortcut, Steps { first: shortcut, second }))
}

/// Follows shortcuts from a member to the oldest one that they reach. The shortcuts of all members that
/// are added after it start from a new member or lead to one of these.
pub(crate) fn touch_path(links: &impl Links, from: Member) -> Result<(), Defect> {
    let mut at = Some(from);
    while let Some(member) = at.filter(|member| member.depth > 1) {
        at = follow(links, member)?;
    }
    Ok(())
}

/// The target of a member's shortcut, or of its link if it has no shortcut.
fn follow(links: &impl Links, at: Member) -> Result<Option<Member>, Defect> {
    let depth = target(at.depth);
    let next =
        if depth + 1 == at.depth { links.previous(at.node)? } else { links.shortcut(at.node)? };
    touch(1);
    match next {
        Some(node) if node >= at.node => Err(BROKEN),
        next => Ok(next.map(|node| Member { node, depth })),
    }
}

/// The predecessor.
fn before(links: &impl Links, at: Member) -> Result<Option<Member>, Defect> {
    touch(1);
    match (links.previous(at.node)?, at.depth.checked_sub(1)) {
        (None, _) => Ok(None),
        // The chain of a damaged file must not loop, nor pass the oldest member.
        (Some(node), Some(depth @ 1..)) if node < at.node => Ok(Some(Member { node, depth })),
        _ => Err(BROKEN),
    }
}

/// The oldest reachable member for which `wanted` is true, as it is for `at`; it must be true for all
/// members that are newer than such a member.
pub(crate) fn oldest(
    links: &impl Links,
    mut at: Member,
    wanted: impl Fn(Member) -> bool,
) -> Result<Member, Defect> {
    loop {
        // A shortcut to the predecessor is not stored.
        let depth = target(at.depth);
        if depth > 0 && depth + 1 < at.depth && links.shortcut(at.node)?.is_some() {
            let far = follow(links, at)?;
            if let Some(far) = far.filter(|&far| wanted(far)) {
                at = far;
                continue;
            }
        }
        match before(links, at)? {
            Some(before) if wanted(before) => at = before,
            _ => return Ok(at),
        }
    }
}

/// The nodes of a member and of those before it down to depth `oldest`, as far as they are reachable, ascending, each with
/// what `look_up` returns for it; and the depth of the first.
///
/// Shortcuts divide the list into parts that are followed side by side: a single chain waits for memory at each member,
/// since a link is known only when the member after it has arrived.
pub(crate) fn back_to(
    links: &impl Links,
    newest: Member,
    oldest: u64,
    look_up: impl Fn(u32) -> Result<u32, Defect>,
) -> Result<(u64, Vec<(u32, u32)>), Defect> {
    /// About as many loads as a processor waits for at once.
    const MOST_PARTS: usize = 8;
    /// The distance of nodes whose links are in one or two cache lines.
    const NEAR: u32 = 16;
    let place = |depth: u64| depth.checked_sub(oldest).and_then(|at| usize::try_from(at).ok());
    let mut found = vec![(NONE, 0); place(newest.depth).ok_or(BROKEN)? + 1];
    // Of each part its next member, and the depth of its last one.
    let mut parts = [(newest, oldest); MOST_PARTS];
    let mut count = 1;
    while count > 0 {
        let mut number = 0;
        while number < count {
            let (mut at, mut last) = parts[number];
            let next = loop {
                if let Some(found) = place(at.depth).and_then(|at| found.get_mut(at)) {
                    *found = (at.node, look_up(at.node)?);
                }
                let next = if at.depth > last { before(links, at)? } else { None };
                match next {
                    Some(next) if at.node - next.node < NEAR => at = next,
                    _ => break next,
                }
            };
            let Some(next) = next else {
                count -= 1;
                parts[number] = parts[count];
                continue;
            };
            if count < MOST_PARTS
                && (last..next.depth).contains(&target(at.depth))
                && let Some(member) = follow(links, at)?
            {
                parts[count] = (member, last);
                count += 1;
                last = member.depth + 1;
            }
            parts[number] = (next, last);
            number += 1;
        }
    }
    let missing = found.iter().take_while(|&&(node, _)| node == NONE).count();
    found.drain(..missing);
    // A part that ends early leaves a gap.
    let is_whole = found.is_sorted_by(|before, after| before.0 < after.0);
    if is_whole { Ok((oldest + missing as u64, found)) } else { Err(BROKEN) }
}

/// At most `most` members whose nodes, or the results of `ordinal` for them, are in a range: the ones
/// nearest to its beginning, ascending, or, backwards, the ones nearest to its end, descending.
pub(crate) fn some(
    links: &impl Links,
    newest: Member,
    ordinal: impl Fn(Member) -> u32,
    range: Range<u32>,
    backwards: bool,
    most: usize,
) -> Result<Vec<u32>, Defect> {
    let mut found = Vec::new();
    if ordinal(newest) < range.start || range.is_empty() || most == 0 {
        return Ok(found);
    }
    let mut at = if backwards {
        let behind = |member| ordinal(member) >= range.end;
        if behind(newest) { before(links, oldest(links, newest, behind)?)? } else { Some(newest) }
    } else {
        let first = oldest(links, newest, |member| ordinal(member) >= range.start)?;
        let last = first.depth.saturating_add(most as u64 - 1).min(newest.depth);
        Some(oldest(links, newest, |member| member.depth >= last)?)
    };
    while let Some(member) = at {
        if ordinal(member) < range.start || (backwards && found.len() == most) {
            break;
        }
        if ordinal(member) < range.end {
            found.push(ordinal(member));
        }
        at = before(links, member)?;
    }
    if !backwards {
        found.reverse();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::touched::touched;

    /// A list whose members are nodes at a distance, of which the first `gone` are unreachable.
    struct SampleList {
        shortcuts: Vec<u32>,
        gone: u64,
        distance: u32,
    }

    impl SampleList {
        fn new(gone: u64, len: u64) -> Self {
            Self::with_distance(3, gone, len)
        }

        fn with_distance(distance: u32, gone: u64, len: u64) -> Self {
            let mut list = Self { shortcuts: Vec::new(), gone, distance };
            let mut newest = None;
            for depth in gone + 1..=gone + len {
                let shortcut = shortcut_after(&list, newest).unwrap();
                list.shortcuts.push(shortcut);
                newest = Some(list.member(depth));
            }
            list
        }

        fn member(&self, depth: u64) -> Member {
            let rank = u32::try_from(depth - self.gone - 1).unwrap();
            Member { node: rank * self.distance, depth }
        }
    }

    impl Links for SampleList {
        fn previous(&self, node: u32) -> Result<Option<u32>, Defect> {
            Ok(node.checked_sub(self.distance))
        }

        fn shortcut(&self, node: u32) -> Result<Option<u32>, Defect> {
            Ok(Some(self.shortcuts[(node / self.distance) as usize]).filter(|&node| node != NONE))
        }
    }

    #[test]
    fn list_member_is_reached_in_logarithmic_steps() {
        for (gone, len) in [(0, 1), (0, 2), (0, 5_000), (1, 5_000), (777, 5_000), (4_095, 5_000)] {
            let list = SampleList::new(gone, len);
            let newest = list.member(gone + len);
            for depth in gone + 1..=gone + len {
                let before = touched();
                let found = oldest(&list, newest, |member| member.depth >= depth).unwrap();
                assert_eq!(found, list.member(depth), "after {gone}");
                assert!(touched() - before < 100, "{} steps", touched() - before);
            }
            // Before the oldest reachable member.
            let before = touched();
            let found = oldest(&list, newest, |_| true).unwrap();
            assert_eq!(found, list.member(gone + 1));
            assert!(touched() - before < 100, "{} steps", touched() - before);
        }
    }

    #[test]
    fn known_steps_lead_to_the_shortcuts_that_are_looked_up() {
        for gone in [0, 1, 777, 4_095] {
            let (mut list, mut steps) = (SampleList::new(gone, 0), Steps::OLDEST);
            let (mut newest, mut looked) = (None, 0);
            for depth in gone + 1..=gone + 5_000 {
                // Now and then nothing is known, as after an opening.
                let known = if depth % 1_000 == 0 { Steps::UNKNOWN } else { steps };
                let expected = shortcut_after(&list, newest).unwrap();
                let before = touched();
                let (shortcut, new) = add(&list, newest, known).unwrap();
                looked += touched() - before;
                assert_eq!(shortcut, expected, "depth {depth} after {gone}");
                steps = new;
                list.shortcuts.push(shortcut);
                newest = Some(list.member(depth));
            }
            // Half of the members have shortcuts that take two steps; a quarter follow another such one.
            assert!(looked < 5_000 * 6 / 10, "{looked} steps after {gone}");
        }
    }

    #[test]
    fn list_members_back_to_a_depth_are_the_ones_that_links_lead_to() {
        let lists = [(0, 1), (0, 2), (0, 300), (1, 300), (25, 75), (777, 300), (4_095, 300)];
        // In few cache lines, where they are not divided, and in many.
        for ((gone, len), distance) in lists.into_iter().flat_map(|list| [(list, 3), (list, 100)]) {
            let list = SampleList::with_distance(distance, gone, len);
            let node = |depth| list.member(depth).node;
            for newest in [gone + 1, gone + len / 2 + 1, gone + len - len / 3, gone + len] {
                for oldest in [1, gone.max(1), gone + 1, newest.saturating_sub(40), newest] {
                    let oldest = oldest.clamp(1, newest);
                    let twice = |node| Ok(node * 2);
                    let before = touched();
                    let found = back_to(&list, list.member(newest), oldest, twice).unwrap();
                    let first = oldest.max(gone + 1);
                    let most = 2 * (newest - first + 1);
                    assert!(touched() - before <= most, "{} steps", touched() - before);
                    let nodes = (first..=newest).map(node);
                    assert_eq!(found, (first, nodes.map(|node| (node, node * 2)).collect()));
                }
            }
        }
    }

    #[test]
    fn list_with_a_gap_is_an_error() {
        /// Shortcuts lead across a member whose link is missing.
        struct Gap(SampleList);
        impl Links for Gap {
            fn previous(&self, node: u32) -> Result<Option<u32>, Defect> {
                if node == 6_000 { Ok(None) } else { self.0.previous(node) }
            }
            fn shortcut(&self, node: u32) -> Result<Option<u32>, Defect> {
                self.0.shortcut(node)
            }
        }
        let list = Gap(SampleList::with_distance(100, 0, 100));
        let newest = list.0.member(100);
        let found = (61..=100).map(|depth| (list.0.member(depth).node, 0)).collect();
        assert_eq!(back_to(&list, newest, 61, |_| Ok(0)), Ok((61, found)));
        assert_eq!(back_to(&list, newest, 1, |_| Ok(0)), Err(BROKEN));
    }

    #[test]
    fn list_members_nearest_to_an_end_of_a_range_are_returned() {
        let list = SampleList::new(7, 300);
        let newest = list.member(307);
        let ordinal = |member: Member| member.node;
        for (start, end) in [(0, 900), (1, 5), (4, 6), (300, 301), (450, 620), (897, 2_000), (9, 9)]
        {
            let range: Vec<u32> =
                (0..300).map(|i| i * 3).filter(|n| (start..end).contains(n)).collect();
            for most in [0, 1, 2, 10, 500] {
                let some =
                    |backwards| some(&list, newest, ordinal, start..end, backwards, most).unwrap();
                let expected: Vec<_> = range.iter().copied().take(most).collect();
                assert_eq!(some(false), expected, "{most} of {start}..{end}");
                let expected: Vec<_> = range.iter().rev().copied().take(most).collect();
                assert_eq!(some(true), expected, "{most} of {start}..{end}, backwards");
            }
        }
    }

    #[test]
    fn adding_a_list_member_costs_a_constant() {
        let before = touched();
        drop(SampleList::new(0, 10_000));
        assert!(touched() - before <= 2 * 10_000);
    }

    #[test]
    fn list_with_a_cycle_is_an_error() {
        struct Circle(u32);
        impl Links for Circle {
            fn previous(&self, node: u32) -> Result<Option<u32>, Defect> {
                Ok(Some(node + self.0))
            }
            fn shortcut(&self, node: u32) -> Result<Option<u32>, Defect> {
                Ok(Some(node))
            }
        }
        for step in [0, 1] {
            let at = Member { node: 9, depth: 12 };
            assert_eq!(oldest(&Circle(step), at, |_| true), Err(BROKEN));
            assert_eq!(back_to(&Circle(step), at, 1, Ok), Err(BROKEN));
        }
    }
}
