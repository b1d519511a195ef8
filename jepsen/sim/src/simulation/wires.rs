//! The network between the machines of a simulation: questions and replies that are late, lost, sent twice, overtaken.
//!
//! ```text
//!   ask ─▶ link there: cut? lost? delay ─▶ parcel ─▶ answered there ─▶ link back: cut? lost? delay ─▶ whoever asked
//!                            └ nobody listens: refused, a moment later
//! ```
//!
//! Promises: a parcel travels at least [`DELAY_MIN_MS`], so that machines may run one after another through a time that is
//! no longer (`node.rs`); what is not reordered on a link arrives in order. Between nodes a question arrives at most once,
//! as their transport promises, and if it or its answer is lost the connection breaks when its keep-alive says so. A
//! client's question may arrive twice, and whoever asked it may wait for ever.
//! Not here: when links change (`plan.rs`), what is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use strongroom_format::command::SignedCommand;
use strongroom_format::id::GroupId;
use strongroom_peers::medium::{Question, Reply};
use strongroom_service::propose::{Applied, ProposeFault};
use tokio::sync::oneshot;

use crate::dice::Dice;

/// Nothing travels faster.
pub(crate) const DELAY_MIN_MS: u64 = 10;

/// A connection between nodes that carries nothing any more breaks after so long: two of its keep-alives
/// (`node/peers/src/dial.rs`).
const BREAKS_MS: u64 = 10_000;

/// When so many wait, those who stopped waiting are forgotten.
const WAITING_MAX: usize = 2048;

/// A machine by its number; nodes come first, the machine of all clients is the last.
pub(crate) type Station = usize;

/// What one machine asks another.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A node asks a node.
    Peer(Question),
    /// A client has commands entered.
    Submit { group: GroupId, commands: Vec<SignedCommand> },
    /// A client has chunks made known, for whose fragments the node stands that takes this.
    Register { group: GroupId, command: SignedCommand },
    /// An operator has a command entered.
    Operate(SignedCommand),
    /// A client asks a question.
    Read { group: GroupId, query: Bytes },
}

impl Ask {
    fn is_between_nodes(&self) -> bool {
        matches!(self, Self::Peer(_))
    }
}

/// What comes back.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Peer(Reply),
    Entered(Result<Applied, ProposeFault>),
    /// `None`: not now.
    Read(Option<Bytes>),
    /// Nobody listens there: surely nothing happened.
    Refused,
    /// Whoever was asked is gone: nobody knows.
    Broken,
}

/// How a link behaves in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) delay_ms: (u64, u64),
    /// Of a thousand parcels.
    pub(crate) lost: u64,
    /// Of a thousand client questions.
    pub(crate) doubled: u64,
    pub(crate) reorders: bool,
    pub(crate) is_cut: bool,
}

/// A parcel that has arrived.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) from: Station,
    pub(crate) number: u64,
    pub(crate) at_ms: u64,
    pub(crate) load: Load,
}

#[derive(Debug)]
pub(crate) enum Load {
    Ask(Ask),
    Said(Said),
}

/// See the head of the file. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Wires(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    dice: Dice,
    stations: usize,
    links: Vec<Link>,
    /// When the last parcel of each link arrives.
    last_ms: Vec<u64>,
    /// Which life of a machine listens, if one does.
    lives: Vec<Option<u64>>,
    /// By moment and number of the parcel; with where it goes.
    under_way: BTreeMap<(u64, u64), (Station, Parcel)>,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    carried: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    from: Station,
    life: u64,
    to: Station,
    is_between_nodes: bool,
    answer: oneshot::Sender<Said>,
}

impl Wires {
    /// So many machines, and how all links behave.
    pub(crate) fn new(seed: u64, stations: usize, link: Link) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            dice: Dice::named(seed, 11),
            stations,
            links: vec![link; stations * stations],
            last_ms: vec![0; stations * stations],
            lives: vec![None; stations],
            under_way: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next: 0,
            carried: 0,
            dropped: 0,
        })))
    }

    /// Asks; the reply comes to what is given back, or never.
    pub(crate) fn ask(&self, at_ms: u64, from: Station, to: Station, ask: Ask) -> oneshot::Receiver<Said> {
        let (answer, answered) = oneshot::channel();
        let mut inner = self.inner();
        let Some(life) = inner.lives[from] else { return answered };
        let number = inner.number();
        if WAITING_MAX < inner.waiting.len() {
            inner.waiting.retain(|_, waiting| !waiting.answer.is_closed());
        }
        let is_between_nodes = ask.is_between_nodes();
        inner.waiting.insert(number, Waiting { from, life, to, is_between_nodes, answer });
        if !is_between_nodes && inner.rolls(from, to, |link| link.doubled) {
            inner.send(at_ms, from, to, number, Load::Ask(ask.clone()));
        }
        inner.send(at_ms, from, to, number, Load::Ask(ask));
        answered
    }

    /// Says the answer to a question.
    pub(crate) fn answer(&self, at_ms: u64, from: Station, to: Station, number: u64, said: Said) {
        self.inner().send(at_ms, from, to, number, Load::Said(said));
    }

    /// Gives a reply to whoever asked, if it still waits.
    pub(crate) fn hand_over(&self, number: u64, said: Said) {
        let waiting = self.inner().waiting.remove(&number);
        if let Some(Waiting { answer, .. }) = waiting {
            // whoever stopped waiting does not need to know
            let _ = answer.send(said);
        }
    }

    /// What arrives at a machine before this moment. Where nobody listens, questions come back as refused.
    pub(crate) fn arriving(&self, at: Station, until_ms: u64) -> Vec<Parcel> {
        let mut inner = self.inner();
        let is_due = |((at_ms, _), (to, _)): (&(u64, u64), &(Station, Parcel))| *to == at && *at_ms < until_ms;
        let keys: Vec<(u64, u64)> = inner
            .under_way
            .range(..(until_ms, 0))
            .filter(|(key, value)| is_due((*key, *value)))
            .map(|(key, _)| *key)
            .collect();
        let parcels: Vec<Parcel> =
            keys.into_iter().filter_map(|key| inner.under_way.remove(&key)).map(|(_, parcel)| parcel).collect();
        if inner.lives[at].is_some() {
            return parcels;
        }
        for Parcel { from, number, at_ms, load } in parcels {
            match load {
                Load::Ask(_) => inner.send(at_ms, at, from, number, Load::Said(Said::Refused)),
                Load::Said(_) => {}
            }
        }
        Vec::new()
    }

    /// A machine listens from now on, as another life.
    pub(crate) fn up(&self, at: Station, life: u64) {
        self.inner().lives[at] = Some(life);
    }

    /// A machine does not listen any more. Where its process ended on a machine that runs on, those who wait for it are
    /// told; where power went, only other nodes are, by the keep-alive of their connection.
    pub(crate) fn down(&self, at_ms: u64, at: Station, tells: bool) {
        let mut inner = self.inner();
        inner.lives[at] = None;
        inner.waiting.retain(|_, waiting| waiting.from != at);
        let asked: Vec<(u64, Station)> = inner
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.to == at && inner.lives[waiting.from] == Some(waiting.life))
            .map(|(number, waiting)| (*number, waiting.from))
            .collect();
        for (number, from) in asked {
            match tells {
                true => inner.send(at_ms, at, from, number, Load::Said(Said::Broken)),
                false => inner.breaks(at_ms, number),
            }
        }
    }

    /// Changes links.
    pub(crate) fn change(&self, change: impl Fn(Station, Station, &mut Link)) {
        let mut inner = self.inner();
        let stations = inner.stations;
        for from in 0..stations {
            for to in (0..stations).filter(|to| *to != from) {
                change(from, to, &mut inner.links[from * stations + to]);
            }
        }
    }

    /// How many parcels were carried, and how many dropped.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.carried, inner.dropped)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn link(&self, from: Station, to: Station) -> Link {
        self.links[from * self.stations + to]
    }

    fn rolls(&mut self, from: Station, to: Station, of: impl Fn(Link) -> u64) -> bool {
        let chance = of(self.link(from, to));
        chance != 0 && self.dice.below(1000) < chance
    }

    /// What a node waits for does not come: it hears so when the connection breaks.
    fn breaks(&mut self, at_ms: u64, number: u64) {
        let Some(waiting) = self.waiting.get(&number).filter(|waiting| waiting.is_between_nodes) else { return };
        let (asker, from, at_ms) = (waiting.from, waiting.to, at_ms + BREAKS_MS);
        let key = (at_ms, self.number());
        self.under_way.insert(key, (asker, Parcel { from, number, at_ms, load: Load::Said(Said::Broken) }));
    }

    fn send(&mut self, at_ms: u64, from: Station, to: Station, number: u64, load: Load) {
        let link = self.link(from, to);
        if link.is_cut || self.rolls(from, to, |link| link.lost) {
            self.dropped += 1;
            self.breaks(at_ms, number);
            return;
        }
        self.carried += 1;
        let (least, most) = link.delay_ms;
        let least = least.max(DELAY_MIN_MS);
        let mut arrives = at_ms + least + self.dice.below(most.saturating_sub(least) + 1);
        let last = &mut self.last_ms[from * self.stations + to];
        if !link.reorders {
            arrives = arrives.max(*last);
        }
        *last = arrives.max(*last);
        let key = (arrives, self.number());
        self.under_way.insert(key, (to, Parcel { from, number, at_ms: arrives, load }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Link = Link { delay_ms: (10, 10), lost: 0, doubled: 0, reorders: false, is_cut: true };

    fn peer() -> Ask {
        Ask::Peer(Question::Ping)
    }

    fn client() -> Ask {
        Ask::Read { group: GroupId(1), query: Bytes::new() }
    }

    /// Two nodes and the clients' machine.
    fn wires(link: Link) -> Wires {
        let wires = Wires::new(1, 3, link);
        (0..3).for_each(|station| wires.up(station, 1));
        wires
    }

    /// What whoever asked has heard by this moment.
    fn heard(wires: &Wires, from: Station, until_ms: u64, mut answered: oneshot::Receiver<Said>) -> Option<Said> {
        for Parcel { number, load, .. } in wires.arriving(from, until_ms) {
            let Load::Said(said) = load else { panic!("nobody asks here") };
            wires.hand_over(number, said);
        }
        answered.try_recv().ok()
    }

    #[test]
    fn a_node_whose_question_or_answer_is_lost_hears_that_its_connection_broke_and_a_client_hears_nothing() {
        let lost = wires(CUT);
        let (node, other) = (lost.ask(100, 0, 1, peer()), lost.ask(100, 2, 1, client()));
        assert!(lost.arriving(0, 100 + BREAKS_MS).is_empty(), "not before its keep-alive");
        assert!(matches!(heard(&lost, 0, 101 + BREAKS_MS, node), Some(Said::Broken)));
        assert!(heard(&lost, 2, u64::MAX, other).is_none());

        let answer_lost = wires(Link { is_cut: false, ..CUT });
        let node = answer_lost.ask(100, 0, 1, peer());
        let [Parcel { number, .. }] = answer_lost.arriving(1, 200)[..] else { panic!("the question came") };
        answer_lost.change(|_, _, link| *link = CUT);
        answer_lost.answer(200, 1, 0, number, Said::Read(None));
        assert!(matches!(heard(&answer_lost, 0, 201 + BREAKS_MS, node), Some(Said::Broken)));
    }

    #[test]
    fn who_waits_for_a_process_that_ended_hears_it_at_once_and_for_a_machine_without_power_later() {
        for (tells, after_ms) in [(true, 10), (false, BREAKS_MS)] {
            let wires = wires(Link { is_cut: false, ..CUT });
            let node = wires.ask(100, 0, 1, peer());
            assert_eq!(wires.arriving(1, 200).len(), 1);
            wires.down(200, 1, tells);
            assert!(wires.arriving(0, 200 + after_ms).is_empty());
            assert!(matches!(heard(&wires, 0, 201 + after_ms, node), Some(Said::Broken)), "{tells}");
        }
    }
}
