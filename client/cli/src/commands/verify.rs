//! `verify`: every byte of snapshots, or a sample of it, is fetched, opened and checked, and kept nowhere.

use serde::Serialize;
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom::restore::{Restored, Sample};
use strongroom_format::id::{SnapshotId, StreamName, VaultName};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::progress::{Doing, Watch};
use crate::text::{count, size, span};
use crate::which::{Named, Which};

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile. What is damaged everywhere is named, reported, and the exit code is 6; the other snapshots are
verified all the same. When a vault was verified last stands in the profile's state directory.

--sample reads the manifest and so many of the chunks, chosen at random: verify all now and then, a sample every night.

Examples:
  strongroom verify latest --vault papers
  strongroom verify --all --vault papers --sample 5%
  strongroom verify 0123abcd --json | tail -1 | jq .ok")]
pub struct Verify {
    /// Which snapshots: ids, first 8 or more digits of them, or `latest` (with --vault).
    #[arg(value_name = "SNAPSHOT", required_unless_present = "all")]
    snapshots: Vec<Named>,

    /// All snapshots of the tenant, or of --vault, or of --name.
    #[arg(long, env = "STRONGROOM_ALL", value_parser = clap::builder::FalseyValueParser::new(), conflicts_with = "snapshots")]
    all: bool,

    /// The vault; needed for `latest`.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: Option<VaultName>,

    /// For `latest` and --all: of this name, LABEL or WRITER/LABEL.
    #[arg(long, env = "STRONGROOM_NAME", value_name = "LABEL")]
    name: Option<String>,

    /// Only this stream of a snapshot that several writers made; without it all of them are verified.
    #[arg(long, env = "STRONGROOM_STREAM", value_name = "STREAM", conflicts_with = "all")]
    stream: Option<StreamName>,

    /// Only this share of the chunks, above 0 % and up to 100 %.
    #[arg(long, env = "STRONGROOM_SAMPLE", value_name = "N%", value_parser = parse_sample)]
    sample: Option<Sample>,
}

/// The result for one snapshot.
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
    /// Percent; absent if all was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<f64>,
    /// Why nothing could be read, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Verify {
    /// Verifies.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshots = self.meant(&client).await?;
        let is_list = self.all || 1 < snapshots.len();
        let (mut is_damaged, mut is_partial) = (false, false);
        for snapshot in &snapshots {
            let watch = Watch::new(Doing::Verifying, &context.output);
            let verified = match self.sample {
                None => client.verify(*snapshot, &[], watch.progress()).await,
                Some(sample) => client.verify_sample(*snapshot, sample, watch.progress()).await,
            };
            let done = match verified {
                Ok(verified) => {
                    for entry in &verified.left_out {
                        watch.skipped(&entry.path, &entry.why);
                    }
                    is_partial |= !verified.left_out.is_empty();
                    Done::of(&verified, self.sample)
                }
                // One snapshot that cannot be read at all does not hide the state of the others.
                Err(Error::Refused { code: "DATA_LOSS", message, .. }) if is_list => {
                    Done::lost(*snapshot, self.sample, message)
                }
                Err(error) => return Err(error.into()),
            };
            drop(watch);
            is_damaged |= !done.ok;
            context.output.item(&done)?;
        }
        if is_list {
            context.output.end(snapshots.len() as u64, "snapshots")?;
        }
        Ok(match (is_damaged, is_partial) {
            (true, _) => Exit::DamageFound,
            (false, true) => Exit::SomeSkipped,
            (false, false) => Exit::Done,
        })
    }

    async fn meant(&self, client: &Client) -> Result<Vec<SnapshotId>, Failure> {
        if self.all {
            let found = client.snapshots(self.vault.as_ref()).await?;
            let is_meant = |name: &str, writer: &str| match &self.name {
                None => true,
                Some(wanted) => wanted == name || *wanted == format!("{writer}/{name}"),
            };
            let meant = found.into_iter().filter(|info| is_meant(info.name.as_str(), &info.writer.to_string()));
            return Ok(meant.map(|info| info.id).collect());
        }
        let mut meant = Vec::new();
        for snapshot in &self.snapshots {
            let which = Which {
                snapshot: snapshot.clone(),
                vault: self.vault.clone(),
                name: self.name.clone(),
                stream: self.stream.clone(),
            };
            let id = which.resolve(client).await?;
            let mut ids = vec![id];
            for stream in which.streams(client, id).await? {
                ids.push(client.find_stream(id, &stream.name).await?);
            }
            ids.retain(|id| !meant.contains(id));
            meant.extend(ids);
        }
        Ok(meant)
    }
}

impl Done {
    fn of(verified: &Restored, sample: Option<Sample>) -> Self {
        Self {
            snapshot: verified.snapshot.to_string(),
            files: verified.files,
            bytes: verified.bytes,
            seconds: verified.duration.as_secs_f64(),
            fragments_bad: verified.fragments_bad,
            blobs_rebuilt: verified.blobs_rebuilt,
            ok: verified.is_whole(),
            sample: sample.map(Sample::percent),
            why: None,
        }
    }

    fn lost(snapshot: SnapshotId, sample: Option<Sample>, why: String) -> Self {
        Self {
            snapshot: snapshot.to_string(),
            files: 0,
            bytes: 0,
            seconds: 0.0,
            fragments_bad: 0,
            blobs_rebuilt: 0,
            ok: false,
            sample: sample.map(Sample::percent),
            why: Some(why),
        }
    }
}

/// `5%` or `0.5`: hundredths of a percent are the finest.
fn parse_sample(text: &str) -> Result<Sample, String> {
    let bad =
        || "a sample is a share such as 5% or 0.5%, above 0 % and up to 100 %, in hundredths of a percent".to_owned();
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let (whole, behind) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(behind) || 2 < behind.len() {
        return Err(bad());
    }
    let whole: u16 = whole.parse().map_err(|_| bad())?;
    let behind: u16 = format!("{behind:0<2}").parse().map_err(|_| bad())?;
    whole.checked_mul(100).and_then(|all| all.checked_add(behind)).and_then(Sample::per_myriad).ok_or_else(bad)
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
        if let Some(percent) = self.sample {
            text.push_str(&format!(" (a sample of {percent} %)"));
        }
        if let Some(why) = &self.why {
            text.push_str(&format!("\n{why}"));
        }
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
            seconds: 3.5,
            ..Done::of(
                &Restored {
                    snapshot: SnapshotId::from_bytes([7; 16]),
                    files: 1,
                    bytes: 2,
                    duration: std::time::Duration::ZERO,
                    fragments_bad: 0,
                    blobs_rebuilt: 0,
                    damaged: Vec::new(),
                    left_out: Vec::new(),
                    not_given: Vec::new(),
                    kept: strongroom::restore::Kept::default(),
                },
                None,
            )
        };
        let id = "07".repeat(16);
        let expected = format!(
            r#"{{"type":"verify","snapshot":"{id}","files":1,"bytes":2,"seconds":3.5,"fragments_bad":0,"blobs_rebuilt":0,"ok":true}}"#
        );
        assert_eq!(serde_json::to_string(&done).unwrap(), expected);
        let lost = Done::lost(SnapshotId::from_bytes([7; 16]), Sample::per_myriad(50), "gone".into());
        assert!(lost.text().contains("IS DAMAGED"));
        assert!(serde_json::to_string(&lost).unwrap().ends_with(r#""ok":false,"sample":0.5,"why":"gone"}"#));
    }

    #[test]
    fn a_sample_is_above_nothing_and_up_to_all() {
        for (text, per_myriad) in [("5%", 500), ("100", 10_000), ("0.5 %", 50), ("0.01%", 1), ("12.34", 1234)] {
            assert_eq!(parse_sample(text).map(Sample::in_per_myriad), Ok(per_myriad), "{text}");
        }
        for bad in ["", "%", "0%", "0.001%", "101%", "-5%", "half", "1.", ".5", "100.01%", "700%"] {
            assert!(parse_sample(bad).is_err(), "{bad}");
        }
    }
}
