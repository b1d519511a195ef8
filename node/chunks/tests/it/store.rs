//! Facts about the store that hold on every disk.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use strongroom_chunks::coding;
use strongroom_chunks::damage::How;
use strongroom_chunks::store::{ChunkStore, ChunksError, Listed, NewCopy, Options};
use strongroom_chunks::survey::survey;
use strongroom_format::code::Code;
use strongroom_format::fragment::{CopyName, FragmentHeader, HEADER_BYTES};
use strongroom_format::id::{BlobId, Digest, GroupId, LeaseId, TenantId, TenantTag};
use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::files::Open;
use strongroom_host::sim_disk::{Call, Fails, SimDisk};

pub const ONE: Code = Code { k: 1, m: 0 };

/// Small segments and no reserve.
pub fn options() -> Options {
    Options { segment_bytes_max: 1 << 20, reserve_bytes: 0, read_lanes: 2 }
}

pub fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

pub fn tag(number: u8) -> TenantTag {
    TenantTag::from_bytes([number ^ 0xff; 16])
}

pub fn bytes(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// A whole blob as a copy under code 1+0.
pub fn copy(seed: u64, length: usize, lease: u64) -> NewCopy {
    let payload = bytes(seed, length);
    NewCopy {
        copy: CopyName { blob: BlobId::from_bytes(hash(&payload)), index: 0, group: GroupId(1), lease: LeaseId(lease) },
        code: ONE,
        blob_bytes: payload.len() as u32,
        payload_hash: Digest::from_bytes(hash(&payload)),
        payload,
    }
}

/// Runs a test on the real disk and on the simulated one.
async fn on_both(test: impl AsyncFn(Host, PathBuf)) {
    let directory = tempfile::tempdir().unwrap();
    test(Host::real(), directory.path().join("node")).await;
    test(Host::simulated(1, SimDisk::new(), SimClock::new(0)), "/node".into()).await;
}

pub async fn open(host: &Host, directory: &Path) -> Result<ChunkStore, ChunksError> {
    ChunkStore::open(host, directory, options()).await
}

pub async fn list_all(store: &ChunkStore) -> Vec<Listed> {
    let mut all = Vec::new();
    let mut from = None;
    loop {
        let (listed, next) = store.list(from, 7).await.unwrap();
        all.extend(listed);
        match next {
            Some(_) => from = next,
            None => return all,
        }
    }
}

#[tokio::test]
async fn what_was_put_comes_back_also_after_reopening() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        let copies: Vec<NewCopy> = (0..20).map(|n| copy(n, 1 + (n as usize * 7919) % 300_000, 5)).collect();
        for group in copies.chunks(3) {
            store.put(tenant(1), tag(1), group.to_vec()).await.unwrap();
        }
        let missing = copy(99, 100, 5);
        check_all(&store, &copies).await;
        let unknown = store.get(tenant(1), missing.copy.blob, Some(0)).await;
        assert!(matches!(unknown, Err(ChunksError::NotHere)));
        store.close().await.unwrap();
        let store = open(&host, &directory).await.unwrap();
        check_all(&store, &copies).await;
        let names = vec![copies[3].copy, missing.copy, CopyName { lease: LeaseId(6), ..copies[3].copy }];
        assert_eq!(store.has(tenant(1), names.clone()).await.unwrap(), [true, false, false]);
        assert_eq!(store.has(tenant(2), names).await.unwrap(), [false, false, false]);
        assert_eq!(list_all(&store).await.len(), copies.len());
    })
    .await;
}

pub async fn check_all(store: &ChunkStore, copies: &[NewCopy]) {
    for copy in copies {
        for index in [Some(0), None] {
            let found = store.get(tenant(1), copy.copy.blob, index).await.unwrap();
            assert_eq!(found.copy, copy.copy);
            assert_eq!((found.code, found.blob_bytes), (ONE, copy.blob_bytes));
            assert!(found.payload == copy.payload);
        }
    }
}

#[tokio::test]
async fn fragments_of_every_code_give_the_blob_back() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        for (k, m) in [(1, 0), (2, 1), (4, 2), (6, 3), (3, 2)] {
            let code = Code { k, m };
            let blob = bytes(u64::from(k), 100_001);
            let id = BlobId::from_bytes(hash(&blob));
            let copies = coding::encode(code, &blob).unwrap().into_iter().enumerate().map(|(index, payload)| NewCopy {
                copy: CopyName { blob: id, index: index as u8, group: GroupId(1), lease: LeaseId(9) },
                code,
                blob_bytes: blob.len() as u32,
                payload_hash: Digest::from_bytes(hash(&payload)),
                payload,
            });
            store.put(tenant(1), tag(1), copies.collect()).await.unwrap();
            let mut last_k = Vec::new();
            for index in m..k + m {
                last_k.push((index, store.get(tenant(1), id, Some(index)).await.unwrap().payload));
            }
            let rebuilt = coding::rebuild(code, blob.len() as u32, &last_k).unwrap();
            assert_eq!(BlobId::from_bytes(hash(&rebuilt)), id);
        }
    })
    .await;
}

#[tokio::test]
async fn no_file_holds_bytes_of_two_tenants() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        let puts = (0..60_u8).map(|n| {
            let store = store.clone();
            async move {
                let who = n % 3;
                store.put(tenant(who), tag(who), vec![copy(n.into(), 50_000, 1)]).await.unwrap();
            }
        });
        futures_join(puts).await;
        let listed = list_all(&store).await;
        assert_eq!(listed.len(), 60);
        for copy in &listed {
            let file = directory.join("segments").join(&copy.file);
            assert!(file.to_string_lossy().contains(&copy.tenant.to_string()));
            let file = host.files().open(&file, Open::Read).unwrap();
            let mut record = vec![0; HEADER_BYTES];
            file.read_exact_at(&mut record, copy.payload_offset - HEADER_BYTES as u64).unwrap();
            let header = FragmentHeader::parse(&record).unwrap();
            assert_eq!(header.tenant_tag, tag(copy.tenant.as_bytes()[0]));
            assert_eq!(header.copy, copy.copy);
            let foreign = store.get(tenant((copy.tenant.as_bytes()[0] + 1) % 3), copy.copy.blob, None).await;
            assert!(matches!(foreign, Err(ChunksError::NotHere)));
        }
        let files: std::collections::BTreeSet<_> = listed.iter().map(|copy| &copy.file).collect();
        assert_eq!(files.len(), 6, "1 MB of each tenant in segments of 1 MiB");
    })
    .await;
}

async fn futures_join(futures: impl Iterator<Item = impl Future<Output = ()> + Send + 'static>) {
    let mut tasks = tokio::task::JoinSet::new();
    futures.for_each(|future| drop(tasks.spawn(future)));
    tasks.join_all().await;
}

#[tokio::test]
async fn damage_is_told_by_how_and_another_lease_serves() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        let (one, other) = (copy(1, 9000, 1), copy(2, 9000, 1));
        store.put(tenant(1), tag(1), vec![one.clone(), other.clone()]).await.unwrap();
        let listed = list_all(&store).await;
        let place = |blob| listed.iter().find(|listed| listed.copy.blob == blob).unwrap();
        let path = directory.join("segments").join(&listed[0].file);
        let file = host.files().open(&path, Open::Write).unwrap();
        let how = async || match store.get(tenant(1), one.copy.blob, Some(0)).await {
            Ok(_) => None,
            Err(ChunksError::Damaged { how, .. }) => Some(how),
            Err(error) => panic!("{error}"),
        };
        let record = |blob| place(blob).payload_offset - HEADER_BYTES as u64;
        let mut whole = vec![0; HEADER_BYTES + 9000];
        file.read_exact_at(&mut whole, record(one.copy.blob)).unwrap();

        let flips = [0, 5, 60, 127, HEADER_BYTES, HEADER_BYTES + 8999];
        for at in flips {
            file.write_at(&[whole[at] ^ 1], record(one.copy.blob) + at as u64).unwrap();
            assert_eq!(how().await, Some(How::Checksum), "byte {at}");
            file.write_at(&whole, record(one.copy.blob)).unwrap();
            assert_eq!(how().await, None);
        }

        let mut foreign = vec![0; HEADER_BYTES + 9000];
        file.read_exact_at(&mut foreign, record(other.copy.blob)).unwrap();
        file.write_at(&foreign, record(one.copy.blob)).unwrap();
        assert_eq!(how().await, Some(How::Misdirected));

        let again = NewCopy { copy: CopyName { lease: LeaseId(2), ..one.copy }, ..one.clone() };
        store.put(tenant(1), tag(1), vec![again.clone()]).await.unwrap();
        let served = store.get(tenant(1), one.copy.blob, Some(0)).await.unwrap();
        assert_eq!(served.copy.lease, LeaseId(2));
        assert!(served.payload == one.payload);

        store.close().await.unwrap();
        host.files().remove(&path).unwrap();
        let store = open(&host, &directory).await.unwrap();
        let gone = store.get(tenant(1), other.copy.blob, Some(0)).await;
        assert!(matches!(gone, Err(ChunksError::Damaged { how: How::Missing, .. })));
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_contradicts_itself_is_refused() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        let good = copy(1, 1000, 1);
        let long = NewCopy { blob_bytes: 999, ..good.clone() };
        let outside = NewCopy { copy: CopyName { index: 1, ..good.copy }, ..good.clone() };
        for bad in [long, outside] {
            let refused = store.put(tenant(1), tag(1), vec![good.clone(), bad]).await;
            assert!(matches!(refused, Err(ChunksError::Malformed { .. })));
        }
        assert!(list_all(&store).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_tenant_has_one_tag_for_ever() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        store.put(tenant(1), tag(1), vec![copy(1, 1000, 1)]).await.unwrap();
        let refused = store.put(tenant(1), tag(2), vec![copy(2, 1000, 1)]).await;
        assert!(matches!(refused, Err(ChunksError::ForeignTag { .. })));
        store.close().await.unwrap();
        let store = open(&host, &directory).await.unwrap();
        let refused = store.put(tenant(1), tag(2), vec![copy(2, 1000, 1)]).await;
        assert!(matches!(refused, Err(ChunksError::ForeignTag { .. })));
        store.put(tenant(1), tag(1), vec![copy(2, 1000, 1)]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_store_is_open_once() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        assert!(matches!(open(&host, &directory).await, Err(ChunksError::Busy)));
        store.close().await.unwrap();
        open(&host, &directory).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_index_is_made_again_from_the_segments() {
    on_both(async |host, directory| {
        let copies: Vec<NewCopy> = (0..30).map(|n| copy(n, 100_000, 5)).collect();
        let store = open(&host, &directory).await.unwrap();
        for copy in &copies {
            store.put(tenant(1), tag(1), vec![copy.clone()]).await.unwrap();
        }
        store.close().await.unwrap();
        let index = directory.join("index.redb");
        for damage in ["removed", "head garbled", "cut short", "body garbled"] {
            match damage {
                "removed" => host.files().remove(&index).unwrap(),
                "head garbled" => {
                    host.files().open(&index, Open::Write).unwrap().write_at(&bytes(1, 512), 0).unwrap();
                }
                "cut short" => host.files().open(&index, Open::Write).unwrap().set_len(5000).unwrap(),
                _ => {
                    let file = host.files().open(&index, Open::Write).unwrap();
                    let length = file.len().unwrap() as usize;
                    file.write_at(&bytes(2, length - 4096), 4096).unwrap();
                }
            }
            let store = open(&host, &directory).await.unwrap();
            check_all(&store, &copies).await;
            assert_eq!(list_all(&store).await.len(), copies.len(), "{damage}");
            store.close().await.unwrap();
        }
    })
    .await;
}

/// A first record may be torn, with acknowledged ones behind it; the tag beside the segments tells them from payloads.
#[tokio::test]
async fn the_index_is_made_again_also_where_the_first_record_is_torn() {
    on_both(async |host, directory| {
        let copies: Vec<NewCopy> = (0..5).map(|n| copy(n, 10_000, 5)).collect();
        let store = open(&host, &directory).await.unwrap();
        for copy in &copies {
            store.put(tenant(1), tag(1), vec![copy.clone()]).await.unwrap();
        }
        let listed = list_all(&store).await;
        store.close().await.unwrap();
        let segment = host.files().open(&directory.join("segments").join(&listed[0].file), Open::Write).unwrap();
        segment.write_at(&bytes(1, 4096), 0).unwrap();
        segment.sync_data().unwrap();
        drop(segment);
        for damaged in ["index.redb", "segments/tag"] {
            let tag_file = directory.join("segments").join(tenant(1).to_string()).join("tag");
            let file = if damaged == "index.redb" { directory.join(damaged) } else { tag_file };
            host.files().remove(&file).unwrap();
            let store = open(&host, &directory).await.unwrap();
            check_all(&store, &copies[1..]).await;
            store.close().await.unwrap();
        }
        // each was brought back from the other
        host.files().remove(&directory.join("index.redb")).unwrap();
        let store = open(&host, &directory).await.unwrap();
        check_all(&store, &copies[1..]).await;
    })
    .await;
}

/// A page that lost what it is makes the database panic or complain.
#[tokio::test]
async fn an_index_of_which_any_page_rotted_is_made_again_when_it_is_opened() {
    on_both(async |host, directory| {
        let copies: Vec<NewCopy> = (0..300).map(|n| copy(n, 100, 5)).collect();
        let store = open(&host, &directory).await.unwrap();
        store.put(tenant(1), tag(1), copies.clone()).await.unwrap();
        store.close().await.unwrap();
        let path = directory.join("index.redb");
        let index = host.files().open(&path, Open::Read).unwrap();
        let mut whole = vec![0; index.len().unwrap() as usize];
        index.read_exact_at(&mut whole, 0).unwrap();
        let used = |page: &usize| whole[page * 4096..][..4096].iter().any(|byte| *byte != 0);
        for page in (0..whole.len() / 4096).filter(used) {
            let index = host.files().open(&path, Open::WriteOrNew).unwrap();
            index.set_len(0).unwrap();
            index.write_at(&whole, 0).unwrap();
            index.write_at(&[0xee], page as u64 * 4096).unwrap();
            index.sync_data().unwrap();
            drop(index);
            let store = open(&host, &directory).await.unwrap();
            for copy in &copies {
                store.get(tenant(1), copy.copy.blob, Some(copy.copy.index)).await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_survey_sees_what_the_index_lists() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        for n in 0..30 {
            let who = n as u8 % 2;
            store.put(tenant(who), tag(who), vec![copy(n, 100_000, n)]).await.unwrap();
        }
        let mut listed = list_all(&store).await;
        store.close().await.unwrap();
        let mut seen = Vec::new();
        survey(&**host.files(), &directory, |copy| seen.push(copy)).unwrap();
        listed.sort_by_key(|copy| copy.copy);
        seen.sort_by_key(|copy| copy.copy);
        assert_eq!(listed, seen);
    })
    .await;
}

#[tokio::test]
async fn segments_are_cut_to_size_when_they_lie_idle() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        store.put(tenant(1), tag(1), vec![copy(1, 10_000, 1)]).await.unwrap();
        let file = directory.join("segments").join(&list_all(&store).await[0].file);
        let length = || host.files().open(&file, Open::Read).unwrap().len().unwrap();
        assert_eq!(length(), 1 << 20);
        store.tidy().await.unwrap();
        assert_eq!(length(), 1 << 20, "it took something since the last call");
        store.tidy().await.unwrap();
        assert_eq!(length(), 12288);
        store.put(tenant(1), tag(1), vec![copy(2, 10_000, 1)]).await.unwrap();
        check_all(&store, &[copy(1, 10_000, 1), copy(2, 10_000, 1)]).await;
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_refused_before_damage_and_reads_go_on() {
    let disk = SimDisk::new();
    let host = Host::simulated(1, disk.clone(), SimClock::new(0));
    let reserved = Options { reserve_bytes: 300_000, ..options() };
    let store = ChunkStore::open(&host, Path::new("/node"), reserved).await.unwrap();
    // and a block for the tenant's tag
    disk.set_capacity(disk.used_bytes() + 1_000_000 + 4096);
    let mut kept = Vec::new();
    let refused = loop {
        let new = copy(kept.len() as u64, 50_000, 1);
        match store.put(tenant(1), tag(1), vec![new.clone()]).await {
            Ok(()) => kept.push(new),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, ChunksError::DiskFull));
    assert_eq!(kept.len(), 13, "700 KB in records of 53 248 bytes");
    assert!(300_000 <= host.files().free_bytes(Path::new("/node")).unwrap());
    check_all(&store, &kept).await;
    assert!(matches!(store.put(tenant(2), tag(2), vec![copy(1, 5000, 1)]).await, Err(ChunksError::DiskFull)));
    store.put(tenant(1), tag(1), vec![copy(500, 3000, 1)]).await.unwrap();
    disk.set_capacity(100 << 20);
    let more = copy(100, 50_000, 1);
    store.put(tenant(1), tag(1), vec![more.clone()]).await.unwrap();
    kept.push(more);
    store.close().await.unwrap();
    disk.crash(5);
    let store = open(&host, Path::new("/node")).await.unwrap();
    check_all(&store, &kept).await;
}

#[tokio::test]
async fn one_failed_write_or_sync_and_nothing_more_is_taken() {
    for call in [Call::Write, Call::Sync] {
        let disk = SimDisk::new();
        let host = Host::simulated(1, disk.clone(), SimClock::new(0));
        let store = open(&host, Path::new("/node")).await.unwrap();
        let before = copy(1, 5000, 1);
        store.put(tenant(1), tag(1), vec![before.clone()]).await.unwrap();
        disk.fail(call, ".seg", Fails::Once);
        let watched = store.clone();
        let failed = tokio::spawn(async move { watched.failed().await });
        for _ in 0..2 {
            let refused = store.put(tenant(1), tag(1), vec![copy(2, 5000, 1)]).await;
            assert!(matches!(refused, Err(ChunksError::Failed { .. })));
        }
        assert!(matches!(failed.await.unwrap(), ChunksError::Failed { .. }));
        let other = store.put(tenant(2), tag(2), vec![copy(3, 5000, 1)]).await;
        assert!(matches!(other, Err(ChunksError::Failed { .. })));
        check_all(&store, &[before]).await;
    }
}

#[tokio::test]
async fn a_torn_header_costs_one_fragment_and_its_payload_is_no_record() {
    let disk = SimDisk::new();
    let host = Host::simulated(1, disk.clone(), SimClock::new(0));
    let store = open(&host, Path::new("/node")).await.unwrap();
    store.put(tenant(1), tag(1), vec![copy(0, 3000, 1)]).await.unwrap();
    // a payload that holds a whole record of its own where a block begins, as a client could send it
    let inner = copy(7, 1000, 1);
    let forged = FragmentHeader::of(tag(9), inner.copy, ONE, 1000, &inner.payload).unwrap();
    let mut evil = vec![0; 3 * 4096];
    let at = 4096 - HEADER_BYTES;
    evil[at..at + HEADER_BYTES].copy_from_slice(&forged.encode());
    evil[at + HEADER_BYTES..at + HEADER_BYTES + 1000].copy_from_slice(&inner.payload);
    let evil = Bytes::from(evil);
    let evil = NewCopy {
        copy: CopyName { blob: BlobId::from_bytes(hash(&evil)), ..inner.copy },
        code: ONE,
        blob_bytes: evil.len() as u32,
        payload_hash: Digest::from_bytes(hash(&evil)),
        payload: evil,
    };
    store.put(tenant(1), tag(1), vec![evil.clone()]).await.unwrap();
    store.put(tenant(1), tag(1), vec![copy(2, 3000, 1)]).await.unwrap();
    let place = list_all(&store).await.into_iter().find(|listed| listed.copy == evil.copy).unwrap();
    drop(store);
    let file = Path::new("/node/segments").join(place.file);
    disk.damage(&file, place.payload_offset - 60, &[0xee; 8]).unwrap();
    // the index's rows were in memory only: all comes from the segment
    disk.crash(1);
    let store = open(&host, Path::new("/node")).await.unwrap();
    let left: Vec<BlobId> = list_all(&store).await.into_iter().map(|listed| listed.copy.blob).collect();
    assert_eq!(left.len(), 2);
    assert!(!left.contains(&inner.copy.blob));
    check_all(&store, &[copy(0, 3000, 1), copy(2, 3000, 1)]).await;
}

#[tokio::test]
async fn what_recovery_answers_for_survives_the_next_crash() {
    for seed in 0..10 {
        let disk = SimDisk::new();
        let host = Host::simulated(1, disk.clone(), SimClock::new(0));
        let store = open(&host, Path::new("/node")).await.unwrap();
        // two copies are written, the third is not, nothing is synced, and the process ends
        disk.fail(Call::Write, ".seg", Fails::OnceAfter(1));
        let copies: Vec<NewCopy> = (0..3).map(|n| copy(n, 3 << 20, 1)).collect();
        let refused = store.put(tenant(1), tag(1), copies.clone()).await;
        assert!(matches!(refused, Err(ChunksError::Failed { .. })));
        drop(store);
        tokio::task::yield_now().await;
        let store = open(&host, Path::new("/node")).await.unwrap();
        check_all(&store, &copies[..2]).await;
        disk.crash(seed);
        drop(store);
        let store = open(&host, Path::new("/node")).await.unwrap();
        check_all(&store, &copies[..2]).await;
    }
}

#[tokio::test]
async fn a_torn_record_takes_no_good_copys_place_when_the_index_is_made_again() {
    on_both(async |host, directory| {
        let store = open(&host, &directory).await.unwrap();
        let good = copy(1, 9000, 1);
        for new in [good.clone(), good.clone(), copy(2, 1_000_000, 1), copy(3, 1_000_000, 1)] {
            store.put(tenant(1), tag(1), vec![new]).await.unwrap();
        }
        let listed = list_all(&store).await;
        let again = listed.iter().find(|listed| listed.copy == good.copy).unwrap();
        let successor = listed.iter().any(|listed| listed.file != again.file);
        assert!(again.payload_offset != HEADER_BYTES as u64 && successor, "the later record of two is known");
        store.close().await.unwrap();
        let file = host.files().open(&directory.join("segments").join(&again.file), Open::Write).unwrap();
        file.write_at(&[0xee; 100], again.payload_offset + 5000).unwrap();
        host.files().remove(&directory.join("index.redb")).unwrap();
        let store = open(&host, &directory).await.unwrap();
        let found = store.get(tenant(1), good.copy.blob, Some(0)).await.unwrap();
        assert!(found.payload == good.payload);
    })
    .await;
}

#[tokio::test]
async fn another_tenants_record_at_the_head_of_a_first_segment_is_nobodys() {
    let disk = SimDisk::new();
    let host = Host::simulated(1, disk.clone(), SimClock::new(0));
    let directory = Path::new("/node");
    let store = open(&host, directory).await.unwrap();
    let theirs = copy(1, 100, 1);
    store.put(tenant(1), tag(1), vec![theirs.clone()]).await.unwrap();
    let listed = list_all(&store).await;
    let mut record = vec![0; 4096];
    let segment = directory.join("segments").join(&listed[0].file);
    host.files().open(&segment, Open::Read).unwrap().read_exact_at(&mut record, 0).unwrap();
    disk.fail(Call::Sync, &format!("{}/1.seg", tenant(2)), Fails::Once);
    assert!(store.put(tenant(2), tag(2), vec![copy(2, 100, 1)]).await.is_err());
    drop(store);
    disk.crash_losing_all();
    let first = directory.join("segments").join(tenant(2).to_string()).join("1.seg");
    // what lay elsewhere once comes back in the place of what was never made durable
    host.files().open(&first, Open::Write).unwrap().write_at(&record, 0).unwrap();
    let store = open(&host, directory).await.unwrap();
    let listed = list_all(&store).await;
    assert_eq!(listed.iter().map(|listed| listed.tenant).collect::<Vec<_>>(), [tenant(1)]);
    assert!(matches!(store.get(tenant(2), theirs.copy.blob, None).await, Err(ChunksError::NotHere)));
}
