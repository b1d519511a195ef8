//! `doctor`: a look at the profile and what it names, with what to do where something is wrong.

use serde::Serialize;
use strongroom::doctor::{Finding, Verdict, examine};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::count;

/// Flags of `doctor`: none of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It reads the profile, its certificate and keys, looks where else keys lie, whether the state directory can be written and
when a snapshot was last verified, and asks each endpoint who it is and what time it has. It changes nothing, and ends
with 1 if anything is WRONG. A node's configuration is looked at by `strongroomd doctor`.

Examples:
  strongroom doctor --profile web-1.toml
  strongroom doctor --json | jq -r 'select(.verdict == \"wrong\") | .next'")]
pub struct Doctor {}

/// One finding.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "finding")]
struct Shown {
    verdict: &'static str,
    about: String,
    message: String,
    next: String,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "doctor")]
struct Done {
    ok: bool,
    wrong: u64,
    warnings: u64,
}

impl Doctor {
    /// Looks.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let found = examine(context.profile_path()?, context.deadline()).await;
        let counted = |verdict| found.iter().filter(|one| one.verdict == verdict).count() as u64;
        let done = Done {
            ok: counted(Verdict::Wrong) == 0,
            wrong: counted(Verdict::Wrong),
            warnings: counted(Verdict::Warning),
        };
        for one in found {
            context.output.item(&Shown::from(one))?;
        }
        context.output.item(&done)?;
        Ok(if done.ok { Exit::Done } else { Exit::Failed })
    }
}

impl From<Finding> for Shown {
    fn from(found: Finding) -> Self {
        let Finding { verdict, about, message, next } = found;
        let verdict = match verdict {
            Verdict::Good => "ok",
            Verdict::Warning => "warning",
            Verdict::Wrong => "wrong",
        };
        Self { verdict, about, message, next }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let verdict = if self.verdict == "wrong" { "WRONG" } else { self.verdict };
        let mut text = format!("{verdict:8} {}", self.about);
        if !self.message.is_empty() {
            text.push_str(&format!(": {}", self.message));
        }
        if !self.next.is_empty() {
            text.push_str(&format!("\n           next: {}", self.next));
        }
        text
    }
}

impl Item for Done {
    fn text(&self) -> String {
        match (self.wrong, self.warnings) {
            (0, 0) => "all is well".to_owned(),
            (wrong, warnings) => format!(
                "{}, {}",
                count(wrong, "thing is wrong", "things are wrong"),
                count(warnings, "warning", "warnings")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_to_do() {
        let shown = Shown::from(Finding {
            verdict: Verdict::Wrong,
            about: "certificate".into(),
            message: "it has ended".into(),
            next: "enrol".into(),
        });
        let expected =
            r#"{"type":"finding","verdict":"wrong","about":"certificate","message":"it has ended","next":"enrol"}"#;
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert_eq!(shown.text(), "WRONG    certificate: it has ended\n           next: enrol");
        assert_eq!(Done { ok: false, wrong: 1, warnings: 2 }.text(), "1 thing is wrong, 2 warnings");
    }
}
