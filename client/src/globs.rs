//! Globs: which entries of a tree a person means, by their paths in the snapshot. Names are bytes, and so are globs.
//!
//! | in a glob | stands for |
//! |---|---|
//! | `*`, `?` | any characters, one character, of one name: never a `/` |
//! | `[a-z]`, `[!a-z]` | one character that is in the list, or not in it |
//! | `**` as a whole name | any number of directories, also none; at the end: everything inside |
//! | `\` before a character | that character itself |
//! | a `/` in front or in between | the glob begins at the snapshot's top; without one it means names at any depth |
//! | a `/` at the end | directories only |
//! | `!` in front | takes back what globs before it matched |
//!
//! It is the language of `.gitignore`: the last glob that matches decides, and whatever lies in a directory that was
//! matched is matched with it. A character is one of UTF-8, or a byte that is none. Matching is linear in name times
//! glob: no glob is slow. Not here: who is asked about which paths (`backup/walk.rs`, `restore`).

use std::fmt;

/// One glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    verdict: Verdict,
    means: Means,
    parts: Vec<Part>,
}

/// Globs in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs(Vec<Glob>);

/// What an entry is, as far as globs tell entries apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// Why something is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadGlob {
    glob: Vec<u8>,
    why: &'static str,
}

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no glob: {}", String::from_utf8_lossy(&self.glob), self.why)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Matches,
    TakesBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Directories,
    Everything,
}

/// What stands between two `/` of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names.
    Names,
    /// One name.
    Name(Vec<Token>),
}

/// A piece of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    One(Character),
    AnyOne,
    Any,
    In(Vec<(Character, Character)>),
    NotIn(Vec<(Character, Character)>),
}

/// A character of UTF-8, or, behind all of those, a byte that is none.
type Character = u32;

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// It is empty, has an unclosed `[` or a `\` at its end, or names what no path in a snapshot has: an empty name,
    /// `.`, `..` or a NUL byte.
    pub fn parse(glob: impl AsRef<[u8]>) -> Result<Self, BadGlob> {
        let glob = glob.as_ref();
        Self::read(glob).map_err(|why| BadGlob { glob: glob.to_vec(), why })
    }

    fn read(glob: &[u8]) -> Result<Self, &'static str> {
        if glob.contains(&0) {
            return Err("no name holds a NUL byte");
        }
        let (verdict, rest) = match glob.strip_prefix(b"!") {
            Some(rest) => (Verdict::TakesBack, rest),
            None => (Verdict::Matches, glob),
        };
        let (means, rest) = match rest.strip_suffix(b"/") {
            Some(rest) => (Means::Directories, rest),
            None => (Means::Everything, rest),
        };
        let from_top = rest.contains(&b'/');
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        if rest.is_empty() {
            return Err("it names nothing");
        }
        let mut parts = Vec::new();
        if !from_top {
            parts.push(Part::Names);
        }
        for name in rest.split(|byte| *byte == b'/') {
            parts.push(match name {
                b"" => return Err("a name is empty"),
                b"." | b".." => return Err("paths in a snapshot have no `.` and no `..`: begin at the snapshot's top"),
                b"**" => Part::Names,
                name => Part::Name(tokens(name)?),
            });
        }
        if from_top && parts.last() == Some(&Part::Names) {
            // What is inside, not the directory itself.
            parts.push(Part::Name(vec![Token::Any]));
        }
        Ok(Self { verdict, means, parts })
    }

    fn matches(&self, names: &[Vec<Character>], is: Is) -> bool {
        match (self.means, is) {
            (Means::Directories, Is::Other) => false,
            (Means::Directories | Means::Everything, Is::Directory) | (Means::Everything, Is::Other) => sequence(
                &self.parts,
                names,
                |part| *part == Part::Names,
                |part, name| match part {
                    Part::Names => true,
                    Part::Name(tokens) => sequence(tokens, name, |token| *token == Token::Any, Token::is),
                },
            ),
        }
    }
}

impl Globs {
    /// Globs in the order in which they were given.
    pub fn new(globs: impl IntoIterator<Item = Glob>) -> Self {
        Self(globs.into_iter().collect())
    }

    /// Globs of a file, one a line. Empty lines, and lines that begin with `#`, say nothing; blanks count.
    ///
    /// # Errors
    /// The number of the first line, from 1, that is no glob, and why.
    pub fn of_lines(text: &[u8]) -> Result<Self, (usize, BadGlob)> {
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        let globs = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
        globs.map(|(at, line)| Glob::parse(line).map_err(|bad| (at + 1, bad))).collect::<Result<_, _>>().map(Self)
    }

    /// Adds globs behind those that are there.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether there is no glob.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the entry itself is matched, whatever was said of the directories that it lies in. For a walk that does
    /// not enter what is matched. `path` is relative to the snapshot's top; the top itself is never matched.
    pub fn match_entry(&self, path: &[u8], is: Is) -> bool {
        if self.is_empty() || path.is_empty() {
            return false;
        }
        self.match_names(&names(path), is)
    }

    /// Whether the entry, or a directory that it lies in, is matched.
    pub fn match_path(&self, path: &[u8], is: Is) -> bool {
        if self.is_empty() || path.is_empty() {
            return false;
        }
        let names = names(path);
        (1..names.len()).any(|depth| self.match_names(&names[..depth], Is::Directory)) || self.match_names(&names, is)
    }

    fn match_names(&self, names: &[Vec<Character>], is: Is) -> bool {
        let last = self.0.iter().rev().find(|glob| glob.matches(names, is));
        last.is_some_and(|glob| glob.verdict == Verdict::Matches)
    }
}

impl Token {
    fn is(&self, character: &Character) -> bool {
        let is_in = |ranges: &[(Character, Character)]| ranges.iter().any(|(a, z)| (*a..=*z).contains(character));
        match self {
            Self::One(one) => one == character,
            Self::AnyOne | Self::Any => true,
            Self::In(ranges) => is_in(ranges),
            Self::NotIn(ranges) => !is_in(ranges),
        }
    }
}

fn names(path: &[u8]) -> Vec<Vec<Character>> {
    path.split(|byte| *byte == b'/').map(characters).collect()
}

fn characters(name: &[u8]) -> Vec<Character> {
    let mut characters = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        characters.extend(chunk.valid().chars().map(Character::from));
        characters.extend(chunk.invalid().iter().map(|byte| Character::from(char::MAX) + 1 + Character::from(*byte)));
    }
    characters
}

fn tokens(name: &[u8]) -> Result<Vec<Token>, &'static str> {
    let special = |character: char| Character::from(character);
    let mut rest = characters(name).into_iter().peekable();
    let mut tokens = Vec::new();
    let escaped = |rest: &mut dyn Iterator<Item = Character>| rest.next().ok_or("nothing follows the last `\\`");
    while let Some(next) = rest.next() {
        tokens.push(if next == special('\\') {
            Token::One(escaped(&mut rest)?)
        } else if next == special('?') {
            Token::AnyOne
        } else if next == special('*') {
            Token::Any
        } else if next == special('[') {
            let is_not = rest.next_if(|next| *next == special('!') || *next == special('^')).is_some();
            let mut ranges = Vec::new();
            let unclosed = "a `[` is not closed";
            loop {
                let mut first = rest.next().ok_or(unclosed)?;
                if first == special(']') && !ranges.is_empty() {
                    break;
                }
                if first == special('\\') {
                    first = escaped(&mut rest)?;
                }
                let mut last = first;
                if rest.next_if_eq(&special('-')).is_some() {
                    if rest.peek() == Some(&special(']')) {
                        ranges.push((special('-'), special('-')));
                    } else {
                        last = rest.next().ok_or(unclosed)?;
                        if last == special('\\') {
                            last = escaped(&mut rest)?;
                        }
                        if last < first {
                            return Err("a list runs backwards");
                        }
                    }
                }
                ranges.push((first, last));
            }
            if is_not { Token::NotIn(ranges) } else { Token::In(ranges) }
        } else {
            Token::One(next)
        });
    }
    Ok(tokens)
}

/// Whether a pattern matches a whole sequence. `is_any` patterns match any number of items, also none. Where the
/// pattern fails, only what the last of those took is reconsidered: an earlier one that takes more gains nothing.
fn sequence<P, T>(pattern: &[P], items: &[T], is_any: impl Fn(&P) -> bool, is: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut taken) = (0, 0);
    let mut last_any = None;
    while taken < items.len() {
        if pattern.get(at).is_some_and(&is_any) {
            last_any = Some((at, taken));
            at += 1;
        } else if pattern.get(at).is_some_and(|part| is(part, &items[taken])) {
            at += 1;
            taken += 1;
        } else if let Some((any, from)) = last_any {
            last_any = Some((any, from + 1));
            at = any + 1;
            taken = from + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(is_any)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn globs(all: &[&str]) -> Globs {
        Globs::new(all.iter().map(|glob| Glob::parse(glob).unwrap()))
    }

    fn matched(glob: &str, path: &str) -> bool {
        globs(&[glob]).match_entry(path.as_bytes(), Is::Other)
    }

    #[test]
    fn a_name_is_meant_at_any_depth_and_a_path_from_the_top() {
        for (glob, path, expected) in [
            ("*.o", "a.o", true),
            ("*.o", "src/deep/a.o", true),
            ("*.o", "a.o/b", false),
            ("/*.o", "a.o", true),
            ("/*.o", "src/a.o", false),
            ("src/*.o", "src/a.o", true),
            ("src/*.o", "x/src/a.o", false),
            ("src/*.o", "src/deep/a.o", false),
            ("src/**/*.o", "src/a.o", true),
            ("src/**/*.o", "src/deep/er/a.o", true),
            ("**/log", "log", true),
            ("**/log", "a/b/log", true),
            ("log/**", "log/a/b", true),
            ("log/**", "log", false),
            ("a**b", "axxb", true),
            ("a**b", "a/b", false),
            ("**", "a/b", true),
        ] {
            assert_eq!(matched(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn characters_are_of_utf_8_or_bytes_that_are_none() {
        for (glob, name, expected) in [
            (&b"?"[..], "é".as_bytes(), true),
            (b"?", b"\xff", true),
            (b"??", "é".as_bytes(), false),
            (b"x\xff*", b"x\xffy", true),
            (b"x\xff", b"x\xfe", false),
            ("[à-é]".as_bytes(), "è".as_bytes(), true),
            (b"[a-cx]?", b"bq", true),
            (b"[a-cx]", b"d", false),
            (b"[!a-c]", b"d", true),
            (b"[^a-c]", b"a", false),
            (b"[]]", b"]", true),
            (b"[a-]", b"-", true),
            (b"[\\]a]", b"]", true),
            (b"\\*", b"*", true),
            (b"\\*", b"x", false),
            (b"\\!x", b"!x", true),
        ] {
            let globs = Globs::new([Glob::parse(glob).unwrap()]);
            assert_eq!(globs.match_entry(name, Is::Other), expected, "{} {name:?}", String::from_utf8_lossy(glob));
        }
    }

    #[test]
    fn the_last_glob_that_matches_decides_and_what_lies_inside_is_matched_with_it() {
        let all = globs(&["*.log", "!keep.log", "target/"]);
        let is_left_out = |path: &str| all.match_path(path.as_bytes(), Is::Other);
        assert!(is_left_out("a.log") && !is_left_out("x/keep.log"));
        assert!(is_left_out("x/target/debug/y") && !is_left_out("x/target"), "the file of that name is none");
        assert!(all.match_entry(b"x/target", Is::Directory));
        assert!(!all.match_entry(b"x/target/y", Is::Other), "the walk does not come here");
        assert!(!globs(&["*"]).match_path(b"", Is::Directory), "the top is never left out");
    }

    #[test]
    fn what_is_no_glob_is_refused_and_says_why() {
        for bad in ["", "/", "!", "a//b", "./a", "a/..", "[a", "[]", "a\\", "[z-a]", "x\0y"] {
            assert!(!Glob::parse(bad).unwrap_err().to_string().is_empty(), "{bad}");
        }
    }

    #[test]
    fn a_file_of_globs_has_comments_and_names_the_line_that_is_wrong() {
        let read = Globs::of_lines(b"# made by hand\n\n*.o\n\\#x\n").unwrap();
        assert_eq!(read, globs(&["*.o", "\\#x"]));
        assert!(read.match_entry(b"#x", Is::Other));
        assert_eq!(Globs::of_lines(b"*.o\n[\n").unwrap_err().0, 2);
    }

    proptest! {
        #[test]
        fn matching_agrees_with_trying_everything(glob in "[ab*?]{1,8}", name in "[ab]{0,10}") {
            fn tries(glob: &[u8], name: &[u8]) -> bool {
                match (glob.split_first(), name.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), None) => tries(rest, name),
                    (Some((b'*', rest)), Some((_, more))) => tries(rest, name) || tries(glob, more),
                    (Some((b'?', rest)), Some((_, more))) => tries(rest, more),
                    (Some((one, rest)), Some((first, more))) => one == first && tries(rest, more),
                    (None, Some(_)) | (Some(_), None) => false,
                }
            }
            let expected = tries(glob.as_bytes(), name.as_bytes());
            let found = sequence(
                &tokens(glob.as_bytes()).unwrap(), &characters(name.as_bytes()), |token| *token == Token::Any, Token::is,
            );
            prop_assert_eq!(found, expected);
        }
    }
}
