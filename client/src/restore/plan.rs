//! What a manifest asks to be made, as far as it was selected.
//!
//! ```text
//!   entry ─▶ selected? ─▶ directory · file · other · further name     left out, by name: not understood, unasked devices
//!         └▶ not, but it has several names ─▶ kept: the first selected one of them becomes the file
//! ```
//!
//! Promises: nothing that was not named; a further name is one of what this plan makes. Memory: a few hundred bytes an
//! entry, bounded by the manifest's limits (N115). Not here: making it (`write.rs`, `others.rs`, `staging.rs`).

use strongroom_format::manifest::decode::Item;
use strongroom_format::manifest::entry::{Attributes, Content, Entry, Run};

use super::give::Special;
use super::others::{Other, PlannedName, PlannedOther};
use super::path::TreePath;
use super::reading::Reading;
use super::selection::{Above, Selection};
use super::staging::DirectoryAttributes;
use super::write::{DamagedFile, PlannedFile};
use crate::error::Result;

/// What is to be made.
#[derive(Default)]
pub(crate) struct Plan {
    pub directories: Vec<DirectoryAttributes>,
    pub files: Vec<PlannedFile>,
    pub others: Vec<PlannedOther>,
    pub names: Vec<PlannedName>,
    pub left_out: Vec<DamagedFile>,
    /// Stored bytes of files.
    pub bytes: u64,
    pub runs: Vec<Run>,
    special: Special,
    /// The entries with several names, in order: further names count back to them.
    shared: Vec<Shared>,
    /// Directories that are made only if something in them is.
    above: Above<Attributes>,
}

/// An entry with several names.
enum Shared {
    /// It will be there, under this path and of this name.
    Planned(TreePath, Vec<u8>),
    /// It is not selected, but another name may be.
    NotYet(Box<Entry>),
    /// It is left out, and so are its other names.
    LeftOut(Vec<u8>),
}

impl Plan {
    /// Of nothing yet. Devices are made or left out.
    pub(crate) fn new(special: Special) -> Self {
        Self { special, ..Self::default() }
    }

    /// Takes all of a manifest.
    ///
    /// # Errors
    /// `Refused` if something was named that is not there, or as [`Reading::next`].
    pub(crate) async fn read(mut self, reading: &mut Reading, selection: &Selection) -> Result<Self> {
        while let Some(item) = reading.next().await? {
            self.take(item, selection);
        }
        selection.require_found()?;
        Ok(self)
    }

    /// Takes what comes next in the manifest.
    pub(crate) fn take(&mut self, item: Item, selection: &Selection) {
        match item {
            Item::Header(header) => {
                if let (Some(attributes), true) = (header.root, selection.is_everything()) {
                    self.directories.push(DirectoryAttributes { path: TreePath::top(), attributes });
                }
            }
            Item::Entry(entry) => self.take_entry(entry, selection),
            Item::Runs(runs) => self.runs.extend(runs),
            Item::End(_) => {}
        }
    }

    fn take_entry(&mut self, entry: Entry, selection: &Selection) {
        let is_directory = matches!(entry.content, Content::Directory);
        let selected = selection.place(&entry.path, is_directory);
        let is_shared = 1 < entry.names;
        let Some(path) = selected else {
            if is_shared {
                self.shared.push(Shared::NotYet(Box::new(entry)));
            } else if is_directory && selection.keeps_above() {
                self.above.pass(entry.path, entry.attributes);
            }
            return;
        };
        let above = self.above.lead_to(&entry.path);
        let above = above.filter_map(|(path, attributes)| Some((TreePath::new(path.as_bytes()).ok()?, attributes)));
        self.directories.extend(above.map(|(path, attributes)| DirectoryAttributes { path, attributes }));
        if let Content::HardLink { back } = entry.content
            && entry.is_understood()
        {
            return self.take_name(path, &entry, back);
        }
        let made = self.make(path, entry);
        if is_shared {
            self.shared.push(made);
        }
    }

    /// One more name of an entry.
    fn take_name(&mut self, path: TreePath, link: &Entry, back: u64) {
        let name = link.path.as_bytes().to_vec();
        // The decoder has seen that it is there.
        let at = usize::try_from(back).ok().and_then(|back| self.shared.len().checked_sub(back));
        let Some(at) = at.filter(|at| *at < self.shared.len()) else {
            return self.leave_out(name, "it is another name of nothing".into());
        };
        let first = &mut self.shared[at];
        match first {
            Shared::Planned(first, first_name) => {
                let (first, first_name) = (first.clone(), first_name.clone());
                self.names.push(PlannedName { path, name, first, first_name });
            }
            Shared::LeftOut(first) => {
                let why = format!("it is another name of {}", String::from_utf8_lossy(first));
                self.leave_out(name, why);
            }
            Shared::NotYet(_) => {
                let taken = std::mem::replace(first, Shared::LeftOut(name));
                let Shared::NotYet(mut entry) = taken else { return };
                entry.path = link.path.clone();
                self.shared[at] = self.make(path, *entry);
            }
        }
    }

    /// Plans an entry of its own.
    fn make(&mut self, path: TreePath, entry: Entry) -> Shared {
        let name = entry.path.as_bytes().to_vec();
        if !entry.is_understood() {
            self.leave_out(name.clone(), "this version does not understand it".into());
            return Shared::LeftOut(name);
        }
        let Entry { attributes, content, .. } = entry;
        let mut other = |path: &TreePath, what| {
            let (path, name) = (path.clone(), name.clone());
            self.others.push(PlannedOther { path, name, attributes: attributes.clone(), what });
        };
        match content {
            Content::Directory => self.directories.push(DirectoryAttributes { path: path.clone(), attributes }),
            Content::Symlink { target } => other(&path, Other::Symlink(target)),
            Content::Fifo => other(&path, Other::Fifo),
            Content::Device(device) => match self.special {
                Special::Given => other(&path, Other::Device(device)),
                Special::LeftOut => {
                    self.leave_out(name.clone(), "a device is made only when asked for".into());
                    return Shared::LeftOut(name);
                }
            },
            Content::File(file) => {
                self.bytes = self.bytes.saturating_add(file.stored_bytes());
                self.files.push(PlannedFile::new(path.clone(), name.clone(), attributes, file));
            }
            // Not understood, or taken before.
            Content::Other { .. } | Content::HardLink { .. } => return Shared::LeftOut(name),
        }
        Shared::Planned(path, name)
    }

    fn leave_out(&mut self, path: Vec<u8>, why: String) {
        self.left_out.push(DamagedFile { path, why });
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::Digest;
    use strongroom_format::manifest::entry::{Access, Attributes, Device, File, Moment};
    use strongroom_format::manifest::path::EntryPath;

    use super::*;

    fn entry(path: &str, names: u32, content: Content) -> Entry {
        let path = EntryPath::new(path).unwrap();
        Entry { path, attributes: Attributes::default(), names, content, unknown: vec![] }
    }

    fn file(path: &str, names: u32) -> Entry {
        let (hash, last_read) = (Digest::from_bytes([0; 32]), Moment::default());
        let file = File { size: 0, pieces: vec![], hash, last_read, holes: vec![] };
        entry(path, names, Content::File(file))
    }

    fn link(path: &str, back: u64) -> Entry {
        entry(path, 1, Content::HardLink { back })
    }

    fn device(path: &str, names: u32) -> Entry {
        entry(path, names, Content::Device(Device { access: Access::Block, major: 8, minor: 0 }))
    }

    fn plan(paths: &[&str], special: Special, entries: Vec<Entry>) -> Plan {
        let paths: Vec<_> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let selection = Selection::new(&paths).unwrap();
        let mut plan = Plan::new(special);
        entries.into_iter().for_each(|entry| plan.take(Item::Entry(entry), &selection));
        plan
    }

    fn files(plan: &Plan) -> Vec<String> {
        plan.files.iter().map(|file| file.path.to_string()).collect()
    }

    fn names(plan: &Plan) -> Vec<(String, String)> {
        plan.names.iter().map(|name| (name.path.to_string(), name.first.to_string())).collect()
    }

    fn left_out(plan: &Plan) -> Vec<String> {
        plan.left_out.iter().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect()
    }

    fn pair(name: &str, first: &str) -> (String, String) {
        (name.to_owned(), first.to_owned())
    }

    #[test]
    fn the_first_selected_name_becomes_the_file_and_later_ones_its_names() {
        let entries = || {
            let directory = |path| entry(path, 1, Content::Directory);
            vec![
                directory("a"),
                file("a/f", 3),
                file("a/g", 2),
                directory("b"),
                link("b/f", 2),
                link("b/f too", 2),
                link("b/g", 1),
            ]
        };
        let all = plan(&[], Special::LeftOut, entries());
        assert_eq!(files(&all), ["a/f", "a/g"]);
        assert_eq!(names(&all), [pair("b/f", "a/f"), pair("b/f too", "a/f"), pair("b/g", "a/g")]);
        let some = plan(&["b"], Special::LeftOut, entries());
        assert_eq!(files(&some), ["f", "g"]);
        assert_eq!(names(&some), [pair("f too", "f")]);
        assert_eq!(some.files[0].name, b"b/f");
        let one = plan(&["b/f too"], Special::LeftOut, entries());
        assert_eq!((files(&one), names(&one).len()), (vec!["f too".to_owned()], 0));
    }

    #[test]
    fn n115_devices_are_made_only_when_asked_and_their_names_go_with_them() {
        let entries = || vec![device("a", 2), link("b", 1), entry("c", 1, Content::Fifo)];
        let unasked = plan(&[], Special::LeftOut, entries());
        assert_eq!((left_out(&unasked), unasked.others.len()), (vec!["a".to_owned(), "b".to_owned()], 1));
        let asked = plan(&[], Special::Given, entries());
        assert_eq!((left_out(&asked), asked.others.len()), (vec![], 2));
        assert_eq!(names(&asked), [pair("b", "a")]);
    }

    #[test]
    fn n115_a_name_of_what_is_not_understood_or_not_there_is_left_out_too() {
        let mut newer = file("a", 2);
        newer.unknown.push(strongroom_format::manifest::field::Field { tag: 255, value: vec![] });
        let odd = plan(&[], Special::Given, vec![newer, link("b", 1), link("c", 2), link("d", u64::MAX)]);
        assert_eq!(left_out(&odd), ["a", "b", "c", "d"]);
        assert!(odd.files.is_empty() && odd.names.is_empty());
    }
}
