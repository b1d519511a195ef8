//! Paths inside a snapshot: relative, bytes, nothing that could lead outside.
//!
//! Promises: a [`TreePath`] that exists has no absolute start, no empty component, no `.` or `..`, no NUL, so that it
//! can be walked component by component below a directory handle. Not here: following it (`staging.rs`).

use std::fmt;

/// A checked path inside a snapshot; the empty one is the top directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TreePath(Vec<u8>);

/// The path could lead outside of where it belongs, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path in a snapshot is relative, without empty components, `.`, `..` and NUL")]
pub(crate) struct Unsafe;

/// No path of ours is longer.
const BYTES_MAX: usize = 64 << 10;

impl TreePath {
    /// Checks a path from a manifest.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Unsafe> {
        let component = |c: &[u8]| !c.is_empty() && c != b"." && c != b".." && !c.contains(&0);
        if bytes.is_empty() || (bytes.len() <= BYTES_MAX && bytes.split(|b| *b == b'/').all(component)) {
            return Ok(Self(bytes.to_vec()));
        }
        Err(Unsafe)
    }

    /// The top directory.
    pub(crate) fn top() -> Self {
        Self(Vec::new())
    }

    /// A path as people type it: `/a/b/` and `./a/b` mean `a/b`.
    pub(crate) fn typed(bytes: &[u8]) -> Result<Self, Unsafe> {
        let components: Vec<&[u8]> = bytes.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").collect();
        Self::new(&components.join(&b'/'))
    }

    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the top directory.
    pub(crate) fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// Its components, from the top down.
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|c| !c.is_empty())
    }

    /// How many components it has.
    pub(crate) fn depth(&self) -> usize {
        self.components().count()
    }

    /// The directory that holds it, and its name there; `None` for the top.
    pub(crate) fn split(&self) -> Option<(TreePath, &[u8])> {
        if self.is_top() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => (Self(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (Self(Vec::new()), &self.0),
        })
    }

    /// Below `prefix`: what is left of it; `None` if it is not below. A path is below itself.
    pub(crate) fn below(&self, prefix: &TreePath) -> Option<TreePath> {
        if prefix.is_top() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(prefix.0.as_slice())?;
        match rest.split_first() {
            None => Some(Self(Vec::new())),
            Some((b'/', rest)) => Some(Self(rest.to_vec())),
            Some(_) => None,
        }
    }

    /// This path below `name`.
    pub(crate) fn under(&self, name: &[u8]) -> TreePath {
        debug_assert!(!name.is_empty() && !name.contains(&b'/'), "one component");
        if self.is_top() { Self(name.to_vec()) } else { Self([name, b"/", &self.0].concat()) }
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreePath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n39_paths_that_lead_outside_are_refused() {
        let bad: [&[u8]; 9] = [b"/", b"/etc", b"..", b"a/..", b"a/../b", b"./a", b"a//b", b"a/", b"a\0b"];
        for path in bad {
            assert_eq!(TreePath::new(path), Err(Unsafe), "{}", String::from_utf8_lossy(path));
        }
        for path in [b"".as_slice(), b"a", b"a/b", b"..a/b..", b"\xff/\n"] {
            assert!(TreePath::new(path).is_ok());
        }
    }

    #[test]
    fn a_path_is_below_its_directory_and_below_itself_only() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        assert_eq!(path("a/b/c").below(&path("a/b")), Some(path("c")));
        assert_eq!(path("a/b").below(&path("a/b")), Some(path("")));
        assert_eq!(path("a/bc").below(&path("a/b")), None);
        assert_eq!(path("a").below(&path("")), Some(path("a")));
        assert_eq!(path("b/c").under(b"a"), path("a/b/c"));
        assert_eq!(TreePath::typed(b"/a/./b/").unwrap(), path("a/b"));
        assert!(TreePath::typed(b"a/../b").is_err());
    }
}
