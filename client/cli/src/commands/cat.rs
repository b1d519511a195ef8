//! `cat`: one file of a snapshot, or a range of it, to stdout.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use serde::Serialize;
use strongroom::restore::ByteRange;

use crate::content;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::progress::{Doing, Watch};
use crate::which::Which;

/// Flags of `cat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile. Every byte is verified before it is written. Where bytes are damaged everywhere, what is
written ends before them, and the exit code is 6. Holes are written as zeros; a hard link reads as its file.

stdout holds the file; with --json the result, or the error, is the last line of stderr.

Examples:
  strongroom cat latest etc/hosts --vault papers
  strongroom cat 0123abcd var/db.dump --range 0-1048575 > first-mebibyte
  strongroom cat 0123abcd var/log/syslog --range 4096- | less")]
pub struct Cat {
    /// Of which snapshot.
    #[command(flatten)]
    which: Which,

    /// The file, as `ls` shows it.
    #[arg(value_name = "PATH")]
    path: OsString,

    /// Only bytes A to B, both counted from 0 and both in it; `A-` is from A to the end.
    #[arg(long, env = "STRONGROOM_RANGE", value_name = "A-B", value_parser = parse_range)]
    range: Option<ByteRange>,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "cat")]
struct Done {
    snapshot: String,
    bytes: u64,
    size: u64,
    fragments_bad: u64,
    blobs_rebuilt: u64,
}

impl Cat {
    /// Writes it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let output = context.output.with_contents_on_stdout();
        let client = context.client().await?;
        let snapshot = self.which.resolve_one(&client).await?;
        let watch = Watch::new(Doing::Restoring, &output);
        let (path, range) = (self.path.into_vec(), self.range.unwrap_or(ByteRange::ALL));
        let mut stdout = content::stdout()?;
        let read = client.read_file(snapshot, &path, range, &mut stdout, watch.progress()).await;
        drop(watch);
        let read = read.map_err(content::failure)?;
        let done = Done {
            snapshot: read.snapshot.to_string(),
            bytes: read.bytes,
            size: read.size,
            fragments_bad: read.fragments_bad,
            blobs_rebuilt: read.blobs_rebuilt,
        };
        content::result(&output, &done, None)?;
        Ok(Exit::Done)
    }
}

/// `A-B` or `A-`.
fn parse_range(text: &str) -> Result<ByteRange, String> {
    let bad = || "a range is A-B or A-: bytes counted from 0, both ends in it, such as 0-1023".to_owned();
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let first = first.parse().map_err(|_| bad())?;
    let last = if last.is_empty() { None } else { Some(last.parse().map_err(|_| bad())?) };
    if last.is_some_and(|last| last < first) {
        return Err(format!("the range {text} ends before it begins"));
    }
    Ok(ByteRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_both_ends_in_it() {
        assert_eq!(parse_range("0-0"), Ok(ByteRange { first: 0, last: Some(0) }));
        assert_eq!(parse_range("7-"), Ok(ByteRange { first: 7, last: None }));
        for bad in ["", "-", "5", "-5", "5-4", "a-b", "1-2-3", "99999999999999999999-"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
