//! Who has the fragments of one blob, and whom to ask next: pure.
//!
//! The order: who is not suspect before who is; data fragments before parity, so that nothing need be computed; among
//! equals the nearest holder first. To rebuild a blob costs less than to wait for a member that is down.
//! A fragment is asked for once. When nothing came for a while, more are asked for than are needed ([`Holders::hedge`]).
//!
//! Not here: asking (`gather.rs`).

use std::collections::BTreeMap;

use bytes::Bytes;
use strongroom_format::code::Code;
use strongroom_format::command::HandedOver;
use strongroom_format::id::{BlobId, Slot};

/// How much farther a suspect member is than any other.
pub const SUSPECT: u32 = 100;

/// A blob that is wanted, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub blob: BlobId,
    /// Its length.
    pub blob_bytes: u32,
    /// Fragments that lie elsewhere than in their own slot.
    pub handed_over: Vec<HandedOver>,
    /// Fragments that lie nowhere.
    pub missing: Vec<u8>,
}

/// A fragment to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which.
    pub index: u8,
    /// Of whom.
    pub slot: Slot,
}

/// What is known of the fragments of one blob.
#[derive(Clone, Debug)]
pub struct Holders {
    k: usize,
    /// Not yet asked for, the next one last.
    unasked: Vec<Ask>,
    /// Asked for and not come.
    open: usize,
    /// Come, by index.
    found: BTreeMap<u8, Bytes>,
}

impl Holders {
    /// Everybody who should have a fragment. `distance` says how far a slot is, [`SUSPECT`] and more of suspect members.
    pub fn new(code: Code, wanted: &Wanted, distance: impl Fn(Slot) -> u32) -> Self {
        let lies_in = |index: u8| {
            let elsewhere = wanted.handed_over.iter().find(|one| one.index == index);
            elsewhere.map_or_else(|| code.slot_of(&wanted.blob, index), |one| one.slot)
        };
        let mut unasked: Vec<Ask> = (0..code.slots())
            .filter(|index| !wanted.missing.contains(index))
            .map(|index| Ask { index, slot: lies_in(index) })
            .filter(|ask| ask.slot.0 < code.slots())
            .collect();
        unasked.sort_by_key(|ask| {
            let far = distance(ask.slot);
            std::cmp::Reverse((SUSPECT <= far, code.k <= ask.index, far, ask.index))
        });
        Self { k: usize::from(code.k), unasked, open: 0, found: BTreeMap::new() }
    }

    /// What to ask for now so that `k` come if all goes well.
    pub fn wants(&mut self) -> Vec<Ask> {
        self.take(self.k.saturating_sub(self.found.len() + self.open))
    }

    /// What to ask for when what was asked for does not come.
    pub fn hedge(&mut self) -> Vec<Ask> {
        self.take(self.k.saturating_sub(self.found.len()))
    }

    /// What to ask for when `k` fragments are here and give no blob: one is wrong, and nobody knows which.
    pub fn one_more(&mut self) -> Vec<Ask> {
        self.take(1)
    }

    /// A fragment came.
    pub fn came(&mut self, index: u8, payload: Bytes) {
        self.open = self.open.saturating_sub(1);
        self.found.insert(index, payload);
    }

    /// A fragment will not come.
    pub fn failed(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// A fragment that came is no good.
    pub fn discard(&mut self, index: u8) {
        self.found.remove(&index);
    }

    /// The fragments that are here, if they are enough.
    pub fn enough(&self) -> Option<Vec<(u8, Bytes)>> {
        (self.k <= self.found.len())
            .then(|| self.found.iter().map(|(index, payload)| (*index, payload.clone())).collect())
    }

    /// Whether nothing more can come.
    pub fn is_exhausted(&self) -> bool {
        self.open == 0 && self.unasked.is_empty()
    }

    fn take(&mut self, count: usize) -> Vec<Ask> {
        let asks: Vec<Ask> = (0..count).map_while(|_| self.unasked.pop()).collect();
        self.open += asks.len();
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: Code = Code { k: 4, m: 2 };

    fn wanted(handed_over: Vec<HandedOver>, missing: Vec<u8>) -> Wanted {
        // Fragment i belongs into slot i.
        Wanted { blob: BlobId::from_bytes([0; 32]), blob_bytes: 1000, handed_over, missing }
    }

    fn indexes(asks: &[Ask]) -> Vec<u8> {
        asks.iter().map(|ask| ask.index).collect()
    }

    #[test]
    fn a_suspect_member_is_asked_last_even_for_data() {
        let far = |slot: Slot| if slot.0 < 2 { SUSPECT + 1 } else { 1 };
        let mut holders = Holders::new(CODE, &wanted(vec![], vec![]), far);
        assert_eq!(indexes(&holders.wants()), [2, 3, 4, 5]);
        assert_eq!(indexes(&holders.hedge()), [0, 1]);
    }

    #[test]
    fn data_is_asked_for_first_nearest_first_and_parity_only_for_what_failed() {
        let far = |slot: Slot| u32::from(10 - slot.0);
        let mut holders = Holders::new(CODE, &wanted(vec![], vec![]), far);
        assert_eq!(indexes(&holders.wants()), [3, 2, 1, 0]);
        assert!(holders.wants().is_empty());
        holders.failed();
        assert_eq!(indexes(&holders.wants()), [5]);
        for index in [3, 2, 1] {
            holders.came(index, Bytes::new());
            assert!(holders.enough().is_none());
        }
        holders.came(5, Bytes::new());
        assert_eq!(holders.enough().unwrap().len(), 4);
    }

    #[test]
    fn handed_over_fragments_are_asked_of_whoever_has_them_and_missing_ones_of_nobody() {
        let wanted = wanted(vec![HandedOver { index: 1, slot: Slot(4) }], vec![0]);
        let mut holders = Holders::new(CODE, &wanted, |_| 0);
        let asks = holders.wants();
        assert_eq!(indexes(&asks), [1, 2, 3, 4]);
        assert_eq!(asks[0].slot, Slot(4));
        holders.failed();
        holders.failed();
        assert_eq!(indexes(&holders.wants()), [5]);
        assert!(!holders.is_exhausted());
        for _ in 0..3 {
            holders.failed();
        }
        assert!(holders.is_exhausted() && holders.enough().is_none());
    }

    #[test]
    fn when_nothing_comes_more_is_asked_for_once() {
        let mut holders = Holders::new(CODE, &wanted(vec![], vec![]), |_| 0);
        assert_eq!(holders.wants().len(), 4);
        holders.came(0, Bytes::new());
        assert_eq!(indexes(&holders.hedge()), [4, 5]);
        assert!(holders.hedge().is_empty());
        assert!(holders.wants().is_empty());
    }

    #[test]
    fn a_fragment_that_is_no_good_is_replaced() {
        let mut holders = Holders::new(CODE, &wanted(vec![], vec![]), |_| 0);
        for ask in holders.wants() {
            holders.came(ask.index, Bytes::new());
        }
        assert_eq!(indexes(&holders.one_more()), [4]);
        holders.came(4, Bytes::new());
        assert_eq!(holders.enough().unwrap().len(), 5);
        holders.discard(2);
        assert_eq!(holders.enough().unwrap().len(), 4);
        holders.discard(1);
        assert!(holders.enough().is_none());
        assert_eq!(indexes(&holders.wants()), [5]);
    }

    #[test]
    fn a_slot_that_the_shard_does_not_have_is_asked_for_nothing() {
        let mut holders = Holders::new(CODE, &wanted(vec![HandedOver { index: 0, slot: Slot(77) }], vec![]), |_| 0);
        assert_eq!(indexes(&holders.wants()), [1, 2, 3, 4]);
    }
}
