//! The tenant's audit log, as this machine believes it: checkpoints that voters signed, each a continuation of the one
//! before, and leaves that add up to one.
//!
//! ```text
//!   what was believed last (state.rs) ─▶ ask from there ─▶ signed by a majority of the voters that are known?
//!                                                          longer or equal, and proved to continue it? ─▶ believed now
//!   leaves ─hash─▶ frontier ─proof─▶ root of the checkpoint: only then shown
//! ```
//!
//! Promises: a log that is shorter than what was believed, or another one, is refused with `ROLLBACK_DETECTED` (N135, N91);
//! voters are taken on first use, and others only from a checkpoint that names them and that a majority of the known ones
//! has signed; a listing that lacks a snapshot for which there is a receipt is refused too, because nothing can be removed.
//! Not here: receipts of snapshots (`backup/proof.rs`), files (`state.rs`).

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::id::{ClusterEpoch, GroupId, SnapshotId, TenantTag, VaultId};
use strongroom_format::merkle::{self, Frontier, MerkleHash, Salt};
use strongroom_format::receipt::{AuditRecord, SignedCheckpoint};
use strongroom_proto::v1 as pb;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::state::Noted;

/// Leaves in one answer.
const PAGE: u32 = 1000;
/// So often other processes of this machine may believe something else in the meantime.
const ROUNDS: usize = 16;

/// From where on leaves are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From this leaf on; 0: all.
    Leaf(u64),
    /// From this moment on, in milliseconds since 1970, by the wall clocks of the nodes.
    UnixMs(i64),
}

/// A leaf that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its number.
    pub index: u64,
    /// What happened.
    pub record: AuditRecord,
}

/// Whose log it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub cluster: ClusterEpoch,
    pub group: GroupId,
    pub tenant: TenantTag,
}

/// Why a checkpoint is not believed.
#[derive(Debug)]
pub(crate) enum Disbelief {
    /// Too few of the voters that are known have signed it; the others may have been replaced.
    OtherVoters,
    /// It is refused.
    Refused(Error),
}

/// Whether a checkpoint is signed by those who may, about this log.
pub(crate) fn judge(
    whose: &Whose,
    known: Option<&SignedCheckpoint>,
    new: &SignedCheckpoint,
) -> std::result::Result<(), Disbelief> {
    let refused = |error| Err(Disbelief::Refused(error));
    let said = Whose { cluster: new.checkpoint.cluster, group: new.checkpoint.group, tenant: new.checkpoint.tenant };
    if said != *whose {
        return refused(Error::provenance("the checkpoint is about another log than the tenant's"));
    }
    if let Err(fault) = new.verify() {
        return refused(Error::provenance(format_args!("a checkpoint of the tenant's log: {fault}")));
    }
    let Some(known) = known else { return Ok(()) };
    if known.checkpoint.cluster != new.checkpoint.cluster {
        return refused(rollback("the cluster began a new epoch: what this machine knows is of the one before"));
    }
    if known.voters.signed(&new.checkpoint, &new.signatures) < known.voters.majority() {
        return Err(Disbelief::OtherVoters);
    }
    Ok(())
}

/// Whether the larger of two checkpoints continues the smaller one.
pub(crate) fn link(one: &SignedCheckpoint, other: &SignedCheckpoint, proof: &[MerkleHash]) -> Result<()> {
    let (old, new) = match one.checkpoint.size <= other.checkpoint.size {
        true => (&one.checkpoint, &other.checkpoint),
        false => (&other.checkpoint, &one.checkpoint),
    };
    if old.size == new.size {
        return match old.root == new.root {
            true => Ok(()),
            false => Err(rollback(format_args!("the tenant's log with {} leaves has two roots", old.size))),
        };
    }
    if old.size == 0 {
        return Ok(());
    }
    merkle::verify_consistency(old.size, new.size, &old.root, &new.root, proof).map_err(|_| {
        rollback(format_args!(
            "the tenant's log with {} leaves is no continuation of the one with {} that this machine has seen",
            new.size, old.size
        ))
    })
}

fn rollback(message: impl std::fmt::Display) -> Error {
    Error::refused(
        "FAILED_PRECONDITION",
        "ROLLBACK_DETECTED",
        message,
        "do not trust this answer: keep the state directory as evidence, ask through another node, compare with \
         other machines of the tenant, and tell whoever runs the cluster",
    )
}

/// Refuses a listing that lacks a snapshot for which there is a receipt (N135), unless the tenant's log proves that it has
/// ended.
pub(crate) async fn require_listed(
    client: &Client,
    vault: VaultId,
    label: &str,
    listed: impl Fn(SnapshotId) -> bool,
) -> Result<()> {
    let wanted = |noted: &&Noted| {
        noted.vault == vault && noted.by == *client.identity() && (label.is_empty() || noted.label.as_str() == label)
    };
    let receipts = client.0.state.receipts()?;
    for hidden in receipts.iter().filter(wanted).filter(|noted| !listed(noted.snapshot)) {
        if !client.has_ended(hidden.snapshot).await? {
            return Err(rollback(format_args!(
                "the listing lacks snapshot {}, for which this machine has a receipt",
                hidden.snapshot
            )));
        }
    }
    Ok(())
}

/// What "there is no such snapshot" means: it has ended, as the tenant's log proves; or it is hidden, where there is a
/// receipt for it; or there is none.
pub(crate) async fn not_hidden(client: &Client, snapshot: SnapshotId, error: Error) -> Error {
    if error.reason() != Some("NOT_FOUND") {
        return error;
    }
    match client.ended(snapshot).await {
        Ok(ended) => {
            return Error::refused(
                "NOT_FOUND",
                "ENDED",
                format_args!("snapshot {snapshot} was ended by {}: {}", ended.by, ended.reason),
                "choose another one: `strongroom snapshots` lists what is there",
            );
        }
        Err(fault) if matches!(fault.reason(), Some("NOT_FOUND" | "NOT_ENDED")) => {}
        Err(fault) => return fault,
    }
    match client.0.state.receipts() {
        Ok(receipts) if receipts.iter().any(|noted| noted.snapshot == snapshot && noted.by == *client.identity()) => {
            rollback(format_args!("the node does not show snapshot {snapshot}, for which this machine has a receipt"))
        }
        Ok(_) => no_such_snapshot(&snapshot),
        Err(damaged) => damaged,
    }
}

/// There is none, or it is not the caller's: both look the same (N20). What was asked for is said: whoever asked knows it.
pub(crate) fn no_such_snapshot(which: &dyn std::fmt::Display) -> Error {
    Error::refused(
        "NOT_FOUND",
        "NOT_FOUND",
        format_args!("there is no snapshot {which}, or it is not yours"),
        "`strongroom snapshots` lists what you see",
    )
}

/// The hashes of a proof.
pub(crate) fn hashes(proof: &[Bytes]) -> Result<Vec<MerkleHash>> {
    let hash = |bytes: &Bytes| <[u8; 32]>::try_from(&bytes[..]).map(MerkleHash);
    proof.iter().map(hash).collect::<std::result::Result<_, _>>().map_err(|_| Error::broken("a proof does not read"))
}

impl Client {
    /// Looks at the tenant's log as it is now, and believes it or refuses.
    pub(crate) async fn look_at_log(&self) -> Result<SignedCheckpoint> {
        let known = self.0.state.log()?;
        let old_size = known.as_ref().map_or(0, |known| known.checkpoint.size);
        let (new, proof) = self.ask_checkpoint(old_size, 0, false).await?;
        self.believe(known, &new, proof).await?;
        Ok(new)
    }

    /// Believes a checkpoint that was asked for when `asked_from` was known, or refuses.
    ///
    /// # Errors
    /// `Refused` with `ROLLBACK_DETECTED` for an older or another log, `UNAVAILABLE/VOTERS_CHANGED` if too few of the known
    /// voters have signed it, `PROVENANCE_INVALID` for one that proves nothing.
    pub(crate) async fn believe(
        &self,
        asked_from: Option<SignedCheckpoint>,
        new: &SignedCheckpoint,
        proof: Vec<MerkleHash>,
    ) -> Result<()> {
        if let Some(known) = &asked_from
            && new.checkpoint.size < known.checkpoint.size
        {
            return Err(rollback(format_args!(
                "the tenant's log has {} leaves, fewer than the {} that this machine has seen",
                new.checkpoint.size, known.checkpoint.size
            )));
        }
        let whose = self.whose();
        let (mut known, mut proof) = (asked_from, proof);
        let mut has_asked_all = false;
        for _round in 0..ROUNDS {
            match judge(&whose, known.as_ref(), new) {
                Ok(()) => {}
                Err(Disbelief::Refused(error)) => return Err(error),
                Err(Disbelief::OtherVoters) if has_asked_all => return Err(other_voters()),
                Err(Disbelief::OtherVoters) => {
                    has_asked_all = true;
                    known = self.meet_new_voters(&whose, known).await?;
                    proof = self.proof_between(known.as_ref(), new).await?;
                    continue;
                }
            }
            if let Some(known) = &known {
                link(known, new, &proof)?;
            }
            match self.0.state.advance_log(known.as_ref(), new)? {
                Ok(()) => return Ok(()),
                // Another process of this machine was faster: what it believed must go with this one.
                Err(current) => {
                    proof = self.proof_between(current.as_ref(), new).await?;
                    known = current;
                }
            }
        }
        Err(Error::broken("what this machine knows of the tenant's log changes without end"))
    }

    /// The leaves of the tenant's log, each shown only after it was proved. Returns how many there are in all.
    ///
    /// # Errors
    /// `Refused` with `ROLLBACK_DETECTED` if the leaves are not those of the signed log; with `ROLE` for other roles than
    /// auditor and admin; and what `show` returns.
    pub async fn audit(&self, since: Since, mut show: impl FnMut(Leaf) -> Result<()>) -> Result<u64> {
        let checkpoint = self.look_at_log().await?.checkpoint;
        let mut frontier = Frontier::default();
        while frontier.size() < checkpoint.size {
            let request = pb::ListAuditRequest { from: frontier.size(), limit: PAGE, size: checkpoint.size };
            let reply =
                self.read(self.topology().home, |mut vaults| async move { vaults.list_audit(request).await }).await?;
            let mut page = Vec::with_capacity(reply.leaves.len());
            for leaf in reply.leaves {
                if leaf.index != frontier.size() || checkpoint.size <= leaf.index {
                    return Err(rollback(format_args!("leaf {} of the tenant's log is missing", frontier.size())));
                }
                let salt = <[u8; 16]>::try_from(&leaf.salt[..]).map_err(|_| Error::broken("a salt does not read"))?;
                frontier.append(merkle::leaf_hash(&Salt(salt), &leaf.record));
                page.push(Leaf { index: leaf.index, record: codec::decode(&leaf.record)? });
            }
            if page.is_empty() {
                return Err(rollback(format_args!("leaf {} of the tenant's log is missing", frontier.size())));
            }
            let (here, root) = (frontier.size(), frontier.root());
            let holds = match here == checkpoint.size {
                true => root == checkpoint.root,
                false => {
                    let proof = hashes(&reply.consistency)?;
                    merkle::verify_consistency(here, checkpoint.size, &root, &checkpoint.root, &proof).is_ok()
                }
            };
            if !holds {
                return Err(rollback(format_args!("the leaves before {here} are not those of the signed log")));
            }
            let wanted = |leaf: &Leaf| match since {
                Since::Leaf(from) => from <= leaf.index,
                Since::UnixMs(from) => from <= leaf.record.wall_unix_ms,
            };
            page.into_iter().filter(wanted).try_for_each(&mut show)?;
        }
        Ok(checkpoint.size)
    }

    pub(crate) fn whose(&self) -> Whose {
        let topology = self.topology();
        Whose { cluster: topology.cluster, group: topology.home, tenant: topology.founding.tag }
    }

    /// Learns from the known voters who has taken others' places.
    async fn meet_new_voters(
        &self,
        whose: &Whose,
        known: Option<SignedCheckpoint>,
    ) -> Result<Option<SignedCheckpoint>> {
        let old_size = known.as_ref().map_or(0, |known| known.checkpoint.size);
        let (later, proof) = self.ask_checkpoint(old_size, 0, true).await?;
        match judge(whose, known.as_ref(), &later) {
            Ok(()) => {}
            Err(Disbelief::Refused(error)) => return Err(error),
            Err(Disbelief::OtherVoters) => return Err(other_voters()),
        }
        if let Some(known) = &known {
            if later.checkpoint.size < known.checkpoint.size {
                return Err(rollback("the tenant's log has fewer leaves than this machine has seen"));
            }
            link(known, &later, &proof)?;
        }
        match self.0.state.advance_log(known.as_ref(), &later)? {
            Ok(()) => Ok(Some(later)),
            Err(current) => Ok(current),
        }
    }

    /// The proof between two checkpoints, whichever is larger.
    async fn proof_between(&self, known: Option<&SignedCheckpoint>, new: &SignedCheckpoint) -> Result<Vec<MerkleHash>> {
        let Some(known) = known else { return Ok(Vec::new()) };
        let (one, other) = (known.checkpoint.size, new.checkpoint.size);
        if one == other || one.min(other) == 0 {
            return Ok(Vec::new());
        }
        Ok(self.ask_checkpoint(one.min(other), one.max(other), false).await?.1)
    }

    async fn ask_checkpoint(
        &self,
        old_size: u64,
        size: u64,
        all_voters: bool,
    ) -> Result<(SignedCheckpoint, Vec<MerkleHash>)> {
        let request = pb::GetCheckpointRequest { old_size, size, all_voters };
        let reply =
            self.read(self.topology().home, |mut vaults| async move { vaults.get_checkpoint(request).await }).await?;
        Ok((codec::decode(&reply.checkpoint)?, hashes(&reply.consistency)?))
    }
}

/// Nothing is believed meanwhile. Mostly it passes: voters that are behind, or were replaced a moment ago, sign soon.
fn other_voters() -> Error {
    Error::refused(
        "UNAVAILABLE",
        "VOTERS_CHANGED",
        "too few of the voters that this machine knows have signed the tenant's log yet",
        "try again in a moment; if it stays so, ask whoever runs the cluster who votes in the tenant's home shard: if most \
         were replaced since this machine last looked, compare `log` in the state directory of another machine, then \
         remove it here",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use strongroom_format::id::{Digest, ReplicaId};
    use strongroom_format::merkle::NodeAt;
    use strongroom_format::receipt::{Checkpoint, Voters};
    use strongroom_format::sign::SigningKey;

    use super::*;

    const WHOSE: Whose =
        Whose { cluster: ClusterEpoch::from_bytes([1; 16]), group: GroupId(1), tenant: TenantTag::from_bytes([2; 16]) };

    fn key(n: u64) -> SigningKey {
        let n = u8::try_from(n).unwrap();
        SigningKey::from_secret(std::array::from_fn(|at| n.wrapping_add(u8::try_from(at).unwrap()))).unwrap()
    }

    fn voters(names: &[u64]) -> Voters {
        Voters { keys: names.iter().map(|n| (ReplicaId(*n), key(*n).public_key())).collect() }
    }

    /// A log whose leaves are numbers; from `fork` on they are others.
    struct Log {
        frontier: Frontier,
        subtrees: BTreeMap<NodeAt, MerkleHash>,
    }

    impl Log {
        fn of(size: u64, fork: u64) -> Self {
            let mut log = Self { frontier: Frontier::default(), subtrees: BTreeMap::new() };
            for n in 0..size {
                let salt = if n < fork { 0 } else { 1 };
                let leaf = merkle::leaf_hash(&Salt([salt; 16]), &n.to_le_bytes());
                log.subtrees.extend(log.frontier.append(leaf));
            }
            log
        }

        fn consistency(&self, old: u64) -> Vec<MerkleHash> {
            let read = |at: NodeAt| self.subtrees.get(&at).copied().ok_or(());
            merkle::consistency_proof(old, self.frontier.size(), read).unwrap()
        }
    }

    fn signed(log: &Log, voters: &Voters, by: &[u64]) -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            cluster: WHOSE.cluster,
            group: WHOSE.group,
            tenant: WHOSE.tenant,
            size: log.frontier.size(),
            root: log.frontier.root(),
            log_index: log.frontier.size(),
            voters: voters.digest(),
        };
        let signatures = by.iter().map(|n| checkpoint.sign(ReplicaId(*n), &key(*n))).collect();
        SignedCheckpoint { checkpoint, voters: voters.clone(), signatures }
    }

    fn reason(told: Result<()>) -> Option<String> {
        told.err().and_then(|error| error.reason().map(str::to_owned))
    }

    #[test]
    fn n135_an_older_or_another_log_is_refused() {
        let set = voters(&[1, 2, 3]);
        let (seen, longer) = (Log::of(5, 99), Log::of(9, 99));
        let known = signed(&seen, &set, &[1, 2]);
        let new = signed(&longer, &set, &[2, 3]);
        assert!(judge(&WHOSE, Some(&known), &new).is_ok());
        assert!(link(&known, &new, &longer.consistency(5)).is_ok());
        // Signed by a majority and longer, but no continuation.
        let other = Log::of(9, 3);
        let forked = signed(&other, &set, &[1, 2, 3]);
        assert_eq!(reason(link(&known, &forked, &other.consistency(5))).as_deref(), Some("ROLLBACK_DETECTED"));
        assert_eq!(reason(link(&known, &new, &[])).as_deref(), Some("ROLLBACK_DETECTED"), "a proof that is left out");
    }

    #[test]
    fn n91_one_size_has_one_root() {
        let set = voters(&[1, 2, 3]);
        let known = signed(&Log::of(5, 99), &set, &[1, 2]);
        assert!(link(&known, &signed(&Log::of(5, 99), &set, &[2, 3]), &[]).is_ok());
        let other = signed(&Log::of(5, 2), &set, &[1, 2, 3]);
        assert_eq!(reason(link(&known, &other, &[])).as_deref(), Some("ROLLBACK_DETECTED"));
    }

    #[test]
    fn n134_what_a_majority_of_the_known_voters_has_not_signed_is_not_believed() {
        let set = voters(&[1, 2, 3, 4, 5]);
        let log = Log::of(5, 99);
        let known = signed(&log, &set, &[1, 2, 3]);
        let few = signed(&log, &set, &[1, 2]);
        assert!(matches!(judge(&WHOSE, Some(&known), &few), Err(Disbelief::Refused(_))));
        assert!(matches!(judge(&WHOSE, None, &few), Err(Disbelief::Refused(_))), "on first use neither");
        // A node that makes up voters of its own, even beside all of the known ones, finds nobody who signs for them.
        let crowd = voters(&[1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16]);
        let made_up = signed(&log, &crowd, &[11, 12, 13, 14, 15, 16]);
        assert!(matches!(judge(&WHOSE, Some(&known), &made_up), Err(Disbelief::OtherVoters)));
        // Two of five were replaced, and the three that are left have signed who came.
        let changed = voters(&[1, 2, 3, 6, 7]);
        assert!(judge(&WHOSE, Some(&known), &signed(&log, &changed, &[1, 2, 3])).is_ok());
        assert!(matches!(
            judge(&WHOSE, Some(&known), &signed(&log, &changed, &[1, 6, 7])),
            Err(Disbelief::OtherVoters)
        ));
        // Voters that are not those of the signed checkpoint.
        let mut swapped = signed(&log, &set, &[1, 2, 3]);
        swapped.voters = crowd;
        assert!(matches!(judge(&WHOSE, Some(&known), &swapped), Err(Disbelief::Refused(_))));
    }

    #[test]
    fn a_checkpoint_of_another_log_is_refused() {
        let set = voters(&[1, 2, 3]);
        let good = signed(&Log::of(5, 99), &set, &[1, 2]);
        for whose in [
            Whose { cluster: ClusterEpoch::from_bytes([9; 16]), ..WHOSE },
            Whose { group: GroupId(9), ..WHOSE },
            Whose { tenant: TenantTag::from_bytes([9; 16]), ..WHOSE },
        ] {
            assert!(matches!(judge(&whose, None, &good), Err(Disbelief::Refused(_))));
        }
        assert_ne!(set.digest(), Digest::from_bytes([0; 32]));
    }
}
