//! How a rule ends without being done: the rules say no, or this replica stops. The two are never mixed.

use strongroom_format::codec::FormatError;
use strongroom_format::outcome::Refusal;

use crate::tables::Halt;

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// An outcome: nothing changed.
    Refused(Refusal),
    /// This replica's own state cannot be trusted.
    Halt(Halt),
}

/// What a rule gives.
pub(crate) type Ruled<T> = Result<T, Stop>;

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Stop::Halt(halt)
    }
}

/// A caller's bytes that are not what they should be. Unknown versions are told apart: they may be right tomorrow.
pub(crate) fn format_refusal(fault: &FormatError) -> Refusal {
    match fault {
        FormatError::UnsupportedVersion { .. } => Refusal::UnsupportedFormat { why: fault.to_string() },
        FormatError::TooLong { .. } | FormatError::Malformed { .. } => Refusal::Invalid { why: fault.to_string() },
    }
}

/// A field outside its range.
pub(crate) fn invalid(why: &str) -> Stop {
    Stop::Refused(Refusal::Invalid { why: why.into() })
}

/// A bound of the rules.
pub(crate) fn limit(what: &str) -> Stop {
    Stop::Refused(Refusal::Limit { what: what.into() })
}

/// A sum that no honest state reaches: this replica's rows contradict themselves.
pub(crate) fn impossible(why: &str) -> Halt {
    Halt { why: why.into() }
}
