//! The S3 server that `.ci/s3` has started, and a client that has it killed in the middle of its requests.

use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals_backup::Destination;
use annals_backup::object_store::path::Path;
use annals_backup::object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, parse_url_opts,
};
use futures_util::stream::BoxStream;
use parking_lot::{Mutex, MutexGuard};
use url::Url;

/// How long the server is away, beside the time that it needs to start.
const AWAY: Duration = Duration::from_millis(300);

static IN_USE: Mutex<()> = Mutex::new(());

/// The server, for one test at a time.
pub(crate) struct Server {
    url: String,
    _in_use: MutexGuard<'static, ()>,
}

impl Server {
    /// Waits for the server, and for a prefix in its bucket that no other test has.
    pub(crate) fn take(test: &str) -> Self {
        let url = std::env::var("ANNALS_BACKUP_S3").unwrap();
        let url = format!("{url}/{test}-{}", uuid::Uuid::new_v4());
        Self { url, _in_use: IN_USE.lock() }
    }

    pub(crate) fn destination(&self) -> Destination {
        Destination::open(&self.url).unwrap()
    }

    /// The client that [`Destination::open`] makes, and the prefix.
    pub(crate) fn client(&self) -> (Box<dyn ObjectStore>, Path) {
        parse_url_opts(&Url::parse(&self.url).unwrap(), std::env::vars()).unwrap()
    }

    /// The same place, through a client that has the server killed.
    pub(crate) fn struck(&self) -> (Arc<Strikes>, Destination) {
        let (inner, prefix) = self.client();
        let strikes = Arc::new(Strikes { left: AtomicU64::new(0), away: Mutex::new(None) });
        let store = Struck { inner, strikes: Arc::clone(&strikes) };
        (strikes, Destination::in_store(Arc::new(store), prefix.as_ref()).unwrap())
    }
}

fn control(command: &str) {
    let control = std::env::var_os("ANNALS_BACKUP_S3_CONTROL").unwrap();
    assert!(Command::new(control).arg(command).status().unwrap().success(), "{command}");
}

/// When the server is killed.
#[derive(Debug)]
pub(crate) struct Strikes {
    /// Requests up to the one during which it is killed; 0: it is not.
    left: AtomicU64,
    away: Mutex<Option<JoinHandle<()>>>,
}

impl Strikes {
    /// Has the server killed, and started again, while the request after this many others is under way.
    pub(crate) fn strike_after(&self, requests: u64) {
        self.left.store(requests + 1, Ordering::SeqCst);
    }

    /// Whether the server was killed, and takes connections again.
    pub(crate) fn is_over(&self) -> bool {
        self.away.lock().as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits until the server takes connections again.
    ///
    /// # Panics
    ///
    /// If it was not killed.
    pub(crate) fn wait(&self) {
        let away = self.away.lock().take();
        away.expect("the server was killed in the middle").join().unwrap();
    }

    fn count(&self) {
        let spend = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) != Ok(1) {
            return;
        }
        *self.away.lock() = Some(thread::spawn(|| {
            control("kill");
            thread::sleep(AWAY);
            control("start");
        }));
    }
}

#[derive(Debug)]
struct Struck {
    inner: Box<dyn ObjectStore>,
    strikes: Arc<Strikes>,
}

impl fmt::Display for Struck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Struck {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.strikes.count();
        self.inner.put_opts(to, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(to, opts).await?;
        Ok(Box::new(StruckUpload { inner, strikes: Arc::clone(&self.strikes) }))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.strikes.count();
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct StruckUpload {
    inner: Box<dyn MultipartUpload>,
    strikes: Arc<Strikes>,
}

#[async_trait::async_trait]
impl MultipartUpload for StruckUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.strikes.count();
        self.inner.put_part(part)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.strikes.count();
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
