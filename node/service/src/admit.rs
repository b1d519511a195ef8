//! Worker *admit*: a replica that starts asks the other voters what they know of it before it votes (DESIGN.md §6), and
//! what this node knows of others' replicas.
//!
//! ```text
//!   started ─▶ every other voter: how far was I durable? ─▶ it and those who answered: a majority?
//!                  ▲ again, until then                        ├ somebody knows more than the own log has ─▶ lost
//!                  └──────────────────────────────────────────┴ nobody does ─▶ admitted; founded, if the group is new
//!   admitted ┬▶ those who have not answered are asked on ─▶ somebody knows more than the own log has ─▶ lost
//!            └▶ the cluster map has changed ─▶ told its members again: a new one may lead before the own log names it
//! ```
//!
//! Promises: until it is admitted a replica answers no Raft message and never stands; a replica whose disk was put back
//! does not vote again; answers are given before the asked replica is admitted itself, so that a whole cluster can start.
//! A majority is enough, but all are waited for a moment: whoever led remembers most. It may be the one who could not be
//! reached, so whoever has not answered is asked on.
//! More is known of a replica than its log has, if a later vote is, or in the term of its own vote a later entry. What was
//! known of it in an earlier term says nothing: the log has it, or lost it lawfully, because the later vote is behind it.
//!
//! A founding member whose log is empty was never reached, or was wiped, and its own vote must not stand for what it has
//! forgotten. So it needs a majority *besides* itself (one of them has whatever it helped to commit), and where their logs
//! are not empty it is lost, unless a leader before whom nobody led knows that it acknowledged nothing.
//!
//! Not here: what becomes of a lost replica (`rebuild.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_consensus::group::Position;
use strongroom_consensus::groups::Consensus;
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use strongroom_peers::fault::WordFault;
use strongroom_peers::message::{Known, KnownPosition};
use strongroom_peers::peers::Peers;
use tokio::time::Instant;

use crate::gate::{Gate, Loss};
use crate::metrics::{self, Worker};
use crate::reads::Reads;
use crate::topology::{InForce, Topology};

/// How often replicas that are not admitted ask.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An answer takes no longer.
const WITHIN: Duration = Duration::from_secs(1);
/// Where enough have answered, the others are waited for so long since the first asking.
const ALL_WITHIN: Duration = Duration::from_secs(1);
/// The same for a founding member whose log is empty: nodes do not all start at once, and whoever comes later may be lost.
const FOUNDERS_WITHIN: Duration = Duration::from_secs(5);
/// How often those are asked on who have not answered yet, once a replica is admitted.
const ASK_ON_EVERY: Duration = Duration::from_secs(2);

/// What this node remembers of other nodes' replicas. Clones are the same.
#[derive(Clone)]
pub struct Memory {
    consensus: Consensus,
    reads: Reads,
    topology: InForce,
}

impl Memory {
    /// From consensus' own memory, and from what the state's voters last reported.
    pub fn new(consensus: Consensus, reads: Reads, topology: InForce) -> Self {
        Self { consensus, reads, topology }
    }

    /// What is known of `replica`, for its own node only (N95).
    pub async fn known(&self, from: &NodeName, group: GroupId, replica: ReplicaId) -> Result<Known, WordFault> {
        let topology = self.topology.now();
        if topology.replica(group, from) != Some(replica) {
            return Err(WordFault::NotAMember);
        }
        let not_here = || WordFault::NotYet { why: "the group does not run here".into() };
        // Asked first: a lead that ends later has remembered what it was told until then.
        let leads_since_founding = self.consensus.leads_since_founding(group);
        let remembered = self.consensus.known_of(group, replica).ok_or_else(not_here)?;
        let own = self.consensus.position(group).ok_or_else(not_here)?;
        let reported = match self.reads.local(group, &Query::Group).await {
            Ok(Answer::Group(view)) => {
                let voter = view.voters.into_iter().find(|voter| voter.replica == replica);
                voter.and_then(|voter| voter.last)
            }
            Ok(_) | Err(_) => return Err(not_here()),
        };
        let reported = reported.map(|row| Position { vote_term: row.vote_term, last_index: row.durable_index });
        let of_it = said(remembered.max(reported.unwrap_or_default()));
        Ok(Known { of_it, own: said(own), leads_since_founding })
    }
}

fn said(Position { vote_term, last_index }: Position) -> KnownPosition {
    KnownPosition { vote_term, last_index }
}

/// See the head of the file.
pub struct Admit {
    /// This node.
    pub me: NodeName,
    /// Its groups.
    pub consensus: Consensus,
    /// The others.
    pub peers: Peers,
    /// Who votes where.
    pub topology: InForce,
    /// Where the verdicts go.
    pub gate: Gate,
}

/// What the answers say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Ask again.
    Wait,
    /// Nobody knows anything newer.
    Admit,
    /// Somebody does, or nobody can say that it promised nothing.
    RolledBack { why: String },
}

/// The asking of one replica since it started.
struct Round {
    began: Instant,
    asked: Option<Instant>,
    /// Who has answered. A replica that answers nobody promises nothing more, so an older answer counts on.
    heard: BTreeMap<NodeName, Known>,
}

impl Round {
    fn begin() -> Self {
        Self { began: Instant::now(), asked: None, heard: BTreeMap::new() }
    }

    /// Whether it is time to ask.
    fn is_due(&self, is_admitted: bool) -> bool {
        !is_admitted || self.asked.is_none_or(|asked| ASK_ON_EVERY <= asked.elapsed())
    }

    /// Who is to be asked: until the replica is admitted, whoever has answered may have become able to say more.
    fn unheard<'a>(&self, others: &[&'a NodeName], is_admitted: bool) -> Vec<&'a NodeName> {
        others.iter().copied().filter(|node| !is_admitted || !self.heard.contains_key(*node)).collect()
    }
}

/// A replica that asks.
#[derive(Clone, Copy, Debug)]
struct Asking {
    own: Position,
    /// It takes part already: others than those who let it in may still know more.
    is_admitted: bool,
    /// It counts as one of the voters.
    counts: bool,
    /// It may be one of those with which the group was made, with a vote or without.
    may_found: bool,
    /// It has asked for so long.
    since: Duration,
}

impl Admit {
    /// Runs for ever.
    pub async fn run(self) {
        let mut rounds: BTreeMap<(GroupId, ReplicaId), Round> = BTreeMap::new();
        let mut told = self.topology.now();
        loop {
            let topology = self.topology.now();
            if !Arc::ptr_eq(&told, &topology) {
                self.tell_again(&topology);
            }
            let asking = self.gate.asking();
            rounds.retain(|(group, replica), _| {
                asking.contains(&(*group, *replica)) || self.gate.is_admitted(*group, *replica)
            });
            for name in asking {
                rounds.entry(name).or_insert_with(Round::begin);
            }
            let due = rounds
                .iter_mut()
                .filter(|((group, replica), round)| round.is_due(self.gate.is_admitted(*group, *replica)));
            let all = due.map(async |((group, replica), round)| self.round(*group, *replica, round, &topology).await);
            futures_util::future::join_all(all).await;
            told = topology;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells the admitted replicas who their members are by now.
    fn tell_again(&self, topology: &Topology) {
        for (group, replica) in self.gate.admitted() {
            // Where another replica is to come, this one will be gone.
            if topology.replica(group, &self.me) == Some(replica)
                && let Err(fault) = self.consensus.tell(group, topology.members_of(group))
            {
                tracing::debug!(%group, %replica, %fault, "a replica was not told that its members changed");
            }
        }
    }

    async fn round(&self, group: GroupId, replica: ReplicaId, round: &mut Round, topology: &Topology) {
        // What this node knows of the members is older than its replica, or newer: it will be told.
        if topology.replica(group, &self.me) != Some(replica) {
            return;
        }
        let voters = topology.voters_of(group);
        let others: Vec<&NodeName> = voters.iter().filter(|node| **node != self.me).collect();
        let is_admitted = self.gate.is_admitted(group, replica);
        let asked = round.unheard(&others, is_admitted).into_iter().map(async |node| {
            let known = self.peers.known(node, group, replica, WITHIN).await;
            let known = known.inspect_err(|fault| tracing::debug!(%group, %replica, %fault, "no word about us"));
            Some((node.clone(), known.ok()?))
        });
        let answers = futures_util::future::join_all(asked).await;
        round.heard.extend(answers.into_iter().flatten());
        round.heard.retain(|node, _| others.contains(&node));
        round.asked = Some(Instant::now());
        // Looked at behind the answers: what they know of it was on its disk by then.
        let Some(own) = self.consensus.position(group) else { return };
        let members = topology.members_of(group);
        let may_found = members.contains_key(&replica) && members.keys().all(|member| replica.0 >> 8 <= member.0 >> 8);
        let counts = others.len() < voters.len();
        let asking = Asking { own, is_admitted, counts, may_found, since: round.began.elapsed() };
        match judge(&asking, others.len(), &round.heard) {
            Verdict::Wait => {}
            Verdict::Admit if is_admitted => {}
            Verdict::RolledBack { why } => self.lose(group, replica, why),
            Verdict::Admit => self.let_in(group, replica, topology).await,
        }
    }

    fn lose(&self, group: GroupId, replica: ReplicaId, why: String) {
        tracing::error!(%group, %replica, why, "ROLLBACK_DETECTED: this replica does not vote again");
        if self.gate.lose(group, replica, Loss::RolledBack { why }) {
            metrics::rollback_detected();
        }
    }

    async fn let_in(&self, group: GroupId, replica: ReplicaId, topology: &Topology) {
        let members = topology.members_of(group);
        let may_found = are_founders(group, topology);
        self.consensus.admit(group);
        let told = match may_found {
            true => self.consensus.initialize(group, members).await,
            false => self.consensus.tell(group, members),
        };
        match told {
            Ok(()) => {
                if self.gate.admit(group, replica) {
                    tracing::info!(%group, %replica, "a replica is admitted");
                }
            }
            Err(ref fault) => tracing::warn!(%group, %replica, %fault, "a replica was not told its members yet"),
        }
        metrics::worked(Worker::Admit, told.is_ok());
    }
}

/// Whether the members are those with which the group was made: then whoever has an empty log may found it. Where one was
/// replaced, the group is founded.
fn are_founders(group: GroupId, topology: &Topology) -> bool {
    let members = topology.members_of(group);
    let mut entries = members.keys().map(|replica| replica.0 >> 8);
    let first = entries.next();
    topology.changing(group).is_none()
        && entries.all(|entry| Some(entry) == first)
        && (group != GroupId::CLUSTER || first == Some(0))
}

/// Says who of those who answered knows more of a replica than its log has.
fn newer(own: &Position, heard: &BTreeMap<NodeName, Known>) -> Option<String> {
    heard.iter().find_map(|(node, known)| {
        let KnownPosition { vote_term, last_index } = known.of_it;
        (*own < Position { vote_term, last_index }).then(|| {
            format!(
                "node {node} knows term {vote_term} and entry {last_index} of it, its log has term {} and entry {}",
                own.vote_term, own.last_index
            )
        })
    })
}

/// What follows from what those of `others` voters say who have answered.
fn judge(asking: &Asking, others: usize, heard: &BTreeMap<NodeName, Known>) -> Verdict {
    if asking.is_admitted {
        return newer(&asking.own, heard).map_or(Verdict::Admit, |why| Verdict::RolledBack { why });
    }
    let is_empty_founder = asking.may_found && asking.own == Position::default();
    let itself = usize::from(asking.counts);
    let majority = (others + itself) / 2 + 1;
    let needed = if is_empty_founder { majority.min(others) } else { majority.saturating_sub(itself) };
    if heard.len() < needed {
        return Verdict::Wait;
    }
    if let Some(why) = newer(&asking.own, heard) {
        return Verdict::RolledBack { why };
    }
    let within = if is_empty_founder { FOUNDERS_WITHIN } else { ALL_WITHIN };
    let all_were_waited_for = heard.len() == others || within <= asking.since;
    match heard.iter().find(|(_, known)| is_empty_founder && 0 < known.own.last_index) {
        None if all_were_waited_for => Verdict::Admit,
        Some(_) if a_first_leader_knows_nothing(heard) => Verdict::Admit,
        Some((node, known)) if all_were_waited_for => {
            let index = known.own.last_index;
            let why =
                format!("its log is empty, that of node {node} has entry {index}: it was wiped, for all anybody knows");
            Verdict::RolledBack { why }
        }
        None | Some(_) => Verdict::Wait,
    }
}

/// Whether somebody has led since the group was founded, and nobody knows a later vote than that leader's.
fn a_first_leader_knows_nothing(heard: &BTreeMap<NodeName, Known>) -> bool {
    let latest = heard.values().map(|known| known.own.vote_term).max();
    heard.values().any(|known| known.leads_since_founding && Some(known.own.vote_term) == latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::ZERO;
    const LONG: Duration = FOUNDERS_WITHIN;

    fn position(vote_term: u64, last_index: u64) -> KnownPosition {
        KnownPosition { vote_term, last_index }
    }

    /// Node, and what it knows.
    type Word<'a> = (&'a str, Known);

    fn known(node: &str, vote_term: u64, last_index: u64) -> Word<'_> {
        (node, Known { of_it: position(vote_term, last_index), own: position(5, 100), leads_since_founding: false })
    }

    fn verdict(asking: &Asking, others: usize, answers: &[Word<'_>]) -> Verdict {
        judge(asking, others, &answers.iter().map(|(node, known)| (node.parse().unwrap(), *known)).collect())
    }

    fn voter(since: Duration) -> Asking {
        Asking {
            own: Position { vote_term: 5, last_index: 100 },
            is_admitted: false,
            counts: true,
            may_found: true,
            since,
        }
    }

    fn is_lost(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::RolledBack { .. })
    }

    #[test]
    fn a_voter_alone_waits_for_nobody() {
        assert_eq!(verdict(&voter(MOMENT), 0, &[]), Verdict::Admit);
        assert_eq!(verdict(&founder(MOMENT), 0, &[]), Verdict::Admit);
    }

    #[test]
    fn a_majority_is_needed_and_all_are_waited_for_a_moment() {
        assert_eq!(verdict(&voter(LONG), 2, &[]), Verdict::Wait);
        assert_eq!(verdict(&voter(MOMENT), 2, &[known("n2", 5, 100)]), Verdict::Wait);
        assert_eq!(verdict(&voter(ALL_WITHIN), 2, &[known("n2", 5, 100)]), Verdict::Admit);
        assert_eq!(verdict(&voter(MOMENT), 2, &[known("n2", 0, 0), known("n3", 4, 99)]), Verdict::Admit);
    }

    #[test]
    fn n72_whoever_is_known_to_have_had_more_is_rolled_back() {
        for newer in [known("n2", 6, 100), known("n2", 5, 101), known("n2", 6, 0)] {
            assert!(is_lost(&verdict(&voter(MOMENT), 2, &[newer])));
            assert!(is_lost(&verdict(&voter(MOMENT), 2, &[known("n3", 1, 1), newer])));
        }
    }

    #[test]
    fn n72_who_could_not_be_reached_before_the_admission_is_asked_on_and_may_still_lose_the_replica() {
        let [two, three]: [NodeName; 2] = ["n2", "n3"].map(|name| name.parse().unwrap());
        let others = [&two, &three];
        let mut round = Round::begin();
        let admitted = Asking { is_admitted: true, ..voter(LONG) };
        let (_, knows_nothing) = known("n2", 5, 100);
        round.heard.insert(two.clone(), knows_nothing);
        assert_eq!(judge(&voter(LONG), 2, &round.heard), Verdict::Admit);
        assert_eq!((round.unheard(&others, false), round.unheard(&others, true)), (vec![&two, &three], vec![&three]));
        assert!(round.is_due(true));
        round.asked = Some(Instant::now());
        assert!(round.is_due(false) && !round.is_due(true));
        assert_eq!(judge(&admitted, 2, &round.heard), Verdict::Admit);
        // It led, and remembers that entry 101 was acknowledged.
        let (_, remembers) = known("n3", 5, 101);
        round.heard.insert(three.clone(), remembers);
        let Verdict::RolledBack { why } = judge(&admitted, 2, &round.heard) else { panic!() };
        assert!(why.contains("node n3"), "{why}");
        assert_eq!(round.unheard(&others, true), Vec::<&NodeName>::new());
    }

    #[test]
    fn entries_of_an_earlier_term_than_the_own_vote_may_have_been_replaced_and_lose_nobody() {
        // 40 entries were acknowledged to the leader of term 4 and never committed; the one of term 5 cut them off.
        let answers = [known("n2", 4, 140), known("n3", 5, 100)];
        assert_eq!(verdict(&voter(MOMENT), 2, &answers), Verdict::Admit);
        // A disk from before that cut has the earlier vote too, and does not get in.
        let before = Asking { own: Position { vote_term: 4, last_index: 140 }, ..voter(MOMENT) };
        let Verdict::RolledBack { why } = verdict(&before, 2, &answers) else { panic!() };
        assert!(why.contains("node n3"), "{why}");
        // So has one from before the entries came.
        let older = Asking { own: Position { vote_term: 4, last_index: 100 }, ..voter(LONG) };
        assert!(is_lost(&verdict(&older, 2, &answers[..1])));
    }

    #[test]
    fn a_learner_needs_a_majority_of_the_voters_without_itself() {
        let learner = Asking { own: Position::default(), counts: false, may_found: false, ..voter(LONG) };
        assert_eq!(verdict(&learner, 3, &[known("n1", 0, 0)]), Verdict::Wait);
        assert_eq!(
            verdict(&learner, 3, &[known("n1", 0, 0), known("n3", 0, 0)]),
            Verdict::Admit,
            "it promised nothing"
        );
    }

    fn founder(since: Duration) -> Asking {
        Asking { own: Position::default(), ..voter(since) }
    }

    /// A node that knows nothing of the founder, with an own log.
    fn unknown(node: &str, vote_term: u64, last_index: u64, leads_since_founding: bool) -> Word<'_> {
        (node, Known { of_it: KnownPosition::default(), own: position(vote_term, last_index), leads_since_founding })
    }

    #[test]
    fn founders_need_a_majority_besides_themselves_and_wait_longer_for_the_others() {
        let [two, three, four] = ["n2", "n3", "n4"].map(|node| unknown(node, 1, 0, false));
        assert_eq!(verdict(&founder(LONG), 4, &[two, three]), Verdict::Wait, "with it they would be a majority");
        assert_eq!(verdict(&founder(ALL_WITHIN), 4, &[two, three, four]), Verdict::Wait);
        assert_eq!(verdict(&founder(LONG), 4, &[two, three, four]), Verdict::Admit);
        assert_eq!(verdict(&founder(LONG), 2, &[two]), Verdict::Wait);
        assert_eq!(verdict(&founder(MOMENT), 2, &[two, three]), Verdict::Admit);
    }

    /// Five voters, n1 led and n2 and the founder acknowledged; the founder's disk was wiped, n1 and n2 are cut off. With
    /// n3 and n4 it would be a majority that knows nothing of what was committed.
    #[test]
    fn n72_a_founder_with_an_empty_log_among_logs_that_are_not_is_lost() {
        let [two, three, four] = [(2, 9), (3, 0), (4, 7)].map(|(node, last)| (format!("n{node}"), last));
        let answers: Vec<Word<'_>> = [&two, &three, &four].map(|(node, last)| unknown(node, 2, *last, false)).to_vec();
        assert_eq!(verdict(&founder(MOMENT), 4, &answers), Verdict::Wait, "whoever leads may still answer");
        assert!(is_lost(&verdict(&founder(LONG), 4, &answers)));
        assert!(is_lost(&verdict(&founder(MOMENT), 3, &answers)), "all have answered");
        assert_eq!(verdict(&founder(LONG), 4, &[answers[1]]), Verdict::Wait);
    }

    #[test]
    fn who_has_led_since_the_founding_knows_that_a_late_founder_promised_nothing() {
        let leader = unknown("n1", 2, 9, true);
        let others = [unknown("n2", 2, 9, false), unknown("n3", 1, 0, false)];
        assert_eq!(verdict(&founder(MOMENT), 4, &[leader, others[0], others[1]]), Verdict::Admit);
        assert_eq!(verdict(&founder(LONG), 4, &[leader, others[0]]), Verdict::Wait);
        let deposed = unknown("n2", 3, 9, false);
        assert!(
            is_lost(&verdict(&founder(LONG), 4, &[leader, deposed, others[1]])),
            "who leads in term 3 may know of it"
        );
        let knows = (leader.0, Known { of_it: position(2, 4), ..leader.1 });
        assert!(is_lost(&verdict(&founder(MOMENT), 4, &[knows, others[0], others[1]])));
    }
}
