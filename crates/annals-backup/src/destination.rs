//! The place of a backup: a prefix in object storage, or a directory.
//!
//! Owns the client and the threads that serve it, so that the rest of this crate can wait for requests. Must never
//! overwrite an object: names are new, or the request is conditional.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};
use tokio::runtime::{Builder, Handle, Runtime};
use url::Url;

use crate::error::{Error, Result};
use crate::keys::Keys;

/// Bytes of a part of a large object: object stores want at least 5 MiB.
const PART: usize = 8 << 20;
/// Bytes that are read at a time from a large object.
pub(crate) const PIECE: u64 = 8 << 20;

/// Where a backup lies. Cheap to clone. Its calls, and those of everything that uses it, block the calling thread: from
/// async code, call them on a thread for blocking work.
#[derive(Clone)]
pub struct Destination {
    inner: Arc<Inner>,
    keys: Keys,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// An object in the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The name relative to the URL.
    pub(crate) name: String,
    pub(crate) len: u64,
    /// Seconds since 1970.
    pub(crate) modified: i64,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, keys } = self;
        f.debug_struct("Destination").field("url", &inner.url).field("keys", keys).finish()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.url)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped on a thread that must not wait.
            runtime.shutdown_background();
        }
    }
}

impl Destination {
    /// A place by its URL: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix` with the features of
    /// these names, `file:///directory`, or the path of a directory. Credentials and endpoints come from the environment,
    /// by the names that the clients of these services use: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `GOOGLE_APPLICATION_CREDENTIALS`,
    /// `AZURE_STORAGE_ACCOUNT_NAME` and so on.
    ///
    /// # Errors
    ///
    /// [`Error::Url`]; no request is made.
    pub fn open(url: &str) -> Result<Self> {
        let wrong = |why: String| Error::Url { url: url.into(), why };
        let parsed = match Url::parse(url) {
            Ok(parsed) if parsed.scheme().len() > 1 => parsed,
            // A path, or one with the letter of a drive.
            _ => {
                let path = std::path::absolute(url).map_err(|e| wrong(e.to_string()))?;
                Url::from_directory_path(path).map_err(|()| wrong("it is no path".into()))?
            }
        };
        if parsed.scheme() == "file" {
            let path = parsed.to_file_path().map_err(|()| wrong("it is no path".into()))?;
            let prefix = Path::from_absolute_path(path).map_err(|e| wrong(e.to_string()))?;
            let store = LocalFileSystem::new().with_fsync(true);
            return Self::new(Arc::new(store), prefix, url.into());
        }
        let of_service = |(name, _): &(String, String)| {
            ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|service| name.starts_with(service))
        };
        let variables: HashMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(of_service)
            .collect();
        let (store, prefix) = object_store::parse_url_opts(&parsed, variables)
            .map_err(|e| wrong(format!("{e}; is the feature for this service on?")))?;
        Self::new(store.into(), prefix, url.into())
    }

    /// A place in a client that the caller has made.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] if the prefix is no path, or threads cannot be started.
    pub fn in_store(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let wrong = |why| Error::Url { url: prefix.into(), why };
        let path = Path::parse(prefix).map_err(|e| wrong(e.to_string()))?;
        let url = format!("{store}/{prefix}");
        Self::new(store, path, url)
    }

    fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: String) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| Error::Url { url: url.clone(), why: e.to_string() })?;
        let inner = Inner { store, prefix, url, runtime: Some(runtime) };
        Ok(Self { inner: Arc::new(inner), keys: Keys::none() })
    }

    /// Encrypts what is written from now on, and decrypts what is read. Default: no keys.
    pub fn with_keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn url(&self) -> &str {
        &self.inner.url
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.inner.prefix.clone(), Path::join)
    }

    /// Waits for a request. A thread of another runtime must not wait for a future: there, a thread of its own does.
    fn wait<T: Send>(&self, request: impl Future<Output = T> + Send) -> T {
        let runtime = self.inner.runtime.as_ref();
        let runtime = runtime.expect("it is there until the last clone is dropped");
        if Handle::try_current().is_err() {
            return runtime.block_on(request);
        }
        let waited = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(request)).join());
        waited.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn failed(operation: &'static str, name: &str) -> impl Fn(object_store::Error) -> Error {
        move |source| Error::Storage { operation, object: name.into(), source: Box::new(source) }
    }

    /// The bytes of an object; `None`: there is none.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path(name);
        let read = self.wait(async { self.inner.store.get(&path).await?.bytes().await });
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(Self::failed("read", name)(e)),
        }
    }

    /// The bytes of an object from `from` to `to`, or up to its end; `None`: there is no such object.
    pub(crate) fn get_range(&self, name: &str, from: u64, to: u64) -> Result<Option<Bytes>> {
        let path = self.path(name);
        let range = Some(GetRange::Bounded(from..to));
        let options = GetOptions { range, ..GetOptions::default() };
        let read =
            self.wait(async { self.inner.store.get_opts(&path, options).await?.bytes().await });
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(Self::failed("read", name)(e)),
        }
    }

    /// The length of an object; `None`: there is none.
    pub(crate) fn len(&self, name: &str) -> Result<Option<u64>> {
        match self.wait(self.inner.store.head(&self.path(name))) {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(Self::failed("look at", name)(e)),
        }
    }

    /// Writes an object with a name that no other one has.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let path = self.path(name);
        let put = self.inner.store.put(&path, PutPayload::from(bytes));
        self.wait(put).map(drop).map_err(Self::failed("write", name))
    }

    /// Writes an object unless there is one with this name. Returns whether it has these bytes now.
    pub(crate) fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let path = self.path(name);
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.inner.store.put_opts(&path, payload, PutMode::Create.into());
        match self.wait(put) {
            Ok(_) => Ok(true),
            // A request may have been sent twice: it is this one if it has the same bytes.
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(self.get(name)?.is_some_and(|found| found == bytes)),
            Err(e) => Err(Self::failed("write", name)(e)),
        }
    }

    /// Begins a large object with a name that no other one has.
    pub(crate) fn begin(&self, name: &str) -> Result<Upload<'_>> {
        let path = self.path(name);
        let upload = self.wait(self.inner.store.put_multipart(&path));
        let upload = upload.map_err(Self::failed("write", name))?;
        Ok(Upload { to: self, name: name.into(), parts: upload, pending: Vec::new() })
    }

    /// The objects whose names begin with `directory/`, sorted by name.
    pub(crate) fn list(&self, directory: &str) -> Result<Vec<Found>> {
        let path =
            if directory.is_empty() { self.inner.prefix.clone() } else { self.path(directory) };
        let listed = self.wait(self.inner.store.list(Some(&path)).try_collect::<Vec<_>>());
        let listed = listed.map_err(Self::failed("list", directory))?;
        let prefix = self.inner.prefix.as_ref();
        let mut found: Vec<_> = listed
            .into_iter()
            .filter_map(|object| {
                let name = object.location.as_ref().strip_prefix(prefix)?;
                let name = name.trim_start_matches('/').to_owned();
                let modified = object.last_modified.timestamp();
                Some(Found { name, len: object.size, modified })
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes an object, if it is there.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        match self.wait(self.inner.store.delete(&self.path(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Self::failed("remove", name)(e)),
        }
    }
}

/// A large object that is being written. Its name is not there before it is finished.
pub(crate) struct Upload<'a> {
    to: &'a Destination,
    name: String,
    parts: Box<dyn MultipartUpload>,
    pending: Vec<u8>,
}

impl Upload<'_> {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < PART { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<()> {
        let part = std::mem::take(&mut self.pending);
        let sent = self.to.wait(self.parts.put_part(part.into()));
        sent.map_err(Destination::failed("write", &self.name))
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.send()?;
        }
        let completed = self.to.wait(self.parts.complete());
        completed.map(drop).map_err(Destination::failed("write", &self.name))
    }

    /// Gives the parts up that were sent. Storage that keeps them anyway removes them by its own rules.
    pub(crate) fn abort(mut self) {
        let _ = self.to.wait(self.parts.abort());
    }
}
