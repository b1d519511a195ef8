//! Where and when a command is applied, and for whom: all that rules may know besides rows.

use strongroom_format::id::{GroupId, IdentityId, LeaseId, Place, SessionId};
use strongroom_format::role::Role;

use crate::entry::ShardFacts;
use crate::shard::rows::{IdentityRow, TenantRow};
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, Stop};
use strongroom_format::outcome::Refusal;

/// Where and when a command is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// What the shard knows of itself.
    pub(crate) facts: &'a ShardFacts,
    /// Where in the log.
    pub(crate) place: Place,
    /// `E`: rights run on it.
    pub(crate) now_ms: u64,
    /// The compliance clock, in milliseconds since 1970: locks end on it.
    #[allow(dead_code, reason = "the rules of locks read it")]
    pub(crate) clock_ms: u64,
    /// How many ticks there were.
    #[allow(dead_code, reason = "the rules of locks read it")]
    pub(crate) ticks: u64,
    /// Whether the group decides nothing, because its voters hold different states.
    pub(crate) disputed: bool,
    /// The leader's wall clock: a label.
    pub(crate) wall_unix_ms: u64,
    /// The entry's salt.
    pub(crate) salt: &'a [u8; 16],
}

impl At<'_> {
    /// This shard.
    pub(crate) fn group(&self) -> GroupId {
        self.facts.group
    }

    /// A lease that the command here opens.
    pub(crate) fn lease(&self) -> LeaseId {
        LeaseId(self.place.number())
    }

    /// A session that the command here opens.
    pub(crate) fn session(&self) -> SessionId {
        SessionId(self.place.number())
    }
}

/// Who asks, authenticated.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The caller's tenant's rows.
    pub(crate) scope: TenantScope,
    /// The tenant.
    pub(crate) tenant: TenantRow,
    /// Who.
    pub(crate) principal: IdentityId,
    /// The caller's row; at home only.
    pub(crate) identity: Option<IdentityRow>,
    /// The session.
    pub(crate) session: SessionId,
}

impl Caller {
    /// Refuses whoever has none of the roles. In other shards than home, where no identity rows are, the session that
    /// the home shard opened stands for its writer.
    pub(crate) fn require(&self, roles: &[Role]) -> Ruled<()> {
        match &self.identity {
            Some(row) if roles.iter().any(|role| row.has(*role)) => Ok(()),
            Some(_) => Err(Refusal::Role.into()),
            None => Ok(()),
        }
    }

    /// The caller's row, which every identity at home has.
    pub(crate) fn row(&self) -> Ruled<&IdentityRow> {
        self.identity.as_ref().ok_or(Stop::Refused(Refusal::WrongGroup))
    }
}
