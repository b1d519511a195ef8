//! Files with several names: the first one that is met holds the file, the others refer back to it.
//!
//! Promises: an inode that is another one by now, or another content, is no name of the first. Memory: one small row for
//! each file of which names are still to come. Not here: the numbers' meaning (`strongroom_format::manifest`).

use std::collections::HashMap;

use super::stat::Inode;

/// What was there under a first name.
struct First {
    inode: Inode,
    /// Its place among the entries with several names.
    number: u64,
    /// Names that may still come.
    left: u32,
}

/// What a name of an inode with several names is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The first one.
    First,
    /// Another one, of the entry so many entries back among those with several names.
    Another { back: u64 },
    /// Another one of a file that has changed since its first name was met: it is read again.
    Changed,
}

/// The files with several names that were met.
#[derive(Default)]
pub(crate) struct Links {
    entries: u64,
    firsts: HashMap<(u64, u64), First>,
}

impl Links {
    /// Looks at a name.
    pub(crate) fn meet(&mut self, inode: &Inode) -> Name {
        let key = (inode.device, inode.number);
        let Some(first) = self.firsts.get_mut(&key) else { return Name::First };
        if (first.inode.bytes, first.inode.modified) != (inode.bytes, inode.modified) {
            return Name::Changed;
        }
        let back = self.entries - first.number;
        first.left -= 1;
        if first.left == 0 {
            self.firsts.remove(&key);
        }
        Name::Another { back }
    }

    /// Notes that an entry with several names was made.
    pub(crate) fn made(&mut self, inode: Inode) {
        let first = First { inode, number: self.entries, left: inode.names.saturating_sub(1).max(1) };
        self.firsts.insert((inode.device, inode.number), first);
        self.entries += 1;
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::manifest::entry::Moment;

    use super::*;

    fn inode(number: u64, names: u32, bytes: u64) -> Inode {
        Inode { device: 1, number, names, bytes, modified: Moment::default() }
    }

    #[test]
    fn later_names_count_back_to_the_first_and_are_forgotten_when_all_have_come() {
        let mut links = Links::default();
        assert_eq!(links.meet(&inode(1, 3, 5)), Name::First);
        links.made(inode(1, 3, 5));
        assert_eq!(links.meet(&inode(2, 2, 5)), Name::First);
        links.made(inode(2, 2, 5));
        assert_eq!(links.meet(&inode(1, 3, 5)), Name::Another { back: 2 });
        assert_eq!(links.meet(&inode(2, 2, 5)), Name::Another { back: 1 });
        assert_eq!(links.meet(&inode(1, 3, 5)), Name::Another { back: 2 });
        assert!(links.firsts.is_empty());
        // The number belongs to another file now.
        assert_eq!(links.meet(&inode(1, 2, 5)), Name::First);
    }

    #[test]
    fn a_file_that_changed_between_two_of_its_names_is_not_taken_for_the_first() {
        let mut links = Links::default();
        links.made(inode(1, 3, 5));
        assert_eq!(links.meet(&inode(1, 3, 6)), Name::Changed);
        links.made(inode(1, 3, 6));
        assert_eq!(links.meet(&inode(1, 3, 6)), Name::Another { back: 1 });
        // One that could not be read is no first name.
        assert_eq!(links.meet(&inode(9, 2, 5)), Name::First);
        assert_eq!(links.meet(&inode(9, 2, 5)), Name::First);
    }
}
