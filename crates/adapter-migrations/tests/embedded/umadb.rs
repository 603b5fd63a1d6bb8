//! A database of umadb-core, copied in two parts.

use std::path::Path;
use std::sync::Arc;

use annals_umadb::umadb_dcb::{
    DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem,
    DcbSequencedEvent, TrackingInfo,
};
use annals_umadb::{UmaStore, copy};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use uuid::Uuid;

/// Accounts that are opened once and get deposits, in commits of different sizes.
fn write(db: &UmaDb, accounts: std::ops::Range<u64>) {
    for account in accounts {
        let tag = format!("account-{account}");
        let of_account = DcbQuery::new().item(DcbQueryItem::new().tags([tag.as_str()]));
        let opened = DcbEvent::new().event_type("Opened").tags([tag.as_str(), "all"]);
        let opened = opened.uuid(Uuid::from_u128(account.into()));
        let none_before = DcbAppendCondition::new(of_account);
        db.append(vec![opened.clone()], Some(none_before.clone()), None).unwrap();
        let again = DcbEvent { uuid: None, ..opened };
        let refused = db.append(vec![again], Some(none_before), None);
        assert!(matches!(refused, Err(DcbError::IntegrityError(_))));
        let deposit = |n: u64| {
            let data = vec![0xFF; (n * 100) as usize];
            let event = DcbEvent::new().event_type("Deposited").tags([tag.as_str()]).data(data);
            event.metadata_entry("by", "ann").metadata_entry("n", n.to_string())
        };
        let tracking = TrackingInfo { source: "bank".into(), position: account * 10 + 1 };
        db.append((0..account % 40).map(deposit).collect(), None, Some(tracking)).unwrap();
    }
    // The next position came without events.
    let head = db.get_tracking_info("bank").unwrap().unwrap() + 1;
    let tracking = TrackingInfo { source: "bank".into(), position: head };
    db.append(vec![], None, Some(tracking)).unwrap();
}

fn all(store: &impl DcbEventStoreSync, tag: Option<&str>) -> Vec<DcbSequencedEvent> {
    let query = tag.map(|it| DcbQuery::new().item(DcbQueryItem::new().tags([it])));
    store.read_with_head(query, None, false, None).unwrap().0
}

fn is_same(db: &UmaDb, store: &UmaStore) {
    for tag in [None, Some("all"), Some("account-39"), Some("account-79"), Some("none")] {
        assert_eq!(format!("{:?}", all(db, tag)), format!("{:?}", all(store, tag)));
    }
    assert_eq!(db.head().unwrap(), DcbEventStoreSync::head(store).unwrap());
    let tracked = DcbEventStoreSync::get_tracking_info(store, "bank").unwrap();
    assert_eq!(db.get_tracking_info("bank").unwrap(), tracked);
}

fn open(path: &Path) -> UmaDb {
    let options = StorageOptions::default().db_path(path);
    UmaDb::from_arc(Arc::new(Mvcc::new(false, options).unwrap()))
}

#[test]
fn database_of_umadb_core_is_the_same_in_annals() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    let mut copied = 0;
    for accounts in [0..50, 50..100] {
        write(&open(&source), accounts);
        let (db, store) = (open(&source), UmaStore::open(&target).unwrap());
        copied += copy(&db, &store).unwrap();
        is_same(&db, &store);
        assert_eq!(copied, DcbEventStoreSync::head(&db).unwrap().unwrap());
    }
    assert!(copied > 1000, "there is more than one batch");

    // The program goes on: its conditions and positions are valid.
    let store = UmaStore::open(&target).unwrap();
    let opened = DcbEvent::new().event_type("Opened").tags(["account-7"]);
    let of_account = DcbQuery::new().item(DcbQueryItem::new().tags(["account-7"]));
    let condition = DcbAppendCondition::new(of_account);
    let refused = DcbEventStoreSync::append(&store, vec![opened], Some(condition.clone()), None);
    assert!(matches!(refused, Err(DcbError::IntegrityError(_))));
    let event = || vec![DcbEvent::new().event_type("Closed").tags(["account-7"])];
    let after = Some(condition.after(Some(copied)));
    let position = DcbEventStoreSync::append(&store, event(), after, None).unwrap();
    assert_eq!(position, copied + 1);
}
