//! `backup`: files and directories, or what comes by a pipe, become one snapshot.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser as _};
use serde::Serialize;
use strongroom::backup::{BackupRequest, CacheDirectories, FileSystems, Piped};
use strongroom::client::Client;
use strongroom::globs::{Glob, Globs};
use strongroom::small_file;
use strongroom::tickets::Ticket;
use strongroom_format::envelope::Envelope;
use strongroom_format::id::{StreamName, VaultName};
use strongroom_format::label::Label;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::progress::{Doing, Watch};
use crate::text::{base64, count, parse_rate, size, span, utf8};

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

Files whose size, times and inode are those of the last backup of the same paths are not read again, but for a share
each time, so that every file is read at least every 30 days. What was read is remembered in the profile's state
directory; without it everything is read and nothing is sent twice.

Stopped by a signal, it ends with 130; what was sent is kept for some hours, and the same backup run again goes on
where it was. A second signal ends it at once.

GLOB is as in .gitignore, from the snapshot's top: `*.o` and `cache/` at any depth, `/tmp` at the top only, `a/**/b`,
`[ab]?`; `!keep.o` takes back what earlier ones left out; the last that matches decides. Lines of a FILE that begin
with # are comments. With several paths the top holds their base names: /etc/motd is `/etc/motd` there too, but
/srv/www/x of one directory /srv/www is `/x`.

Several writers make one snapshot with --join: see `strongroom ticket open --help`.

Examples:
  strongroom backup /srv/www --vault papers
  strongroom backup /etc /home --vault papers --name nightly --exclude '*.tmp' --exclude '.cache/' --one-file-system
  strongroom backup /srv/www --vault papers --exclude-file www.exclude --dry-run
  pg_dump shop | strongroom backup --stdin shop.sql --vault papers
  strongroom backup --from-command shop.sql --vault papers -- pg_dump shop      (fails if pg_dump fails)
  strongroom backup /home --vault papers --tag host=web-1 --limit-upload 5MiB
  strongroom backup /var/shop/rows-1 --join \"$TICKET\" --stream rows-1
  strongroom backup db.dump --vault papers --json | tail -1 | jq -r .snapshot")]
pub struct Backup {
    /// Files and directories; with --from-command the command and its arguments.
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin", value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Into which vault.
    #[arg(long, env = "STRONGROOM_VAULT", required_unless_present = "join")]
    vault: Option<VaultName>,

    /// What the snapshot is called within this writer.
    #[arg(long, env = "STRONGROOM_NAME", value_name = "LABEL")]
    name: Option<Label>,

    /// Leave out what this matches; may be repeated.
    #[arg(long, env = "STRONGROOM_EXCLUDE", value_name = "GLOB", value_parser = OsStringValueParser::new().try_map(|glob| Glob::parse(glob.as_bytes())))]
    exclude: Vec<Glob>,

    /// Leave out what the globs in this file match, one a line, before those of --exclude; may be repeated.
    #[arg(long, env = "STRONGROOM_EXCLUDE_FILE", value_name = "FILE")]
    exclude_file: Vec<PathBuf>,

    /// Leave out directories that are marked with CACHEDIR.TAG.
    #[arg(long, env = "STRONGROOM_EXCLUDE_CACHES", value_parser = FalseyValueParser::new())]
    exclude_caches: bool,

    /// Leave out what lies on other file systems than the paths themselves; where they are mounted stay empty
    /// directories.
    #[arg(long, env = "STRONGROOM_ONE_FILE_SYSTEM", value_parser = FalseyValueParser::new())]
    one_file_system: bool,

    /// Back up what comes on stdin as one file of this name.
    #[arg(long, env = "STRONGROOM_STDIN", value_name = "NAME")]
    stdin: Option<OsString>,

    /// Back up what a command writes to its stdout as one file of this name. The command stands behind `--`; if it does
    /// not end with status 0, nothing is committed.
    #[arg(long, env = "STRONGROOM_FROM_COMMAND", value_name = "NAME", conflicts_with = "stdin")]
    from_command: Option<OsString>,

    /// Note something about the snapshot, in the open; may be repeated.
    #[arg(long, env = "STRONGROOM_TAG", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tag: Vec<(String, String)>,

    /// Say what would be taken in and read, and send nothing.
    #[arg(long, env = "STRONGROOM_DRY_RUN", conflicts_with_all = ["stdin", "from_command"], value_parser = FalseyValueParser::new())]
    dry_run: bool,

    /// Be one stream of the snapshot that this ticket was opened for (`strongroom ticket open`): ready, and shown when
    /// the ticket is committed.
    #[arg(long, env = "STRONGROOM_JOIN", value_name = "TICKET", requires = "stream", conflicts_with = "dry_run")]
    join: Option<Ticket>,

    /// What the stream is called.
    #[arg(long, env = "STRONGROOM_STREAM", value_name = "STREAM", requires = "join")]
    stream: Option<StreamName>,

    /// Drop a stream of the same name that this writer began before, and died.
    #[arg(long, env = "STRONGROOM_REPLACE", requires = "join", value_parser = FalseyValueParser::new())]
    replace: bool,

    /// Send no more than so many bytes a second: 500K, 10MiB, 1.5MB.
    #[arg(long, env = "STRONGROOM_LIMIT_UPLOAD", value_name = "RATE", value_parser = parse_rate)]
    limit_upload: Option<NonZeroU64>,
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
    bytes: u64,
    files_unchanged: u64,
    /// What it is called in its whole, where it is a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
}

/// What a backup would do.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "dry_run")]
struct Planned {
    vault: String,
    name: String,
    files: u64,
    dirs: u64,
    links: u64,
    special: u64,
    skipped: u64,
    bytes: u64,
    files_unchanged: u64,
    bytes_to_read: u64,
    seconds: f64,
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
        let watch = Watch::new(Doing::BackingUp, &context.output);
        let dry_run = self.dry_run;
        let joins = self.join.clone().zip(self.stream.clone());
        let replace = self.replace;
        let mut request = self.request()?;
        request.progress = watch.progress();
        let client = context.client().await?;
        if dry_run {
            let planned = client.plan_backup(request).await?;
            drop(watch);
            let planned = Planned::from(planned);
            context.output.item(&planned)?;
            return Ok(if planned.skipped == 0 { Exit::Done } else { Exit::SomeSkipped });
        }
        if watch.is_moving() && request.piped.is_none() {
            let (request, tell) = (request.clone(), watch.planner());
            // Beside the backup, which does not wait for it.
            let _survey = tokio::task::spawn_blocking(move || {
                let survey = request.survey();
                tell(survey.files, survey.bytes);
            });
        }
        let done = match joins {
            None => Done::from(client.back_up(request).await?),
            Some((ticket, stream)) => {
                if replace {
                    drop_own(&client, &ticket, &stream).await?;
                }
                let joined = client.join(&ticket, stream, request).await?;
                Done { stream: Some(joined.stream.to_string()), ..Done::from(joined.backup) }
            }
        };
        drop(watch);
        if done.stream.is_none() && done.receipt.is_none() {
            context.output.note(&format!(
                "the snapshot is committed, but too few voters have signed its receipt yet; fetch it later with \
                 `strongroom receipt get {}`",
                done.snapshot
            ));
        }
        context.output.item(&done)?;
        Ok(if done.skipped == 0 { Exit::Done } else { Exit::SomeSkipped })
    }

    /// What the flags ask for.
    fn request(self) -> Result<BackupRequest, Failure> {
        let vault = match (self.vault, &self.join) {
            (Some(vault), Some(ticket)) if vault != ticket.vault => {
                let why = format!("the ticket is of vault {}, not of {vault}", ticket.vault);
                return Err(Failure::usage(why, "leave --vault away where you join a ticket"));
            }
            (_, Some(ticket)) => ticket.vault.clone(),
            (Some(vault), None) => vault,
            (None, None) => return Err(Failure::usage("no vault is named", "name it with --vault NAME")),
        };
        let piped = match (self.stdin, self.from_command) {
            (Some(name), _) => Some((name.clone(), Piped::reader(name.into_vec(), std::io::stdin())?)),
            (None, Some(name)) => {
                let mut words = self.paths.iter();
                let program = words.next().ok_or_else(|| Failure::usage("no command is named", COMMAND))?;
                let mut command = Command::new(program);
                command.args(words);
                Some((name.clone(), Piped::command(name.into_vec(), command)?))
            }
            (None, None) => None,
        };
        let mut request = match piped {
            Some((file, piped)) => {
                if self.exclude_caches
                    || self.one_file_system
                    || !self.exclude.is_empty()
                    || !self.exclude_file.is_empty()
                {
                    return Err(Failure::usage("nothing can be left out of what comes by a pipe", EXCLUDES));
                }
                let name = match self.name {
                    Some(name) => name,
                    None => {
                        label_of(&[PathBuf::from(file)], |path| path.file_name().and_then(utf8).map(str::to_owned))?
                    }
                };
                BackupRequest::piped(piped, vault, name)
            }
            None => {
                let name = match self.name {
                    Some(name) => name,
                    None => label_of(&self.paths, last_component)?,
                };
                BackupRequest::new(&self.paths, vault, name)?
            }
        };
        if self.exclude_caches {
            request.bounds.cache_directories = CacheDirectories::LeftOut;
        }
        if self.one_file_system {
            request.bounds.file_systems = FileSystems::One;
        }
        for file in &self.exclude_file {
            request.bounds.exclude.extend(globs_of(file)?);
        }
        request.bounds.exclude.extend(Globs::new(self.exclude));
        for (key, value) in self.tag {
            if let Some(before) = request.tags.insert(key.clone(), value) {
                return Err(Failure::usage(
                    format!("tag `{key}` is given twice, once as `{before}`"),
                    "give each tag once",
                ));
            }
        }
        if Envelope::TAGS_MAX < request.tags.len() {
            return Err(Failure::usage(
                format!("a snapshot has at most {} tags", Envelope::TAGS_MAX),
                "give fewer of them",
            ));
        }
        request.upload_bytes_per_second = self.limit_upload;
        Ok(request)
    }
}

const COMMAND: &str = "write it behind `--`: strongroom backup --from-command shop.sql --vault papers -- pg_dump shop";
const EXCLUDES: &str = "leave --exclude, --exclude-file, --exclude-caches and --one-file-system away";

/// No file with globs is longer.
const GLOBS_BYTES_MAX: u64 = 16 << 20;

/// The globs of a file.
fn globs_of(path: &Path) -> Result<Globs, Failure> {
    let text = small_file::read(path, GLOBS_BYTES_MAX).map_err(|cause| {
        Failure::usage(format!("cannot read {}: {cause}", path.display()), "name a file with one glob a line")
    })?;
    Globs::of_lines(&text).map_err(|(line, bad)| {
        Failure::usage(format!("{}, line {line}: {bad}", path.display()), "read `strongroom backup --help` on GLOB")
    })
}

/// A tag as people type it.
fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    let is_control = |text: &str| text.chars().any(char::is_control);
    let (keys, values) = (Envelope::TAG_KEY_BYTES_MAX, Envelope::TAG_VALUE_BYTES_MAX);
    if key.is_empty() || keys < key.len() || values < value.len() || is_control(key) || is_control(value) {
        return Err(format!(
            "a key has 1 to {keys} bytes, a value at most {values}, and neither has control characters"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
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
            bytes: done.bytes,
            files_unchanged: done.files_unchanged,
            stream: None,
        }
    }
}

/// Gives up this writer's own stream of that name, if there is one that is not shown.
async fn drop_own(client: &Client, ticket: &Ticket, stream: &StreamName) -> Result<(), Failure> {
    let info = client.ticket(ticket).await?;
    if info.streams.iter().any(|one| one.name == *stream && one.writer == *client.identity()) {
        client.drop_stream(ticket, stream).await?;
    }
    Ok(())
}

impl From<strongroom::backup::Plan> for Planned {
    fn from(plan: strongroom::backup::Plan) -> Self {
        Self {
            vault: plan.vault.to_string(),
            name: plan.name.to_string(),
            files: plan.files,
            dirs: plan.dirs,
            links: plan.links,
            special: plan.special,
            skipped: plan.skipped,
            bytes: plan.bytes,
            files_unchanged: plan.files_unchanged,
            bytes_to_read: plan.bytes - plan.bytes_unchanged,
            seconds: plan.duration.as_secs_f64(),
        }
    }
}

impl Item for Planned {
    fn text(&self) -> String {
        let mut text = format!(
            "would back up `{}` into vault {}: {}, {}, {}; {}",
            self.name,
            self.vault,
            count(self.files, "file", "files"),
            count(self.dirs, "directory", "directories"),
            count(self.links, "link", "links"),
            size(self.bytes),
        );
        text.push_str(&format!(
            "\n{} unchanged since the last backup; {} to read; nothing was sent",
            count(self.files_unchanged, "file is", "files are"),
            size(self.bytes_to_read),
        ));
        if self.skipped != 0 {
            text.push_str(&format!(
                "\n{} skipped, named above",
                count(self.skipped, "entry would be", "entries would be")
            ));
        }
        text
    }
}

impl Item for Done {
    fn text(&self) -> String {
        let special = match self.special {
            0 => String::new(),
            special => format!(", {}", count(special, "FIFO or device", "FIFOs and devices")),
        };
        let mut text = format!(
            "snapshot {} of `{}` in vault {}\n{} ({} unchanged), {}, {}{special}; {}: {} read, {} sent in {}",
            self.snapshot,
            self.name,
            self.vault,
            count(self.files, "file", "files"),
            self.files_unchanged,
            count(self.dirs, "directory", "directories"),
            count(self.links, "link", "links"),
            size(self.bytes),
            size(self.bytes_read),
            size(self.bytes_sent),
            span(std::time::Duration::from_secs_f64(self.seconds)),
        );
        if let Some(stream) = &self.stream {
            text.push_str(&format!("\nready as stream {stream}; it is shown when the ticket is committed"));
        }
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
fn label_of(paths: &[PathBuf], name: impl Fn(&Path) -> Option<String>) -> Result<Label, Failure> {
    let names: Option<Vec<String>> = paths.iter().map(|path| name(path)).collect();
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
            bytes: 10,
            files_unchanged: 11,
            stream: None,
        }
    }

    #[test]
    fn the_result_has_the_fields_of_the_contract() {
        let expected = format!(
            r#"{{"type":"backup","snapshot":"{}","vault":"papers","name":"etc","files":1,"dirs":2,"links":3,"special":10,"skipped":4,"changed":11,"bytes_read":5,"bytes_sent":6,"chunks_new":7,"chunks_known":8,"seconds":9.5,"code":"4+2","handed_over":0,"survives":{{"regions":1,"nodes":2}},"receipt":"AQID","bytes":10,"files_unchanged":11}}"#,
            "ab".repeat(16)
        );
        assert_eq!(serde_json::to_string(&done()).unwrap(), expected);
        assert!(done().text().contains("3 links, 10 FIFOs and devices; 10 B: 5 B read"), "{}", done().text());
        assert!(done().text().contains("4 entries were skipped"));
        assert!(done().text().contains("11 entries changed or vanished"));
        let unsigned = Done { handed_over: None, receipt: None, ..done() };
        assert!(serde_json::to_string(&unsigned).unwrap().contains(r#""nodes":2},"receipt":null,"#));
    }

    #[test]
    fn a_snapshot_is_called_after_what_is_in_it() {
        let home = tempfile::tempdir().unwrap();
        let www = home.path().join("www");
        std::fs::create_dir_all(www.join("inner")).unwrap();
        let label = |paths: &[PathBuf]| label_of(paths, last_component).map(|label| label.to_string());
        assert_eq!(label(std::slice::from_ref(&www)).unwrap(), "www");
        assert_eq!(label(&[www.join("inner/..")]).unwrap(), "www");
        assert_eq!(label(&[www.clone(), www.join("inner")]).unwrap(), "www+inner");
        assert_eq!(label(&[PathBuf::from("/")]).unwrap(), "/");
        assert_eq!(label(&[home.path().join("absent")]).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn a_plan_is_an_object_of_its_own() {
        let planned = Planned {
            vault: "papers".into(),
            name: "etc".into(),
            files: 1,
            dirs: 2,
            links: 3,
            special: 8,
            skipped: 4,
            bytes: 5,
            files_unchanged: 6,
            bytes_to_read: 7,
            seconds: 0.5,
        };
        let expected = r#"{"type":"dry_run","vault":"papers","name":"etc","files":1,"dirs":2,"links":3,"special":8,"skipped":4,"bytes":5,"files_unchanged":6,"bytes_to_read":7,"seconds":0.5}"#;
        assert_eq!(serde_json::to_string(&planned).unwrap(), expected);
        assert!(planned.text().contains("nothing was sent"));
    }

    #[test]
    fn tags_are_read_as_people_type_them() {
        let tag = |text| parse_tag(text).map_err(drop);
        assert_eq!(tag("host=web-1"), Ok(("host".into(), "web-1".into())));
        assert_eq!(tag("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(tag("a="), Ok(("a".into(), String::new())));
        for bad in ["a", "=b", "a=\n", &format!("{}=x", "k".repeat(129)), &format!("k={}", "v".repeat(257))] {
            assert_eq!(tag(bad), Err(()), "{bad}");
        }
    }
}
