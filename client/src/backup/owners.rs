//! What the owners of entries are called on this machine: from `/etc/passwd` and `/etc/group`, for people who list a
//! snapshot elsewhere.
//!
//! Not here: who owns what (`walk.rs`). A name that only a directory service knows is left out.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::manifest::entry::Owner;
use strongroom_format::manifest::names::{NAME_BYTES_MAX, NAMES_MAX, OwnerNames};

/// Files of names are not read further.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The owners that were met.
#[derive(Default)]
pub(crate) struct Owners {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
}

impl Owners {
    /// Notes one.
    pub(crate) fn meet(&mut self, owner: Owner) {
        for (met, id) in [(&mut self.users, owner.user), (&mut self.groups, owner.group)] {
            if met.len() < NAMES_MAX {
                met.insert(id);
            }
        }
    }

    /// Looks their names up.
    pub(crate) fn names(&self) -> OwnerNames {
        OwnerNames {
            users: names_in(&content("/etc/passwd"), &self.users),
            groups: names_in(&content("/etc/group"), &self.groups),
        }
    }
}

fn content(path: &str) -> Vec<u8> {
    use std::io::Read as _;
    let mut content = Vec::new();
    // Names are a courtesy: without them numbers are shown.
    let _read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut content));
    content
}

/// Of lines `name:password:id:…`; the first line with an id counts, as it does for the system.
fn names_in(content: &[u8], ids: &BTreeSet<u32>) -> BTreeMap<u32, Vec<u8>> {
    let mut names = BTreeMap::new();
    for line in content.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(&0);
        if let Some(id) = id.filter(|id| is_name && ids.contains(id)) {
            names.entry(id).or_insert_with(|| name.to_vec());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_good_line_names_an_id() {
        let content = b"root:x:0:0:root:/root:/bin/sh\n# a comment\ntoor:x:0:0::/:\nanna:x:1000:\nodd:x:no:\n:x:5:\n";
        let ids = BTreeSet::from([0, 5, 1000, 4242]);
        let names = names_in(content, &ids);
        assert_eq!(names, BTreeMap::from([(0, b"root".to_vec()), (1000, b"anna".to_vec())]));
        assert!(names_in(content, &BTreeSet::new()).is_empty());
    }
}
