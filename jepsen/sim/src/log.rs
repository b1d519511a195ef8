//! The shared log: three groups append, vote, commit, truncate, purge and write their entries again at once, while old files
//! are removed.
//!
//! Judged: each group's log is one of its own past pictures, none older than what was acknowledged.

use strongroom_consensus::stores::LogContents;
use strongroom_format::id::GroupId;
use strongroom_host::Host;

use crate::dice::Dice;
use crate::finding::{Broken, Finding};
use crate::group::{join, open};
use crate::history::History;
use crate::world::{World, life};

const GROUPS: [GroupId; 3] = [GroupId(0), GroupId(1), GroupId(9)];

const CALLS: u64 = 90;
const RECOVERY_CALLS: u64 = 3;

pub(crate) fn image(world: &mut World) -> Result<(), Finding> {
    let file_bytes_max = (2 + world.dice.below(6)) << 12;
    let mut histories: Vec<History> = GROUPS.iter().map(|group| History::new(format!("group {group}"))).collect();
    for _ in 0..1 + world.dice.below(2) {
        world.trouble(CALLS);
        let dice = Dice::named(world.dice.next(), 3);
        let host = world.host.clone();
        histories = life(live(host, histories, dice, file_bytes_max))?;
        world.end_life();
        let look = |host| look(host, file_bytes_max);
        let seen = world.recover(RECOVERY_CALLS, look)?;
        for (history, found) in histories.iter_mut().zip(&seen) {
            history.check(found)?;
        }
        if world.dice.one_in(3) {
            world.lose_power();
            if world.recover(RECOVERY_CALLS, look)? != seen {
                return Err(Finding::new(Broken::Unstable, "opening again shows another log"));
            }
        }
    }
    Ok(())
}

async fn look(host: Host, file_bytes_max: u64) -> Result<Vec<LogContents>, String> {
    let (stores, _) = open(&host, file_bytes_max).await?;
    let mut seen = Vec::new();
    for group in GROUPS {
        seen.push(stores.log(group).read().await.map_err(|error| error.to_string())?);
    }
    Ok(seen)
}

/// All groups work until something fails or enough is done.
async fn live(
    host: Host,
    histories: Vec<History>,
    mut dice: Dice,
    file_bytes_max: u64,
) -> Result<Vec<History>, Finding> {
    let Ok((stores, _)) = open(&host, file_bytes_max).await else { return Ok(histories) };
    let mut tasks = Vec::new();
    for (mut history, group) in histories.into_iter().zip(GROUPS) {
        let mut log = stores.log(group);
        let mut dice = Dice::named(dice.next(), u64::from(group.0));
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 + dice.below(30) {
                if history.act(&mut log, &mut dice).await.is_err() {
                    break;
                }
                for _ in 0..dice.below(4) {
                    tokio::task::yield_now().await;
                }
            }
            history
        }));
    }
    let cleaner = tokio::spawn(async move {
        for _ in 0..6 {
            for _ in 0..dice.below(40) {
                tokio::task::yield_now().await;
            }
            if stores.remove_old_files().await.is_err() {
                return;
            }
        }
    });
    let mut histories = Vec::new();
    for task in tasks {
        histories.push(join(task).await?);
    }
    join(cleaner).await?;
    Ok(histories)
}
