//! Bytes that rot on disks, end to end: what the cluster can still rebuild is right and counted, what it cannot is said,
//! with its name and exit code 6, and no wrong byte is ever written (N98, N146).
//!
//! A cluster of its own, whose nodes are stopped and whose segments are overwritten. Not here: nodes that lie (`node/tests`).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, strongroomd, until};
use crate::program::{Ran, strongroom};
use crate::trees::{noise, text};

/// Fragments of the large file are longer, those of all else are shorter.
const LARGE_FRAGMENT_BYTES: u64 = 100_000;

/// A node, as `dev.json` describes it.
struct Node {
    argv: Vec<String>,
    directory: PathBuf,
    ops: String,
}

impl Node {
    fn of(cluster: &Cluster, name: &str) -> Self {
        let text = fs::read_to_string(cluster.directory().join("dev.json")).unwrap();
        let dev: Value = serde_json::from_str(&text).unwrap();
        let node = dev["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap();
        let argv = node["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
        let word = |field: &str| node[field].as_str().unwrap().to_owned();
        Self { argv, directory: word("data_dir").into(), ops: word("ops") }
    }

    /// Ends it in order.
    fn stop(&self) {
        let pid = fs::read_to_string(self.directory.join("node.pid")).unwrap();
        assert!(Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap().success());
        let process = Path::new("/proc").join(pid.trim());
        until("the node has ended", || !process.exists());
    }

    /// Starts it from its argv, as anybody may, and waits until it serves. `dev` ends it with the others.
    fn start(&self) -> Child {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).env_clear().current_dir("/");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the node serves", || self.is_ready());
        child
    }

    fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(&self.ops)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.ops)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.starts_with("HTTP/1.1 200"))
        };
        ask().unwrap_or(false)
    }

    /// Overwrites the beginning of every fragment of the large file on its disk.
    fn spoil(&self) -> usize {
        let looked = strongroomd(["inspect", text(&self.directory), "--json"]);
        assert_eq!(looked.code, 0, "{}", looked.stderr);
        let objects = looked.lines();
        let number = |object: &Value, field: &str| object[field].as_u64().unwrap();
        let is_large = |object: &&Value| object["type"] == "fragment" && LARGE_FRAGMENT_BYTES < number(object, "bytes");
        let large: Vec<&Value> = objects.iter().filter(is_large).collect();
        for fragment in &large {
            let file = self.directory.join("segments").join(fragment["file"].as_str().unwrap());
            let file = fs::File::options().write(true).open(file).unwrap();
            file.write_all_at(&[0xA5; 64], number(fragment, "offset")).unwrap();
        }
        large.len()
    }
}

/// Runs it where stdout holds bytes.
fn bytes(cluster: &Cluster, arguments: &[&str]) -> Output {
    let profile = cluster.profile("acme-restorer");
    strongroom().args(["--json", "--profile", text(&profile)]).args(arguments).output().unwrap()
}

/// The last line of stderr: there the object is where stdout holds bytes.
fn told(output: &Output) -> Value {
    let stderr = std::str::from_utf8(&output.stderr).unwrap();
    serde_json::from_str(stderr.lines().last().unwrap_or_else(|| panic!("nothing was told"))).unwrap()
}

/// A tree in a snapshot of which every node has its fragments.
fn strong_snapshot(cluster: &Cluster, home: &Path) -> (String, PathBuf) {
    let (vault, mut found) = (cluster.vault(), None);
    let mut round = 0;
    until("a backup reaches all nodes", || {
        round += 1;
        let top = home.join(format!("tree-{round}"));
        fs::create_dir_all(top.join("d")).unwrap();
        fs::write(top.join("a-small"), format!("a few bytes {round}")).unwrap();
        fs::write(top.join("large"), noise(round, 12 << 20)).unwrap();
        fs::write(top.join("z-small"), format!("a few more {round}")).unwrap();
        fs::write(top.join("d/in"), noise(1000 + round, 50_000)).unwrap();
        let done = cluster.run("acme-writer", ["backup", text(&top), "--vault", &vault, "--name", "tree"]).done();
        if done["handed_over"] == 0 && done["survives"]["nodes"] == 1 {
            found = Some((done["snapshot"].as_str().unwrap().to_owned(), top));
        }
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn n98_n146_what_rots_within_tolerance_is_rebuilt_and_counted_and_beyond_it_is_named_and_never_shown() {
    let (cluster, home) = (Cluster::alone(), tempfile::tempdir().unwrap());
    let (id, top) = strong_snapshot(&cluster, home.path());
    let large = fs::read(top.join("large")).unwrap();
    let archive = bytes(&cluster, &["dump", &id]);
    assert!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));

    // One disk of three: everything is rebuilt.
    let north = Node::of(&cluster, "north-1");
    north.stop();
    assert!(4 < north.spoil());
    let mut restarted = vec![north.start()];
    // While the others still take it for down they do not ask it, and meet nothing.
    let mut counted = [0; 3];
    until("its damage is met", || {
        let verified = cluster.run("acme-restorer", ["verify", &id]);
        assert_eq!(verified.done()["ok"], true, "{}", verified.stdout);
        let cat = bytes(&cluster, &["cat", &id, "large"]);
        assert!(cat.status.success() && cat.stdout == large, "{}", String::from_utf8_lossy(&cat.stderr));
        let dump = bytes(&cluster, &["dump", &id, "--format", "tar"]);
        assert!(dump.status.success() && dump.stdout == archive.stdout, "{}", String::from_utf8_lossy(&dump.stderr));
        let met = [verified.last(), told(&cat), told(&dump)];
        met.iter().zip(&mut counted).for_each(|(said, bad)| *bad += said["fragments_bad"].as_u64().unwrap());
        assert!(met.iter().all(|said| said["fragments_bad"] == 0 || said["blobs_rebuilt"] != 0), "{met:?}");
        !counted.contains(&0)
    });

    // Two disks: the large file is gone, and nothing else.
    let east = Node::of(&cluster, "east-1");
    east.stop();
    assert!(4 < east.spoil());
    restarted.push(east.start());
    let verified = cluster.run("acme-restorer", ["verify", &id]);
    assert_eq!((verified.code, &verified.last()["ok"]), (6, &json!(false)), "{}{}", verified.stdout, verified.stderr);
    assert!(0 < verified.last()["fragments_bad"].as_u64().unwrap(), "{}", verified.stdout);
    let named = |ran: &Ran| -> Vec<Value> {
        let lines = ran.lines();
        lines.iter().filter(|line| line["type"] == "damaged").map(|line| line["path"].clone()).collect()
    };
    assert_eq!(named(&verified), ["large"], "{}", verified.stdout);
    assert!(verified.stderr.contains("damaged: large: "), "people are told too: {}", verified.stderr);

    let cat = bytes(&cluster, &["cat", &id, "large"]);
    assert!(large.starts_with(&cat.stdout) && cat.stdout.len() < large.len(), "{} bytes", cat.stdout.len());
    // All of them lie before the last chunk, which may be as short as the small files.
    let ranges = ["0-0", "5000000-5000099", "8000000-8000000"].map(|range| ["cat", &id, "large", "--range", range]);
    for some in ranges.map(|arguments| bytes(&cluster, &arguments)).iter().chain([&cat]) {
        let error = told(some);
        assert_eq!(some.status.code(), Some(6), "{error}");
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("DATA_LOSS")), "{error}");
        assert!(error["message"].as_str().unwrap().contains("large"), "it names the file: {error}");
    }
    let damaged_ranges = bytes(&cluster, &["cat", &id, "large", "--range", "5000000-5000099"]);
    assert_eq!(damaged_ranges.stdout, b"");
    for small in ["a-small", "z-small", "d/in"] {
        let cat = bytes(&cluster, &["cat", &id, small]);
        assert!(cat.status.success() && cat.stdout == fs::read(top.join(small)).unwrap(), "{small}");
    }

    // An archive ends in the middle of what is damaged, and what tar reads of it is right.
    let cut = bytes(&cluster, &["dump", &id, "--format", "tar"]);
    assert_eq!(cut.status.code(), Some(6), "{}", String::from_utf8_lossy(&cut.stderr));
    assert!(archive.stdout.starts_with(&cut.stdout) && cut.stdout.len() < archive.stdout.len(), "{}", cut.stdout.len());
    assert!(told(&cut)["message"].as_str().unwrap().contains("large"), "{}", told(&cut));
    let mut tar = Command::new("tar");
    tar.arg("-t").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = tar.spawn().unwrap();
    let _broken = reader.stdin.take().unwrap().write_all(&cut.stdout);
    assert!(!reader.wait().unwrap().success(), "no reader takes it for whole");

    // A restore leaves it out, and gives the rest.
    let to = home.path().join("to");
    let restored = cluster.run("acme-restorer", ["restore", &id, "--to", text(&to)]);
    assert_eq!(restored.code, 6, "{}{}", restored.stdout, restored.stderr);
    assert_eq!(named(&restored), ["large"], "{}", restored.stdout);
    assert!(!to.join("large").exists());
    for small in ["a-small", "z-small", "d/in"] {
        assert_eq!(fs::read(to.join(small)).unwrap(), fs::read(top.join(small)).unwrap(), "{small}");
    }

    drop(cluster);
    for node in &mut restarted {
        node.wait().unwrap();
    }
}
