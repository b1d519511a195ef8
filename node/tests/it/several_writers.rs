//! Several writers, one snapshot, against running nodes: each writer is a process, one is killed in the middle; all of it is
//! shown, or nothing.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use strongroom::backup::{BackupRequest, Piped};
use strongroom::client::Client;
use strongroom::progress::Progress;
use strongroom::restore::{ByteRange, RestoreRequest};
use strongroom::tickets::{Standing, Ticket};
use strongroom_format::gathered::ExpectedStream;
use strongroom_format::id::SnapshotId;

use crate::cluster::{PATIENCE, comes_true};
use crate::shared::{client_with, profile_of, request, shared};
use crate::trees::{assert_equal, noise, plant};

const VAULT: &str = "papers";
/// What a writer process is told.
const TOLD: [&str; 4] = ["WRITER_PROFILE", "WRITER_TICKET", "WRITER_STREAM", "WRITER_PATH"];

/// Bytes without end: whoever sends them is in the middle for as long as it lives.
struct Endless(u64);

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        let bytes = noise(&self.0.to_string(), into.len().min(64 << 10));
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// One writer, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the writer process that the other tests here start"]
async fn one_writer() {
    let [profile, ticket, stream, path] = TOLD.map(|name| std::env::var(name).expect("it is told what to do"));
    let client = client_with(Path::new(&profile)).await;
    let ticket: Ticket = ticket.parse().expect("a ticket");
    let request = match path.as_str() {
        "endless" => {
            let piped = Piped::reader("rows", Endless(0)).expect("a name");
            BackupRequest::piped(piped, ticket.vault.clone(), "endless".parse().expect("a label"))
        }
        path => request(Path::new(path), VAULT, path),
    };
    client.join(&ticket, stream.parse().expect("a name"), request).await.expect("the stream becomes ready");
}

/// Starts a writer process.
fn start(profile: &Path, ticket: &Ticket, stream: &str, path: &Path) -> Child {
    let told =
        [profile.as_os_str(), ticket.to_string().as_ref(), stream.as_ref(), path.as_os_str()].map(ToOwned::to_owned);
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "several_writers::one_writer", "--ignored", "--nocapture"])
        .envs(TOLD.iter().zip(told))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a process starts")
}

/// Starts a writer process that is in the middle for as long as it lives.
pub fn endless(profile: &Path, ticket: &Ticket, stream: &str) -> Child {
    start(profile, ticket, stream, Path::new("endless"))
}

async fn is_listed(client: &Client, snapshot: SnapshotId) -> bool {
    let listed = client.snapshots(Some(&VAULT.parse().expect("a name"))).await.expect("a list");
    listed.iter().any(|info| info.id == snapshot)
}

/// The snapshot of a stream as soon as it is under the ticket.
pub async fn joined(opener: &Client, ticket: &Ticket, stream: &str) -> SnapshotId {
    let mut found = None;
    comes_true(PATIENCE, "the stream is under the ticket", async || {
        let streams = opener.ticket(ticket).await.expect("the ticket").streams;
        found = streams.into_iter().find(|one| one.name.to_string() == stream).map(|one| one.snapshot);
        found.is_some()
    })
    .await;
    found.expect("it was waited for")
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_make_one_snapshot_and_one_that_is_killed_shows_nothing_of_the_others() {
    let cluster = shared();
    let (opener, restorer) = (cluster.client("acme-writer").await, cluster.client("acme-restorer").await);
    let home = cluster.scratch();
    let writers = [cluster.profile("acme-writer").to_path_buf(), profile_of(cluster, "acme", "second")];
    let label = || "shop of several".parse().expect("a label");
    let ticket = opener.open_ticket(&VAULT.parse().expect("a name"), label(), Vec::new()).await.expect("a ticket");

    let streams: Vec<(String, PathBuf)> =
        (0..4).map(|n| (format!("rows-{n}"), home.join(format!("several-{n}")))).collect();
    for (stream, path) in &streams {
        fs::create_dir_all(path).expect("a directory can be made");
        plant(path, stream);
    }
    // Three write what they have, the fourth dies in the middle.
    let alive: Vec<Child> = (0..3).map(|n| start(&writers[n % 2], &ticket, &streams[n].0, &streams[n].1)).collect();
    let mut dead = start(&writers[1], &ticket, "rows-3", Path::new("endless"));
    let lost = joined(&opener, &ticket, "rows-3").await;
    dead.kill().expect("a process of ours");
    dead.wait().expect("a process of ours");
    for mut process in alive {
        assert!(process.wait().expect("a process of ours").success(), "a writer failed");
    }
    let under = opener.ticket(&ticket).await.expect("the ticket").streams;
    assert_eq!(under.iter().filter(|stream| stream.ready.is_some()).count(), 3);
    let refused = opener.commit_ticket(&ticket).await.expect_err("one is not ready");
    assert_eq!(refused.reason(), Some("STREAMS_DIFFER"));
    for stream in &under {
        assert!(!is_listed(&restorer, stream.snapshot).await, "{} is shown", stream.name);
        let to = home.join("not shown");
        let refused = restorer.restore(RestoreRequest::new(stream.snapshot, to)).await.expect_err("it is not shown");
        assert_eq!(refused.reason(), Some("NOT_FOUND"), "{}", stream.name);
    }
    // Another tenant finds no such ticket, though it has a vault of that name.
    let foreign = cluster.client("globex-writer").await;
    let name = || "rows-9".parse().expect("a name");
    let refused = foreign.join(&ticket, name(), request(&streams[0].1, VAULT, "foreign")).await.expect_err("foreign");
    assert_eq!(refused.reason(), Some("NOT_FOUND"));

    // The dead one is dropped, another process takes its name.
    let dropped = opener.drop_stream(&ticket, &"rows-3".parse().expect("a name")).await.expect("it is dropped");
    assert_eq!(dropped, lost);
    let mut another = start(&writers[1], &ticket, "rows-3", &streams[3].1);
    assert!(another.wait().expect("a process of ours").success());
    let whole = opener.commit_ticket(&ticket).await.expect("all are ready");
    assert!(whole.receipt.is_some(), "one receipt names the whole");
    assert_eq!(opener.ticket(&ticket).await.expect("the ticket").standing, Standing::Committed(whole.snapshot));
    let late = opener.join(&ticket, name(), request(&streams[0].1, VAULT, "late")).await.expect_err("it is decided");
    assert_eq!(late.reason(), Some("TICKET_ENDED"));

    // All of it, byte for byte; two machines side by side, each its streams; a range of one file of one stream.
    let to = home.join("several-all");
    let restored = restorer.restore_streams(RestoreRequest::new(whole.snapshot, to.clone())).await.expect("a restore");
    assert_eq!(restored.len(), 4);
    for (stream, path) in &streams {
        assert_equal(path, &to.join(stream));
    }
    let other = cluster.client("acme-restorer").await;
    let one_of = async |client: &Client, number: usize| {
        let (stream, path) = &streams[number];
        let snapshot = client.find_stream(whole.snapshot, &stream.parse().expect("a name")).await.expect("a stream");
        let to = home.join(format!("several-one-{number}"));
        client.restore(RestoreRequest::new(snapshot, to.clone())).await.expect("a restore");
        assert_equal(path, &to);
        snapshot
    };
    let (first, _) = tokio::join!(one_of(&restorer, 0), one_of(&other, 3));
    let range = ByteRange { first: 1_000_000, last: Some(2_999_999) };
    let mut bytes = Vec::new();
    restorer.read_file(first, b"large/one.bin", range, &mut bytes, Progress::silent()).await.expect("a range");
    let file = fs::read(streams[0].1.join("large/one.bin")).expect("the file");
    assert!(bytes == file[1_000_000..3_000_000]);
    // Each stream's own receipt is there now too, and its provenance stands by itself.
    assert!(restorer.receipt(first).await.is_ok());
    assert!(!is_listed(&restorer, lost).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_stream_is_its_writer_s_and_a_ticket_that_is_given_up_shows_nothing() {
    let cluster = shared();
    let (opener, restorer) = (cluster.client("acme-writer").await, cluster.client("acme-restorer").await);
    let second = client_with(&profile_of(cluster, "acme", "second")).await;
    let path = cluster.scratch().join("expected");
    fs::create_dir_all(&path).expect("a directory can be made");
    plant(&path, "expected");
    let expect = |stream: &str, writer: &str| ExpectedStream {
        name: stream.parse().expect("a name"),
        writer: writer.parse().expect("a name"),
    };
    let expected = vec![expect("b", "second"), expect("a", "writer")];
    let label = "given up".parse().expect("a label");
    let ticket = opener.open_ticket(&VAULT.parse().expect("a name"), label, expected).await.expect("a ticket");
    let join = async |client: &Client, stream: &str| {
        let name = stream.parse().expect("a name");
        client.join(&ticket, name, request(&path, VAULT, "expected")).await
    };
    let refused = join(&second, "a").await.expect_err("another's stream");
    assert_eq!(refused.reason(), Some("STREAMS_DIFFER"));
    let ready = join(&second, "b").await.expect("its own");
    assert_eq!(join(&second, "b").await.expect_err("it is taken").reason(), Some("STREAM_TAKEN"));
    assert_eq!(opener.commit_ticket(&ticket).await.expect_err("a is lacking").reason(), Some("STREAMS_DIFFER"));
    // Only the opener decides.
    assert_eq!(second.commit_ticket(&ticket).await.expect_err("not its ticket").reason(), Some("STREAMS_DIFFER"));
    assert_eq!(second.abort_ticket(&ticket).await.expect_err("not its ticket").reason(), Some("NOT_FOUND"));
    opener.abort_ticket(&ticket).await.expect("it is given up");
    assert_eq!(opener.ticket(&ticket).await.expect("the ticket").standing, Standing::Aborted);
    assert!(!is_listed(&restorer, ready.backup.snapshot).await);
    assert_eq!(join(&opener, "a").await.expect_err("too late").reason(), Some("TICKET_ENDED"));
}
