//! Random bytes: the kernel's, or a stream that follows from a seed.
//!
//! The seeded stream is BLAKE3's extendable output over the seed. It is as good as random to whoever does not know the
//! seed and worthless to whoever does: simulation only.

use std::fmt::{self, Debug};
use std::sync::{Mutex, PoisonError};

/// A source of random bytes.
pub trait Entropy: Debug + Send + Sync {
    /// Fills the whole slice.
    ///
    /// # Panics
    ///
    /// If the kernel has no random source: nothing safe can be done without one.
    fn fill(&self, bytes: &mut [u8]);
}

/// The kernel's random source.
#[derive(Clone, Copy, Debug)]
pub struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("a Linux kernel answers getrandom once it has started");
    }
}

/// Bytes that follow from a seed.
pub struct SeededEntropy {
    stream: Mutex<blake3::OutputReader>,
}

impl SeededEntropy {
    /// The stream of this seed, from its beginning.
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("strongroom simulation entropy 1");
        hasher.update(&seed.to_le_bytes());
        Self { stream: Mutex::new(hasher.finalize_xof()) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

impl Debug for SeededEntropy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SeededEntropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let (one, same, other) = (SeededEntropy::new(1), SeededEntropy::new(1), SeededEntropy::new(2));
        let take = |source: &SeededEntropy| {
            let mut bytes = [0; 32];
            source.fill(&mut bytes);
            bytes
        };
        let first = take(&one);
        assert_eq!(first, take(&same));
        assert_ne!(first, take(&other));
        assert_ne!(first, take(&one));
    }

    #[test]
    fn the_kernel_gives_other_bytes_each_time() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        KernelEntropy.fill(&mut one);
        KernelEntropy.fill(&mut two);
        assert_ne!(one, two);
    }
}
