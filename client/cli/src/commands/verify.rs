//! `verify`: every byte of a snapshot is fetched, opened and checked, and kept nowhere.

use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::progress::{Doing, Watch};
use crate::text::{count, size, span};
use crate::which::Which;

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile. What is damaged everywhere is named, reported, and the exit code is 6.

Examples:
  strongroom verify latest --vault papers
  strongroom verify 0123abcd --json | tail -1 | jq .ok")]
pub struct Verify {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "verify")]
struct Done {
    snapshot: String,
    files: u64,
    bytes: u64,
    seconds: f64,
    fragments_bad: u64,
    blobs_rebuilt: u64,
    ok: bool,
}

impl Verify {
    /// Verifies.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let watch = Watch::new(Doing::Verifying, &context.output);
        let snapshot = self.which.resolve(&client).await?;
        let verified = client.verify(snapshot, &[], watch.progress()).await?;
        for entry in &verified.left_out {
            watch.skipped(&entry.path, &entry.why);
        }
        drop(watch);
        let done = Done {
            snapshot: verified.snapshot.to_string(),
            files: verified.files,
            bytes: verified.bytes,
            seconds: verified.duration.as_secs_f64(),
            fragments_bad: verified.fragments_bad,
            blobs_rebuilt: verified.blobs_rebuilt,
            ok: verified.is_whole(),
        };
        context.output.item(&done)?;
        Ok(match (done.ok, verified.left_out.is_empty()) {
            (false, _) => Exit::DamageFound,
            (true, false) => Exit::SomeSkipped,
            (true, true) => Exit::Done,
        })
    }
}

impl Item for Done {
    fn text(&self) -> String {
        let verdict = if self.ok { "is whole" } else { "IS DAMAGED" };
        let mut text = format!(
            "snapshot {} {verdict}: {}, {} in {}",
            self.snapshot,
            count(self.files, "file", "files"),
            size(self.bytes),
            span(std::time::Duration::from_secs_f64(self.seconds)),
        );
        if self.fragments_bad != 0 || self.blobs_rebuilt != 0 {
            text.push_str(&format!(
                "\n{} damaged, {} rebuilt from others",
                count(self.fragments_bad, "fragment was", "fragments were"),
                count(self.blobs_rebuilt, "blob was", "blobs were"),
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_says_whether_all_is_well() {
        let done = Done {
            snapshot: "07".into(),
            files: 1,
            bytes: 2,
            seconds: 3.5,
            fragments_bad: 0,
            blobs_rebuilt: 0,
            ok: false,
        };
        let expected = r#"{"type":"verify","snapshot":"07","files":1,"bytes":2,"seconds":3.5,"fragments_bad":0,"blobs_rebuilt":0,"ok":false}"#;
        assert_eq!(serde_json::to_string(&done).unwrap(), expected);
        assert!(done.text().contains("IS DAMAGED"));
    }
}
