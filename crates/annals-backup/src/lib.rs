//! Continuous backup of an [`annals`] store to object storage, restore to any commit, and a standby.
//!
//! - [`Shipper`] follows a store and uploads what it gains, compressed and, with [`Keys`], encrypted: S3 and what speaks
//!   its protocol, Google Cloud Storage, Azure, or a directory.
//! - [`restore()`] makes a store of it again, as of any commit.
//! - [`list`], [`verify()`], [`compare()`] and [`prune()`] look after the backup.
//! - [`ColdBackup`] and [`keep_local`] leave full segments in the backup alone, where they are read when they are needed.
//! - [`Standby`] follows the backup on another machine, serves reads, and takes the place of the store.
//!
//! Every call blocks the calling thread: from async code, use a thread for blocking work.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let backups = dir.path().join("backups");
//! use annals::shipping::Until;
//! use annals::{ExpectedVersion, NewEvent, Options, Position, Store};
//! use annals_backup::{Destination, RestoreOptions, ShipOptions, Shipper, restore};
//!
//! let store = Store::open(dir.path().join("ledger"))?;
//! let to = Destination::open(backups.to_str().unwrap())?;
//! // On a thread of its own, until it is stopped.
//! let shipper = Shipper::new(store.clone(), to.clone(), ShipOptions::new())?.start()?;
//! for amount in ["5", "7", "9"] {
//!     store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Paid", amount)])?;
//! }
//! shipper.stop()?;
//!
//! let options = RestoreOptions::new().until(Until::Position(Position::new(2)));
//! let restored = restore(&to, dir.path().join("restored"), &options, |_| {})?;
//! assert_eq!(restored.position, Position::new(2));
//! let earlier = Options::new().read_only(true).open(dir.path().join("restored"))?;
//! assert_eq!(earlier.head(), Position::new(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalog;
mod check;
mod cold;
mod compare;
mod destination;
mod error;
mod fetch;
mod keys;
mod manifest;
mod pack;
mod parallel;
mod prune;
mod restore;
mod ship;
mod standby;

pub use check::{BackupList, BranchInfo, Verified, list, verify};
pub use cold::{ColdBackup, keep_local};
pub use compare::compare;
pub use destination::Destination;
pub use error::{Error, Result};
pub use keys::Keys;
pub use object_store;
pub use prune::{PruneOptions, Pruned, prune};
pub use restore::{RestoreOptions, Restored, restore};
pub use ship::{RunningShipper, ShipOptions, ShipStatus, Shipped, Shipper};
pub use standby::{Promotion, Standby};
