//! Where the fragments of one blob go, and where a fragment goes that its slot did not take: pure.
//!
//! ```text
//!   fragment i ─▶ slot (i + blob) mod (k+m) ─ took it ─▶ durable
//!                     └ suspect, late or failed ─▶ another slot ─ … ─▶ durable
//!                                                    └ none is left ─▶ missing
//! ```
//!
//! The rule, in this order, for the slot that takes over (DESIGN.md §3):
//!
//! 1. a member that has no fragment of this blob and expects none; no member takes a second one while another has none;
//! 2. one that would not come to hold more than `m` fragments: its loss alone must not lose the blob;
//! 3. one whose region would not come to hold more than `m`;
//! 4. one of the same region as the slot that failed;
//! 5. the one with the fewest fragments of this blob, then the one whose region has the fewest; then the next by number.
//!
//! Every slot has its own fragment as a rule, so a handed-over one is mostly a second one: it is doubled rather than left
//! out, because `k+m` durable fragments survive more than fewer do. A slot that failed once takes nothing more of this
//! blob. Where none is left, the fragment is *missing*, and [`Handover::is_enough`] says whether the blob may be
//! acknowledged all the same.
//!
//! Not here: sending (`spread.rs`), how long a slot is waited for (`node/peers`, `health.rs`), repair, which brings
//! fragments home.

use strongroom_format::code::{Code, Strength};
use strongroom_format::command::HandedOver;
use strongroom_format::id::{BlobId, RegionName, Slot};

/// The plan for one blob, and what has become of it so far.
#[derive(Clone, Debug)]
pub struct Handover {
    code: Code,
    /// The region of each slot, as a number.
    regions: Vec<usize>,
    /// Slots that take nothing (more) of this blob.
    failed: Vec<bool>,
    fragments: Vec<Fragment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fragment {
    home: Slot,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sent(Slot),
    Durable(Slot),
    Missing,
}

/// A fragment to be sent to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// Which fragment.
    pub index: u8,
    /// Where to.
    pub slot: Slot,
}

impl Handover {
    /// The plan for `blob` in a shard whose slots lie in `regions`; `skip` says which slots are not tried at all.
    ///
    /// # Panics
    ///
    /// If there is not one region a slot: whoever calls has the shard's own members.
    pub fn new(code: Code, blob: &BlobId, regions: &[RegionName], skip: impl Fn(Slot) -> bool) -> (Self, Vec<Send>) {
        assert_eq!(regions.len(), usize::from(code.slots()), "a shard has one member a slot");
        let number = |region| regions.iter().position(|other| other == region).expect("it is one of them");
        let fragments = (0..code.slots())
            .map(|index| {
                let home = code.slot_of(blob, index);
                Fragment { home, state: State::Sent(home) }
            })
            .collect();
        let failed: Vec<bool> = (0..code.slots()).map(|slot| skip(Slot(slot))).collect();
        let mut plan = Self { code, regions: regions.iter().map(number).collect(), failed, fragments };
        // Who stays away is known before anybody is chosen to stand in.
        for index in 0..code.slots() {
            if plan.has_failed(plan.fragments[usize::from(index)].home) {
                plan.fragments[usize::from(index)].state = State::Missing;
            }
        }
        for index in 0..code.slots() {
            if plan.fragments[usize::from(index)].state == State::Missing {
                plan.hand_over(index);
            }
        }
        let sends = (0..code.slots()).filter_map(|index| plan.sent(index)).collect();
        (plan, sends)
    }

    /// The fragment is durable in its slot.
    pub fn durable(&mut self, index: u8) {
        if let State::Sent(slot) = self.fragments[usize::from(index)].state {
            self.fragments[usize::from(index)].state = State::Durable(slot);
        }
    }

    /// The slot did not take the fragment and is not asked again for this blob. Gives the slot to try next, if any.
    pub fn failed(&mut self, index: u8) -> Option<Send> {
        if let State::Sent(slot) = self.fragments[usize::from(index)].state {
            self.failed[usize::from(slot.0)] = true;
        }
        self.hand_over(index);
        self.sent(index)
    }

    /// What lies elsewhere than it should, sorted by index.
    pub fn handed_over(&self) -> Vec<HandedOver> {
        let elsewhere = (0_u8..).zip(&self.fragments).filter_map(|(index, fragment)| match fragment.state {
            State::Durable(slot) if slot != fragment.home => Some(HandedOver { index, slot }),
            State::Durable(_) | State::Sent(_) | State::Missing => None,
        });
        elsewhere.collect()
    }

    /// What lies nowhere, sorted. Meaningful when every fragment has come to an end.
    pub fn missing(&self) -> Vec<u8> {
        let nowhere = (0_u8..).zip(&self.fragments).filter(|(_, fragment)| fragment.durable_in().is_none());
        nowhere.map(|(index, _)| index).collect()
    }

    /// The slots whose own fragment lies elsewhere or nowhere.
    pub fn slots_missed(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self
            .fragments
            .iter()
            .filter(|fragment| fragment.durable_in() != Some(fragment.home))
            .map(|fragment| fragment.home)
            .collect();
        slots.sort_unstable();
        slots
    }

    /// How much more may be lost: of whole regions, and of single members.
    pub fn strength(&self) -> Strength {
        let mut by_slot = vec![0_usize; self.regions.len()];
        let mut by_region = vec![0_usize; self.regions.len()];
        for slot in self.fragments.iter().filter_map(|fragment| fragment.durable_in()) {
            by_slot[usize::from(slot.0)] += 1;
            by_region[self.regions[usize::from(slot.0)]] += 1;
        }
        let k = usize::from(self.code.k);
        Strength { regions: survives(by_region, k), nodes: survives(by_slot, k) }
    }

    /// Whether the blob may be acknowledged: at least one fragment more than it takes to rebuild it, where the code has
    /// any to spare, and the strength that the vault demands. With a region of three down that is no member's loss more
    /// (2+1), which the receipt says: backups go on while the shard has a majority.
    pub fn is_enough(&self, least: Strength) -> bool {
        let durable = self.fragments.iter().filter(|fragment| fragment.durable_in().is_some()).count();
        let strength = self.strength();
        let spare = usize::from(0 < self.code.m);
        usize::from(self.code.k) + spare <= durable
            && least.regions <= strength.regions
            && least.nodes <= strength.nodes
    }

    fn has_failed(&self, slot: Slot) -> bool {
        self.failed[usize::from(slot.0)]
    }

    fn sent(&self, index: u8) -> Option<Send> {
        match self.fragments[usize::from(index)].state {
            State::Sent(slot) => Some(Send { index, slot }),
            State::Durable(_) | State::Missing => None,
        }
    }

    /// Finds the next slot for a fragment, or calls it missing.
    fn hand_over(&mut self, index: u8) {
        let home = self.fragments[usize::from(index)].home;
        self.fragments[usize::from(index)].state = State::Missing;
        let slots = self.code.slots();
        let mut by_slot = vec![0_usize; usize::from(slots)];
        let mut by_region = vec![0_usize; usize::from(slots)];
        for fragment in &self.fragments {
            if let State::Sent(slot) | State::Durable(slot) = fragment.state {
                by_slot[usize::from(slot.0)] += 1;
                by_region[self.regions[usize::from(slot.0)]] += 1;
            }
        }
        let m = usize::from(self.code.m);
        let cost = |slot: &Slot| {
            let (place, region) = (usize::from(slot.0), self.regions[usize::from(slot.0)]);
            let distance = (slot.0 + slots - home.0) % slots;
            (
                by_slot[place] != 0,
                m < by_slot[place] + 1,
                m < by_region[region] + 1,
                region != self.regions[usize::from(home.0)],
                by_slot[place],
                by_region[region],
                distance,
            )
        };
        let next = (0..slots).map(Slot).filter(|slot| !self.has_failed(*slot)).min_by_key(cost);
        if let Some(slot) = next {
            self.fragments[usize::from(index)].state = State::Sent(slot);
        }
    }
}

impl Fragment {
    fn durable_in(&self) -> Option<Slot> {
        match self.state {
            State::Durable(slot) => Some(slot),
            State::Sent(_) | State::Missing => None,
        }
    }
}

/// How many of these holders, whichever they are, may be lost while `k` fragments are left.
fn survives(mut held: Vec<usize>, k: usize) -> u8 {
    held.retain(|count| *count != 0);
    held.sort_unstable_by(|a, b| b.cmp(a));
    let mut left: usize = held.iter().sum();
    let mut lost = 0;
    for count in held {
        left -= count;
        if left < k {
            break;
        }
        lost += 1;
    }
    lost
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Strength = Strength { regions: 0, nodes: 0 };

    fn regions(slots: u8, regions: u8) -> Vec<RegionName> {
        (0..slots).map(|slot| format!("r{}", slot % regions).parse().unwrap()).collect()
    }

    /// Fragment `i` of this blob belongs into slot `i`.
    fn blob() -> BlobId {
        BlobId::from_bytes([0; 32])
    }

    /// Sends everything to slots that fail or not, to the end.
    fn run(code: Code, regions_: &[RegionName], blob: &BlobId, skip: &[u8], fail: &[u8]) -> Handover {
        let (mut plan, sends) = Handover::new(code, blob, regions_, |slot| skip.contains(&slot.0));
        let mut open = sends;
        while let Some(Send { index, slot }) = open.pop() {
            assert!(!skip.contains(&slot.0));
            if fail.contains(&slot.0) { open.extend(plan.failed(index)) } else { plan.durable(index) }
        }
        plan
    }

    #[test]
    fn when_all_are_well_every_fragment_lies_in_its_own_slot_and_the_code_keeps_its_promise() {
        for (code, count, survives) in [
            (Code { k: 4, m: 2 }, 3, Strength { regions: 1, nodes: 2 }),
            (Code { k: 2, m: 1 }, 3, Strength { regions: 1, nodes: 1 }),
            (Code { k: 6, m: 3 }, 3, Strength { regions: 1, nodes: 3 }),
            (Code { k: 3, m: 2 }, 1, Strength { regions: 0, nodes: 2 }),
            (Code { k: 1, m: 0 }, 1, NONE),
        ] {
            let plan = run(code, &regions(code.slots(), count), &blob(), &[], &[]);
            assert!(plan.handed_over().is_empty() && plan.missing().is_empty() && plan.slots_missed().is_empty());
            assert_eq!(plan.strength(), survives, "{code}");
            assert!(plan.is_enough(survives), "{code}");
            assert!(!plan.is_enough(Strength { regions: survives.regions + 1, nodes: 0 }), "{code}");
        }
    }

    #[test]
    fn a_slot_that_is_down_hands_over_within_its_region_and_a_region_may_still_be_lost() {
        let code = Code { k: 4, m: 2 };
        for (skip, fail) in [(vec![1], vec![]), (vec![], vec![1])] {
            let plan = run(code, &regions(6, 3), &blob(), &skip, &fail);
            // Slots 1 and 4 are region r1.
            assert_eq!(plan.handed_over(), [HandedOver { index: 1, slot: Slot(4) }]);
            assert_eq!(plan.slots_missed(), [Slot(1)]);
            assert!(plan.missing().is_empty());
            assert_eq!(plan.strength(), Strength { regions: 1, nodes: 1 });
        }
    }

    #[test]
    fn a_region_that_is_down_is_doubled_in_both_others_and_no_member_alone_can_lose_the_blob() {
        let plan = run(Code { k: 4, m: 2 }, &regions(6, 3), &blob(), &[2, 5], &[]);
        let slots: Vec<u8> = plan.handed_over().iter().map(|one| one.slot.0).collect();
        assert_eq!(plan.handed_over().len(), 2);
        assert_ne!(slots[0], slots[1], "two members take one each");
        assert_ne!(slots[0] % 3, slots[1] % 3, "one in each region that is left");
        assert!(plan.missing().is_empty());
        assert_eq!(plan.strength(), Strength { regions: 0, nodes: 1 });
        assert!(plan.is_enough(NONE));
        assert!(!plan.is_enough(Strength { regions: 1, nodes: 0 }));
    }

    #[test]
    fn three_slots_go_on_with_one_down_and_say_that_nothing_more_may_be_lost() {
        let plan = run(Code { k: 2, m: 1 }, &regions(3, 3), &blob(), &[0], &[]);
        assert!(plan.missing().is_empty());
        assert_eq!(plan.strength(), NONE);
        assert!(plan.is_enough(NONE));
        assert!(!plan.is_enough(Strength { regions: 0, nodes: 1 }));
    }

    #[test]
    fn what_no_slot_took_is_missing_and_never_acknowledged() {
        let nobody = run(Code { k: 4, m: 2 }, &regions(6, 3), &blob(), &[], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(nobody.missing(), [0, 1, 2, 3, 4, 5]);
        assert!(!nobody.is_enough(NONE));
        let single = run(Code { k: 1, m: 0 }, &regions(1, 1), &blob(), &[], &[0]);
        assert_eq!(single.missing(), [0]);
        assert!(!single.is_enough(NONE));
    }

    #[test]
    fn a_member_that_has_none_goes_before_a_member_of_the_same_region_that_has_one() {
        // Slot 4 fails late; slot 1 (its region) has a fragment, and so has everyone else: it stays in the region. When
        // slot 0's fragment had been handed to nobody yet, an empty slot is taken first.
        let code = Code { k: 4, m: 2 };
        let (mut plan, _) = Handover::new(code, &blob(), &regions(6, 3), |_| false);
        assert_eq!(plan.failed(4), Some(Send { index: 4, slot: Slot(1) }));
        // Slot 1 fails for its own fragment: both fragments 1 and 4 need a place and slots 0, 2, 3, 5 have one each.
        assert_eq!(plan.failed(1).map(|send| send.index), Some(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_fails_every_fragment_ends_and_none_lies_in_a_slot_that_failed(
            (code, count) in prop::sample::select(vec![
                (Code { k: 1, m: 0 }, 1), (Code { k: 2, m: 1 }, 3), (Code { k: 4, m: 2 }, 3),
                (Code { k: 6, m: 3 }, 3), (Code { k: 3, m: 2 }, 1),
            ]),
            bytes in any::<[u8; 32]>(),
            skip in prop::collection::vec(0_u8..9, 0..4),
            fail in prop::collection::vec(0_u8..9, 0..4),
        ) {
            let blob = BlobId::from_bytes(bytes);
            let plan = run(code, &regions(code.slots(), count), &blob, &skip, &fail);
            let down = |slot: u8| skip.contains(&slot) || fail.contains(&slot);
            let well = (0..code.slots()).filter(|slot| !down(*slot)).count();
            prop_assert_eq!(plan.missing().is_empty(), well != 0);
            let mut held = vec![0_usize; usize::from(code.slots())];
            for index in 0..code.slots() {
                if let Some(slot) = plan.fragments[usize::from(index)].durable_in() {
                    prop_assert!(!down(slot.0));
                    held[usize::from(slot.0)] += 1;
                }
            }
            // Nobody has two while somebody who is well has none.
            if held.iter().any(|count| 2 <= *count) {
                prop_assert!((0..code.slots()).all(|slot| down(slot) || held[usize::from(slot)] != 0));
            }
            prop_assert!(plan.handed_over().is_sorted_by(|a, b| a.index < b.index));
            prop_assert_eq!(plan.is_enough(NONE), well != 0);
        }
    }
}
