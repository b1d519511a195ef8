//! `restore`: a snapshot, or paths of it, into a directory.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use serde::Serialize;
use strongroom::client::Client;
use strongroom::restore::{Earlier, Kept, Lacking, NotGiven, Occupied, RestoreRequest, Restored, Special};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::progress::{Doing, Watch};
use crate::text::{FileName, count, parse_rate, size, span};
use crate::which::Which;

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile. Everything is checked into a staging directory first, which is renamed into place at the
end: DIR absent, it appears whole; DIR empty, it is filled; DIR not empty, it is refused unless --into, which replaces
files of the same name. One PATH: DIR holds what is inside it, or the file; several: DIR holds each under its base name.

Owners are set by number, as far as your rights allow: root gives all, others only their own. What entries lack is
said in one line for each reason, and changes nothing about the exit code. Set-uid and set-gid bits and capabilities
are taken away and devices left out unless --special asks for them. What is left out is named; the exit code is 5.
Holes stay holes; only what is stored must fit.

--path takes globs instead: `*` and `?` stop at a /, `**/` is any directories, `[a-z]` one of a list, `!` in front takes
back; a glob without a / means names at any depth. What is matched, and all in it, keeps its whole path. Quote globs.

Files that are damaged everywhere are left out and named; the exit code is 6 then. An interrupted restore shows
nothing. --resume goes on from what it left: every byte there is proved before it is kept, and files with holes are
fetched again. Without it, the next restore begins anew.

A snapshot that several writers made comes as DIR/STREAM/… for each of its streams; --stream restores one of them like any
snapshot, so that several machines share the work, each with its own streams.

Examples:
  strongroom restore latest --vault papers --to /tmp/www
  strongroom restore latest --vault papers --name shop --stream rows-1 --to /var/shop/rows-1
  strongroom restore 0123abcd etc/ssh --to /tmp/ssh
  sudo strongroom restore latest --vault machines --name web-1/root --to /mnt/new --special
  strongroom restore latest --vault papers --path '*.pdf' --path '/srv/**/*.conf' --to /tmp/some
  strongroom restore latest --vault papers --to /tmp/www --resume --limit-download 20MiB
  strongroom restore latest srv/a srv/b --vault papers --name web-1/nightly --to /srv --into")]
pub struct Restore {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,

    /// Only these paths, as `ls` shows them.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,

    /// Only what this glob matches, and all in it; may be given several times.
    #[arg(long = "path", env = "STRONGROOM_PATH", value_name = "GLOB", conflicts_with = "paths")]
    globs: Vec<OsString>,

    /// The directory to restore into.
    #[arg(long, env = "STRONGROOM_TO", value_name = "DIR")]
    to: PathBuf,

    /// DIR may hold something; files of the same name are replaced.
    #[arg(long, env = "STRONGROOM_INTO", value_parser = FalseyValueParser::new())]
    into: bool,

    /// Give set-uid and set-gid bits and capabilities, and make devices: for whole machines that you trust.
    #[arg(long, env = "STRONGROOM_SPECIAL", value_parser = FalseyValueParser::new())]
    special: bool,

    /// Go on from what an interrupted restore of the same snapshot into the same DIR left.
    #[arg(long, env = "STRONGROOM_RESUME", value_parser = FalseyValueParser::new())]
    resume: bool,

    /// Fetch at most so many bytes a second: 500K, 10MiB.
    #[arg(long, env = "STRONGROOM_LIMIT_DOWNLOAD", value_name = "RATE", value_parser = parse_rate)]
    limit_download: Option<NonZeroU64>,
}

/// What restored entries lack, for one reason.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "not_given")]
struct Lack {
    what: &'static str,
    entries: u64,
    why: String,
}

/// What was there already.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "resumed")]
struct Resumed {
    files: u64,
    bytes: u64,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "restore")]
struct Done {
    snapshot: String,
    to: FileName,
    files: u64,
    bytes: u64,
    seconds: f64,
    fragments_bad: u64,
    blobs_rebuilt: u64,
}

/// What became of one stream of a whole.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "restored_stream")]
struct StreamDone {
    stream: String,
    snapshot: String,
    files: u64,
    bytes: u64,
    seconds: f64,
}

impl Restore {
    /// Restores.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        let streams = self.which.streams(&client, snapshot).await?;
        let watch = Watch::new(Doing::Restoring, &context.output);
        let request = RestoreRequest {
            paths: self.paths.into_iter().map(OsString::into_vec).collect(),
            globs: self.globs.into_iter().map(OsString::into_vec).collect(),
            earlier: if self.resume { Earlier::Continued } else { Earlier::Cleared },
            bytes_per_second: self.limit_download,
            occupied: if self.into { Occupied::Merged } else { Occupied::Refused },
            special: if self.special { Special::Given } else { Special::LeftOut },
            progress: watch.progress(),
            ..RestoreRequest::new(snapshot, self.to.clone())
        };
        if !streams.is_empty() {
            return restore_streams(context, &client, request, watch).await;
        }
        let restored = client.restore(request).await?;
        for entry in &restored.left_out {
            watch.skipped(&entry.path, &entry.why);
        }
        drop(watch);
        for lack in &restored.not_given {
            context.output.json(&Lack::from(lack))?;
            context.output.note(&text_of(lack));
        }
        if self.resume {
            let Kept { files, bytes } = restored.kept;
            context.output.json(&Resumed { files, bytes })?;
            context.output.note(&format!("{} of it were there already", size(bytes)));
        }
        context.output.item(&Done {
            snapshot: restored.snapshot.to_string(),
            to: FileName::of(&self.to),
            files: restored.files,
            bytes: restored.bytes,
            seconds: restored.duration.as_secs_f64(),
            fragments_bad: restored.fragments_bad,
            blobs_rebuilt: restored.blobs_rebuilt,
        })?;
        Ok(exit_of(&restored))
    }
}

/// Restores every stream of a whole, and says of each what became of it.
async fn restore_streams(
    context: &Context,
    client: &Client,
    request: RestoreRequest,
    watch: Watch,
) -> Result<Exit, Failure> {
    let (snapshot, to) = (request.snapshot.to_string(), FileName::of(&request.to));
    let began = std::time::Instant::now();
    let restored = client.restore_streams(request).await?;
    for (_, one) in &restored {
        for entry in &one.left_out {
            watch.skipped(&entry.path, &entry.why);
        }
    }
    drop(watch);
    let mut done = Done { snapshot, to, files: 0, bytes: 0, seconds: 0.0, fragments_bad: 0, blobs_rebuilt: 0 };
    let (mut is_damaged, mut is_partial) = (false, false);
    for (stream, one) in &restored {
        for lack in &one.not_given {
            context.output.json(&Lack::from(lack))?;
            context.output.note(&text_of(lack));
        }
        context.output.item(&StreamDone {
            stream: stream.to_string(),
            snapshot: one.snapshot.to_string(),
            files: one.files,
            bytes: one.bytes,
            seconds: one.duration.as_secs_f64(),
        })?;
        done.files += one.files;
        done.bytes += one.bytes;
        done.fragments_bad += one.fragments_bad;
        done.blobs_rebuilt += one.blobs_rebuilt;
        is_damaged |= !one.is_whole();
        is_partial |= !one.left_out.is_empty();
    }
    done.seconds = began.elapsed().as_secs_f64();
    context.output.item(&done)?;
    Ok(match (is_damaged, is_partial) {
        (true, _) => Exit::DamageFound,
        (false, true) => Exit::SomeSkipped,
        (false, false) => Exit::Done,
    })
}

impl From<&NotGiven> for Lack {
    fn from(lack: &NotGiven) -> Self {
        let what = match lack.what {
            Lacking::Owner => "owner",
            Lacking::Power => "power",
            Lacking::Attributes => "attributes",
            Lacking::Mode => "mode",
        };
        Self { what, entries: lack.entries, why: lack.why.clone() }
    }
}

/// What entries lack, for people.
fn text_of(lack: &NotGiven) -> String {
    let what = match lack.what {
        Lacking::Owner => "their owners",
        Lacking::Power => "set-uid bits, set-gid bits or capabilities",
        Lacking::Attributes => "extended attributes",
        Lacking::Mode => "their permissions",
    };
    format!("{} restored without {what}: {}", count(lack.entries, "entry was", "entries were"), lack.why)
}

/// Damage weighs more than what this version does not understand.
fn exit_of(restored: &Restored) -> Exit {
    match (restored.is_whole(), restored.left_out.is_empty()) {
        (false, _) => Exit::DamageFound,
        (true, false) => Exit::SomeSkipped,
        (true, true) => Exit::Done,
    }
}

impl Item for StreamDone {
    fn text(&self) -> String {
        format!("stream {}: {}, {}", self.stream, count(self.files, "file", "files"), size(self.bytes))
    }
}

impl Item for Done {
    fn text(&self) -> String {
        let mut text = format!(
            "restored {} to {}: {}, {} in {}",
            self.snapshot,
            self.to,
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
    use std::time::Duration;

    use strongroom::restore::DamagedFile;
    use strongroom_format::id::SnapshotId;

    use super::*;

    fn restored(damaged: usize, left_out: usize) -> Restored {
        let some = |count| vec![DamagedFile { path: b"a".to_vec(), why: "gone".into() }; count];
        Restored {
            snapshot: SnapshotId::from_bytes([7; 16]),
            files: 1,
            bytes: 2,
            duration: Duration::from_secs(3),
            fragments_bad: 4,
            blobs_rebuilt: 5,
            damaged: some(damaged),
            left_out: some(left_out),
            not_given: Vec::new(),
            kept: Kept::default(),
        }
    }

    #[test]
    fn n146_what_is_not_whole_has_a_code_of_its_own() {
        assert_eq!(exit_of(&restored(0, 0)), Exit::Done);
        assert_eq!(exit_of(&restored(0, 1)), Exit::SomeSkipped);
        assert_eq!(exit_of(&restored(1, 1)), Exit::DamageFound);
    }

    #[test]
    fn what_entries_lack_is_one_object_and_one_line_a_reason() {
        let lack = NotGiven { what: Lacking::Owner, why: "only root".into(), entries: 2 };
        let expected = r#"{"type":"not_given","what":"owner","entries":2,"why":"only root"}"#;
        assert_eq!(serde_json::to_string(&Lack::from(&lack)).unwrap(), expected);
        assert_eq!(text_of(&lack), "2 entries were restored without their owners: only root");
    }

    #[test]
    fn the_result_has_the_fields_of_the_contract() {
        let done = Done {
            snapshot: "07".into(),
            to: FileName(b"/tmp/x".to_vec()),
            files: 1,
            bytes: 2,
            seconds: 3.0,
            fragments_bad: 4,
            blobs_rebuilt: 5,
        };
        let expected = r#"{"type":"restore","snapshot":"07","to":"/tmp/x","files":1,"bytes":2,"seconds":3.0,"fragments_bad":4,"blobs_rebuilt":5}"#;
        assert_eq!(serde_json::to_string(&done).unwrap(), expected);
        assert!(done.text().contains("4 fragments were damaged"));
    }
}
