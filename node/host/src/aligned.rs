//! A growing buffer whose bytes start on a 4 KiB boundary in memory, as direct I/O wants them.
//!
//! Made without `unsafe`: it allocates a block more than it needs and begins at the first boundary inside. Growing
//! copies, so a buffer is kept and used again.

/// The unit of direct I/O in offset, length and address.
pub const BLOCK: usize = 4096;

/// Bytes that start on a [`BLOCK`] boundary.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    /// At least a block longer than what fits.
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// An empty buffer that has room for `bytes`.
    fn with_room(bytes: usize) -> Self {
        let memory = vec![0; bytes + BLOCK];
        // `align_offset` may refuse in theory; then the bytes are unaligned and go through the page cache.
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { memory, start, length: 0 }
    }

    /// So many zeros, to be written over.
    pub fn zeros(length: usize) -> Self {
        Self { length, ..Self::with_room(length) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// The bytes, to be written over.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes it can hold before it must grow.
    pub fn room(&self) -> usize {
        self.memory.len().saturating_sub(BLOCK)
    }

    /// Adds bytes at the end.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.grow_to(self.length + bytes.len());
        let at = self.start + self.length;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Adds zeros until the length is a multiple of `unit`.
    pub fn pad(&mut self, unit: usize) {
        self.resize(self.length.next_multiple_of(unit));
    }

    /// Cuts the buffer, or lengthens it with zeros.
    pub fn resize(&mut self, length: usize) {
        self.grow_to(length);
        if self.length < length {
            let (from, to) = (self.start + self.length, self.start + length);
            self.memory[from..to].fill(0);
        }
        self.length = length;
    }

    /// Forgets the bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    fn grow_to(&mut self, bytes: usize) {
        if bytes <= self.room() && !self.memory.is_empty() {
            return;
        }
        let mut grown = Self::with_room(bytes.max(self.room() * 2).next_multiple_of(BLOCK));
        grown.length = self.length;
        grown.bytes_mut().copy_from_slice(self.bytes());
        *self = grown;
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_start_on_a_boundary_however_it_grew() {
        let mut buffer = AlignedBuffer::default();
        assert!(buffer.is_empty());
        let mut expected = Vec::new();
        for size in [0_usize, 1, 4095, 9000, 1] {
            let piece: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
            buffer.extend(&piece);
            expected.extend_from_slice(&piece);
            assert_eq!(buffer.bytes(), expected);
            assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK), 0);
        }
        buffer.pad(BLOCK);
        expected.resize(expected.len().next_multiple_of(BLOCK), 0);
        assert_eq!(buffer.bytes(), expected);
        buffer.clear();
        buffer.resize(3);
        assert_eq!(buffer.bytes(), [0, 0, 0]);
        let zeros = AlignedBuffer::zeros(5000);
        assert_eq!((zeros.bytes(), zeros.bytes().as_ptr().align_offset(BLOCK)), (&[0; 5000][..], 0));
    }
}
