//! What of a snapshot is restored, and where it goes in the target.
//!
//! Promises: nothing is ever included that was not named; one directory lies at the target's top, one file under its
//! name, and each of several things under its own (CONTRACTS.md). Not here: making it (`write.rs`).

use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_format::manifest::path::EntryPath;

use super::path::TreePath;
use crate::error::{Error, Result};

/// What is selected.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Empty: everything.
    picks: Vec<Pick>,
}

#[derive(Debug)]
struct Pick {
    path: TreePath,
    found: AtomicBool,
}

impl Selection {
    /// These paths as people type them; none means everything.
    ///
    /// # Errors
    /// `Refused` if a path leads outside, or two have the same base name.
    pub(crate) fn new(typed: &[Vec<u8>]) -> Result<Self> {
        let refused = |message: String| {
            Error::refused("INVALID_ARGUMENT", "SELECTION", message, "name paths as `strongroom ls` shows them")
        };
        let mut picks = Vec::with_capacity(typed.len());
        for bytes in typed {
            let path = TreePath::typed(bytes).map_err(|fault| refused(fault.to_string()))?;
            if path.is_top() {
                if typed.len() == 1 {
                    return Ok(Self { picks: Vec::new() });
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
        Ok(Self { picks })
    }

    /// Where an entry goes; `None` if it was not named. The empty path is the target itself.
    pub(crate) fn place(&self, path: &EntryPath, is_directory: bool) -> Option<TreePath> {
        let whole = TreePath::new(path.as_bytes()).ok()?;
        if self.picks.is_empty() {
            return Some(whole);
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
        self.picks.is_empty()
    }

    /// A path that named nothing.
    pub(crate) fn not_found(&self) -> Option<&TreePath> {
        self.picks.iter().find(|pick| !pick.found.load(Ordering::Relaxed)).map(|pick| &pick.path)
    }
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
        assert!(one.not_found().is_none());
        let file = select(&["a/f"]);
        assert_eq!(place(&file, "a/f", false).as_deref(), Some("f"));
    }

    #[test]
    fn several_lie_under_their_base_names_which_must_differ() {
        let several = select(&["a/b", "c"]);
        assert_eq!(place(&several, "a/b", true).as_deref(), Some("b"));
        assert_eq!(place(&several, "a/b/x", false).as_deref(), Some("b/x"));
        assert_eq!(several.not_found().map(ToString::to_string).as_deref(), Some("c"));
        assert_eq!(place(&several, "c", false).as_deref(), Some("c"));
        assert!(Selection::new(&[b"a/b".to_vec(), b"c/b".to_vec()]).is_err());
        assert!(Selection::new(&[b"../b".to_vec()]).is_err());
    }

    #[test]
    fn no_path_means_everything() {
        let everything = select(&["/"]);
        assert!(everything.is_everything());
        assert_eq!(place(&everything, "a/b", false).as_deref(), Some("a/b"));
    }
}
