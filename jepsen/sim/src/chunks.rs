//! Segments and the chunk index: puts of several tenants at once, reads and tidying beside them.
//!
//! Judged: every copy that was acknowledged is listed, reads and is right; one that was not is absent or right; nothing
//! else is there.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use strongroom_chunks::store::{ChunkStore, ChunksError, NewCopy, Options};
use strongroom_format::code::Code;
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{BlobId, Digest, GroupId, LeaseId, TenantId, TenantTag};
use strongroom_host::Host;

use crate::dice::Dice;
use crate::finding::{Broken, Finding};
use crate::group::{join, report};
use crate::world::{World, life};

const CALLS: u64 = 90;
const RECOVERY_CALLS: u64 = 10;

/// What was put, and whether it was acknowledged or seen.
#[derive(Debug, Default)]
struct Expected {
    copies: BTreeMap<(TenantId, BlobId), (Bytes, bool)>,
    serial: u64,
}

/// What is there.
type Seen = BTreeMap<(TenantId, BlobId), Result<Bytes, String>>;

pub(crate) fn image(world: &mut World) -> Result<(), Finding> {
    let options = Options {
        segment_bytes_max: [32 << 10, 128 << 10, 1 << 20][world.dice.below(3) as usize],
        reserve_bytes: 0,
        read_lanes: 1,
    };
    let mut expected = Expected::default();
    for _ in 0..1 + world.dice.below(2) {
        world.trouble(CALLS);
        let (host, mut dice) = (world.host.clone(), Dice::named(world.dice.next(), 8));
        life(live(host, options, &mut expected, &mut dice))?;
        world.end_life();
        let look = |host| look(host, options);
        let seen = world.recover(RECOVERY_CALLS, look)?;
        expected.check(&seen)?;
        if world.dice.one_in(3) {
            world.lose_power();
            if world.recover(RECOVERY_CALLS, look)? != seen {
                return Err(Finding::new(Broken::Unstable, "opening again shows other copies"));
            }
        }
    }
    Ok(())
}

async fn open(host: &Host, options: Options) -> Result<ChunkStore, ChunksError> {
    ChunkStore::open(host, Path::new("/node"), options).await
}

/// Lists and reads everything.
async fn look(host: Host, options: Options) -> Result<Seen, String> {
    let store = open(&host, options).await.map_err(|error| report(&error))?;
    let mut seen = Seen::new();
    let mut from = None;
    loop {
        let (listed, next) = store.list(from, 50).await.map_err(|error| report(&error))?;
        for listed in listed {
            let (tenant, copy) = (listed.tenant, listed.copy);
            let read = match store.get(tenant, copy.blob, Some(copy.index)).await {
                Ok(fragment) if fragment.copy == copy => Ok(fragment.payload),
                Ok(fragment) => Err(format!("{:?} came for {copy:?}", fragment.copy)),
                Err(error @ (ChunksError::NotHere | ChunksError::Damaged { .. })) => Err(error.to_string()),
                Err(error) => return Err(report(&error)),
            };
            seen.insert((tenant, copy.blob), read);
        }
        match next {
            Some(_) => from = next,
            None => return Ok(seen),
        }
    }
}

/// Puts of three tenants until something fails or enough is done.
async fn live(host: Host, options: Options, expected: &mut Expected, dice: &mut Dice) -> Result<(), Finding> {
    let Ok(store) = open(&host, options).await else { return Ok(()) };
    for _ in 0..3 + dice.below(8) {
        let mut puts = Vec::new();
        for _ in 0..1 + dice.below(4) {
            let who = dice.below(3) as u8;
            let copies: Vec<NewCopy> = (0..1 + dice.below(3)).map(|_| expected.next(who, dice)).collect();
            let names: Vec<BlobId> = copies.iter().map(|copy| copy.copy.blob).collect();
            let (store, pauses) = (store.clone(), dice.below(12));
            let put = tokio::spawn(async move {
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
                store.put(tenant(who), tag(who), copies).await
            });
            puts.push((who, names, put));
        }
        if dice.one_in(3)
            && let Some((tenant, blob)) = expected.acknowledged(dice)
        {
            let got = store.get(tenant, blob, None).await;
            if let Err(error @ (ChunksError::NotHere | ChunksError::Damaged { .. })) = got {
                return Err(Finding::new(Broken::Lost, format!("while it runs: {error}")));
            }
        }
        if dice.one_in(4) && store.tidy().await.is_err() {
            dice.next();
        }
        let mut is_over = false;
        for (who, names, put) in puts {
            match join(put).await? {
                Ok(()) => expected.acknowledge(who, &names),
                Err(ChunksError::DiskFull) => {}
                Err(_) => is_over = true,
            }
        }
        if is_over {
            return Ok(());
        }
    }
    Ok(())
}

impl Expected {
    fn next(&mut self, who: u8, dice: &mut Dice) -> NewCopy {
        self.serial += 1;
        let length = dice.length(20_000);
        let payload = Bytes::from(dice.bytes(self.serial, length));
        let hash = *blake3::hash(&payload).as_bytes();
        let blob = BlobId::from_bytes(hash);
        self.copies.insert((tenant(who), blob), (payload.clone(), false));
        NewCopy {
            copy: CopyName { blob, index: 0, group: GroupId(1), lease: LeaseId(self.serial) },
            code: Code { k: 1, m: 0 },
            blob_bytes: payload.len() as u32,
            payload_hash: Digest::from_bytes(hash),
            payload,
        }
    }

    fn acknowledge(&mut self, who: u8, blobs: &[BlobId]) {
        for &blob in blobs {
            if let Some((_, kept)) = self.copies.get_mut(&(tenant(who), blob)) {
                *kept = true;
            }
        }
    }

    /// One of the copies that were acknowledged.
    fn acknowledged(&self, dice: &mut Dice) -> Option<(TenantId, BlobId)> {
        let kept: Vec<_> = self.copies.iter().filter(|(_, (_, kept))| *kept).map(|(name, _)| *name).collect();
        kept.get(dice.below(kept.len() as u64) as usize).copied()
    }

    /// Compares what is there, and goes on from it.
    fn check(&mut self, seen: &Seen) -> Result<(), Finding> {
        for ((tenant, blob), read) in seen {
            let Some((payload, kept)) = self.copies.get_mut(&(*tenant, *blob)) else {
                let how = read.as_ref().map_or_else(Clone::clone, |bytes| format!("{} bytes", bytes.len()));
                return Err(Finding::new(
                    Broken::Invented,
                    format!("{blob} of {tenant} was never put, and reads: {how}"),
                ));
            };
            match read {
                Ok(there) if there == payload => *kept = true,
                Ok(_) => return Err(Finding::new(Broken::Invented, format!("{blob} reads, but as other bytes"))),
                Err(why) => {
                    let story = format!("{blob} is listed ({}) and does not read: {why}", acknowledged(*kept));
                    return Err(Finding::new(Broken::Lost, story));
                }
            }
        }
        let missing = self.copies.iter().find(|(name, (_, kept))| *kept && !seen.contains_key(name));
        if let Some(((tenant, blob), _)) = missing {
            return Err(Finding::new(Broken::Lost, format!("{blob} of {tenant} was acknowledged and is gone")));
        }
        self.copies.retain(|_, (_, kept)| *kept);
        Ok(())
    }
}

fn acknowledged(kept: bool) -> &'static str {
    if kept { "acknowledged" } else { "not acknowledged" }
}

fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

fn tag(number: u8) -> TenantTag {
    TenantTag::from_bytes([number ^ 0xff; 16])
}
