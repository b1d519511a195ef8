//! `backup`: files and directories become one snapshot.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use serde::Serialize;
use strongroom::backup::{BackupRequest, CacheDirectories};
use strongroom_format::id::VaultName;
use strongroom_format::label::Label;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::progress::{Doing, Watch};
use crate::text::{base64, count, size, span, utf8};

/// Flags of `backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
One directory: the snapshot holds what is inside it. A file, or several paths: each under its base name; equal base
names are refused. Symbolic links are kept, not followed.

Kept are names of any bytes, times to the nanosecond, owners, permissions, extended attributes with access control
lists and capabilities, hard links, holes (neither read nor sent), FIFOs and devices. Sockets, and what cannot be
read, are skipped, named and counted (exit code 5). What changes while it is read is kept as it was read, and what
vanishes is not kept; both are named and counted as `changed`, and change nothing about the exit code.

The snapshot's name is LABEL within this writer; backing up under the same name again makes the next version of it,
and sends only what is new. Without --name it is the last component of the path: `www` for /srv/www.

Examples:
  strongroom backup /srv/www --vault papers
  strongroom backup /etc /home --vault papers --name nightly
  strongroom backup db.dump --vault papers --json | tail -1 | jq -r .snapshot")]
pub struct Backup {
    /// Files and directories.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Into which vault.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: VaultName,

    /// What the snapshot is called within this writer.
    #[arg(long, env = "STRONGROOM_NAME", value_name = "LABEL")]
    name: Option<Label>,

    /// Leave out directories that are marked with CACHEDIR.TAG.
    #[arg(long, env = "STRONGROOM_EXCLUDE_CACHES", value_parser = FalseyValueParser::new())]
    exclude_caches: bool,
}

/// The result of a backup.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "backup")]
struct Done {
    snapshot: String,
    vault: String,
    name: String,
    files: u64,
    dirs: u64,
    links: u64,
    special: u64,
    skipped: u64,
    changed: u64,
    bytes_read: u64,
    bytes_sent: u64,
    chunks_new: u64,
    chunks_known: u64,
    seconds: f64,
    code: String,
    handed_over: Option<u64>,
    survives: Survives,
    receipt: Option<String>,
}

/// What may still be lost.
#[derive(Debug, Serialize)]
struct Survives {
    regions: u8,
    nodes: u8,
}

impl Backup {
    /// Backs up.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let name = match self.name {
            Some(name) => name,
            None => label_of(&self.paths)?,
        };
        let watch = Watch::new(Doing::BackingUp, &context.output);
        let mut request = BackupRequest::new(&self.paths, self.vault, name)?;
        request.progress = watch.progress();
        if self.exclude_caches {
            request.cache_directories = CacheDirectories::LeftOut;
        }
        if watch.is_moving() {
            let (request, tell) = (request.clone(), watch.planner());
            // Beside the backup, which does not wait for it.
            let _survey = tokio::task::spawn_blocking(move || {
                let survey = request.survey();
                tell(survey.files, survey.bytes);
            });
        }
        let done = context.client().await?.back_up(request).await?;
        drop(watch);
        let done = Done::from(done);
        if done.receipt.is_none() {
            context.output.note(&format!(
                "the snapshot is committed, but too few voters have signed its receipt yet; fetch it later with \
                 `strongroom receipt get {}`",
                done.snapshot
            ));
        }
        context.output.item(&done)?;
        Ok(if done.skipped == 0 { Exit::Done } else { Exit::SomeSkipped })
    }
}

impl From<strongroom::backup::Backup> for Done {
    fn from(done: strongroom::backup::Backup) -> Self {
        Self {
            snapshot: done.snapshot.to_string(),
            vault: done.vault.to_string(),
            name: done.name.to_string(),
            files: done.files,
            dirs: done.dirs,
            links: done.links,
            special: done.special,
            skipped: done.skipped,
            changed: done.changed,
            bytes_read: done.bytes_read,
            bytes_sent: done.bytes_sent,
            chunks_new: done.chunks_new,
            chunks_known: done.chunks_known,
            seconds: done.duration.as_secs_f64(),
            code: done.code.to_string(),
            handed_over: done.handed_over,
            survives: Survives { regions: done.survives.regions, nodes: done.survives.nodes },
            receipt: done.receipt.map(|proof| base64(&proof.bytes)),
        }
    }
}

impl Item for Done {
    fn text(&self) -> String {
        let special = match self.special {
            0 => String::new(),
            special => format!(", {}", count(special, "FIFO or device", "FIFOs and devices")),
        };
        let mut text = format!(
            "snapshot {} of `{}` in vault {}\n{}, {}, {}{special}; {} read, {} sent in {}",
            self.snapshot,
            self.name,
            self.vault,
            count(self.files, "file", "files"),
            count(self.dirs, "directory", "directories"),
            count(self.links, "link", "links"),
            size(self.bytes_read),
            size(self.bytes_sent),
            span(std::time::Duration::from_secs_f64(self.seconds)),
        );
        if self.skipped != 0 {
            text.push_str(&format!("\n{} skipped, named above", count(self.skipped, "entry was", "entries were")));
        }
        if self.changed != 0 {
            let entries = count(self.changed, "entry", "entries");
            text.push_str(&format!("\n{entries} changed or vanished while they were read, named above"));
        }
        text.push_str(&format!(
            "\nstored {}: survives the loss of {} or {} from now on",
            self.code,
            count(self.survives.regions.into(), "region", "regions"),
            count(self.survives.nodes.into(), "node", "nodes"),
        ));
        if let Some(handed_over @ 1..) = self.handed_over {
            text.push_str(&format!(
                "; {} not where they belong yet",
                count(handed_over, "fragment is", "fragments are")
            ));
        }
        text
    }
}

/// The name of a snapshot whose user gave none: the last component of each path, joined by `+`.
fn label_of(paths: &[PathBuf]) -> Result<Label, Failure> {
    let names: Option<Vec<String>> = paths.iter().map(|path| last_component(path)).collect();
    names
        .and_then(|names| names.join("+").parse().ok())
        .ok_or_else(|| Failure::usage("the paths give no name for the snapshot", "name it with --name LABEL"))
}

fn last_component(path: &Path) -> Option<String> {
    // `.` and `..` have no name of their own.
    let whole = path.canonicalize().ok()?;
    let named = if path.file_name().is_some() { path.file_name() } else { whole.file_name() };
    match named {
        Some(name) => utf8(name).map(str::to_owned),
        None => Some("/".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Done {
        Done {
            snapshot: "ab".repeat(16),
            vault: "papers".into(),
            name: "etc".into(),
            files: 1,
            dirs: 2,
            links: 3,
            special: 10,
            skipped: 4,
            changed: 11,
            bytes_read: 5,
            bytes_sent: 6,
            chunks_new: 7,
            chunks_known: 8,
            seconds: 9.5,
            code: "4+2".into(),
            handed_over: Some(0),
            survives: Survives { regions: 1, nodes: 2 },
            receipt: Some(base64(&[1, 2, 3])),
        }
    }

    #[test]
    fn the_result_has_the_fields_of_the_contract() {
        let expected = format!(
            r#"{{"type":"backup","snapshot":"{}","vault":"papers","name":"etc","files":1,"dirs":2,"links":3,"special":10,"skipped":4,"changed":11,"bytes_read":5,"bytes_sent":6,"chunks_new":7,"chunks_known":8,"seconds":9.5,"code":"4+2","handed_over":0,"survives":{{"regions":1,"nodes":2}},"receipt":"AQID"}}"#,
            "ab".repeat(16)
        );
        assert_eq!(serde_json::to_string(&done()).unwrap(), expected);
        assert!(done().text().contains("3 links, 10 FIFOs and devices; 5 B read"), "{}", done().text());
        assert!(done().text().contains("4 entries were skipped"));
        assert!(done().text().contains("11 entries changed or vanished"));
        let unsigned = Done { handed_over: None, receipt: None, ..done() };
        assert!(serde_json::to_string(&unsigned).unwrap().ends_with(r#""nodes":2},"receipt":null}"#));
    }

    #[test]
    fn a_snapshot_is_called_after_what_is_in_it() {
        let home = tempfile::tempdir().unwrap();
        let www = home.path().join("www");
        std::fs::create_dir_all(www.join("inner")).unwrap();
        let label = |paths: &[PathBuf]| label_of(paths).map(|label| label.to_string());
        assert_eq!(label(std::slice::from_ref(&www)).unwrap(), "www");
        assert_eq!(label(&[www.join("inner/..")]).unwrap(), "www");
        assert_eq!(label(&[www.clone(), www.join("inner")]).unwrap(), "www+inner");
        assert_eq!(label(&[PathBuf::from("/")]).unwrap(), "/");
        assert_eq!(label(&[home.path().join("absent")]).unwrap_err().exit(), Exit::Usage);
    }
}
