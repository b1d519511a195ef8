//! What a judge says.

use serde::Serialize;

/// A judge's word on one law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held, as far as this history can show; with the figures that the judge looked at.
    Pass(String),
    /// It was broken; what shows it, at most [`Verdict::EVIDENCE_MAX`] pieces.
    Fail(Vec<String>),
    /// This history cannot show it. That fails the run.
    Unknown(String),
}

/// The word alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It held.
    Pass,
    /// It was broken.
    Fail,
    /// Not shown.
    Unknown,
}

impl Verdict {
    /// More evidence is not kept.
    pub const EVIDENCE_MAX: usize = 20;

    /// Fails if there is evidence, else passes.
    pub fn from_evidence(mut evidence: Vec<String>, figures: String) -> Self {
        if evidence.is_empty() {
            return Self::Pass(figures);
        }
        let more = evidence.len().saturating_sub(Self::EVIDENCE_MAX);
        evidence.truncate(Self::EVIDENCE_MAX);
        if 0 < more {
            evidence.push(format!("… and {more} more"));
        }
        Self::Fail(evidence)
    }

    /// Of two judges of one law: it held if both say so, and was broken if one says so.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Fail(mut evidence), Self::Fail(more)) => {
                evidence.extend(more);
                Self::Fail(evidence)
            }
            (Self::Fail(evidence), _) | (_, Self::Fail(evidence)) => Self::Fail(evidence),
            (Self::Unknown(why), Self::Unknown(more)) => Self::Unknown(format!("{why}; {more}")),
            (Self::Unknown(why), _) | (_, Self::Unknown(why)) => Self::Unknown(why),
            (Self::Pass(figures), Self::Pass(more)) => Self::Pass(format!("{figures}; {more}")),
        }
    }

    /// Whether it held.
    pub fn is_pass(&self) -> bool {
        self.word() == Word::Pass
    }

    /// The word alone.
    pub fn word(&self) -> Word {
        match self {
            Self::Pass(_) => Word::Pass,
            Self::Fail(_) => Word::Fail,
            Self::Unknown(_) => Word::Unknown,
        }
    }
}
