//! Manifests: what a backup holds as of one moment.
//!
//! Owns their form, JSON, and the check that one is possible. Must never accept names that lead out of the backup.
//!
//! Manifests of a branch are numbered from 1 without a gap, and each has the digest of the one before it: two shippers
//! cannot both continue. To keep them small, most list only the segments that came after a *base* manifest, which lists
//! all of them.

use annals::shipping::LogEnd;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};

/// The format of manifests and of the description of a backup.
pub(crate) const FORMAT: u32 = 1;
/// The name of the object that describes a backup.
pub(crate) const DESCRIPTION: &str = "annals-backup.json";
/// The directories of manifests and of the log.
pub(crate) const MANIFESTS: &str = "manifests";
pub(crate) const LOG: &str = "log";

/// The object that marks a place as a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) format: u32,
    pub(crate) store_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) store_id: Uuid,
    pub(crate) branch: u32,
    pub(crate) number: u64,
    /// The SHA-256 of the manifest before this one, in hexadecimal; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<String>,
    /// The process that wrote it.
    pub(crate) shipper: Uuid,
    /// µs since 1970, by the clock of that process.
    pub(crate) written_at: u64,
    pub(crate) end: LogEnd,
    /// Nothing follows this manifest: the history goes on elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fenced: Option<String>,
    /// The manifest that lists all segments before those listed here; its own number if there are none.
    pub(crate) base: u64,
    pub(crate) segments: Vec<SegmentEntry>,
    /// Full segments after the end that are stored already: a long upload continues after them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ahead: Vec<SegmentEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u64,
    /// In hexadecimal: other software reads JSON numbers of 64 bits with a loss.
    pub(crate) salt: String,
    pub(crate) first_position: u64,
    /// Present if the segment is full and sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) full: Option<Full>,
    /// The objects that hold its bytes, in order, without a gap from 0.
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Full {
    pub(crate) events: u32,
    pub(crate) first_recorded_at: u64,
    pub(crate) last_recorded_at: u64,
    /// The header checksum of the last frame.
    pub(crate) link: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) object: String,
    /// Offsets in the segment.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Bytes of the object.
    pub(crate) stored: u64,
    /// The SHA-256 of the object, in hexadecimal.
    pub(crate) digest: String,
}

impl SegmentEntry {
    /// The number of bytes of the segment in the backup.
    pub(crate) fn len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.to)
    }

    fn is_possible(&self) -> bool {
        let mut end = 0;
        let parts_follow = self.parts.iter().all(|part| {
            let follows = part.from == end && part.to > part.from && part.to <= MAX_SEGMENT;
            end = part.to;
            // A damaged length must not make a restore allocate.
            follows
                && part.stored <= 2 * (part.to - part.from) + MAX_OVERHEAD
                && is_name(&part.object)
        });
        parts_follow && !self.parts.is_empty() && u64::from_str_radix(&self.salt, 16).is_ok()
    }
}

/// No segment is longer: offsets have 32 bits, and a seal follows.
const MAX_SEGMENT: u64 = 1 << 33;
const MAX_OVERHEAD: u64 = 1 << 16;

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-./".contains(c);
    name.starts_with("log/") && name.chars().all(is_plain) && !name.contains("..")
}

/// The name of a manifest's object.
pub(crate) fn name(branch: u32, number: u64) -> String {
    format!("{MANIFESTS}/{branch:010}/{number:020}.json")
}

/// The branch and number in the name of a manifest's object.
pub(crate) fn parse_name(name: &str) -> Option<(u32, u64)> {
    let (branch, file) = name.strip_prefix(MANIFESTS)?.strip_prefix('/')?.split_once('/')?;
    let number = file.strip_suffix(".json")?;
    let (branch, number) = (branch.parse().ok()?, number.parse().ok()?);
    (self::name(branch, number) == name).then_some((branch, number))
}

impl Manifest {
    pub(crate) fn name(&self) -> String {
        name(self.branch, self.number)
    }

    pub(crate) fn is_base(&self) -> bool {
        self.base == self.number
    }

    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |why: String| Error::Damaged {
            object: name.into(),
            position: annals::Position::START,
            why,
        };
        check_format(name, bytes)?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        let is_possible = parse_name(name) == Some((manifest.branch, manifest.number))
            && (1..=manifest.number).contains(&manifest.base)
            && manifest.segments.iter().chain(&manifest.ahead).all(SegmentEntry::is_possible)
            && manifest.segments.windows(2).all(|two| two[0].number + 1 == two[1].number)
            && manifest.segments.last().is_some_and(|last| {
                last.number == manifest.end.segment && last.len() == manifest.end.offset
            });
        if is_possible {
            Ok(manifest)
        } else {
            Err(damaged("its fields contradict each other".into()))
        }
    }
}

/// Refuses an object of a newer format before its other fields are looked at.
pub(crate) fn check_format(name: &str, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    match serde_json::from_slice::<Format>(bytes) {
        Ok(Format { format }) if format <= FORMAT => Ok(()),
        Ok(Format { format }) => {
            Err(Error::Version { object: name.into(), found: format, known: FORMAT })
        }
        Err(e) => Err(Error::Damaged {
            object: name.into(),
            position: annals::Position::START,
            why: format!("it is no manifest: {e}"),
        }),
    }
}
