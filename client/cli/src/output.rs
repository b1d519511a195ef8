//! Results: to stdout, as one JSON object a line or as text for people. All else goes to stderr.
//!
//! Promises: nothing but results is ever written to stdout; a line is written whole; with JSON an error is the last
//! line. Contents of files are not results (`content.rs`). Not here: progress (`progress.rs`), how values look (`text.rs`).

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::exit::Failure;

/// For whom results are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text.
    People,
    /// JSON Lines.
    Json,
}

/// How much is told beside results and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chatter {
    /// Progress and notes.
    Normal,
    /// Nothing.
    Quiet,
}

/// A result, or one item of a list.
pub trait Item: Serialize {
    /// As people read it: lines without the last line feed.
    fn text(&self) -> String;
}

/// The end of a list.
#[derive(Serialize)]
#[serde(tag = "type", rename = "end")]
struct End {
    count: u64,
}

/// The two streams and who reads them.
#[derive(Clone, Debug)]
pub struct Output {
    format: Format,
    chatter: Chatter,
    objects: Objects,
}

/// Where objects for scripts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objects {
    Stdout,
    /// Contents of files are on stdout (`content.rs`).
    Stderr,
}

impl Output {
    /// For these readers.
    pub fn new(format: Format, chatter: Chatter) -> Self {
        Self { format, chatter, objects: Objects::Stdout }
    }

    /// The same for a command whose stdout holds contents of files: objects go to stderr.
    #[must_use]
    pub fn with_contents_on_stdout(&self) -> Self {
        Self { objects: Objects::Stderr, ..self.clone() }
    }

    /// For whom results are.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How much is told.
    pub fn chatter(&self) -> Chatter {
        self.chatter
    }

    /// A result or an item.
    ///
    /// # Errors
    /// If nobody reads stdout any more, or it cannot be written.
    pub fn item(&self, item: &impl Item) -> Result<(), Failure> {
        match self.format {
            Format::People => line(&item.text()),
            Format::Json => self.json(item),
        }
    }

    /// What only scripts need: an object that is no result.
    ///
    /// # Errors
    /// As [`Output::item`].
    pub fn json(&self, object: &impl Serialize) -> Result<(), Failure> {
        match self.format {
            Format::People => Ok(()),
            Format::Json => {
                let text =
                    serde_json::to_string(object).map_err(|fault| Failure::broken("cannot write JSON", &fault))?;
                match self.objects {
                    Objects::Stdout => line(&text),
                    Objects::Stderr => {
                        error_line(&text);
                        Ok(())
                    }
                }
            }
        }
    }

    /// The end of a list of so many items; people see by themselves, unless there is nothing to see.
    ///
    /// # Errors
    /// As [`Output::item`].
    pub fn end(&self, count: u64, what: &str) -> Result<(), Failure> {
        if count == 0 && self.format == Format::People {
            self.note(&format!("no {what}"));
        }
        self.json(&End { count })
    }

    /// Something for people beside the result.
    pub fn note(&self, text: &str) {
        if self.chatter == Chatter::Normal {
            error_line(text);
        }
    }

    /// Why there is no result.
    pub fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::NobodyListens) {
            return;
        }
        let told = failure.line();
        error_line(&format!("strongroom: {}", told.message));
        if matches!(failure, Failure::Error(_)) && told.outcome == "refused" {
            error_line(&format!("  {}/{}", told.code, told.reason));
        }
        error_line(&format!("  next: {}", told.next));
        // If this fails too there is nobody left to tell.
        let _told = self.json(&told);
    }
}

/// Whether a person watches stderr.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// One line to stderr. A closed stderr stops nothing.
pub fn error_line(text: &str) {
    let _written = writeln!(std::io::stderr(), "{text}");
}

fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::NobodyListens,
        _ => Failure::broken("cannot write to stdout", &cause),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_with_its_count() {
        assert_eq!(serde_json::to_string(&End { count: 3 }).unwrap(), r#"{"type":"end","count":3}"#);
    }
}
