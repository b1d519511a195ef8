//! Contents to stdout: bytes of files and archives, not results.
//!
//! Where stdout holds contents, the result and an error for scripts are the last line of stderr. A terminal is not written
//! to unless asked. Not here: lines and objects (`output.rs`).

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

use serde::Serialize;
use strongroom::error::Error;
use tokio::fs::File;
use tokio::io::BufWriter;

use crate::exit::Failure;
use crate::output::{Format, Output, error_line};

/// So much is handed to the system at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Standard output, for bytes.
///
/// # Errors
/// If it is not open.
pub fn stdout() -> Result<BufWriter<File>, Failure> {
    let stdout = std::io::stdout();
    let cloned = stdout.as_fd().try_clone_to_owned().map_err(|cause| Failure::broken("cannot use stdout", &cause))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, File::from_std(cloned.into())))
}

/// Refuses to write an archive to a person's screen.
///
/// # Errors
/// Usage, if stdout is a terminal.
pub fn refuse_terminal() -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "an archive is not for a terminal",
            "write it to a file or a pipe: … > snapshot.tar",
        ));
    }
    Ok(())
}

/// The result of a command whose stdout holds contents; people get `text`, if there is any.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn result(output: &Output, result: &impl Serialize, text: Option<&str>) -> Result<(), Failure> {
    match output.format() {
        Format::Json => {
            error_line(&serde_json::to_string(result).map_err(|fault| Failure::broken("cannot write JSON", &fault))?);
        }
        Format::People => text.into_iter().for_each(|text| output.note(text)),
    }
    Ok(())
}

/// A reader that has seen enough is no failure of ours.
pub fn failure(error: Error) -> Failure {
    if let Error::Failed { cause: Some(cause), .. } = &error
        && let Some(cause) = cause.downcast_ref::<std::io::Error>()
        && cause.kind() == std::io::ErrorKind::BrokenPipe
    {
        return Failure::NobodyListens;
    }
    Failure::Error(error)
}
