//! Majority: a majority of a group's voters signs what the group says of itself, for another group that must believe it.
//!
//! ```text
//!   electorate, as the other group goes by it ─▶ each of its nodes: sign these (attest.rs) ─▶ good ones, a majority
//!                                                         └ as many as a majority needs say no ─▶ it is not so
//! ```
//!
//! Voters are asked all at once, for all claims at once, and have applied what the group's leader had when it was asked. A
//! voter is its key: who was rebuilt signs for the id under which the other group still knows its node. Promises: what is
//! handed out has a majority's good signatures, sorted by replica id. What it is worth, `apply` says. Not here: proposing
//! (`propose.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use strongroom_core::claims::{Claim, Claims, Statement};
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_core::query::{Answer, Query};
use strongroom_format::codec;
use strongroom_format::command::{Attested, MemberSignature};
use strongroom_format::id::{GroupId, NodeName, PublicKey, ReplicaId, Signature};
use strongroom_peers::message::ClaimsWanted;
use tokio::time::Instant;

use crate::attest::Attestor;
use crate::reads::Reads;
use crate::route::Route;
use crate::sign::in_doubt;

/// Voters have at most so long to sign; then whoever needs it asks again.
const SIGN_WITHIN: Duration = Duration::from_secs(4);

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A majority signed it.
    Signed(Vec<MemberSignature>),
    /// So many voters say that it is not so that a majority cannot sign it.
    NotSo,
    /// Too few voters answered, or the other group does not know them yet: ask again.
    Silence,
}

/// How new what the other group knows of voters must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// This node's replica's word will do.
    Near,
    /// At the read index: what was near did not do.
    Newest,
}

/// Collects. Clones are the same.
#[derive(Clone)]
pub struct Majority {
    route: Route,
    reads: Reads,
    attestor: Attestor,
}

impl Majority {
    /// Over a route; this node's own signatures come from `attestor`.
    pub fn new(route: Route, attestor: Attestor) -> Self {
        Self { reads: Reads::new(route.clone()), route, attestor }
    }

    /// What group `to` will believe of these claims, one answer a claim, in order.
    pub async fn collect(&self, to: GroupId, claims: &[Claim], known: Known, within: Duration) -> Vec<Word> {
        let mut words = vec![Word::Silence; claims.len()];
        let groups: BTreeSet<GroupId> = claims.iter().map(Claim::by).collect();
        let rounds = groups.into_iter().map(async |by| {
            let of: Vec<usize> = (0..claims.len()).filter(|at| claims[*at].by() == by).collect();
            let asked = of.iter().map(|at| claims[*at].clone()).collect();
            (of, self.of_group(to, by, asked, known, within).await)
        });
        for (of, answers) in futures_util::future::join_all(rounds).await {
            for (at, answer) in of.into_iter().zip(answers) {
                words[at] = answer;
            }
        }
        words
    }

    /// One claim as group `to` will believe it.
    pub async fn attested<T: Clone + Into<Claim>>(
        &self,
        to: GroupId,
        value: T,
        within: Duration,
    ) -> Option<Attested<T>> {
        let words = self.collect(to, &[value.clone().into()], Known::Newest, within).await;
        match words.into_iter().next() {
            Some(Word::Signed(signatures)) => Some(Attested { value, signatures }),
            Some(Word::NotSo | Word::Silence) | None => None,
        }
    }

    /// Those of some claims that group `to` will believe, as commands to it.
    pub async fn attested_all<T: Clone + Into<Claim>>(
        &self,
        to: GroupId,
        values: Vec<T>,
        command: fn(Attested<T>) -> NodeCommand,
        within: Duration,
    ) -> Vec<EntryCommand> {
        let claims: Vec<Claim> = values.iter().cloned().map(Into::into).collect();
        let words = self.collect(to, &claims, Known::Newest, within).await;
        let signed = values.into_iter().zip(words).filter_map(|(value, word)| match word {
            Word::Signed(signatures) => Some(EntryCommand::Node(command(Attested { value, signatures }))),
            Word::NotSo | Word::Silence => None,
        });
        signed.collect()
    }

    /// Who votes in group `by`, as group `to` goes by it; `None`: it was not told, or it cannot be asked.
    pub async fn electorate(&self, to: GroupId, by: GroupId, known: Known, within: Duration) -> Option<Electorate> {
        let query = Query::Electorate { of: by };
        let answer = match known {
            Known::Near => {
                let is_there = |answer: &Answer| matches!(answer, Answer::Electorate(_));
                self.reads.near(to, &query, within, is_there).await
            }
            Known::Newest => self.reads.linearizable(to, &query, within).await,
        };
        match answer {
            Ok(Answer::Electorate(electorate)) => Some(electorate),
            Ok(_) | Err(_) => None,
        }
    }

    async fn of_group(
        &self,
        to: GroupId,
        by: GroupId,
        claims: Vec<Claim>,
        known: Known,
        within: Duration,
    ) -> Vec<Word> {
        // Nobody waits for a group that a caller made up.
        if by != GroupId::CLUSTER && self.route.topology.shard(by).is_none() {
            return vec![Word::NotSo; claims.len()];
        }
        match self.electorate(to, by, known, within).await {
            Some(electorate) => self.ask(&electorate, &claims, within).await,
            None => vec![Word::Silence; claims.len()],
        }
    }

    /// What these voters sign, one answer a claim, in order.
    pub async fn ask(&self, electorate: &Electorate, claims: &[Claim], within: Duration) -> Vec<Word> {
        let parts = claims.chunks(Claims::MAX).map(|claims| self.ask_at_once(electorate, claims.to_vec(), within));
        futures_util::future::join_all(parts).await.concat()
    }

    async fn ask_at_once(&self, electorate: &Electorate, claims: Vec<Claim>, within: Duration) -> Vec<Word> {
        let (by, count) = (electorate.group, claims.len());
        let view = match self.reads.linearizable(by, &Query::Group, within).await {
            Ok(Answer::Group(view)) => view,
            Ok(_) | Err(_) => return vec![Word::Silence; count],
        };
        let doubted = in_doubt(&view);
        let doubted: BTreeSet<PublicKey> = view
            .voters
            .iter()
            .filter(|voter| doubted.contains(&voter.replica))
            .map(|voter| voter.signing_key)
            .collect();
        let epoch = electorate.epoch;
        let bytes = Bytes::from(codec::encode(&Claims { claims: claims.clone() }));
        let statements: Vec<Statement> = claims.into_iter().map(|claim| Statement { epoch, by, claim }).collect();
        let node_of: BTreeMap<PublicKey, NodeName> = {
            let topology = self.route.topology.now();
            topology.nodes.iter().map(|(name, place)| (place.signing_key, name.clone())).collect()
        };
        let (needed, of) = (electorate.voters.majority(), electorate.voters.keys.len());
        let voters = electorate.voters.keys.iter().filter(|(_, key)| !doubted.contains(key));
        let within = within.min(SIGN_WITHIN);
        let mut asked: FuturesUnordered<_> = voters
            .filter_map(|(replica, key)| {
                let wanted = ClaimsWanted { group: by, log_index: view.applied, claims: bytes.clone() };
                let claims = &statements;
                node_of.get(key).map(|node| async move { (*replica, self.one(node, wanted, claims, within).await) })
            })
            .collect();
        let mut tallies = vec![Tally::default(); count];
        let until = Instant::now() + within;
        while tallies.iter().any(|tally| !tally.is_decided(needed, of)) {
            let Ok(Some((replica, answer))) = tokio::time::timeout_at(until, asked.next()).await else { break };
            let Some(signatures) = answer.filter(|signatures| signatures.len() == count) else { continue };
            for ((tally, statement), signature) in tallies.iter_mut().zip(&statements).zip(signatures) {
                tally.count(electorate, statement, replica, signature);
            }
        }
        tallies.into_iter().map(|tally| tally.word(needed, of)).collect()
    }

    async fn one(
        &self,
        node: &NodeName,
        wanted: ClaimsWanted,
        statements: &[Statement],
        within: Duration,
    ) -> Option<Vec<Option<Signature>>> {
        if *node == self.route.me {
            let claims = statements.iter().map(|statement| statement.claim.clone()).collect();
            return self.attestor.sign(wanted.group, wanted.log_index, claims, within).await.ok();
        }
        let signed = self.route.peers.sign_claims(node, wanted, within).await;
        signed.inspect_err(|fault| tracing::debug!(%node, %fault, "a voter signs no claims")).ok()
    }
}

/// What voters said of one claim.
#[derive(Clone, Debug, Default)]
struct Tally {
    signatures: BTreeMap<ReplicaId, MemberSignature>,
    no: usize,
}

impl Tally {
    fn count(&mut self, by: &Electorate, statement: &Statement, replica: ReplicaId, signature: Option<Signature>) {
        match signature.map(|signature| statement.counted(by, replica, signature)) {
            Some(Some(good)) => drop(self.signatures.insert(replica, good)),
            Some(None) => tracing::warn!(replica = replica.0, "a voter signed something else"),
            None => self.no += 1,
        }
    }

    fn is_decided(&self, needed: usize, of: usize) -> bool {
        needed <= self.signatures.len() || of < needed + self.no
    }

    fn word(self, needed: usize, of: usize) -> Word {
        if needed <= self.signatures.len() {
            return Word::Signed(self.signatures.into_values().take(needed).collect());
        }
        if of < needed + self.no { Word::NotSo } else { Word::Silence }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::entry::Filled;
    use strongroom_format::id::{ClusterEpoch, Slot};
    use strongroom_format::receipt::Voters;
    use strongroom_format::sign::SigningKey;

    use super::*;

    fn key(of: u64) -> SigningKey {
        let mut secret = [7; 32];
        secret[0] = u8::try_from(of).unwrap();
        SigningKey::from_secret(secret).unwrap()
    }

    fn three() -> (Electorate, Statement) {
        let epoch = ClusterEpoch::from_bytes([1; 16]);
        let voters = Voters { keys: [1, 2, 3].map(|of| (ReplicaId(of), key(of).public_key())).into() };
        let electorate = Electorate { epoch, group: GroupId(1), version: 3, voters };
        let claim = Filled { group: GroupId(1), slot: Slot(0), to: ReplicaId(9) }.into();
        (electorate, Statement { epoch, by: GroupId(1), claim })
    }

    #[test]
    fn a_majority_signs_and_as_many_as_it_needs_say_no() {
        let (electorate, statement) = three();
        let mut tally = Tally::default();
        tally.count(&electorate, &statement, ReplicaId(3), Some(statement.sign(&key(3))));
        assert!(!tally.is_decided(2, 3));
        assert_eq!(tally.clone().word(2, 3), Word::Silence);
        let mut no = tally.clone();
        no.count(&electorate, &statement, ReplicaId(1), None);
        assert!(!no.is_decided(2, 3), "two of three may still sign");
        no.count(&electorate, &statement, ReplicaId(2), None);
        assert_eq!((no.is_decided(2, 3), no.word(2, 3)), (true, Word::NotSo));
        tally.count(&electorate, &statement, ReplicaId(1), Some(statement.sign(&key(1))));
        tally.count(&electorate, &statement, ReplicaId(2), Some(statement.sign(&key(2))));
        let Word::Signed(signatures) = tally.word(2, 3) else { panic!() };
        assert_eq!(signatures.iter().map(|one| one.replica.0).collect::<Vec<_>>(), [1, 2], "sorted, a bare majority");
    }

    #[test]
    fn a_signature_that_is_not_good_counts_for_nothing() {
        let (electorate, statement) = three();
        let mut tally = Tally::default();
        let other = Statement { epoch: ClusterEpoch::from_bytes([2; 16]), ..statement.clone() };
        tally.count(&electorate, &statement, ReplicaId(1), Some(other.sign(&key(1))));
        tally.count(&electorate, &statement, ReplicaId(2), Some(statement.sign(&key(1))));
        tally.count(&electorate, &statement, ReplicaId(9), Some(statement.sign(&key(9))));
        assert_eq!((tally.is_decided(2, 3), tally.word(2, 3)), (false, Word::Silence));
    }
}
