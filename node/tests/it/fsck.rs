//! `strongroomd fsck` over stopped nodes' fragments: one that rotted, one that is gone, one that nobody needs.
//!
//! Not here: rows that do not add up (`node/core/tests/it/laws.rs`).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde_json::Value;
use strongroom_format::fragment::{BLOCK_BYTES, CopyName, FragmentHeader, HEADER_BYTES};
use strongroom_format::id::BlobId;

use crate::cluster::{Cluster, PATIENCE, comes_true, metric_at, overwrite};
use crate::deleting::forgetful;
use crate::shared::back_up;
use crate::speaker::random;
use crate::trees;

/// A fragment as `inspect` lists it.
struct Listed {
    file: PathBuf,
    payload_offset: u64,
    header: FragmentHeader,
    payload: Vec<u8>,
}

impl Listed {
    fn read(line: &Value) -> Self {
        let file = PathBuf::from(line["file"].as_str().expect("a file"));
        let payload_offset = line["offset"].as_u64().expect("an offset");
        let mut bytes = vec![0; HEADER_BYTES + line["bytes"].as_u64().expect("a length") as usize];
        let opened = File::open(&file).expect("the segment is there");
        opened.read_exact_at(&mut bytes, payload_offset - HEADER_BYTES as u64).expect("the record is there");
        let header = FragmentHeader::parse(&bytes).expect("a header");
        Self { file, payload_offset, header, payload: bytes.split_off(HEADER_BYTES) }
    }

    /// Writes another copy behind everything in this one's segment, under the same lease.
    fn plant_beside(&self) {
        let copy = CopyName { blob: BlobId::from_bytes(random()), ..self.header.copy };
        let Self { header, payload, .. } = self;
        let planted = FragmentHeader::of(header.tenant_tag, copy, header.code, header.blob_bytes, payload);
        let mut record = planted.expect("it could be a copy").encode().to_vec();
        record.extend(payload);
        record.resize(record.len().next_multiple_of(BLOCK_BYTES), 0);
        let mut all = Vec::new();
        File::open(&self.file).and_then(|mut file| file.read_to_end(&mut all)).expect("the segment is there");
        all.resize(all.len().next_multiple_of(BLOCK_BYTES), 0);
        overwrite(&self.file, all.len() as u64, &record);
    }
}

fn fragments(cluster: &Cluster, node: &str) -> Vec<Listed> {
    let lines = cluster.inspect(node);
    lines.iter().filter(|line| line["type"] == "fragment").map(Listed::read).collect()
}

/// Sums over all nodes: named, damaged, missing, orphans.
fn summed(lines: &[Value]) -> [u64; 4] {
    let of = |what: &str| {
        let of_node = lines.iter().filter(|line| line["type"] == "copies");
        of_node.map(|line| line[what].as_u64().expect("a count")).sum()
    };
    ["named", "damaged", "missing", "orphans"].map(of)
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_tells_a_rotten_and_a_missing_fragment_from_one_that_sweep_will_take() {
    let mut cluster = forgetful().await;
    let source = cluster.scratch();
    trees::plant(&source, "fragments");
    fs::write(source.join("fragments.bin"), trees::noise("fragments", 4 << 20)).expect("a file can be written");
    let writer = cluster.client("acme-writer").await;
    back_up(&writer, &source, "papers", "fragments").await;
    // A client that stays open keeps its session, and whatever fragment came last may lie under the session's lease.
    writer.close().await;
    let names = cluster.names();
    tokio::task::block_in_place(|| {
        cluster.stop_together(&names);
        let (code, lines) = cluster.fsck();
        let [named, damaged, missing, orphans] = summed(&lines);
        assert_eq!((code, damaged, missing, orphans), (Some(0), 0, 0, 0), "{lines:#?}");
        let listed: usize = names.iter().map(|name| fragments(&cluster, name).len()).sum();
        assert_eq!(named, listed as u64, "every fragment on a disk is named by a row there");

        // A copy that no row names, under a lease that has ended, is no damage.
        let mut there = fragments(&cluster, &names[0]);
        there.sort_by_key(|one| (one.file.clone(), one.payload_offset));
        there.last().expect("a node has fragments").plant_beside();
        let (code, lines) = cluster.fsck();
        assert_eq!((code, summed(&lines)), (Some(0), [named, 0, 0, 1]), "{lines:#?}");
        names.iter().for_each(|name| cluster.restart(name));
        names.iter().for_each(|name| cluster.await_ready(name));
    });
    let node = cluster.node(&names[0]).clone();
    comes_true(PATIENCE, "sweep takes the orphan", async || {
        1.0 <= metric_at(&node, "strongroom_chunks_fragments_freed_total", "")
    })
    .await;
    tokio::task::block_in_place(|| {
        cluster.stop_together(&names);
        let (code, lines) = cluster.fsck();
        assert_eq!((code, summed(&lines)[1..] == [0, 0, 0]), (Some(0), true), "{lines:#?}");

        // One bit in one payload; of another node's a whole record.
        let (rotten, gone) = (fragments(&cluster, &names[0]).remove(0), fragments(&cluster, &names[1]).remove(0));
        overwrite(&rotten.file, rotten.payload_offset, &[rotten.payload[0] ^ 1]);
        let nothing = vec![0; gone.header.record_bytes()];
        overwrite(&gone.file, gone.payload_offset - HEADER_BYTES as u64, &nothing);
        let (code, lines) = cluster.fsck();
        assert_eq!(code, Some(6), "damage found: {lines:#?}");
        let said: Vec<(&Value, &Value, &Value)> = lines
            .iter()
            .filter(|line| line["type"] == "copy")
            .map(|line| (&line["blob"], &line["index"], &line["fault"]))
            .collect();
        let name = |one: &Listed| (Value::from(one.header.copy.blob.to_string()), Value::from(one.header.copy.index));
        let (rotten, gone) = (name(&rotten), name(&gone));
        let mut expected = [(&rotten.0, &rotten.1, Value::from("damaged")), (&gone.0, &gone.1, Value::from("missing"))];
        expected.sort_by_key(|(blob, ..)| blob.to_string());
        let mut said: Vec<_> = said.into_iter().map(|(blob, index, fault)| (blob, index, fault.clone())).collect();
        said.sort_by_key(|(blob, ..)| blob.to_string());
        assert_eq!(said, expected, "{lines:#?}");
        let last = lines.last().expect("a last line");
        assert_eq!((&last["broken"], &last["copies_broken"]), (&0.into(), &2.into()));
    });
}
