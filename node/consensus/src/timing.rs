//! How fast a group notices that its leader is gone.
//!
//! | profile | heartbeat | election | for |
//! |---|---|---|---|
//! | LAN | 200 ms | 400–800 ms | nodes within a few ms of each other |
//! | WAN | 500 ms | 1500–3000 ms | regions apart |
//!
//! A failover takes about the longest election time and then one random one: a leader leads for the longest election time
//! after a majority has heard it, which is four beats (LAN) or six (WAN), and nobody stands for election before its own random
//! one has passed after that. What a quiet group costs is its beats, so there are no more of them than that.
//!
//! The heartbeats are ours: all groups that a node leads beat at the same moment, so that theirs travel together
//! (`heartbeats.rs`). openraft's own are off, and its `heartbeat_interval` sets only how often a group wakes up to see
//! whether its leader is missed: 13/64 of it, about 50 ms and 240 ms. It does so only once a beat has gone by in which no
//! leader was heard (`running.rs`): a hundred groups that are led need no timer of their own.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy};
use strongroom_format::id::GroupId;

use crate::depth::LogDepth;

/// A timing profile; the same on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// Nodes within a few milliseconds of each other.
    #[default]
    Lan,
    /// Regions apart.
    Wan,
}

impl Timing {
    /// How often a leader beats.
    pub(crate) fn heartbeat(self) -> Duration {
        match self {
            Self::Lan => Duration::from_millis(200),
            Self::Wan => Duration::from_millis(500),
        }
    }

    /// A heartbeat is given up after so long: the next one is nearly due.
    pub(crate) fn heartbeat_within(self) -> Duration {
        self.heartbeat() * 3 / 4
    }

    /// Of many heartbeats in one message those that are not answered by then are asked again alone: the others' answers,
    /// and theirs, have yet to go back.
    pub(crate) fn heartbeat_patience(self) -> Duration {
        self.heartbeat() / 5
    }

    fn wake_ms(self) -> u64 {
        match self {
            Self::Lan => 250,
            Self::Wan => 1200,
        }
    }

    fn election_ms(self) -> (u64, u64) {
        match self {
            Self::Lan => (400, 800),
            Self::Wan => (1500, 3000),
        }
    }

    pub(crate) fn config(self, group: GroupId, depth: LogDepth) -> Result<Arc<Config>, ConfigError> {
        let (election_timeout_min, election_timeout_max) = self.election_ms();
        let config = Config {
            cluster_name: format!("group {group}"),
            heartbeat_interval: self.wake_ms(),
            enable_heartbeat: false,
            election_timeout_min,
            election_timeout_max,
            max_payload_entries: 1024,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: depth.tail_entries(),
            install_snapshot_timeout: 60_000,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            quorum_loss_probe_interval: Some(2 * election_timeout_max),
            ..Config::default()
        };
        config.validate().map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_are_valid_and_cautious() {
        for timing in [Timing::Lan, Timing::Wan] {
            let config = timing.config(GroupId(3), LogDepth::default()).unwrap();
            assert_eq!(config.enable_pre_vote, Some(true));
            assert_eq!(config.enable_leader_restore, Some(false));
            assert!(config.quorum_loss_probe_interval.is_some());
            assert_eq!(config.snapshot_policy, SnapshotPolicy::Never);
        }
    }
}
