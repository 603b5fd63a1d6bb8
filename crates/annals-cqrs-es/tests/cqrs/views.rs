//! Views: loading, updating by compare and set, and what is refused.

use annals::{ExpectedRecord, Records};
use annals_cqrs_es::{AnnalsViewRepository, Error};
use cqrs_es::persist::{PersistenceError, ViewContext, ViewRepository};

use crate::bank::{AccountView, AccountViews};
use adapter_tests::{Life, Way};

fn views(life: &Life) -> AccountViews {
    AnnalsViewRepository::new("accounts", life.store().clone())
}

fn view(balance: f64) -> AccountView {
    AccountView { balance, ..AccountView::default() }
}

#[tokio::test]
async fn view_changes_only_from_the_loaded_version() {
    for mut life in Life::each() {
        assert_eq!(views(&life).load("v").await.unwrap(), None);
        let new = || ViewContext::new("v".to_owned(), 0);
        views(&life).update_view(view(1.0), new()).await.unwrap();
        life.end_step();
        let lost = views(&life).update_view(view(9.0), new()).await;
        assert!(matches!(lost, Err(PersistenceError::OptimisticLockError)), "{lost:?}");
        let (found, context) = views(&life).load_with_context("v").await.unwrap().unwrap();
        assert_eq!((found, context.version), (view(1.0), 1));
        assert_eq!(context.view_instance_id, "v");
        life.end_step();
        let stale = ViewContext::new("v".to_owned(), context.version);
        views(&life).update_view(view(2.0), context).await.unwrap();
        life.end_step();
        for stale in [stale, ViewContext::new("v".to_owned(), 7), ViewContext::new("v".into(), -1)]
        {
            let lost = views(&life).update_view(view(9.0), stale).await;
            assert!(matches!(lost, Err(PersistenceError::OptimisticLockError)), "{lost:?}");
        }
        assert_eq!(views(&life).load("v").await.unwrap(), Some(view(2.0)));
    }
}

#[tokio::test]
async fn views_of_different_names_are_apart() {
    let life = Life::new(Way::Straight);
    let [a, b] = ["x", "x-y"].map(|name| AccountViews::new(name, life.store().clone()));
    a.update_view(view(1.0), ViewContext::new("y-z".to_owned(), 0)).await.unwrap();
    b.update_view(view(2.0), ViewContext::new("z".to_owned(), 0)).await.unwrap();
    assert_eq!(a.load("y-z").await.unwrap(), Some(view(1.0)));
    assert_eq!(b.load("z").await.unwrap(), Some(view(2.0)));
}

#[tokio::test]
async fn view_of_another_type_or_too_large_is_refused_and_kept() {
    let life = Life::new(Way::Straight);
    let key = "cqrs-es/view/accounts-v";
    life.store().records().put(key, r#"{"rows":[]}"#, ExpectedRecord::NoRecord).unwrap();
    match views(&life).load("v").await {
        Err(PersistenceError::DeserializationError(error)) => {
            assert!(matches!(error.downcast_ref(), Some(Error::Record { .. })), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let large = AccountView {
        account_id: Some("x".repeat(Records::MAX_VALUE_LEN)),
        ..AccountView::default()
    };
    match views(&life).update_view(large, ViewContext::new("v".to_owned(), 1)).await {
        Err(PersistenceError::UnknownError(error)) => {
            let error = error.downcast_ref::<annals::Error>().unwrap();
            assert!(matches!(error, annals::Error::LimitExceeded { .. }), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(life.store().records().get(key).unwrap().unwrap().version, 1);
}
