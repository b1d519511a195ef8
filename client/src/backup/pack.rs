//! Which bytes are chunked together: a large file alone, small files packed in path order, across directories, until
//! the rule of the formats says that their extent ends.
//!
//! Not here: that rule (`strongroom_format::chunk`), where chunks end inside an extent (`cut.rs`), reading (`read.rs`).

use strongroom_format::chunk::{EXTENT_BYTES, extent_ends_before};

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// It is an extent of its own.
    Alone,
    /// It joins the present extent of small files.
    Joins,
    /// The present extent of small files ends; the file begins the next one.
    Begins,
}

/// How full the present extent of small files is.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    filled_bytes: u64,
}

impl Packer {
    /// Whether a file of so many bytes is packed with others.
    pub(crate) fn packs(bytes: u64) -> bool {
        bytes < EXTENT_BYTES
    }

    /// The present extent ended for another reason; the next file begins one.
    pub(crate) fn restart(&mut self) {
        self.filled_bytes = 0;
    }

    /// Decides about the next file in path order, of those that are read.
    pub(crate) fn place(&mut self, path: &[u8], bytes: u64) -> Packing {
        if !Self::packs(bytes) {
            return Packing::Alone;
        }
        if extent_ends_before(path, self.filled_bytes, bytes) {
            self.filled_bytes = bytes;
            return Packing::Begins;
        }
        self.filled_bytes += bytes;
        Packing::Joins
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use strongroom_format::chunk::EXTENT_BYTES_MAX;

    use super::*;

    /// The paths of each extent of small files.
    fn extents(files: &[(String, u64)]) -> Vec<Vec<&str>> {
        let mut packer = Packer::default();
        let mut extents: Vec<Vec<&str>> = vec![Vec::new()];
        for (path, bytes) in files {
            match packer.place(path.as_bytes(), *bytes) {
                Packing::Alone => continue,
                Packing::Joins => {}
                Packing::Begins => extents.push(Vec::new()),
            }
            extents.last_mut().unwrap().push(path);
        }
        extents
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_extent_of_small_files_outgrows_its_bound_and_large_files_are_alone(
            sizes in proptest::collection::vec(0..2 * EXTENT_BYTES, 1..200)
        ) {
            let files: Vec<_> = sizes.iter().enumerate().map(|(n, bytes)| (format!("{n}"), *bytes)).collect();
            let size = |path: &&str| sizes[path.parse::<usize>().unwrap()];
            for extent in extents(&files) {
                prop_assert!(extent.iter().map(size).sum::<u64>() <= EXTENT_BYTES_MAX);
                prop_assert!(extent.iter().all(|path| size(path) < EXTENT_BYTES));
            }
        }

        #[test]
        fn a_file_that_goes_disturbs_its_neighbourhood_only(gone in 0_usize..4000) {
            let before: Vec<_> = (0..4000).map(|n| (format!("src/{n:06}.rs"), 8000)).collect();
            let mut after = before.clone();
            after.remove(gone);
            let old: BTreeSet<Vec<&str>> = extents(&before).into_iter().collect();
            let changed = extents(&after).into_iter().filter(|extent| !old.contains(extent)).count();
            prop_assert!(changed <= 12, "{changed} extents changed");
        }
    }
}
