//! Heartbeats of all groups to one node, in one message.
//!
//! ```text
//!   group 1 ── heartbeat to c ─┐ GATHER ┌─▶ one message ══▶ node c: each by the door, all at once
//!   group 4 ── heartbeat to c ─┼───────▶┤                      │ heard · not yet · refused, each its own
//!   group 9 ── heartbeat to c ─┘        └◀══ one answer ◀══════┘
//! ```
//!
//! All groups that a node leads beat at the same moment (`groups.rs`), so that little waiting gathers them all. Only such
//! heartbeats come here: one between two beats confirms a lead for a read that waits, and goes alone (`network.rs`).
//! Promises: whoever asks waits no longer than it said, whatever becomes of the others; a replica that is slow to answer
//! makes no other one late (the answer says *not yet* of it, and it is asked again alone); and a message has only
//! heartbeats: votes go at once and by themselves.
//!
//! Not here: when a group beats (`groups.rs`), who may speak for whom (`door.rs`), the bytes (`wire.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use strongroom_format::codec;
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::group::lock;
use crate::metrics;
use crate::transport::{Class, Message, Transport, Unreachable};
use crate::wire::{HEARTBEATS_MAX, Heartbeat, HeartbeatReply, HeartbeatsAsk, HeartbeatsReply, Kind};

/// So long the first heartbeat to a node waits for those of other groups: the tasks of all groups have their turn
/// meanwhile, and it is short beside any interval between heartbeats.
const GATHER: Duration = Duration::from_millis(3);

/// What sends heartbeats. Clones are the same.
#[derive(Clone)]
pub(crate) struct Heartbeats {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    /// What waits for the message to each node. Each heartbeat's asker waits too, and a group has one asker for each other
    /// replica: it cannot grow beyond the groups of this node.
    gathered: Mutex<BTreeMap<NodeName, Vec<Waiting>>>,
}

struct Waiting {
    heartbeat: Heartbeat,
    ends: Instant,
    answer: oneshot::Sender<Result<HeartbeatReply, Unreachable>>,
}

impl fmt::Debug for Heartbeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heartbeats")
    }
}

impl Heartbeats {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { inner: Arc::new(Inner { transport, gathered: Mutex::default() }) }
    }

    /// Sends a heartbeat with those of other groups and gives the answer of its replica.
    pub(crate) async fn ask(
        &self,
        to: &NodeName,
        heartbeat: Heartbeat,
        within: Duration,
    ) -> Result<HeartbeatReply, Unreachable> {
        let ends = Instant::now() + within;
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut gathered = lock(&self.inner.gathered);
            let waiting = gathered.entry(to.clone()).or_default();
            waiting.push(Waiting { heartbeat, ends, answer });
            waiting.len() == 1
        };
        if is_first {
            // a task of its own, which ends with the last deadline: whoever asked first may be dropped meanwhile
            tokio::spawn(Arc::clone(&self.inner).send(to.clone()));
        }
        let unreachable = |why: &str| Unreachable { node: to.clone(), why: why.into() };
        match tokio::time::timeout_at(ends, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unreachable("nobody sends heartbeats any more")),
            Err(_) => Err(unreachable("no answer in time")),
        }
    }
}

impl Inner {
    /// Waits until all are gathered, sends them and hands the answers out.
    async fn send(self: Arc<Self>, to: NodeName) {
        tokio::time::sleep(GATHER).await;
        let mut waiting = lock(&self.gathered).remove(&to).unwrap_or_default();
        let mut messages = FuturesUnordered::new();
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(HEARTBEATS_MAX));
            messages.push(self.send_one(&to, std::mem::replace(&mut waiting, rest)));
        }
        while messages.next().await.is_some() {}
    }

    async fn send_one(&self, to: &NodeName, waiting: Vec<Waiting>) {
        let Some(ends) = waiting.iter().map(|waiting| waiting.ends).max() else { return };
        let ask = HeartbeatsAsk { heartbeats: waiting.iter().map(|waiting| waiting.heartbeat).collect() };
        metrics::heartbeats_sent(waiting.len());
        let answer = self.call(to, &ask, ends.saturating_duration_since(Instant::now())).await;
        let replies = answer.and_then(|bytes| match codec::decode::<HeartbeatsReply>(&bytes) {
            Ok(answer) if answer.replies.len() == waiting.len() => Ok(answer.replies),
            Ok(_) => Err("another number of answers than of heartbeats".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        match replies {
            Ok(replies) => {
                for (waiting, reply) in waiting.into_iter().zip(replies) {
                    // whoever stopped waiting does not need to know
                    let _ = waiting.answer.send(Ok(reply));
                }
            }
            Err(why) => {
                for waiting in waiting {
                    let _ = waiting.answer.send(Err(Unreachable { node: to.clone(), why: why.clone() }));
                }
            }
        }
    }

    async fn call(&self, to: &NodeName, ask: &HeartbeatsAsk, within: Duration) -> Result<Bytes, String> {
        let message = Message {
            group: GroupId(0),
            from: ReplicaId(0),
            to: ReplicaId(0),
            kind: Kind::Heartbeats as u8,
            body: Bytes::from(codec::encode(ask)),
        };
        let called = self.transport.call(to, message, Class::Heartbeat, within);
        // The transport has a deadline of its own; this one holds even if it forgets.
        match tokio::time::timeout(within + within / 4, called).await {
            Ok(answer) => answer.map_err(|unreachable| unreachable.why),
            Err(_) => Err("no answer in time".into()),
        }
    }
}

/// What became of each heartbeat of a message, in order: answers that are not there in time are *not yet*.
pub(crate) async fn hear<H>(
    heartbeats: Vec<Heartbeat>,
    patience: Duration,
    hear_one: impl Fn(Heartbeat) -> H,
) -> HeartbeatsReply
where
    H: Future<Output = HeartbeatReply>,
{
    let mut replies = vec![HeartbeatReply::NotYet; heartbeats.len()];
    let mut under_way: FuturesUnordered<_> = heartbeats
        .into_iter()
        .enumerate()
        .map(|(at, heartbeat)| {
            let heard = hear_one(heartbeat);
            async move { (at, heard.await) }
        })
        .collect();
    let all = async {
        while let Some((at, reply)) = under_way.next().await {
            replies[at] = reply;
        }
    };
    // those that are not there are asked again, alone; what they were asked counts all the same
    let _ = tokio::time::timeout(patience, all).await;
    HeartbeatsReply { replies }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::wire::AppendReply;

    /// Answers every heartbeat of a message with *refused* but the first, which was heard; or says nothing at all, or
    /// something else. Remembers how many heartbeats came in each message.
    #[derive(Debug, Default)]
    struct There {
        messages: Mutex<Vec<usize>>,
        silent: bool,
        short: bool,
    }

    const HEARD: HeartbeatReply = HeartbeatReply::Heard(AppendReply::Done);

    #[async_trait::async_trait]
    impl Transport for There {
        async fn call(&self, _: &NodeName, message: Message, _: Class, _: Duration) -> Result<Bytes, Unreachable> {
            let ask: HeartbeatsAsk = codec::decode(&message.body).unwrap();
            lock(&self.messages).push(ask.heartbeats.len());
            if self.silent {
                pending::<()>().await;
            }
            let mut replies = vec![HeartbeatReply::Refused; ask.heartbeats.len()];
            replies[0] = HEARD;
            if self.short {
                replies.pop();
            }
            Ok(Bytes::from(codec::encode(&HeartbeatsReply { replies })))
        }
    }

    fn heartbeat(group: u32) -> Heartbeat {
        let request = openraft::raft::AppendEntriesRequest {
            vote: crate::types::Vote::new_committed(1, 256),
            prev_log_id: None,
            entries: vec![],
            leader_commit: None,
        };
        Heartbeat::of(GroupId(group), ReplicaId(256), ReplicaId(512), &request).unwrap()
    }

    const WITHIN: Duration = Duration::from_secs(10);

    async fn ask_all(there: &Arc<There>, count: u32) -> Vec<Result<HeartbeatReply, Unreachable>> {
        let heartbeats = Heartbeats::new(Arc::clone(there) as Arc<dyn Transport>);
        let to: NodeName = "c".parse().unwrap();
        let asks = (0..count).map(|group| heartbeats.ask(&to, heartbeat(group), WITHIN));
        futures_util::future::join_all(asks).await
    }

    #[tokio::test]
    async fn each_gets_its_own_answer_and_a_message_is_never_too_large() {
        let there: Arc<There> = Arc::default();
        let answers = ask_all(&there, 5).await;
        assert_eq!(answers[0], Ok(HEARD));
        assert_eq!(answers[1..], vec![Ok(HeartbeatReply::Refused); 4]);
        assert_eq!(*lock(&there.messages), [5]);

        let answers = ask_all(&there, 600).await;
        assert_eq!(answers.iter().filter(|answer| **answer == Ok(HEARD)).count(), 3);
        assert_eq!(lock(&there.messages)[1..], [256, 256, 88]);
    }

    #[tokio::test]
    async fn an_answer_of_another_length_is_nobodys() {
        let there = Arc::new(There { short: true, ..There::default() });
        assert!(ask_all(&there, 5).await.iter().all(Result::is_err));
    }

    #[tokio::test]
    async fn everybody_waits_as_long_as_they_said_and_no_longer() {
        let heartbeats = Heartbeats::new(Arc::new(There { silent: true, ..There::default() }));
        let to: NodeName = "c".parse().unwrap();
        let waited = async |group, within| {
            let begin = Instant::now();
            assert!(heartbeats.ask(&to, heartbeat(group), within).await.is_err());
            begin.elapsed()
        };
        let [short, long] = [20, 4000].map(Duration::from_millis);
        let (first, second, third) = tokio::join!(waited(1, short), waited(2, long), waited(3, short));
        assert!(short <= first && short <= third && long <= second, "{first:?} {second:?} {third:?}");
        assert!(first < long && third < long, "{first:?} {third:?}");
    }

    #[tokio::test]
    async fn who_asked_first_may_leave_and_the_others_are_answered() {
        let there: Arc<There> = Arc::default();
        let heartbeats = Heartbeats::new(Arc::clone(&there) as Arc<dyn Transport>);
        let to: NodeName = "c".parse().unwrap();
        let mut first = Box::pin(heartbeats.ask(&to, heartbeat(1), WITHIN));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = heartbeats.ask(&to, heartbeat(2), WITHIN);
        drop(first);
        let (second, third) = tokio::join!(second, heartbeats.ask(&to, heartbeat(3), WITHIN));
        assert_eq!((second, third), (Ok(HeartbeatReply::Refused), Ok(HeartbeatReply::Refused)));
        assert_eq!(*lock(&there.messages), [3]);
    }

    #[tokio::test]
    async fn a_replica_that_does_not_answer_makes_no_other_one_late() {
        let begin = Instant::now();
        let patience = Duration::from_millis(200);
        let reply = hear((0..4).map(heartbeat).collect(), patience, |heartbeat| async move {
            match heartbeat.group.0 {
                1 => pending().await,
                2 => ready(HeartbeatReply::Refused).await,
                _ => HEARD,
            }
        });
        let replies = reply.await.replies;
        assert_eq!(replies, [HEARD, HeartbeatReply::NotYet, HeartbeatReply::Refused, HEARD]);
        assert!(patience <= begin.elapsed());
        // and if all answer, nobody waits
        let begin = Instant::now();
        let reply = hear(vec![heartbeat(0)], WITHIN, |_| ready(HEARD)).await;
        assert_eq!(reply.replies, [HEARD]);
        assert!(begin.elapsed() < WITHIN);
    }
}
