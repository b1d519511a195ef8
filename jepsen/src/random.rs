//! Choices that follow from the seed. BLAKE3's output stream, keyed by seed and name: each thread has a stream of its
//! own, so that one thread's pace does not change another's choices.

/// A stream of choices.
pub struct Random(blake3::OutputReader);

impl Random {
    /// The stream of this name under this seed.
    pub fn named(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("strongroom-jepsen 1");
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// The next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % end.max(1) as u64).expect("below a usize")
    }

    /// One of them; none of none.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }

    /// Hex digits.
    pub fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.below(16)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_name_give_the_same_choices_always() {
        let take = |seed, name| Random::named(seed, name).hex(20);
        assert_eq!(take(1, "a"), take(1, "a"));
        assert_ne!(take(1, "a"), take(2, "a"));
        assert_ne!(take(1, "a"), take(1, "b"));
        assert_eq!(Random::named(1, "a").one_of::<u8>(&[]), None);
    }
}
