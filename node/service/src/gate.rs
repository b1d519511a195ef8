//! Which of this node's replicas may take part in their groups, and which are lost: plain memory of this process.
//!
//! ```text
//!   started ─▶ asking ─ others know nothing newer ─▶ admitted ─┐
//!                └──── others know something newer ────────────┼─▶ lost ─▶ rebuilt under a new replica id
//!                                     fenced, broken ──────────┘
//! ```
//!
//! Law: a lost replica is never admitted again; only a new replica id begins anew.
//! Not here: finding out (`admit.rs`, `rebuild.rs`), starting and stopping (`replicas.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_format::id::{GroupId, ReplicaId};

/// Why a replica is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its log is older than what others know of it: its disk was put back.
    RolledBack {
        /// What was compared, for people.
        why: String,
    },
    /// Its digest differs from the majority's.
    Fenced,
    /// It cannot run over what lies on its disk.
    Broken {
        /// What consensus said.
        why: String,
    },
}

impl Loss {
    /// For people.
    pub fn why(&self) -> String {
        match self {
            Self::RolledBack { why } => format!("rolled back: {why}"),
            Self::Fenced => "its digest differs from the majority's".to_owned(),
            Self::Broken { why } => format!("broken: {why}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Asking,
    Admitted,
    Lost(Loss),
}

/// See the head of the file. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<BTreeMap<GroupId, (ReplicaId, Standing)>>>);

impl Gate {
    /// A replica has started. One that is known already keeps its standing.
    pub fn started(&self, group: GroupId, replica: ReplicaId) {
        let mut table = self.table();
        match table.get(&group) {
            Some((known, _)) if *known == replica => {}
            Some(_) | None => drop(table.insert(group, (replica, Standing::Asking))),
        }
    }

    /// A group is not here any more.
    pub fn gone(&self, group: GroupId) {
        self.table().remove(&group);
    }

    /// The others know nothing newer of a replica. `false`: it is another one by now, or lost.
    pub fn admit(&self, group: GroupId, replica: ReplicaId) -> bool {
        match self.table().get_mut(&group) {
            Some((known, standing @ (Standing::Asking | Standing::Admitted))) if *known == replica => {
                *standing = Standing::Admitted;
                true
            }
            Some(_) | None => false,
        }
    }

    /// A replica cannot go on. `false`: that was known, or it is another one by now.
    pub fn lose(&self, group: GroupId, replica: ReplicaId, loss: Loss) -> bool {
        match self.table().get_mut(&group) {
            Some((known, standing @ (Standing::Asking | Standing::Admitted))) if *known == replica => {
                *standing = Standing::Lost(loss);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether a replica takes part.
    pub fn is_admitted(&self, group: GroupId, replica: ReplicaId) -> bool {
        matches!(self.table().get(&group), Some((known, Standing::Admitted)) if *known == replica)
    }

    /// Whether whatever replica of the group is here takes part.
    pub fn takes_part(&self, group: GroupId) -> bool {
        matches!(self.table().get(&group), Some((_, Standing::Admitted)))
    }

    /// Those that are still asking.
    pub fn asking(&self) -> Vec<(GroupId, ReplicaId)> {
        self.standing(&Standing::Asking)
    }

    /// Those that take part.
    pub fn admitted(&self) -> Vec<(GroupId, ReplicaId)> {
        self.standing(&Standing::Admitted)
    }

    fn standing(&self, wanted: &Standing) -> Vec<(GroupId, ReplicaId)> {
        let table = self.table();
        let stand = table.iter().filter(|(_, (_, standing))| standing == wanted);
        stand.map(|(group, (replica, _))| (*group, *replica)).collect()
    }

    /// Those that are lost.
    pub fn lost(&self) -> Vec<(GroupId, ReplicaId, Loss)> {
        let table = self.table();
        let lost = table.iter().filter_map(|(group, (replica, standing))| match standing {
            Standing::Lost(loss) => Some((*group, *replica, loss.clone())),
            Standing::Asking | Standing::Admitted => None,
        });
        lost.collect()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, (ReplicaId, Standing)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(3);
    const OLD: ReplicaId = ReplicaId(256);
    const NEW: ReplicaId = ReplicaId(512);

    #[test]
    fn a_lost_replica_is_never_admitted_again_but_a_new_one_begins_anew() {
        let gate = Gate::default();
        gate.started(GROUP, OLD);
        assert_eq!((gate.asking(), gate.takes_part(GROUP)), (vec![(GROUP, OLD)], false));
        assert!(gate.admit(GROUP, OLD) && gate.is_admitted(GROUP, OLD));
        assert!(gate.lose(GROUP, OLD, Loss::Fenced));
        assert!(!gate.lose(GROUP, OLD, Loss::Broken { why: "later".into() }), "the first reason stays");
        gate.started(GROUP, OLD);
        assert!(!gate.admit(GROUP, OLD) && !gate.takes_part(GROUP));
        assert_eq!(gate.lost(), [(GROUP, OLD, Loss::Fenced)]);
        gate.started(GROUP, NEW);
        assert!(gate.lost().is_empty() && !gate.admit(GROUP, OLD) && !gate.lose(GROUP, OLD, Loss::Fenced));
        assert!(gate.admitted().is_empty() && gate.admit(GROUP, NEW));
        assert_eq!((gate.asking(), gate.admitted()), (vec![], vec![(GROUP, NEW)]));
        gate.gone(GROUP);
        assert!(!gate.admit(GROUP, NEW) && gate.asking().is_empty());
    }
}
