//! Encryption of objects: keys, and one sealed message.
//!
//! Owns the layout of an encrypted object's header. Must never write a key anywhere.
//!
//! Messages are sealed with XChaCha20-Poly1305. The nonce is 16 random bytes, which stand in the object's header, and the
//! number of the message within the object; the name of the object is authenticated too, so that an object in the place
//! of another one is refused.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, Generate, Key as AeadKey, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Bytes that a sealed message is longer than its contents.
pub(crate) const OVERHEAD: usize = 16;
/// The length of the header of an encrypted object: magic, format, three zeros, key id, nonce.
pub(crate) const HEADER_LEN: usize = 32;
const MAGIC: [u8; 4] = *b"ANBE";
const FORMAT: u8 = 1;
const KEY_LEN: usize = 32;
const ID_CONTEXT: &[u8] = b"annals-backup key id";

/// The keys of a backup. The first one encrypts what is written from now on; all of them decrypt what was written
/// before, so a key is replaced by putting a new one in front of it.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Arc<[Key]>,
}

struct Key {
    id: [u8; 8],
    cipher: XChaCha20Poly1305,
}

/// Seals or opens the messages of one object.
#[derive(Clone)]
pub(crate) struct ObjectCipher {
    cipher: XChaCha20Poly1305,
    nonce: [u8; 16],
    name: Arc<str>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| hex(&key.id));
        f.debug_list().entries(ids).finish()
    }
}

impl fmt::Debug for ObjectCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectCipher").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Keys {
    /// No keys: objects are not encrypted, and encrypted ones cannot be read.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads keys from text: one a line, each 32 bytes in base64. Empty lines and what follows a `#` are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::KeyFile`] names the first line that is no key. The error never holds any of the text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |why| Error::KeyFile { line: number, why };
            let bytes = BASE64.decode(line).map_err(|_| wrong("is not base64"))?;
            let bytes: [u8; KEY_LEN] =
                bytes.try_into().map_err(|_| wrong("is not a key of 32 bytes"))?;
            let digest = Sha256::new().chain_update(ID_CONTEXT).chain_update(bytes).finalize();
            let mut id = [0; 8];
            id.copy_from_slice(&digest[..8]);
            keys.push(Key { id, cipher: XChaCha20Poly1305::new(&bytes.into()) });
        }
        Ok(Self { keys: keys.into() })
    }

    /// A new random key, as a line of text.
    pub fn generate() -> String {
        BASE64.encode(AeadKey::<XChaCha20Poly1305>::generate())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The cipher of a new object and the object's header; `None` without keys.
    pub(crate) fn encrypt(&self, name: &str) -> Option<(ObjectCipher, [u8; HEADER_LEN])> {
        let key = self.keys.first()?;
        let nonce = *uuid::Uuid::new_v4().as_bytes();
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = FORMAT;
        header[8..16].copy_from_slice(&key.id);
        header[16..].copy_from_slice(&nonce);
        let cipher = ObjectCipher { cipher: key.cipher.clone(), nonce, name: name.into() };
        Some((cipher, header))
    }

    /// The cipher of an object that begins with these bytes; `None` if it is not encrypted.
    pub(crate) fn decrypt(&self, name: &str, header: &[u8]) -> Result<Option<ObjectCipher>> {
        let wrong = |why: String| Error::Key { object: name.into(), why };
        if !header.starts_with(&MAGIC) {
            // Nobody may put readable objects in place of encrypted ones.
            return if self.is_empty() {
                Ok(None)
            } else {
                Err(wrong("keys are given, and it is not encrypted".into()))
            };
        }
        let Some(header) = header.get(..HEADER_LEN) else {
            return Err(wrong("it is cut short".into()));
        };
        if header[4] != FORMAT {
            let (found, known) = (header[4].into(), FORMAT.into());
            return Err(Error::Version { object: name.into(), found, known });
        }
        let (id, mut nonce) = (&header[8..16], [0; 16]);
        nonce.copy_from_slice(&header[16..]);
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| {
            wrong(format!("it needs the key with id {}, which is not among those given", hex(id)))
        })?;
        Ok(Some(ObjectCipher { cipher: key.cipher.clone(), nonce, name: name.into() }))
    }
}

impl ObjectCipher {
    fn nonce(&self, number: u64) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..16].copy_from_slice(&self.nonce);
        nonce[16..].copy_from_slice(&number.to_be_bytes());
        nonce.into()
    }

    pub(crate) fn seal(&self, number: u64, contents: &[u8]) -> Result<Vec<u8>> {
        let payload = Payload { msg: contents, aad: self.name.as_bytes() };
        self.cipher.encrypt(&self.nonce(number), payload).map_err(|_| Error::Key {
            object: self.name.to_string(),
            why: "the message is too long".into(),
        })
    }

    pub(crate) fn open(&self, number: u64, sealed: &[u8]) -> Result<Vec<u8>> {
        let payload = Payload { msg: sealed, aad: self.name.as_bytes() };
        self.cipher.decrypt(&self.nonce(number), payload).map_err(|_| Error::Key {
            object: self.name.to_string(),
            why: "it was changed since it was written".into(),
        })
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
