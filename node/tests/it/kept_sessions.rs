//! The session that a client keeps from one small backup to the next: one for all of them, replaced when it has ended, ended
//! when the client is closed, and never in the way of a quota.
//!
//! Sessions are named by where the log opened them: what lies between two of one's own is looked through, number by number.
//! Not here: what a session is (`node/core`), numbers that are lost on the way (`protocol.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use strongroom::client::Client;
use strongroom_format::command::Body;
use strongroom_format::id::{LeaseId, Place, SessionId, SnapshotId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::quota::{Quota, Quotas};

use crate::cluster::{Cluster, PATIENCE, comes_true};
use crate::shared::{back_up, create_vault, restore, shared};
use crate::speaker::{Speaker, Talk};
use crate::tenant::own_tenant;
use crate::trees::noise;

/// A number that a client has not reached in these tests, within what the state remembers.
const AHEAD: u64 = 60;
/// Sessions are named by the entries that opened them, which stand so far apart.
const COMMANDS: u64 = Place::COMMANDS_MAX as u64;

/// A tenant with a vault `papers`, and its writer.
async fn writer_of(cluster: &Cluster, tenant: &str) -> Client {
    own_tenant(cluster, tenant).await;
    create_vault(cluster, tenant, "papers").await;
    cluster.client(&format!("{tenant}-writer")).await
}

/// A directory with a file of so many bytes.
fn tree(cluster: &Cluster, seed: &str, bytes: usize) -> PathBuf {
    let source = cluster.scratch();
    fs::write(source.join("file"), noise(seed, bytes)).expect("a file can be written");
    source
}

/// How many sessions of the writer are open.
async fn open_sessions(writer: &Client) -> u64 {
    let usage = writer.usage().await.expect("a writer sees its own");
    let own = usage.writers.iter().find(|charged| charged.name == writer.identity().to_string());
    own.map_or(0, |charged| charged.sessions.used)
}

/// What the log says of a question in the session of this name.
async fn ask_in(speaker: &Speaker, session: SessionId, sequence: u64, body: Body) -> Outcome {
    let talk = Talk { speaker: speaker.clone(), group: speaker.home, session, lease: LeaseId(0), last: sequence - 1 };
    let command = { talk }.next(body);
    let mut outcomes = speaker.submit(speaker.home, &[speaker.signed(&command)]).await.expect("the node answers");
    outcomes.remove(0)
}

/// The writer's sessions that were opened between these two of its own: those that are open.
async fn open_between(speaker: &Speaker, before: SessionId, after: SessionId) -> Vec<SessionId> {
    let mut open = Vec::new();
    for number in (before.0 + COMMANDS..after.0).step_by(COMMANDS as usize) {
        match ask_in(speaker, SessionId(number), AHEAD, Body::Ask { sequence: 1 }).await {
            Outcome::Done(Done::Asked { .. }) => open.push(SessionId(number)),
            Outcome::Refused(Refusal::SessionEnded) => {}
            other => panic!("{other:?}"),
        }
    }
    open
}

async fn names_and_contents(cluster: &Cluster, tenant: &str, writer: &Client, expected: &[(SnapshotId, &Path)]) {
    let listed = writer.snapshots(None).await.expect("a list");
    let listed: Vec<SnapshotId> = listed.iter().map(|info| info.id).collect();
    assert_eq!(listed, expected.iter().map(|(snapshot, _)| *snapshot).collect::<Vec<_>>(), "each once, and no other");
    let restorer = cluster.client(&format!("{tenant}-restorer")).await;
    for (snapshot, source) in expected {
        let to = cluster.scratch().join("restored");
        assert!(restore(&restorer, *snapshot, &to).await.is_whole());
        assert_eq!(fs::read(to.join("file")).ok(), fs::read(source.join("file")).ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_backups_of_one_client_share_a_session_which_is_replaced_when_it_ended_and_ends_with_the_client() {
    let cluster = shared();
    let writer = writer_of(cluster, "keeper").await;
    let speaker = Speaker::founder(cluster, "keeper", "writer").await;
    let trees: Vec<PathBuf> = (0..4).map(|n| tree(cluster, &format!("kept {n}"), 3000)).collect();

    let before = speaker.talk(0).await;
    let first = back_up(&writer, &trees[0], "papers", "papers").await.snapshot;
    assert_eq!(open_sessions(&writer).await, 2, "the speaker's and the client's");
    let second = back_up(&writer, &trees[1], "papers", "papers").await.snapshot;
    assert_eq!(open_sessions(&writer).await, 2);
    let after = speaker.talk(0).await;
    let [kept] = open_between(&speaker, before.session, after.session).await[..] else { panic!("not one for both") };

    // Somebody ends it behind the client's back: the next backup is made all the same, and once.
    let ended = ask_in(&speaker, kept, AHEAD + 1, Body::EndSession).await;
    assert!(matches!(ended, Outcome::Done(Done::Done)), "{ended:?}");
    let third = back_up(&writer, &trees[2], "papers", "papers").await.snapshot;
    assert!(matches!(ask_in(&speaker, kept, AHEAD + 2, Body::Ask { sequence: 1 }).await, Outcome::Forgotten));
    assert_eq!(open_sessions(&writer).await, 3, "the speaker's two, and another in place of the one that ended");

    writer.close().await;
    assert_eq!(open_sessions(&writer).await, 2, "only the speaker's");
    // A closed client may be used, and keeps nothing.
    let fourth = back_up(&writer, &trees[3], "papers", "papers").await.snapshot;
    comes_true(PATIENCE, "nothing is kept", async || open_sessions(&writer).await == 2).await;
    let expected: Vec<(SnapshotId, &Path)> =
        [first, second, third, fourth].into_iter().zip(trees.iter().map(PathBuf::as_path)).collect();
    names_and_contents(cluster, "keeper", &writer, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_kept_makes_room_where_a_quota_leaves_one_and_is_used_by_one_backup_at_a_time() {
    let cluster = shared();
    let writer = writer_of(cluster, "frugal").await;
    let admin = cluster.client("frugal-admin").await;
    let two_at_once = [tree(cluster, "one", 2000), tree(cluster, "other", 2000)];
    let (one, other) = futures_util::future::join(
        back_up(&writer, &two_at_once[0], "papers", "one"),
        back_up(&writer, &two_at_once[1], "papers", "other"),
    )
    .await;
    assert_ne!(one.snapshot, other.snapshot);
    assert_eq!(open_sessions(&writer).await, 1, "of two that were needed at once one is kept");

    let one_session = Quotas { sessions: Quota { soft: None, hard: Some(1) }, ..Quotas::default() };
    admin.set_writer_quotas(writer.identity().clone(), one_session).await.expect("an admin may");
    // Too large for one entry: it needs a session of its own.
    let large = tree(cluster, "large", 10 << 20);
    let long = back_up(&writer, &large, "papers", "large").await.snapshot;
    let small = back_up(&writer, &two_at_once[0], "papers", "small").await.snapshot;
    assert_eq!(open_sessions(&writer).await, 1);
    // Another client of the same writer finds no room until this one is closed.
    let again = cluster.client("frugal-writer").await;
    let request = || crate::shared::request(&two_at_once[1], "papers", "again");
    let refused = again.back_up(request()).await.expect_err("the quota is one session");
    assert_eq!(refused.reason(), Some("QUOTA"), "{refused}");
    writer.close().await;
    let last = again.back_up(request()).await.expect("there is room").snapshot;
    let mut expected = [
        (one.snapshot, two_at_once[0].as_path()),
        (other.snapshot, &two_at_once[1]),
        (long, &large),
        (small, &two_at_once[0]),
        (last, &two_at_once[1]),
    ];
    let listed = writer.snapshots(None).await.expect("a list");
    expected.sort_by_key(|(snapshot, _)| listed.iter().position(|info| info.id == *snapshot));
    names_and_contents(cluster, "frugal", &writer, &expected).await;
}
