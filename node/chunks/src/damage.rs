//! The ways in which a fragment that should be here is not.

/// What was found instead of a good fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// Bytes came back that are not what was written: a flipped bit, a torn or stale page.
    Checksum,
    /// The file is gone or ends too early.
    Missing,
    /// A good record came back, but of another fragment.
    Misdirected,
}

impl How {
    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Missing => "missing",
            Self::Misdirected => "misdirected",
        }
    }
}
