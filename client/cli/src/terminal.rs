//! A person at a terminal: what is shown to it alone, and what it is asked.
//!
//! Promises: what is typed is held in memory that is wiped, and goes to the terminal itself, whatever stdin and stdout
//! are; nothing of it reaches a pipe or a log. Not here: what is asked (`recovery.rs`).

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use zeroize::Zeroizing;

/// No line that is typed is longer.
const LINE_BYTES_MAX: usize = 512;

/// The terminal of whoever runs this.
pub struct Terminal(File);

impl Terminal {
    /// The terminal, if a person sits there: stdin and stderr are it, so neither a pipe nor a log.
    pub fn of_a_person() -> Option<Self> {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return None;
        }
        File::options().read(true).write(true).open("/dev/tty").ok().map(Self)
    }

    /// Shows text.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn show(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())
    }

    /// Clears the screen and what was scrolled out of it.
    ///
    /// # Errors
    /// As [`Terminal::show`].
    pub fn clear(&mut self) -> io::Result<()> {
        self.show("\x1b[H\x1b[2J\x1b[3J")
    }

    /// Shows a prompt and reads a line, without its end.
    ///
    /// # Errors
    /// If the terminal is gone, or closed before a line was typed.
    pub fn ask(&mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        self.show(prompt)?;
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
        let mut byte = Zeroizing::new([0]);
        // Byte by byte: a buffer would keep what was typed.
        loop {
            if self.0.read(byte.as_mut_slice())? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match byte[0] {
                b'\n' => break,
                typed if line.len() < LINE_BYTES_MAX => line.push(typed),
                _ => return Err(io::Error::other("the line is too long")),
            }
        }
        match std::str::from_utf8(&line) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Ok(Zeroizing::new(String::new())),
        }
    }
}
