//! The bytes that actions are decoded from.
//!
//! Must never fail: every byte string is valid.

/// Bytes that choices are made from; followed by zeros.
#[derive(Debug)]
pub struct Source<'a> {
    bytes: &'a [u8],
}

impl<'a> Source<'a> {
    /// Creates choices from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(in crate::testing) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(in crate::testing) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    pub(in crate::testing) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(in crate::testing) fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    pub(in crate::testing) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(in crate::testing) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }
}
