//! Every RPC has exactly one row in the table of who may call what (N14).

use std::collections::BTreeSet;

use prost::Message;
use prost_types::FileDescriptorSet;
use strongroom_identity::admission::{TABLE, row};

/// The path of every method in the compiled service descriptors.
fn paths() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(strongroom_proto::DESCRIPTORS).expect("our own descriptors");
    let mut paths = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    paths
}

#[test]
fn n14_every_rpc_has_a_row() {
    let paths = paths();
    assert!(20 <= paths.len(), "the walk found the services: {paths:?}");
    let without: Vec<_> = paths.iter().filter(|path| row(path).is_none()).collect();
    assert!(without.is_empty(), "RPCs without a row: {without:?}");
}

#[test]
fn n14_every_row_has_an_rpc() {
    let paths = paths();
    let dead: Vec<_> = TABLE.iter().map(|row| row.path).filter(|path| !paths.contains(*path)).collect();
    assert!(dead.is_empty(), "rows without an RPC: {dead:?}");
}

#[test]
fn n128_no_rpc_sets_or_advances_a_clock() {
    let words = ["clock", "time", "tick", "advance"];
    let speaks_of_time = |path: &String| {
        // A ticket is no tick.
        let path = path.to_lowercase().replace("ticket", "");
        words.iter().any(|word| path.contains(word))
    };
    let suspect: Vec<_> = paths().into_iter().filter(speaks_of_time).collect();
    assert!(suspect.is_empty(), "{suspect:?}");
}
