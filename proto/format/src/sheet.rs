//! Recovery sheets: a secret key on paper, in lines that a person types back.
//!
//! ```text
//!   strongroom-sheet-1
//!   kind      restorer                   5SFK      label, value, check of this line
//!   identity  rita                       5193
//!   1         2MCZ KQQA 6JJD 5           FY1G      8 bytes of the secret in 13 digits of 5 bits
//!   2         …
//!   whole     H9ZP SGJ9                            check of all lines
//! ```
//!
//! Promises: a mistyped or misplaced line is named as it is read, and lines of two sheets make no key; case, spaces and
//! hyphens do not matter, nor does O for 0, or I and L for 1. Checks find typing errors, no attacker: who has the sheet
//! has the key. Not here: what people are told around it (`client/cli`).

use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::any_key::{AnyKey, KeyKind};
use crate::keys::KeyFileError;

/// The first line: what follows, and its version.
pub const HEADER: &str = "strongroom-sheet-1";
/// What all versions begin with.
const HEADER_FAMILY: &str = "strongroom-sheet-";
/// Digits of 5 bits, without I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// A secret in lines of 8 bytes each.
const SECRET_LINES: [&str; 4] = ["1", "2", "3", "4"];
/// Digits of 8 bytes: 65 bits, the first of them zero.
const SECRET_DIGITS: usize = 13;
/// Digits behind each line.
const CHECK_DIGITS: usize = 4;
/// Digits over all.
const WHOLE_DIGITS: usize = 8;
/// No line is longer.
const LINE_BYTES_MAX: usize = 256;

/// Why typed lines are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SheetError {
    /// The header is missing.
    #[error("this is no recovery sheet: the line `{HEADER}` is missing")]
    NotASheet,
    /// It is newer, or none of ours.
    #[error("the sheet is of another version than `{HEADER}`")]
    OtherVersion,
    /// Another line, or none, stands where this one should.
    #[error("line `{label}` is missing")]
    Missing {
        /// Which line should be there.
        label: &'static str,
    },
    /// Its check does not fit.
    #[error("line `{label}` is mistyped: its check does not fit")]
    Mistyped {
        /// Which line.
        label: &'static str,
    },
    /// The kind is none that this version knows.
    #[error("line `kind` names no kind of key that this version knows")]
    UnknownKind,
    /// Each line fits, but not together.
    #[error("each line is right, but they are not of one sheet")]
    Mixed,
    /// They are of one sheet, and give no key.
    #[error("the sheet gives no key: {0}")]
    Key(#[from] KeyFileError),
}

/// One line that stands on a sheet or is expected there.
struct Line {
    label: &'static str,
    value: Zeroizing<String>,
}

/// A sheet that is being typed back, line by line.
pub struct Typed {
    kind: Option<KeyKind>,
    lines: Vec<Line>,
}

/// What a line led to.
#[derive(Debug)]
pub enum Took {
    /// It fits; there are more.
    Line,
    /// It was the last one.
    Key(Box<AnyKey>),
}

/// The lines of a key's sheet, header first, each ended by a line feed.
pub fn write(key: &AnyKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2048));
    let fits = "text grows in memory";
    let lines = lines_of(key);
    writeln!(text, "{HEADER}").expect(fits);
    for line in &lines {
        let spaced = spaced(line.label, &line.value);
        let check = check(line);
        writeln!(text, "{:<9} {:<35} {}", line.label, spaced.as_str(), check.as_str()).expect(fits);
    }
    let whole = whole(&lines);
    let (first, second) = whole.split_at(WHOLE_DIGITS / 2);
    writeln!(text, "{:<9} {first} {second}", "whole").expect(fits);
    text
}

/// Reads a sheet from text in which it stands: lines before the header, empty ones and those that begin with `#` are
/// passed over, so is what follows `whole`.
///
/// # Errors
/// What is wrong with the first line that is.
pub fn read(text: &str) -> Result<AnyKey, SheetError> {
    let mut lines = text.lines().map(str::trim);
    match lines.find(|line| line.to_lowercase().starts_with(HEADER_FAMILY)) {
        Some(line) if line.eq_ignore_ascii_case(HEADER) => {}
        Some(_) => return Err(SheetError::OtherVersion),
        None => return Err(SheetError::NotASheet),
    }
    let mut typed = Typed::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Took::Key(key) = typed.take(line)? {
            return Ok(*key);
        }
    }
    Err(SheetError::Missing { label: typed.next_label() })
}

impl Typed {
    /// Nothing typed yet. The header is not part of it: whoever asks for lines knows the version.
    pub fn new() -> Self {
        Self { kind: None, lines: Vec::new() }
    }

    /// The label of the line that comes next.
    pub fn next_label(&self) -> &'static str {
        let Some(kind) = self.kind else { return "kind" };
        let plain = kind.fields().len() - 1;
        match self.lines.len() - 1 {
            at if at < plain => kind.fields()[at],
            at => SECRET_LINES.get(at - plain).copied().unwrap_or("whole"),
        }
    }

    /// Takes the next line, with or without its label. What does not fit is not taken, and may be typed again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, line: &str) -> Result<Took, SheetError> {
        let label = self.next_label();
        if LINE_BYTES_MAX < line.len() {
            return Err(SheetError::Mistyped { label });
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        // A value may be called like its label: that is no label if only the check follows it.
        let words = match words.split_first() {
            Some((first, rest)) if first.eq_ignore_ascii_case(label) && 2 <= rest.len() => rest,
            Some(_) | None => &words[..],
        };
        if words.len() < 2 {
            return Err(SheetError::Missing { label });
        }
        match label {
            "whole" => self.end(&joined(words)),
            label => self.take_line(label, words),
        }
    }

    fn take_line(&mut self, label: &'static str, words: &[&str]) -> Result<Took, SheetError> {
        let (typed_check, value) = words.split_last().expect("two words at least");
        let value = joined(value);
        let is_secret = SECRET_LINES.contains(&label);
        let value = if is_secret { digits(&value) } else { Zeroizing::new(value.to_lowercase()) };
        let line = Line { label, value };
        if digits(typed_check).as_str() != check(&line).as_str() || (is_secret && number(&line.value).is_none()) {
            return Err(SheetError::Mistyped { label });
        }
        if label == "kind" {
            self.kind = Some(KeyKind::of_word(&line.value).ok_or(SheetError::UnknownKind)?);
        }
        self.lines.push(line);
        Ok(Took::Line)
    }

    fn end(&self, typed: &str) -> Result<Took, SheetError> {
        let digits = digits(typed);
        if digits.len() != WHOLE_DIGITS {
            return Err(SheetError::Mistyped { label: "whole" });
        }
        if digits.as_str() != whole(&self.lines).as_str() {
            return Err(SheetError::Mixed);
        }
        let kind = self.kind.expect("`whole` is asked for after all others");
        let plain = kind.fields().len() - 1;
        let mut secret = Zeroizing::new(String::with_capacity(16 * SECRET_LINES.len()));
        for line in &self.lines[1 + plain..] {
            let number = number(&line.value).expect("it was checked when it was taken");
            write!(secret, "{number:016x}").expect("text grows in memory");
        }
        let mut values: Vec<&str> = self.lines[1..=plain].iter().map(|line| line.value.as_str()).collect();
        values.push(&secret);
        let key = AnyKey::from_values(kind, &values)?;
        // One sheet per key: no second spelling of a number or an id.
        match key.values().iter().map(|value| value.as_str()).eq(values) {
            true => Ok(Took::Key(Box::new(key))),
            false => Err(SheetError::Key(KeyFileError::Damaged)),
        }
    }
}

impl Default for Typed {
    fn default() -> Self {
        Self::new()
    }
}

fn lines_of(key: &AnyKey) -> Vec<Line> {
    let kind = key.kind();
    let mut lines = vec![Line { label: "kind", value: Zeroizing::new(kind.as_str().to_owned()) }];
    for (field, value) in kind.fields().iter().zip(key.values()) {
        if *field == "secret" {
            // The fields are ours: 64 hex digits.
            let parts = (0..SECRET_LINES.len()).map(|at| &value[16 * at..16 * (at + 1)]);
            lines.extend(SECRET_LINES.iter().zip(parts).map(|(label, part)| {
                let number = u64::from_str_radix(part, 16).expect("hex digits");
                Line { label, value: in_digits(number.into(), SECRET_DIGITS) }
            }));
        } else {
            lines.push(Line { label: field, value });
        }
    }
    lines
}

/// For eyes: groups of four digits, or of eight where the value is an id.
fn spaced(label: &str, value: &str) -> Zeroizing<String> {
    let group = match value.len() {
        32 => 8,
        _ if SECRET_LINES.contains(&label) => 4,
        length => length.max(1),
    };
    let mut text = Zeroizing::new(String::with_capacity(2 * LINE_BYTES_MAX));
    for (at, character) in value.chars().enumerate() {
        if at != 0 && at % group == 0 {
            text.push(' ');
        }
        text.push(character);
    }
    text
}

fn check(line: &Line) -> Zeroizing<String> {
    hashed(std::slice::from_ref(line), CHECK_DIGITS)
}

fn whole(lines: &[Line]) -> Zeroizing<String> {
    hashed(lines, WHOLE_DIGITS)
}

/// The first digits of BLAKE3 over header, labels and values, each ended by a zero byte.
fn hashed(lines: &[Line], count: usize) -> Zeroizing<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(HEADER.as_bytes()).update(&[0]);
    for line in lines {
        hasher.update(line.label.as_bytes()).update(&[0]).update(line.value.as_bytes()).update(&[0]);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    let bits = 5 * u32::try_from(count).expect("a few digits");
    in_digits(u128::from(u64::from_be_bytes(first) >> (64 - bits)), count)
}

fn in_digits(number: u128, count: usize) -> Zeroizing<String> {
    let digit = |at: usize| char::from(DIGITS[usize::try_from((number >> (5 * at)) & 31).expect("five bits")]);
    let mut text = Zeroizing::new(String::with_capacity(count));
    (0..count).rev().for_each(|at| text.push(digit(at)));
    text
}

/// Typed digits as they are written: upper case, no hyphens, O, I and L as the digits that they look like.
fn digits(typed: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX));
    for character in typed.chars().filter(|character| *character != '-') {
        text.push(match character.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        });
    }
    text
}

/// 8 bytes from 13 digits; `None` if they are none, or more than 8 bytes.
fn number(digits: &str) -> Option<u64> {
    let mut number = 0_u128;
    for digit in digits.bytes() {
        let at = DIGITS.iter().position(|known| *known == digit)?;
        number = number.checked_mul(32)?.checked_add(at as u128)?;
    }
    (digits.len() == SECRET_DIGITS).then(|| u64::try_from(number).ok())?
}

fn joined(words: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX));
    words.iter().for_each(|word| text.push_str(word));
    text
}
