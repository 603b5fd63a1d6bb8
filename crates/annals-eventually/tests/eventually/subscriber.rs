//! The subscriber, and eventually's subscription that is made of a store and a subscriber.

use adapter_tests::Life;
use eventually_core::store::EventStore;
use eventually_core::store::Expected::Any;
use eventually_core::subscription::{EventSubscriber, Subscription, Transient};
use futures::executor::block_on;
use futures::stream::{StreamExt, TryStreamExt};

use crate::support::Door::{Closed, Locked, Opened};
use crate::support::{brief, doors, events};

#[test]
fn subscriber_gets_the_events_after_the_call() {
    for life in Life::each() {
        let mut writer = doors(life.store());
        let store = writer.clone();
        block_on(async {
            writer.append("a".into(), Any, vec![Opened]).await.unwrap();
            let call = store.subscribe_all();
            writer.append("a".into(), Any, vec![Closed, Locked]).await.unwrap();
            let mut seen = call.await.unwrap();
            for event in events("a", &[(2, 1, Closed), (3, 2, Locked)]) {
                assert_eq!(brief(&seen.next().await.unwrap().unwrap()), event);
            }
            writer.remove("a".into()).await.unwrap();
            writer.append("b".into(), Any, vec![Opened]).await.unwrap();
            writer.append("a".into(), Any, vec![Locked]).await.unwrap();
            let expected = [events("b", &[(1, 4, Opened)]), events("a", &[(1, 5, Locked)])];
            for event in expected.concat() {
                assert_eq!(brief(&seen.next().await.unwrap().unwrap()), event);
            }
        });
    }
}

#[test]
fn transient_subscription_reads_old_events_and_follows() {
    for life in Life::each() {
        let mut writer = doors(life.store());
        block_on(async {
            writer.append("a".into(), Any, vec![Opened, Closed]).await.unwrap();
            let transient = Transient::new(writer.clone(), writer.clone()).from(1);
            let events_seen = transient.resume().await.unwrap();
            writer.append("b".into(), Any, vec![Locked]).await.unwrap();
            let seen: Vec<_> =
                events_seen.map_ok(|event| brief(&event)).take(2).try_collect().await.unwrap();
            let expected = [events("a", &[(2, 1, Closed)]), events("b", &[(1, 2, Locked)])];
            assert_eq!(seen, expected.concat());
        });
    }
}
