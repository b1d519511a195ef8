//! What is done to a cluster, as data: to whom, by which means, for how long. Pure.
//!
//! Not here: which of these there are to choose from (`attack.rs`), who carries them out (`force.rs`).

use crate::switch::link::Link;

/// One attack, decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Strike {
    /// The nodes that are meant, by their place in `dev.json`.
    pub nodes: Vec<usize>,
    /// How.
    pub means: Means,
    /// How long it stays so.
    pub hold_ms: u64,
}

/// By which means.
#[derive(Clone, Debug, PartialEq)]
pub enum Means {
    /// SIGKILL, later started again.
    Kill,
    /// SIGSTOP, later SIGCONT.
    Pause,
    /// SIGKILL and start, one node after the other, each when the one before serves again.
    Rolling,
    /// Nothing goes over these links.
    Cut(Vec<Arrow>),
    /// These links get slow and lossy.
    Slow(Vec<Arrow>, Link),
    /// The file system stops at once, what was not synced is lost, the process is killed; later mounted and started.
    PowerCut,
    /// Bytes on the disk change under the running node, in so many places.
    Rot(Rotten, usize),
    /// The file system is full, later it has room again.
    Full,
    /// Each thread's next sync fails once.
    SyncError,
    /// Each sync takes so much longer.
    SlowSync {
        /// Milliseconds.
        by_ms: u64,
    },
    /// Syncs say yes and do nothing; in the end the file system stops at once, and what was said to be synced is lost.
    SyncLost,
    /// The node is killed, its log, its states and its replica ids go: its replicas are replaced by others in every group.
    Replaced,
    /// Wall clocks are set so far off, in libfaketime's words, in the order of `nodes`.
    Clock(Vec<String>),
    /// Wall clocks jump between these, several times a second.
    Strobe(Vec<String>),
    /// The data directory is copied, and what the node had written since is taken away again.
    SetBack,
}

/// What rots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotten {
    /// Fragments, under a running node.
    Segments,
    /// Applied states, of a node that was killed.
    State,
    /// The log, of a node that was killed.
    Log,
}

/// One direction of a link between two machines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    /// Who sends.
    pub from: String,
    /// Who would receive.
    pub to: String,
}

impl Means {
    /// As in the history.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Rolling => "rolling",
            Self::Cut(_) => "cut",
            Self::Slow(..) => "slow-links",
            Self::PowerCut => "power",
            Self::Rot(Rotten::Segments, _) => "rot-segments",
            Self::Rot(Rotten::State, _) => "rot-state",
            Self::Rot(Rotten::Log, _) => "rot-log",
            Self::Full => "full",
            Self::SyncError => "sync-error",
            Self::SlowSync { .. } => "slow-sync",
            Self::SyncLost => "sync-lost",
            Self::Replaced => "replaced",
            Self::Clock(_) => "clock",
            Self::Strobe(_) => "strobe",
            Self::SetBack => "set-back",
        }
    }

    /// Whether the node may end by it, so that it has to be started again.
    pub fn may_end_a_node(&self) -> bool {
        match self {
            Self::Kill | Self::Rolling | Self::PowerCut | Self::Full | Self::SyncError | Self::SetBack => true,
            Self::SyncLost | Self::Replaced => true,
            Self::Rot(what, _) => *what != Rotten::Segments,
            Self::Pause | Self::Cut(_) | Self::Slow(..) | Self::SlowSync { .. } | Self::Clock(_) | Self::Strobe(_) => {
                false
            }
        }
    }
}

/// Every link from one of these to one of those.
pub fn arrows(from: &[&str], to: &[&str]) -> Vec<Arrow> {
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| from != to).map(|(from, to)| Arrow { from: from.into(), to: to.into() }).collect()
}

/// Every link between these and those, in both directions.
pub fn both_ways(these: &[&str], those: &[&str]) -> Vec<Arrow> {
    [arrows(these, those), arrows(those, these)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_have_a_direction_and_nobody_has_one_to_themselves() {
        let one_way = arrows(&["a", "b"], &["b", "c"]);
        let said: Vec<String> = one_way.iter().map(|arrow| format!("{}>{}", arrow.from, arrow.to)).collect();
        assert_eq!(said, ["a>b", "a>c", "b>c"]);
        assert_eq!(both_ways(&["a"], &["b"]).len(), 2);
    }
}
