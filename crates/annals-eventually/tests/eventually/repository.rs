//! A repository of eventually on the store.

use std::convert::Infallible;

use adapter_tests::Life;
use annals_eventually::AnnalsStore;
use eventually_core::aggregate::{Aggregate, AggregateRootBuilder};
use eventually_core::repository::{Error, Repository};
use eventually_core::store::AppendError;
use eventually_core::versioning::Versioned;
use futures::executor::block_on;
use futures::future::{self, BoxFuture, FutureExt};

/// Adds numbers.
#[derive(Debug, Clone)]
struct Sum;

impl Aggregate for Sum {
    type Id = u64;
    type State = i64;
    type Event = i64;
    type Command = Vec<i64>;
    type Error = Infallible;

    fn apply(state: i64, event: i64) -> Result<i64, Infallible> {
        Ok(state + event)
    }

    fn handle<'a, 's: 'a>(
        &'a self,
        _: &'s u64,
        _: &'s i64,
        numbers: Vec<i64>,
    ) -> BoxFuture<'a, Result<Option<Vec<i64>>, Infallible>> {
        future::ok((!numbers.is_empty()).then_some(numbers)).boxed()
    }
}

fn sums(life: &Life) -> Repository<Sum, AnnalsStore<u64, i64>> {
    let store = AnnalsStore::new(life.store().clone(), "sum");
    Repository::new(AggregateRootBuilder::from(Sum), store)
}

#[test]
fn repository_gets_what_was_added_until_it_is_removed() {
    for mut life in Life::each() {
        block_on(async {
            let mut sum = sums(&life).get(7).await.unwrap();
            assert_eq!((*sum.state(), sum.version()), (0, 0));
            sum.handle(vec![3, 4]).await.unwrap().handle(vec![-1]).await.unwrap();
            let mut sum = sums(&life).add(sum).await.unwrap();
            assert_eq!(sum.version(), 3);
            life.end_step();
            let mut behind = sums(&life).get(7).await.unwrap();
            assert_eq!((*behind.state(), behind.version()), (6, 3));
            sum.handle(vec![10]).await.unwrap();
            sums(&life).add(sum).await.unwrap();
            life.end_step();
            behind.handle(vec![20]).await.unwrap();
            let Err(Error::Store(lost)) = sums(&life).add(behind).await else {
                panic!("it was behind")
            };
            assert!(lost.is_conflict_error(), "{lost:?}");
            assert_eq!(*sums(&life).get(7).await.unwrap().state(), 16);
            sums(&life).remove(7).await.unwrap();
            life.end_step();
            let mut again = sums(&life).get(7).await.unwrap();
            assert_eq!((*again.state(), again.version()), (0, 0));
            again.handle(vec![1]).await.unwrap();
            assert_eq!(sums(&life).add(again).await.unwrap().version(), 1);
            life.end_step();
            assert_eq!(*sums(&life).get(7).await.unwrap().state(), 1);
        });
    }
}
