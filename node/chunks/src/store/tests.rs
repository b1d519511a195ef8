//! What a store that has failed leaves to the next process.

use strongroom_format::id::Digest;
use strongroom_host::sim_disk::SimDisk;

use super::*;

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn host(disk: &SimDisk) -> Host {
    Host::real().with_files(Arc::new(disk.clone()))
}

async fn open(disk: &SimDisk) -> ChunkStore {
    let options = Options { reserve_bytes: 0, ..Options::default() };
    ChunkStore::open(&host(disk), Path::new("/data"), options).await.unwrap()
}

fn has_index(disk: &SimDisk) -> bool {
    disk.paths().contains(&index_path(Path::new("/data")))
}

#[tokio::test]
async fn an_index_that_failed_because_it_is_damaged_is_made_again_by_the_next_process_and_not_found_again() {
    let disk = SimDisk::new();
    let copy = CopyName { blob: BlobId::from_bytes([3; 32]), index: 0, group: GroupId(1), lease: LeaseId(9) };
    let payload = Bytes::from_static(b"what a segment keeps");
    let store = open(&disk).await;
    let blob_bytes = payload.len() as u32;
    let new = NewCopy {
        copy,
        code: Code { k: 1, m: 0 },
        blob_bytes,
        payload_hash: Digest::from_bytes(*blake3::hash(&payload).as_bytes()),
        payload,
    };
    store.put(TENANT, TenantTag::from_bytes([8; 16]), vec![new]).await.unwrap();
    store.close().await.unwrap();

    let store = open(&disk).await;
    store.shared.fail(&IndexError::Failed(redb::Error::Io(io::Error::other("the disk"))));
    assert!(has_index(&disk), "a disk that fails says nothing of the index");
    drop(store);
    let store = open(&disk).await;
    store.shared.fail(&IndexError::Failed(redb::Error::Corrupted("a page".into())));
    assert!(!has_index(&disk));
    assert!(matches!(store.failed().await, ChunksError::Failed { .. }));
    drop(store);

    let store = open(&disk).await;
    assert_eq!(store.has(TENANT, vec![copy]).await.unwrap(), [true]);
    let panicked = store.read::<()>(|_| panic!("a database over a damaged page")).await;
    assert!(matches!(panicked, Err(ChunksError::Failed { .. })) && !has_index(&disk));
    drop(store);
    let store = open(&disk).await;
    assert!(store.write.run(|| panic!("the same, of whoever writes")).await.is_err());
    assert!(matches!(store.failed().await, ChunksError::Failed { .. }) && !has_index(&disk));
    drop(store);
    assert_eq!(open(&disk).await.has(TENANT, vec![copy]).await.unwrap(), [true]);
}
