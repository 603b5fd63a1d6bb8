//! Objects that hold bytes of a segment: compressed, seekable, and encrypted if there are keys.
//!
//! Owns the layout. Must never pass on a byte that was not checked.
//!
//! An object is a sequence of blocks of 1 MiB before compression, the last one shorter, each a frame of Zstandard with
//! its checksum. A seek table follows, as the [seekable format] specifies it, so that any tool for Zstandard reads an
//! object that is not encrypted. An encrypted object has a header, and each block is sealed on its own.
//!
//! [seekable format]: https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md

use std::io;

use sha2::{Digest, Sha256};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use crate::error::{Error, Result};
use crate::keys::{HEADER_LEN, Keys, OVERHEAD, ObjectCipher, hex};

/// Bytes of a block before compression.
pub(crate) const BLOCK: usize = 1 << 20;
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const FOOTER_LEN: usize = 9;
const ENTRY_LEN: usize = 8;

/// Packs the bytes of one object, block by block.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    cipher: Option<ObjectCipher>,
    /// The lengths of each block in the object, and before compression.
    table: Vec<(u32, u32)>,
    digest: Sha256,
    stored: u64,
}

/// A finished object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The bytes of the object.
    pub(crate) stored: u64,
    /// The SHA-256 of these bytes, in hexadecimal.
    pub(crate) digest: String,
}

impl Packer {
    /// Returns also the first bytes of the object.
    pub(crate) fn new(name: &str, keys: &Keys, level: i32) -> Result<(Self, Vec<u8>)> {
        let failed = |source| failed(name, &source);
        let mut compressor = Compressor::new(level).map_err(failed)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(failed)?;
        let (cipher, header) = match keys.encrypt(name) {
            Some((cipher, header)) => (Some(cipher), header.to_vec()),
            None => (None, Vec::new()),
        };
        let (table, digest) = (Vec::new(), Sha256::new());
        let mut this = Self { compressor, cipher, table, digest, stored: 0 };
        this.count(&header);
        Ok((this, header))
    }

    fn count(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.stored += bytes.len() as u64;
    }

    /// Packs at most [`BLOCK`] bytes.
    pub(crate) fn block(&mut self, name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut block = self.compressor.compress(bytes).map_err(|e| failed(name, &e))?;
        if let Some(cipher) = &self.cipher {
            block = cipher.seal(self.table.len() as u64, &block)?;
        }
        // Neither is longer than a block and its overhead.
        let lengths = (u32::try_from(block.len()), u32::try_from(bytes.len()));
        self.table.push((lengths.0.unwrap_or(u32::MAX), lengths.1.unwrap_or(u32::MAX)));
        self.count(&block);
        Ok(block)
    }

    /// Returns the last bytes of the object.
    pub(crate) fn finish(mut self) -> (Packed, Vec<u8>) {
        let table = encode_table(&self.table);
        self.count(&table);
        let digest = hex(&self.digest.finalize());
        (Packed { stored: self.stored, digest }, table)
    }
}

fn failed(name: &str, source: &io::Error) -> Error {
    Error::Damaged {
        object: name.into(),
        position: annals::Position::START,
        why: format!("compression failed: {source}"),
    }
}

fn encode_table(blocks: &[(u32, u32)]) -> Vec<u8> {
    let size = blocks.len() * ENTRY_LEN + FOOTER_LEN;
    let mut bytes = Vec::with_capacity(8 + size);
    let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend(SKIPPABLE_MAGIC.to_le_bytes());
    bytes.extend(number(size));
    for (stored, plain) in blocks {
        bytes.extend(stored.to_le_bytes());
        bytes.extend(plain.to_le_bytes());
    }
    bytes.extend(number(blocks.len()));
    bytes.push(0);
    bytes.extend(SEEKABLE_MAGIC.to_le_bytes());
    bytes
}

/// The number of bytes of the seek table of an object with this many bytes before compression.
pub(crate) fn table_len(plain: u64) -> u64 {
    plain.div_ceil(BLOCK as u64) * ENTRY_LEN as u64 + (FOOTER_LEN + 8) as u64
}

/// Unpacks the blocks of an object that is read from its beginning.
pub(crate) struct Unpacker {
    blocks: std::vec::IntoIter<(u32, u32)>,
    cipher: Option<ObjectCipher>,
    decompressor: Decompressor<'static>,
    next: u64,
    pending: Vec<u8>,
    /// The length of the header that is still to come.
    header: bool,
    keys: Keys,
    digest: Sha256,
    name: String,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The lengths of the blocks of an object, from its last bytes. They add up to what the manifest states, so a damaged
/// table allocates nothing.
fn decode_table(table: &[u8], plain: u64, stored: u64, keys: &Keys) -> Option<Vec<(u32, u32)>> {
    let count = usize::try_from(plain.div_ceil(BLOCK as u64)).ok()?;
    let size = count * ENTRY_LEN + FOOTER_LEN;
    let footer = table.len().checked_sub(FOOTER_LEN)?;
    let is_right = table.len() == size + 8
        && u32_at(table, 0)? == SKIPPABLE_MAGIC
        && u32_at(table, 4)? as usize == size
        && u32_at(table, footer)? as usize == count
        && table[footer + 4] == 0
        && u32_at(table, footer + 5)? == SEEKABLE_MAGIC;
    if !is_right {
        return None;
    }
    let entry = |at: usize| Some((u32_at(table, 8 + at * 8)?, u32_at(table, 12 + at * 8)?));
    let blocks: Vec<_> = (0..count).map_while(entry).collect();
    let longest = zstd::zstd_safe::compress_bound(BLOCK) + OVERHEAD;
    let sizes_are_right = blocks.iter().enumerate().all(|(at, &(stored, len))| {
        let rest = plain - (at * BLOCK) as u64;
        stored as usize <= longest && u64::from(len) == rest.min(BLOCK as u64)
    });
    let header = if keys.is_empty() { 0 } else { HEADER_LEN as u64 };
    let sum: u64 = blocks.iter().map(|block| u64::from(block.0)).sum();
    (sizes_are_right && header + sum + table.len() as u64 == stored).then_some(blocks)
}

impl Unpacker {
    /// `table`: the last [`table_len`] bytes of the object.
    pub(crate) fn new(
        name: &str,
        keys: &Keys,
        (plain, stored): (u64, u64),
        table: &[u8],
    ) -> Result<Self> {
        let damaged = |why: &str| Error::Damaged {
            object: name.into(),
            position: annals::Position::START,
            why: why.into(),
        };
        let blocks = decode_table(table, plain, stored, keys).ok_or_else(|| {
            damaged("its seek table is not that of the manifest; were keys given, or left out?")
        })?;
        let decompressor = Decompressor::new().map_err(|e| damaged(&e.to_string()))?;
        Ok(Self {
            blocks: blocks.into_iter(),
            cipher: None,
            decompressor,
            next: 0,
            pending: Vec::new(),
            header: true,
            keys: keys.clone(),
            digest: Sha256::new(),
            name: name.into(),
        })
    }

    /// Takes the next bytes of the object, and passes on every block that is complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.digest.update(bytes);
        self.pending.extend_from_slice(bytes);
        if self.header {
            if self.pending.len() < HEADER_LEN {
                return Ok(());
            }
            self.header = false;
            self.cipher = self.keys.decrypt(&self.name, &self.pending)?;
            if self.cipher.is_some() {
                self.pending.drain(..HEADER_LEN);
            }
        }
        let mut at = 0;
        while let Some(&(stored, plain)) = self.blocks.as_slice().first() {
            let Some(block) = self.pending.get(at..at + stored as usize) else { break };
            at += stored as usize;
            self.blocks.next();
            let opened = match &self.cipher {
                Some(cipher) => Some(cipher.open(self.next, block)?),
                None => None,
            };
            let block = opened.as_deref().unwrap_or(block);
            let plain = plain as usize;
            let contents = self.decompressor.decompress(block, plain);
            let contents = contents.ok().filter(|contents| contents.len() == plain);
            let contents = contents.ok_or_else(|| Error::Damaged {
                object: self.name.clone(),
                position: annals::Position::START,
                why: format!("block {} does not decompress", self.next),
            })?;
            self.next += 1;
            each(&contents)?;
        }
        self.pending.drain(..at);
        Ok(())
    }

    /// Whether the whole object was taken, with this digest.
    pub(crate) fn finish(self, digest: &str) -> Result<()> {
        let found = hex(&self.digest.finalize());
        if self.blocks.len() == 0 && found == digest {
            return Ok(());
        }
        Err(Error::Damaged {
            object: self.name,
            position: annals::Position::START,
            why: format!("its digest is {found}, the manifest has {digest}"),
        })
    }
}

/// Packs a small message as one object: a manifest.
pub(crate) fn seal_message(name: &str, keys: &Keys, message: &[u8]) -> Result<Vec<u8>> {
    match keys.encrypt(name) {
        Some((cipher, header)) => Ok([header.to_vec(), cipher.seal(0, message)?].concat()),
        None => Ok(message.to_vec()),
    }
}

/// The message in an object of [`seal_message`].
pub(crate) fn open_message(name: &str, keys: &Keys, object: &[u8]) -> Result<Vec<u8>> {
    match keys.decrypt(name, object)? {
        Some(cipher) => cipher.open(0, &object[HEADER_LEN..]),
        None => Ok(object.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(name: &str, keys: &Keys, bytes: &[u8]) -> (Vec<u8>, Packed) {
        let (mut packer, mut object) = Packer::new(name, keys, 3).unwrap();
        for block in bytes.chunks(BLOCK) {
            object.extend(packer.block(name, block).unwrap());
        }
        let (is, table) = packer.finish();
        object.extend(table);
        (object, is)
    }

    fn unpack(
        name: &str,
        keys: &Keys,
        object: &[u8],
        plain: usize,
        is: &Packed,
    ) -> Result<Vec<u8>> {
        let len = usize::try_from(table_len(plain as u64)).unwrap();
        let table = &object[object.len().saturating_sub(len)..];
        let mut unpacker = Unpacker::new(name, keys, (plain as u64, is.stored), table)?;
        let mut bytes = Vec::new();
        for piece in object.chunks(70_001) {
            unpacker.take(piece, &mut |block| {
                bytes.extend_from_slice(block);
                Ok(())
            })?;
        }
        unpacker.finish(&is.digest)?;
        Ok(bytes)
    }

    fn keys() -> (Keys, Keys, Keys) {
        let (old, new) = (Keys::generate(), Keys::generate());
        let rotated = Keys::parse(&format!("# new\n{new}\n\n{old} # old\n")).unwrap();
        (Keys::parse(&old).unwrap(), rotated, Keys::parse(&new).unwrap())
    }

    #[test]
    fn object_round_trips_with_and_without_keys() {
        let mut bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 9).to_le_bytes()).collect();
        bytes.truncate(5 * BLOCK + 17);
        let (old, rotated, new) = keys();
        for len in [0, 1, 100, BLOCK, bytes.len()] {
            let bytes = &bytes[..len];
            for (writes, reads) in [
                (Keys::none(), Keys::none()),
                (old.clone(), rotated.clone()),
                (rotated.clone(), new.clone()),
            ] {
                let (object, packed) = pack("a", &writes, bytes);
                assert_eq!(packed.stored, object.len() as u64);
                assert_eq!(unpack("a", &reads, &object, len, &packed).unwrap(), bytes);
            }
        }
        let (object, packed) = pack("a", &old, &bytes);
        assert!(matches!(unpack("a", &new, &object, bytes.len(), &packed), Err(Error::Key { .. })));
        assert!(matches!(unpack("b", &old, &object, bytes.len(), &packed), Err(Error::Key { .. })));
        assert!(unpack("a", &Keys::none(), &object, bytes.len(), &packed).is_err());
        let (plain, packed) = pack("a", &Keys::none(), &bytes);
        assert!(unpack("a", &old, &plain, bytes.len(), &packed).is_err());
        assert_eq!(zstd::stream::decode_all(&plain[..]).unwrap(), bytes, "it is plain Zstandard");
    }

    #[test]
    fn flipped_bits_and_missing_bytes_are_found() {
        let bytes: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        let (key, ..) = keys();
        for keys in [Keys::none(), key] {
            let (object, packed) = pack("a", &keys, &bytes);
            for at in (0..object.len()).step_by(1 + object.len() / 150) {
                let mut bad = object.clone();
                bad[at] ^= 1 << (at % 8);
                assert!(unpack("a", &keys, &bad, bytes.len(), &packed).is_err(), "byte {at}");
                assert!(unpack("a", &keys, &object[..at], bytes.len(), &packed).is_err());
            }
        }
    }

    #[test]
    fn key_text_that_is_wrong_is_named_by_its_line() {
        let key = Keys::generate();
        for (text, wrong) in
            [(format!("{key}\nkey"), 2), ("AAAA".into(), 1), (format!("\n#\n{key}{key}"), 3)]
        {
            match Keys::parse(&text) {
                Err(Error::KeyFile { line, .. }) => assert_eq!(line, wrong),
                other => panic!("{other:?}"),
            }
        }
        assert!(Keys::parse("# none\n").unwrap().is_empty());
        assert!(!format!("{:?}", Keys::parse(&key).unwrap()).contains(&key));
    }
}
