//! Paths inside a snapshot: bytes, relative, without tricks.

use std::cmp::Ordering;
use std::fmt;

/// No path is longer, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// No component of a path is longer, in bytes.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// A path relative to what was backed up. One that exists is safe to join to a directory: not empty, at most 4096
/// bytes, its components 1 to 255 bytes each and neither `.` nor `..`, no NUL. Any other bytes are allowed.
///
/// Ordered component by component: a directory directly before everything inside of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntryPath(Vec<u8>);

/// Why bytes are not an [`EntryPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPath {
    /// Empty, or longer than 4096 bytes.
    #[error("a path has 1 to {PATH_BYTES_MAX} bytes")]
    Length,
    /// A component is empty (`//`, or `/` at either end) or longer than 255 bytes.
    #[error("a component of a path has 1 to {COMPONENT_BYTES_MAX} bytes")]
    Component,
    /// A component `.` or `..`.
    #[error("a path has no . or ..")]
    Dots,
    /// A NUL byte.
    #[error("a path has no NUL byte")]
    Nul,
}

impl EntryPath {
    /// A valid path, or why it is none.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<EntryPath, NotAPath> {
        let bytes = bytes.into();
        if !(1..=PATH_BYTES_MAX).contains(&bytes.len()) {
            return Err(NotAPath::Length);
        }
        if bytes.contains(&0) {
            return Err(NotAPath::Nul);
        }
        for component in bytes.split(|byte| *byte == b'/') {
            if !(1..=COMPONENT_BYTES_MAX).contains(&component.len()) {
                return Err(NotAPath::Component);
            }
            if component == b"." || component == b".." {
                return Err(NotAPath::Dots);
            }
        }
        Ok(EntryPath(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory that it is in; `None` at the top.
    pub fn parent(&self) -> Option<&[u8]> {
        self.0.iter().rposition(|byte| *byte == b'/').map(|at| &self.0[..at])
    }

    /// Its last component.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().expect("a path has a last component")
    }

    /// Its components, from the top.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// Whether it is `directory` or lies inside of it.
    pub fn is_within(&self, directory: &[u8]) -> bool {
        match self.0.strip_prefix(directory) {
            Some(rest) => rest.is_empty() || rest[0] == b'/' || directory.is_empty(),
            None => false,
        }
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // A path has no NUL, so `/` can take its place below all other bytes.
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(rank).cmp(other.0.iter().map(rank))
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// With escapes for what does not print.
impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// Names inside snapshots are secrets of the tenant: they do not get into logs by accident.
impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryPath([{} bytes])", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text).unwrap()
    }

    #[test]
    fn n115_paths_with_tricks_are_refused() {
        for (bytes, why) in [
            (&b""[..], NotAPath::Length),
            (b"/", NotAPath::Component),
            (b"/etc/passwd", NotAPath::Component),
            (b"a//b", NotAPath::Component),
            (b"a/", NotAPath::Component),
            (b".", NotAPath::Dots),
            (b"..", NotAPath::Dots),
            (b"a/../b", NotAPath::Dots),
            (b"a/./b", NotAPath::Dots),
            (b"a/..", NotAPath::Dots),
            (b"a\0b", NotAPath::Nul),
            (&[b'a'; 256], NotAPath::Component),
            (&[b'a'; 4097], NotAPath::Length),
        ] {
            assert_eq!(EntryPath::new(bytes), Err(why), "{}", bytes.escape_ascii());
        }
        let longest = [&[b'a'; 255][..]; 16].join(&b'/');
        assert_eq!(longest.len(), 4095);
        for bytes in [&b"..."[..], b"a b", b"\xff\xfe/\x01", b"a/..b", &longest] {
            assert_eq!(EntryPath::new(bytes).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn a_directory_stands_directly_before_what_is_inside() {
        let mut paths = ["a-b", "a/b", "a", "b", "a/b/c", "a.txt", "a/b-c", "B"].map(path);
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(EntryPath::to_string).collect();
        assert_eq!(sorted, ["B", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.txt", "b"]);
    }

    #[test]
    fn parts_of_a_path() {
        assert_eq!(path("a/b/c").parent(), Some(&b"a/b"[..]));
        assert_eq!(path("a").parent(), None);
        assert_eq!(path("a/b/c").name(), b"c");
        assert_eq!(path("a/b/c").components().count(), 3);
        assert!(path("a/b").is_within(b"a") && path("a").is_within(b"a") && path("a").is_within(b""));
        assert!(!path("ab").is_within(b"a") && !path("a").is_within(b"a/b"));
    }
}
