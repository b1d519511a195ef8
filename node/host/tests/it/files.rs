//! Facts about files that hold on every disk.

use std::io;
use std::path::Path;

use strongroom_host::Host;
use strongroom_host::aligned::AlignedBuffer;
use strongroom_host::clock::SimClock;
use strongroom_host::files::Open;
use strongroom_host::sim_disk::SimDisk;

/// Runs a test on the real disk and on the simulated one, in an empty directory.
pub fn on_both(test: impl Fn(&Host, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    test(&Host::real(), directory.path());
    test(&Host::simulated(1, SimDisk::new(), SimClock::new(0)), Path::new("/sim"));
}

#[test]
fn aligned_and_unaligned_transfers_see_each_other() {
    on_both(|host, directory| {
        host.files().create_dir_all(directory).unwrap();
        let file = host.files().open(&directory.join("f"), Open::New).unwrap();
        file.preallocate(0, 1 << 20).unwrap();
        let mut block = AlignedBuffer::default();
        block.extend(&[7; 8192]);
        file.write_at(block.bytes(), 4096).unwrap();
        file.write_at(&[9; 100], 5000).unwrap();
        file.sync_data().unwrap();
        let mut back = AlignedBuffer::default();
        back.resize(16384);
        assert_eq!(file.read_at(back.bytes_mut(), 0).unwrap(), 16384);
        let mut expected = vec![0; 4096];
        expected.resize(12288, 7);
        expected[5000..5100].fill(9);
        expected.resize(16384, 0);
        assert_eq!(back.bytes(), expected);
        let mut odd = vec![0; 101];
        file.read_exact_at(&mut odd, 4999).unwrap();
        assert_eq!(odd, expected[4999..5100]);
        file.set_len(5001).unwrap();
        assert_eq!(file.read_at(back.bytes_mut(), 4096).unwrap(), 905);
        assert_eq!(file.len().unwrap(), 5001);
        assert_eq!(file.read_exact_at(&mut odd, 4999).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn names_are_made_listed_renamed_and_removed() {
    on_both(|host, directory| {
        let files = host.files();
        let inner = directory.join("a/b");
        files.create_dir_all(&inner).unwrap();
        files.create_dir_all(&inner).unwrap();
        let missing = files.open(&inner.join("x"), Open::Write).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let file = files.open(&inner.join("x"), Open::New).unwrap();
        let again = files.open(&inner.join("x"), Open::New).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        file.write_at(b"old", 0).unwrap();
        files.rename(&inner.join("x"), &inner.join("y")).unwrap();
        files.sync_dir(&inner).unwrap();
        assert_eq!(files.list(&inner).unwrap(), ["y"]);
        assert_eq!(files.list(&directory.join("a")).unwrap(), ["b"]);
        assert!(files.exists(&inner.join("y")).unwrap());
        assert!(!files.exists(&inner.join("x")).unwrap());
        files.remove(&inner.join("y")).unwrap();
        assert!(files.list(&inner).unwrap().is_empty());
        let mut bytes = [0; 3];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"old", "a removed file stays with whoever has it open");
        assert!(0 < files.free_bytes(directory).unwrap());
    });
}

#[test]
fn a_file_opened_for_reading_cannot_be_written() {
    on_both(|host, directory| {
        host.files().create_dir_all(directory).unwrap();
        let path = directory.join("f");
        host.files().open(&path, Open::New).unwrap().write_at(b"x", 0).unwrap();
        let file = host.files().open(&path, Open::Read).unwrap();
        file.write_at(b"y", 0).unwrap_err();
        file.set_len(0).unwrap_err();
    });
}
