//! A group whose task panics: only from inside can one be made to.

use std::time::Duration;

use strongroom_core::tables::{Reads, Tables};
use strongroom_host::sim_disk::SimDisk;

use super::*;
use crate::group::What;
use crate::transport::{Class, Unreachable};

#[derive(Debug)]
struct Nowhere;

#[async_trait::async_trait]
impl Transport for Nowhere {
    async fn call(&self, to: &NodeName, _: Message, _: Class, _: Duration) -> Result<Bytes, Unreachable> {
        Err(Unreachable { node: to.clone(), why: "there is nobody".into() })
    }
}

/// Answers how often it was applied to.
struct Counting;

const COUNT: strongroom_core::tables::Table = strongroom_core::tables::Table(1);

impl Machine for Counting {
    fn apply(&self, tables: &mut dyn Tables, index: u64, _: &[u8]) -> Result<Vec<u8>, Halt> {
        tables.put(COUNT, &index.to_be_bytes(), b"")?;
        self.query(&*tables, b"")
    }

    fn query(&self, tables: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
        Ok(tables.range(COUNT, b"", &[0xff; 9], usize::MAX)?.len().to_le_bytes().to_vec())
    }
}

#[tokio::test]
async fn a_task_that_panics_is_started_again_over_its_state() {
    const WITHIN: Duration = Duration::from_secs(60);
    let host = Host::real().with_files(Arc::new(SimDisk::new()));
    let node: NodeName = "n1".parse().unwrap();
    let settings =
        Settings { data_dir: "/data".into(), node: node.clone(), timing: Timing::Lan, depth: LogDepth::default() };
    let fatal = Fatal::new(|why| panic!("{why}"));
    let consensus = Consensus::open(host.clone(), settings, Arc::new(Nowhere), fatal).await.unwrap();
    let (id, replica) = (GroupId(1), ReplicaId(256));
    consensus.start_group(id, replica, Arc::new(Counting)).await.unwrap();
    consensus.admit(id);
    consensus.initialize(id, [(replica, Member { node, voter: true })].into()).await.unwrap();
    let mut events = consensus.events();
    for round in 1..=2_usize {
        let answer = loop {
            match consensus.propose(id, vec![7], WITHIN).await {
                Ok(applied) => break applied.answer,
                Err(ProposeError::NotLeader { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(answer, round.to_le_bytes(), "nothing is lost and nothing comes twice");
        let group = consensus.group(id).unwrap();
        let died = group.raft.with_raft_state(|_| -> () { panic!("as a bug would") }).await;
        assert!(died.is_err());
        drop(group);
        let event = tokio::time::timeout(WITHIN, events.recv()).await.unwrap().unwrap();
        assert_eq!(event, GroupEvent { group: id, what: What::Restarted });
    }
    let is_aside = host.files().exists(Path::new("/data/state/1.redb.aside")).unwrap();
    assert!(!is_aside, "the state was not to blame");
}
