//! Object storage that fails as real storage does: requests that are lost before or after they have an effect, repeated
//! requests, listings that are late.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use annals_backup::object_store::memory::InMemory;
use annals_backup::object_store::path::Path;
use annals_backup::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<InMemory>,
    random: AtomicU64,
    /// One in this many requests fails; 0: none.
    rate: AtomicU64,
    /// Requests that succeed before all fail; `u64::MAX`: no end.
    left: AtomicU64,
    /// Objects at the end of a listing that it does not show, at most.
    late: AtomicU64,
    /// Reads of the log wait.
    hold: (Mutex<bool>, Condvar),
}

enum Outcome {
    Fine,
    /// The request is lost.
    Before,
    /// The answer is lost.
    After,
    /// The request is sent twice.
    Twice,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "the connection was lost".into() }
}

impl FaultyStore {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            inner: Arc::new(InMemory::new()),
            random: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            rate: AtomicU64::new(0),
            left: AtomicU64::new(u64::MAX),
            late: AtomicU64::new(0),
            hold: (Mutex::new(false), Condvar::new()),
        }
    }

    /// Lets reads of the log wait, or go on.
    pub(crate) fn hold(&self, hold: bool) {
        *self.hold.0.lock().unwrap() = hold;
        self.hold.1.notify_all();
    }

    /// One of `rate` requests fails from now on, and listings do not show up to three of the newest objects.
    pub(crate) fn fail_one_of(&self, rate: u64) {
        self.rate.store(rate, Ordering::SeqCst);
        self.late.store(3, Ordering::SeqCst);
    }

    /// All requests fail after this many.
    pub(crate) fn fail_after(&self, requests: u64) {
        self.left.store(requests, Ordering::SeqCst);
    }

    pub(crate) fn heal(&self) {
        self.rate.store(0, Ordering::SeqCst);
        self.late.store(0, Ordering::SeqCst);
        self.left.store(u64::MAX, Ordering::SeqCst);
    }

    /// A number below `bound`: xorshift.
    fn random(&self, bound: u64) -> u64 {
        let next = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        let before =
            self.random.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(next(x)));
        next(before.unwrap()) % bound
    }

    fn outcome(&self) -> Outcome {
        let spend = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_err() {
            return Outcome::Before;
        }
        let rate = self.rate.load(Ordering::SeqCst);
        if rate == 0 || self.random(rate) != 0 {
            return Outcome::Fine;
        }
        match self.random(3) {
            0 => Outcome::Before,
            1 => Outcome::After,
            _ => Outcome::Twice,
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        match self.outcome() {
            Outcome::Before => Err(lost()),
            Outcome::Fine => self.inner.put_opts(to, payload, opts).await,
            Outcome::After => {
                let _ = self.inner.put_opts(to, payload, opts).await;
                Err(lost())
            }
            Outcome::Twice => {
                let _ = self.inner.put_opts(to, payload.clone(), opts.clone()).await;
                self.inner.put_opts(to, payload, opts).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.outcome() {
            Outcome::Before => Err(lost()),
            _ => self.inner.put_multipart_opts(to, opts).await,
        }
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        if from.as_ref().contains("/log/") {
            // The caller's thread runs this, and no other request.
            drop(self.hold.1.wait_while(self.hold.0.lock().unwrap(), |hold| *hold).unwrap());
        }
        match self.outcome() {
            Outcome::Before | Outcome::After => Err(lost()),
            _ => self.inner.get_opts(from, options).await,
        }
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(from, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.outcome() {
            Outcome::Before => stream::once(async { Err(lost()) }).boxed(),
            _ => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Outcome::Before | Outcome::After = self.outcome() {
            return stream::once(async { Err(lost()) }).boxed();
        }
        let late = self.late.load(Ordering::SeqCst);
        let hidden = usize::try_from(if late == 0 { 0 } else { self.random(late + 1) }).unwrap();
        let inner = self.inner.list(prefix);
        let shown = async move {
            let mut all: Vec<_> = inner.collect().await;
            all.truncate(all.len().saturating_sub(hidden));
            stream::iter(all)
        };
        stream::once(shown).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
