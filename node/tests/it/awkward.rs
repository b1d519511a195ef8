//! Backup keeps everything and restore gives it back: a tree with all that trees can have, over a cluster and home again.
//!
//! Not here: what a hostile manifest gets (`claims.rs`), restores by ordinary users (`client/cli/tests`).

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use strongroom::restore::{Lacking, RestoreRequest, Special};

use crate::shared::{back_up, restore, shared};
use crate::trees::{self, look};

fn says_what_is_not_there(what: &[&str]) {
    if !what.is_empty() {
        eprintln!("not tested, because this file system or user has none: {}", what.join(", "));
    }
}

fn is_device(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| {
        let kind = about.file_type();
        kind.is_block_device() || kind.is_char_device()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_tree_has_comes_back() {
    let cluster = shared();
    let source = cluster.scratch().join("awkward");
    trees::plant(&source, "awkward");
    says_what_is_not_there(&trees::plant_awkward(&source, "awkward"));
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).expect("a socket");
    let backup = back_up(&cluster.client("acme-writer").await, &source, "papers", "awkward").await;
    assert_eq!((backup.skipped, backup.changed), (1, 0), "the socket, and nothing else");
    assert!(backup.bytes_read < 12 << 20, "{} bytes were read: holes among them", backup.bytes_read);
    fs::remove_file(source.join("socket")).expect("it was there");
    // Its directory has changed by that.
    let restorer = cluster.client("acme-restorer").await;

    let to = cluster.scratch().join("restored");
    let mut request = RestoreRequest::new(backup.snapshot, to.clone());
    request.special = Special::Given;
    let restored = restorer.restore(request).await.expect("the restore completes");
    assert_eq!((&restored.damaged[..], &restored.left_out[..], &restored.not_given[..]), (&[][..], &[][..], &[][..]));
    trees::assert_equal(&source, &to);
    let allocated = |path: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).expect("the file").blocks() * 512
    };
    assert!(allocated(&to.join("holes/nothing else")) < 1 << 20, "a hole is a hole");
    assert!(allocated(&to.join("holes/between")) < 4 << 20, "holes are holes");

    // Once more from what came back: the second generation is like the first, and nothing is sent but the manifest.
    let again = back_up(&cluster.client("acme-writer").await, &to, "papers", "awkward").await;
    assert_eq!((again.files, again.links, again.special), (backup.files, backup.links, backup.special));
    let second = cluster.scratch().join("second");
    let mut request = RestoreRequest::new(again.snapshot, second.clone());
    request.special = Special::Given;
    restorer.restore(request).await.expect("the restore completes");
    trees::assert_equal(&source, &second);
}

#[tokio::test(flavor = "multi_thread")]
async fn n115_unasked_nothing_that_gives_power_comes_back() {
    let cluster = shared();
    let source = cluster.scratch().join("power");
    trees::plant(&source, "power");
    says_what_is_not_there(&trees::plant_awkward(&source, "power"));
    let backup = back_up(&cluster.client("acme-writer").await, &source, "papers", "power").await;
    assert_eq!(backup.skipped, 0);
    let to = cluster.scratch().join("restored");
    let restored = restore(&cluster.client("acme-restorer").await, backup.snapshot, &to).await;
    let devices: Vec<&[u8]> = [&b"disk"[..], b"null"]
        .into_iter()
        .filter(|name| is_device(&source.join(str::from_utf8(name).expect("UTF-8"))))
        .collect();
    let left_out: Vec<&[u8]> = restored.left_out.iter().map(|file| file.path.as_slice()).collect();
    assert_eq!(left_out, devices);
    assert!(!to.join("disk").exists() && !to.join("null").exists());
    // The set-uid program, and the set-gid directory.
    let power: u64 =
        restored.not_given.iter().filter(|lack| lack.what == Lacking::Power).map(|lack| lack.entries).sum();
    assert_eq!((power, restored.not_given.len()), (2, 1), "{:?}", restored.not_given);
    for (name, mode) in [("program", 0o711), ("deep/er", 0o750)] {
        let found = fs::metadata(to.join(name)).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{name}");
    }
    assert!(rustix::fs::lgetxattr(to.join("program"), "security.capability", &mut [0; 64][..]).is_err());
    for name in ["deep/first", "holes/between", "shut", "deep/pipe"] {
        assert_eq!(
            look(&to.join(name)).expect("it is there"),
            look(&source.join(name)).expect("it is there"),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_of_a_file_is_enough_to_restore_it() {
    let cluster = shared();
    let source = cluster.scratch().join("names");
    trees::plant(&source, "names");
    trees::plant_awkward(&source, "names");
    let backup = back_up(&cluster.client("acme-writer").await, &source, "papers", "names").await;
    let restorer = cluster.client("acme-restorer").await;
    let to = cluster.scratch().join("restored");
    let mut request = RestoreRequest::new(backup.snapshot, to.clone());
    request.paths = vec![b"deep/er".to_vec()];
    let restored = restorer.restore(request).await.expect("the restore completes");
    assert_eq!(restored.left_out, []);
    for name in ["large", "third", "pipe"] {
        let (there, here) = (source.join("deep/er").join(name), to.join(name));
        assert_eq!(look(&here).expect("it is there"), look(&there).expect("it is there"), "{name}");
    }
    assert!(fs::read(to.join("large")).expect("a file") == fs::read(source.join("deep/large")).expect("a file"));
    // A listing names the file that a further name is one of: its first name, in the snapshot's order.
    let listed = restorer.list_entries(backup.snapshot, b"deep/large").await.expect("it is listed");
    let [entry] = &listed[..] else { panic!("one entry") };
    assert_eq!((entry.bytes, entry.names, entry.target.as_deref()), (2_500_000, 2, Some(&b"deep/er/large"[..])));
}
