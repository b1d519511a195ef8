//! openraft's own suite over our log and state.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use strongroom_core::machine::Machine;
use strongroom_core::tables::{Halt, Reads, Tables};
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};

use crate::fatal::Fatal;
use crate::health::Health;
use crate::log::SharedLog;
use crate::log::store::GroupStore;
use crate::machine::GroupMachine;
use crate::snapshot::SnapshotPlace;
use crate::state::StateStore;
use crate::types::TypeConfig;

struct Nothing;

impl Machine for Nothing {
    fn apply(&self, _: &mut dyn Tables, _: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        Ok(entry.to_vec())
    }

    fn query(&self, _: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
        Ok(Vec::new())
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, GroupStore, GroupMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, GroupStore, GroupMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::real();
        let group = GroupId(1);
        let log = SharedLog::open(&host, &directory.path().join("log"), Fatal::new(|_| {})).await.unwrap();
        let (lane, snapshot_lane) = (host.lane("state"), host.lane("snapshots"));
        let (its_host, path) = (host.clone(), directory.path().to_owned());
        let state = lane.run(move || StateStore::open(&its_host, &path, group)).await.unwrap().unwrap();
        let machine = GroupMachine {
            group,
            rules: Arc::new(Nothing),
            state,
            lane,
            snapshots: SnapshotPlace::new(&host, directory.path(), group),
            snapshot_lane,
            checkpointer: None,
            applied: watch::channel(0).0,
            news: broadcast::channel(1).0,
            health: Health::new(),
        };
        Ok((directory, GroupStore::new(&log, group), machine))
    }
}

#[tokio::test]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
