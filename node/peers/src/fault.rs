//! Why a member did not take a fragment, cannot give one, or gives no word about voters. The numbers are those on the
//! wire.

/// Why a fragment was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u32)]
pub enum PutFault {
    /// The lease has ended or never was: nobody may write under it any more.
    #[error("the lease is not open")]
    LeaseEnded = 1,
    /// The lease is another tenant's.
    #[error("the lease is not of this tenant")]
    Foreign = 2,
    /// The asking node, or this one, has no member in the shard.
    #[error("not a member of the shard")]
    NotAMember = 3,
    /// The lease's bytes are used up.
    #[error("the lease's budget is used up")]
    BudgetExceeded = 4,
    /// The disk keeps its reserve.
    #[error("the disk is full")]
    DiskFull = 5,
    /// This member has not yet applied the entry that opened the lease. Try another, or again.
    #[error("the member's state is behind")]
    Behind = 6,
    /// A field is missing or outside its range.
    #[error("the request is malformed")]
    Malformed = 7,
    /// Too much waits here already.
    #[error("the member is busy")]
    Busy = 8,
    /// The store failed.
    #[error("the store failed")]
    Failed = 9,
}

impl PutFault {
    const ALL: [Self; 9] = [
        Self::LeaseEnded,
        Self::Foreign,
        Self::NotAMember,
        Self::BudgetExceeded,
        Self::DiskFull,
        Self::Behind,
        Self::Malformed,
        Self::Busy,
        Self::Failed,
    ];

    /// Its number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// From its number; a number from a later version is [`PutFault::Failed`].
    pub(crate) fn from_code(code: u32) -> Self {
        Self::ALL.into_iter().find(|fault| fault.code() == code).unwrap_or(Self::Failed)
    }
}

/// Why a fragment cannot be had from a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u32)]
pub enum FetchFault {
    /// It is not here.
    #[error("the fragment is not here")]
    Absent = 1,
    /// It is here and damaged.
    #[error("the fragment is damaged")]
    Damaged = 2,
    /// The asking node, or this one, has no member in the shard.
    #[error("not a member of the shard")]
    NotAMember = 3,
    /// A field is missing or outside its range.
    #[error("the request is malformed")]
    Malformed = 4,
    /// The store failed.
    #[error("the store failed")]
    Failed = 5,
}

impl FetchFault {
    const ALL: [Self; 5] = [Self::Absent, Self::Damaged, Self::NotAMember, Self::Malformed, Self::Failed];

    /// Its number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// From its number; a number from a later version is [`FetchFault::Failed`].
    pub(crate) fn from_code(code: u32) -> Self {
        Self::ALL.into_iter().find(|fault| fault.code() == code).unwrap_or(Self::Failed)
    }
}

/// Why a Raft message is not heard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaftFault {
    /// The sending node does not hold the replica that it speaks for (N95).
    #[error("{why}")]
    Foreign {
        /// For people.
        why: String,
    },
    /// Anything else: the replica is not here, or cannot answer now.
    #[error("{why}")]
    Unheard {
        /// For people.
        why: String,
    },
}

/// Why a node gives no word about a group's voters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordFault {
    /// The asking node does not hold the replica that it asks for, or has none in the group (N97).
    #[error("not a member of the group")]
    NotAMember,
    /// Not yet: ask again.
    #[error("not yet: {why}")]
    NotYet {
        /// What is missing, for people.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_faults_are_fixed_and_zero_is_none_of_them() {
        let puts: Vec<u32> = PutFault::ALL.into_iter().map(PutFault::code).collect();
        assert_eq!(puts, (1..=9).collect::<Vec<_>>());
        let fetches: Vec<u32> = FetchFault::ALL.into_iter().map(FetchFault::code).collect();
        assert_eq!(fetches, (1..=5).collect::<Vec<_>>());
        assert_eq!(PutFault::from_code(4), PutFault::BudgetExceeded);
        assert_eq!(PutFault::from_code(77), PutFault::Failed);
        assert_eq!(FetchFault::from_code(2), FetchFault::Damaged);
        assert_eq!(FetchFault::from_code(0), FetchFault::Failed);
    }
}
