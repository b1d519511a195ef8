//! Choices that follow from a seed (SplitMix64): cheap, and the same for ever.

/// A stream of choices.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of this name under this seed.
    pub(crate) fn named(seed: u64, name: u64) -> Self {
        let mut dice = Self(seed);
        dice.0 = dice.next() ^ name.wrapping_mul(0xd134_2543_de82_ef95);
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or zero if that is zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Whether one of so many cases comes.
    pub(crate) fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    /// A length that is often small.
    pub(crate) fn length(&mut self, most: u64) -> usize {
        let most = if self.one_in(2) { most.min(200) } else { most };
        self.below(most + 1) as usize
    }

    /// Bytes that no other number has.
    pub(crate) fn bytes(&mut self, serial: u64, length: usize) -> Vec<u8> {
        let mut bytes = serial.to_le_bytes().to_vec();
        bytes.resize(length.max(8), (serial as u8) ^ 0x5a);
        bytes.truncate(length.max(8));
        bytes
    }
}
