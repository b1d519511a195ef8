//! One file whose bytes come from elsewhere than a file system: a stream, or what a command writes to its stdout.
//!
//! Promises: the bytes come once, so a backup of them is tried once; a command that fails, is killed or cannot be started
//! fails the backup, and nothing of it is committed; a backup that ends early ends the command. Not here: reading
//! (`read.rs`).

use std::fmt;
use std::io::Read;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_format::manifest::entry::Attributes;
use strongroom_format::manifest::path::EntryPath;

use super::clock::now;
use crate::error::{Error, Result};

/// Nobody but its owner reads what is restored of it, unless they change that.
const MODE: u32 = 0o600;

/// One file that comes by a pipe.
#[derive(Clone)]
pub struct Piped {
    path: EntryPath,
    source: Arc<Mutex<Source>>,
}

enum Source {
    Reader(Box<dyn Read + Send>),
    Command(Command),
    Running(Child),
    /// It has been taken.
    Taken,
}

impl Piped {
    /// A file of this name with what `reader` gives until its end.
    ///
    /// # Errors
    /// `Refused` with reason `SOURCES` if the name is none of a single file.
    pub fn reader(name: impl Into<Vec<u8>>, reader: impl Read + Send + 'static) -> Result<Self> {
        Self::new(name.into(), Source::Reader(Box::new(reader)))
    }

    /// A file of this name with what `command` writes to its stdout. It is started when the vault is there and verified,
    /// with nothing on its stdin; it must end with status 0.
    ///
    /// # Errors
    /// As [`Piped::reader`].
    pub fn command(name: impl Into<Vec<u8>>, command: Command) -> Result<Self> {
        Self::new(name.into(), Source::Command(command))
    }

    fn new(name: Vec<u8>, source: Source) -> Result<Self> {
        let single = EntryPath::new(name).ok().filter(|path| path.parent().is_none());
        let path = single.ok_or_else(|| {
            Error::refused(
                "INVALID_ARGUMENT",
                "SOURCES",
                "what is piped needs the name of one file: 1 to 255 bytes, no `/`, neither `.` nor `..`",
                "name it as it is to be restored, for instance `db.sql`",
            )
        })?;
        Ok(Self { path, source: Arc::new(Mutex::new(source)) })
    }

    pub(crate) fn path(&self) -> &EntryPath {
        &self.path
    }

    pub(crate) fn attributes(&self) -> Attributes {
        Attributes { mode: MODE, modified: now(), owner: None, xattrs: Vec::new() }
    }

    /// Starts it, and gives what is to be read.
    pub(crate) fn begin(&self) -> Result<Box<dyn Read + Send>> {
        let mut source = self.source();
        match std::mem::replace(&mut *source, Source::Taken) {
            Source::Reader(reader) => Ok(reader),
            Source::Command(mut command) => {
                let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
                let mut child = started.map_err(|cause| {
                    Error::failed(format_args!("cannot start {}", command.get_program().display()), cause)
                })?;
                let stdout: ChildStdout = child.stdout.take().expect("it is piped");
                *source = Source::Running(child);
                Ok(Box::new(stdout))
            }
            Source::Running(_) | Source::Taken => Err(Error::broken("what is piped comes once, and was taken")),
        }
    }

    /// After its last byte: whether it was all.
    pub(crate) fn end(&self) -> Result<()> {
        let Source::Running(mut child) = std::mem::replace(&mut *self.source(), Source::Taken) else { return Ok(()) };
        let status = child.wait().map_err(|cause| Error::failed("cannot wait for the command", cause))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            message: "the command that was to be backed up failed; nothing of it was committed".into(),
            cause: Some(Box::new(Ended(status))),
        })
    }

    /// Ends the command, if it runs: nobody wants the rest.
    pub(crate) fn stop(&self) {
        if let Source::Running(child) = &mut *self.source() {
            // It may have ended by itself.
            let _killed = child.kill();
            let _status = child.wait();
        }
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Piped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Piped").field(&self.path).finish()
    }
}

/// How a command ended.
#[derive(Debug, thiserror::Error)]
#[error("it ended with {0}")]
struct Ended(ExitStatus);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Piped {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Piped::command("x", command).unwrap()
    }

    fn read(piped: &Piped) -> (String, Result<()>) {
        let mut text = String::new();
        piped.begin().unwrap().read_to_string(&mut text).unwrap();
        (text, piped.end())
    }

    #[test]
    fn a_command_must_end_well() {
        let (text, ended) = read(&shell("echo all"));
        assert_eq!((text.as_str(), ended.is_ok()), ("all\n", true));
        for script in ["echo half; exit 3", "echo half; kill -9 $$"] {
            let (text, ended) = read(&shell(script));
            assert_eq!(text, "half\n");
            assert!(ended.unwrap_err().to_string().contains("nothing of it was committed"));
        }
        assert!(Piped::command("x", Command::new("/absent/program")).unwrap().begin().is_err());
    }

    #[test]
    fn a_command_that_nobody_wants_any_more_is_ended() {
        let piped = shell("exec sleep 1000");
        let mut stdout = piped.begin().unwrap();
        piped.stop();
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn bytes_come_once() {
        let piped = Piped::reader("x", &b"all"[..]).unwrap();
        assert_eq!(read(&piped).0, "all");
        assert!(piped.begin().is_err());
    }

    #[test]
    fn the_name_is_that_of_one_file() {
        for bad in ["", "a/b", "..", "/x"] {
            assert_eq!(Piped::reader(bad, std::io::empty()).unwrap_err().reason(), Some("SOURCES"), "{bad}");
        }
    }
}
