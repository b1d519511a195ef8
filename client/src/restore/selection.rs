//! What of a snapshot is restored, and where it goes in the target.
//!
//! Promises: nothing is ever included that was not named; one directory lies at the target's top, one file under its
//! name, and each of several things under its own (CONTRACTS.md). Not here: making it (`write.rs`).

use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_format::manifest::path::EntryPath;

use super::path::TreePath;
use crate::error::{Error, Result};
use crate::globs::{Glob, Globs, Is};

/// What is selected.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Empty: everything, unless there are globs.
    picks: Vec<Pick>,
    globs: Globs,
    /// Something was matched by a glob.
    found: AtomicBool,
    names: Names,
}

/// Under which names things are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// What is picked lies at the top.
    Short,
    /// Everything lies where it does in the snapshot.
    Whole,
}

#[derive(Debug)]
struct Pick {
    path: TreePath,
    found: AtomicBool,
}

impl Selection {
    /// These paths as people type them; none means everything, and so does `/`.
    ///
    /// # Errors
    /// `Refused` if a path leads outside or is empty, or two have the same base name.
    pub(crate) fn new(typed: &[Vec<u8>]) -> Result<Self> {
        let mut picks = Vec::with_capacity(typed.len());
        for bytes in typed {
            let path = path(bytes)?;
            if path.is_top() {
                if typed.len() == 1 {
                    return Ok(Self::of(Vec::new(), Names::Short));
                }
                return Err(refused("the whole snapshot and parts of it are named at once".into()));
            }
            picks.push(Pick { path, found: AtomicBool::new(false) });
        }
        let mut names: Vec<&[u8]> = picks.iter().filter_map(|pick| pick.path.split().map(|(_, name)| name)).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = String::from_utf8_lossy(twice[0]).into_owned();
            return Err(refused(format!("two of the paths have the base name {name}")));
        }
        Ok(Self::of(picks, Names::Short))
    }

    /// These paths as people type them, each under its whole path; none means everything.
    ///
    /// # Errors
    /// `Refused` if a path leads outside.
    pub(crate) fn below(typed: &[Vec<u8>]) -> Result<Self> {
        let mut picks = Vec::with_capacity(typed.len());
        for bytes in typed {
            let path = path(bytes)?;
            if path.is_top() {
                return Ok(Self::of(Vec::new(), Names::Whole));
            }
            picks.push(Pick { path, found: AtomicBool::new(false) });
        }
        Ok(Self::of(picks, Names::Whole))
    }

    /// What globs match, and all that is in it, each under its whole path.
    ///
    /// # Errors
    /// `Refused` if one is no glob.
    pub(crate) fn globs(globs: &[Vec<u8>]) -> Result<Self> {
        let globs = globs.iter().map(Glob::parse).collect::<std::result::Result<Vec<_>, _>>();
        let globs = Globs::new(globs.map_err(|fault| {
            Error::refused("INVALID_ARGUMENT", "SELECTION", fault, "write globs as `strongroom restore --help` shows")
        })?);
        Ok(Self { globs, ..Self::of(Vec::new(), Names::Whole) })
    }

    fn of(picks: Vec<Pick>, names: Names) -> Self {
        Self { picks, globs: Globs::default(), found: AtomicBool::new(false), names }
    }

    /// Where an entry goes; `None` if it was not named. The empty path is the target itself.
    pub(crate) fn place(&self, path: &EntryPath, is_directory: bool) -> Option<TreePath> {
        let whole = TreePath::new(path.as_bytes()).ok()?;
        if !self.globs.is_empty() {
            let is = if is_directory { Is::Directory } else { Is::Other };
            let matches = self.globs.match_path(path.as_bytes(), is);
            self.found.fetch_or(matches, Ordering::Relaxed);
            return matches.then_some(whole);
        }
        if self.picks.is_empty() {
            return Some(whole);
        }
        if self.names == Names::Whole {
            let holding = self.picks.iter().filter(|pick| whole.below(&pick.path).is_some());
            let count = holding.map(|pick| pick.found.store(true, Ordering::Relaxed)).count();
            return (count != 0).then_some(whole);
        }
        for pick in &self.picks {
            let Some(below) = whole.below(&pick.path) else { continue };
            pick.found.store(true, Ordering::Relaxed);
            let alone = self.picks.len() == 1 && (is_directory || !below.is_top());
            let (_, name) = pick.path.split()?;
            return Some(if alone { below } else { below.under(name) });
        }
        None
    }

    /// Whether the snapshot's own top directory is the target's.
    pub(crate) fn is_everything(&self) -> bool {
        self.picks.is_empty() && self.globs.is_empty()
    }

    /// Whether directories are made only because something in them is selected.
    pub(crate) fn keeps_above(&self) -> bool {
        !self.globs.is_empty()
    }

    /// Looks back when all entries were placed.
    ///
    /// # Errors
    /// `Refused` if a path, or all globs together, named nothing.
    pub(crate) fn require_found(&self) -> Result<()> {
        if !self.globs.is_empty() && !self.found.load(Ordering::Relaxed) {
            let next = "`strongroom find` shows what a glob matches; one without a / in it means names at any depth";
            return Err(Error::refused("NOT_FOUND", "NOT_FOUND", "nothing in the snapshot matches", next));
        }
        match self.picks.iter().find(|pick| !pick.found.load(Ordering::Relaxed)) {
            Some(pick) => Err(not_found(&pick.path)),
            None => Ok(()),
        }
    }
}

/// Directories that are needed only if something in them is.
#[derive(Debug, Default)]
pub(crate) struct Above<T>(Vec<(EntryPath, T)>);

impl<T> Above<T> {
    /// A directory that is not selected.
    pub(crate) fn pass(&mut self, path: EntryPath, directory: T) {
        self.leave(&path);
        self.0.push((path, directory));
    }

    /// Those that a selected entry lies in and that were not asked for yet, from the top.
    pub(crate) fn lead_to(&mut self, path: &EntryPath) -> impl Iterator<Item = (EntryPath, T)> {
        self.leave(path);
        std::mem::take(&mut self.0).into_iter()
    }

    /// Entries come in path order: what does not hold this one holds none of those that follow.
    fn leave(&mut self, path: &EntryPath) {
        while self.0.last().is_some_and(|(above, _)| !path.is_within(above.as_bytes())) {
            self.0.pop();
        }
    }
}

/// There is no such path.
pub(crate) fn not_found(path: &TreePath) -> Error {
    Error::refused(
        "NOT_FOUND",
        "NOT_FOUND",
        format_args!("{path} is not in the snapshot"),
        "name a path as `strongroom ls` shows it",
    )
}

fn refused(message: String) -> Error {
    Error::refused("INVALID_ARGUMENT", "SELECTION", message, "name paths as `strongroom ls` shows them")
}

/// A path as people type it. An empty one was meant to be another: what a script did not fill in is not everything.
fn path(typed: &[u8]) -> Result<TreePath> {
    if typed.is_empty() {
        return Err(refused("an empty path names nothing; / is everything".into()));
    }
    TreePath::typed(typed).map_err(|fault| refused(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(typed: &[&str]) -> Selection {
        Selection::new(&typed.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>()).unwrap()
    }

    fn place(selection: &Selection, path: &str, is_directory: bool) -> Option<String> {
        selection.place(&EntryPath::new(path).unwrap(), is_directory).map(|path| path.to_string())
    }

    #[test]
    fn one_directory_lies_at_the_top_and_one_file_under_its_name() {
        let one = select(&["/a/b/"]);
        assert_eq!(place(&one, "a/b", true).as_deref(), Some(""));
        assert_eq!(place(&one, "a/b/c/d", false).as_deref(), Some("c/d"));
        assert_eq!(place(&one, "a", true), None);
        assert_eq!(place(&one, "a/bc", false), None);
        assert!(one.require_found().is_ok());
        let file = select(&["a/f"]);
        assert_eq!(place(&file, "a/f", false).as_deref(), Some("f"));
    }

    #[test]
    fn several_lie_under_their_base_names_which_must_differ() {
        let several = select(&["a/b", "c"]);
        assert_eq!(place(&several, "a/b", true).as_deref(), Some("b"));
        assert_eq!(place(&several, "a/b/x", false).as_deref(), Some("b/x"));
        assert_eq!(several.require_found().unwrap_err().reason(), Some("NOT_FOUND"));
        assert_eq!(place(&several, "c", false).as_deref(), Some("c"));
        assert!(Selection::new(&[b"a/b".to_vec(), b"c/b".to_vec()]).is_err());
        assert!(Selection::new(&[b"../b".to_vec()]).is_err());
        assert!(Selection::new(&[b"/".to_vec()]).unwrap().is_everything());
        for empty in [&[Vec::new()][..], &[b"a".to_vec(), Vec::new()]] {
            assert!(Selection::new(empty).is_err() && Selection::below(empty).is_err(), "{empty:?}");
        }
    }

    #[test]
    fn what_globs_match_lies_where_it_does_in_the_snapshot_below_the_directories_that_lead_there() {
        let globs = Selection::globs(&[b"*.rs".to_vec(), b"!gen*".to_vec(), b"/doc/".to_vec()]).unwrap();
        let mut above = Above::default();
        let mut made = Vec::new();
        for (path, is_directory) in [
            ("a", true),
            ("a/b", true),
            ("a/b/c.rs", false),
            ("a/b/d.rs", false),
            ("a/b/gen.rs", false),
            ("a/c", true),
            ("doc", true),
            ("doc/x", false),
            ("e", true),
        ] {
            let path = EntryPath::new(path).unwrap();
            if globs.place(&path, is_directory).is_some() {
                made.extend(above.lead_to(&path).map(|(path, ())| path.to_string()));
                made.push(path.to_string());
            } else if is_directory {
                above.pass(path, ());
            }
        }
        assert_eq!(made, ["a", "a/b", "a/b/c.rs", "a/b/d.rs", "doc", "doc/x"]);
        assert!(globs.require_found().is_ok());
        assert!(Selection::globs(&[b"absent".to_vec()]).unwrap().require_found().is_err());
        assert_eq!(Selection::globs(&[b"[a".to_vec()]).unwrap_err().reason(), Some("SELECTION"));
    }

    #[test]
    fn paths_may_hold_each_other_where_everything_keeps_its_path() {
        let both = Selection::below(&[b"a".to_vec(), b"/a/b/".to_vec()]).unwrap();
        assert_eq!(place(&both, "a/b/c", false).as_deref(), Some("a/b/c"));
        assert_eq!(place(&both, "b", false), None);
        assert!(both.require_found().is_ok());
    }

    #[test]
    fn no_path_means_everything() {
        let everything = select(&["/"]);
        assert!(everything.is_everything());
        assert_eq!(place(&everything, "a/b", false).as_deref(), Some("a/b"));
    }
}
