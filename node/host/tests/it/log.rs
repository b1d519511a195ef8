//! Facts about the log that hold on every disk.

use std::path::Path;

use strongroom_host::Host;
use strongroom_host::append::AppendError;
use strongroom_host::files::Open;
use strongroom_host::log::{AppendLog, Position, Record};

use crate::files::on_both;

/// Opens the log and collects what it shows.
pub fn open(
    host: &Host,
    directory: &Path,
    file_bytes_max: u64,
) -> Result<(AppendLog, Vec<(Position, Record)>), AppendError> {
    let mut seen = Vec::new();
    let log = AppendLog::open(host, directory, file_bytes_max, |position, record| {
        seen.push((position, record));
    })?;
    Ok((log, seen))
}

#[test]
fn what_was_appended_is_shown_again_in_order_over_several_files() {
    on_both(|host, directory| {
        let (mut log, seen) = open(host, directory, 16384).unwrap();
        assert!(seen.is_empty());
        let mut expected = Vec::new();
        for group in 0..20_u8 {
            let payloads: Vec<Vec<u8>> = (0..3).map(|at| vec![group; usize::from(group) * 97 * at]).collect();
            let records: Vec<(u8, &[u8])> = payloads.iter().map(|payload| (group, payload.as_slice())).collect();
            let positions = log.append(&records).unwrap();
            log.sync().unwrap();
            expected
                .extend(positions.into_iter().zip(payloads.into_iter().map(|payload| Record { kind: group, payload })));
        }
        assert!(2 < log.file_numbers().len());
        assert!(expected.is_sorted_by_key(|(position, _)| *position));
        for (position, record) in &expected {
            assert_eq!(log.reader().read(*position).unwrap(), *record);
        }
        drop(log);
        let (log, seen) = open(host, directory, 16384).unwrap();
        assert_eq!(seen, expected);
        for (position, record) in &expected {
            assert_eq!(log.reader().read(*position).unwrap(), *record);
        }
    });
}

#[test]
fn old_files_go_and_the_current_one_stays() {
    on_both(|host, directory| {
        let (mut log, _) = open(host, directory, 4096).unwrap();
        for _ in 0..5 {
            log.append(&[(1, &[1; 100])]).unwrap();
            log.sync().unwrap();
        }
        assert_eq!(log.file_numbers(), [1, 2, 3, 4, 5]);
        let gone = Position { file: 1, offset: 0 };
        log.remove_before(4).unwrap();
        assert_eq!(log.file_numbers(), [4, 5]);
        log.reader().read(gone).unwrap_err();
        log.remove_before(100).unwrap();
        assert_eq!(log.file_numbers(), [5]);
        drop(log);
        let (mut log, seen) = open(host, directory, 4096).unwrap();
        assert_eq!(seen.len(), 1);
        log.append(&[(1, b"x")]).unwrap();
        assert_eq!(log.current_file(), 6);
    });
}

#[test]
fn a_flipped_bit_in_what_was_durable_is_damage_and_not_a_shorter_log() {
    on_both(|host, directory| {
        let (mut log, _) = open(host, directory, 1 << 20).unwrap();
        for byte in 0..3 {
            log.append(&[(1, &[byte; 100])]).unwrap();
            log.sync().unwrap();
        }
        drop(log);
        let file = host.files().open(&directory.join("1.log"), Open::Write).unwrap();
        for offset in [0, 40, 4096, 4096 + 131] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_at(&[byte[0] ^ 4], offset).unwrap();
            let refused = open(host, directory, 1 << 20).unwrap_err();
            let start = offset / 4096 * 4096;
            assert!(matches!(refused, AppendError::Damaged { offset, .. } if offset == start), "{refused:?}");
            file.write_at(&byte, offset).unwrap();
        }
        assert_eq!(open(host, directory, 1 << 20).unwrap().1.len(), 3);
    });
}

#[test]
fn a_missing_or_shortened_file_is_damage() {
    on_both(|host, directory| {
        let (mut log, _) = open(host, directory, 4096).unwrap();
        for byte in 0..3 {
            log.append(&[(1, &[byte; 100])]).unwrap();
            log.sync().unwrap();
        }
        drop(log);
        let second = directory.join("2.log");
        let file = host.files().open(&second, Open::Write).unwrap();
        file.write_at(&[0; 4096], 0).unwrap();
        assert!(matches!(open(host, directory, 4096), Err(AppendError::Damaged { .. })));
        host.files().remove(&second).unwrap();
        let refused = open(host, directory, 4096).unwrap_err();
        assert!(matches!(refused, AppendError::Damaged { path, .. } if path == second));
    });
}

#[test]
fn a_large_record_goes_in_and_comes_out() {
    on_both(|host, directory| {
        let (mut log, _) = open(host, directory, 1 << 20).unwrap();
        let large: Vec<u8> = (0..AppendLog::RECORD_BYTES_MAX).map(|at| (at / 7) as u8).collect();
        let positions = log.append(&[(1, b"small"), (2, &large), (3, b"")]).unwrap();
        log.sync().unwrap();
        assert_eq!(log.reader().read(positions[1]).unwrap().payload, large);
        drop(log);
        let (_, seen) = open(host, directory, 1 << 20).unwrap();
        assert_eq!(seen.iter().map(|(_, record)| record.kind).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(seen[1].1.payload == large);
    });
}
