//! `diff`: what was added, removed and changed between two snapshots.

use serde::Serialize;
use strongroom::restore::{Change, Difference};
use strongroom_format::id::{StreamName, VaultName};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::FileName;
use crate::which::{Named, Which};

/// Flags of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile. A is the older one. Only manifests are read, contents are compared by their hashes.

For people a line begins with + (added), - (removed), M (other contents) or m (other permissions or time only).

Examples:
  strongroom diff 0123abcd latest --vault papers
  strongroom diff 0123abcd 4567cdef --json | jq -r 'select(.change == \"removed\") | .path'")]
pub struct Diff {
    /// The older snapshot: an id, its first 8 or more digits, or `latest` (with --vault).
    #[arg(value_name = "A")]
    older: Named,

    /// The newer one, named in the same way.
    #[arg(value_name = "B")]
    newer: Named,

    /// The vault; needed for `latest`.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: Option<VaultName>,

    /// For `latest`: of this name, LABEL or WRITER/LABEL.
    #[arg(long, env = "STRONGROOM_NAME", value_name = "LABEL")]
    name: Option<String>,

    /// One stream of snapshots that several writers made.
    #[arg(long, env = "STRONGROOM_STREAM", value_name = "STREAM")]
    stream: Option<StreamName>,
}

/// One entry that differs.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "difference")]
struct Shown {
    path: FileName,
    change: &'static str,
    content: bool,
    metadata: bool,
}

impl Diff {
    /// Compares them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let which = |snapshot| Which {
            snapshot,
            vault: self.vault.clone(),
            name: self.name.clone(),
            stream: self.stream.clone(),
        };
        let older = which(self.older).resolve_one(&client).await?;
        let newer = which(self.newer).resolve_one(&client).await?;
        let show = |difference| context.output.item(&Shown::of(difference));
        let count = client.compare(older, newer, show).await?;
        context.output.end(count, "differences")?;
        Ok(Exit::Done)
    }
}

impl Shown {
    fn of(Difference { path, change }: Difference) -> Self {
        let (change, content, metadata) = match change {
            Change::Added => ("added", true, true),
            Change::Removed => ("removed", true, true),
            Change::Changed { content, metadata } => ("changed", content, metadata),
        };
        Self { path: FileName(path), change, content, metadata }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let sign = match (self.change, self.content) {
            ("added", _) => '+',
            ("removed", _) => '-',
            (_, true) => 'M',
            (_, false) => 'm',
        };
        format!("{sign} {}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_says_how_an_entry_changed() {
        let shown = |change| Shown::of(Difference { path: b"a".to_vec(), change });
        let changed = shown(Change::Changed { content: false, metadata: true });
        let expected = r#"{"type":"difference","path":"a","change":"changed","content":false,"metadata":true}"#;
        assert_eq!(serde_json::to_string(&changed).unwrap(), expected);
        assert_eq!(changed.text(), "m a");
        assert_eq!(shown(Change::Added).text(), "+ a");
        assert_eq!(shown(Change::Removed).text(), "- a");
    }
}
