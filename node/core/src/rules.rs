//! The version of the rules, a row of every group, and how far a group has applied.
//!
//! A replica that does not know the version that the state says stops before it applies anything: guessing would make
//! replicas differ. Versions 1 and 2 were never released and nothing reads them: version 3 refuses claims about
//! other groups without signatures of a majority of their voters (`proved.rs`); raising the version will be a command.

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::id::RulesVersion;

use crate::row::{Space, rows};
use crate::tables::{Halt, Reads, Tables};

/// The version of the rules that this software knows.
pub const KNOWN: RulesVersion = RulesVersion(3);

/// The rules in force in a group.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct RulesRow {
    pub(crate) version: RulesVersion,
}

/// The last entry that changed anything.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct AppliedRow {
    pub(crate) index: u64,
}

rows! {
    named RULES_TABLES;
    RulesRow: "rules row", 16, 1, ();
    AppliedRow: "applied row", 16, 3, ();
}

/// The version in force; `None` before the group is founded. Another than [`KNOWN`] stops the replica.
pub(crate) fn in_force(reads: &dyn Reads) -> Result<Option<RulesVersion>, Halt> {
    match Space::whole().get::<RulesRow>(reads, &())? {
        None => Ok(None),
        Some(RulesRow { version }) if version == KNOWN => Ok(Some(version)),
        Some(RulesRow { version }) => {
            Err(Halt { why: format!("the state is under rules version {version}, this software knows {KNOWN}") })
        }
    }
}

/// Puts a newly founded group under the rules of today.
pub(crate) fn establish(tables: &mut dyn Tables) -> Result<(), Halt> {
    Space::whole().put(tables, &(), &RulesRow { version: KNOWN })
}

/// Notes the entry that was applied.
pub(crate) fn applied(tables: &mut dyn Tables, index: u64) -> Result<(), Halt> {
    Space::whole().put(tables, &(), &AppliedRow { index })
}

/// The entry that was applied last; zero before the first.
pub(crate) fn last_applied(reads: &dyn Reads) -> Result<u64, Halt> {
    Ok(Space::whole().get::<AppliedRow>(reads, &())?.map_or(0, |row| row.index))
}
