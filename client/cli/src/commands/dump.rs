//! `dump`: a snapshot, or paths of it, as an archive to stdout.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use serde::Serialize;

use crate::content;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::progress::{Doing, Watch};
use crate::text::{count, size, span};
use crate::which::Which;

/// Flags of `dump`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile. Members stand under their paths in the snapshot. tar is POSIX's pax format: GNU tar, bsdtar
and others read it. Every byte is verified before it is written. Where bytes are damaged everywhere, the archive ends in
the middle, so that no reader takes it for whole, and the exit code is 6.

Owners, times, extended attributes, hard links, FIFOs and devices are in it; holes are written as zeros.

stdout holds the archive; with --json the result, or the error, is the last line of stderr.

Examples:
  strongroom dump latest --vault papers > www.tar
  strongroom dump 0123abcd etc srv/www | tar -tv
  strongroom dump latest --vault papers | ssh other tar -x -C /srv")]
pub struct Dump {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,

    /// Only these paths and what is below them, as `ls` shows them.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,

    /// How the archive is written.
    #[arg(long, env = "STRONGROOM_FORMAT", value_enum, default_value_t = Archive::Tar)]
    format: Archive,
}

/// Kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Archive {
    /// POSIX tar with extended headers.
    Tar,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "dump")]
struct Done {
    snapshot: String,
    files: u64,
    bytes: u64,
    seconds: f64,
    fragments_bad: u64,
    blobs_rebuilt: u64,
}

impl Dump {
    /// Writes it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        content::refuse_terminal()?;
        let Archive::Tar = self.format;
        let output = context.output.with_contents_on_stdout();
        let client = context.client().await?;
        let snapshot = self.which.resolve_one(&client).await?;
        let watch = Watch::new(Doing::Restoring, &output);
        let paths: Vec<Vec<u8>> = self.paths.into_iter().map(OsString::into_vec).collect();
        let mut stdout = content::stdout()?;
        let dumped = client.dump(snapshot, &paths, &mut stdout, watch.progress()).await.map_err(content::failure)?;
        for path in &dumped.left_out {
            watch.skipped(path, "this version does not understand it");
        }
        drop(watch);
        let done = Done {
            snapshot: dumped.snapshot.to_string(),
            files: dumped.files,
            bytes: dumped.bytes,
            seconds: dumped.duration.as_secs_f64(),
            fragments_bad: dumped.fragments_bad,
            blobs_rebuilt: dumped.blobs_rebuilt,
        };
        let (files, bytes) = (count(dumped.files, "file", "files"), size(dumped.bytes));
        let text = format!("wrote {files}, {bytes} in {}", span(dumped.duration));
        content::result(&output, &done, Some(&text))?;
        Ok(if dumped.left_out.is_empty() { Exit::Done } else { Exit::SomeSkipped })
    }
}
