//! I7: a tenant's audit log is complete, gap-free and append-only: one leaf per decision.
//!
//! - Leaves are numbered without a gap; what one listing had, later ones have, word for word; within a group they stand in
//!   the order of its log. Where a listing brings leaf hashes and a root, the tree (RFC 6962) is computed again.
//! - History and leaves are one to one: each snapshot that was acknowledged has one leaf, and leaves of others are no more
//!   than outcomes that nobody knows; so it is, counted by command, for decisions about vaults, locks, holds, ends, quotas.
//!
//! Leaves of the first listing (`start`) belong to nobody, and what is asked after the last one is nobody's business. An argument's `command` names a call's command, if it is another
//! than its word's. Refusals are not counted: many leaves of them are one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::calls::{Call, calls};
use crate::history::{Event, Kind, Process};
use crate::verdict::Verdict;
use crate::words::{
    ADD, APPEND, AUDIT, BACKUP, CANCEL, CHARGE, DELETE, EXTEND, HOLD, KEEP, LIMIT, RELEASE, VAULT, WEAKEN,
};

/// Its words.
pub const WORDS: [&str; 1] = [AUDIT];

/// What makes a snapshot.
const COMMITS: [&str; 5] = [BACKUP, KEEP, APPEND, ADD, CHARGE];
/// What is decided by one command.
const COMMANDS: [(&str, &str); 8] = [
    (VAULT, "create-vault"),
    (DELETE, "delete-snapshot"),
    (EXTEND, "extend-lock"),
    (WEAKEN, "weaken-lock"),
    (CANCEL, "cancel-weakening"),
    (HOLD, "add-hold"),
    (RELEASE, "remove-hold"),
    (LIMIT, "set-quotas"),
];

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let mut listings: BTreeMap<&str, Vec<Call<'_>>> = BTreeMap::new();
    for call in calls(events, &WORDS).into_iter().filter(|call| call.done().is_some()) {
        listings.entry(call.tenant()).or_default().push(call);
    }
    let mut evidence = Vec::new();
    let mut count = 0;
    for (tenant, listings) in &mut listings {
        listings.sort_by_key(Call::ended);
        for listing in listings.iter() {
            one_listing(tenant, listing, &mut evidence);
        }
        for pair in listings.windows(2).filter(|pair| pair[0].is_before(&pair[1])) {
            append_only(tenant, &pair[0], &pair[1], &mut evidence);
        }
        let first = listings.first().filter(|first| first.invoke.asked("phase") == Some("start"));
        let last = listings.last().filter(|last| last.invoke.asked("phase") == Some("end"));
        if let (Some(first), Some(last)) = (first, last) {
            let new = leaves(last).get(leaves(first).len()..).unwrap_or_default();
            count += new.len();
            one_to_one(events, tenant, (first, last), new, &mut evidence);
        } else if evidence.is_empty() {
            return Verdict::Unknown(format!("the audit log of {tenant} was not listed at the start and in the end"));
        }
    }
    let deciding = |event: &&Event| {
        matches!(event.process, Process::Client(_)) && event.kind == Kind::Ok && COMMITS.contains(&event.f.as_str())
    };
    let tenants: BTreeSet<&str> = events.iter().filter(deciding).filter_map(|event| event.tenant.as_deref()).collect();
    if evidence.is_empty() {
        if let Some(tenant) = tenants.iter().find(|tenant| !listings.contains_key(*tenant)) {
            return Verdict::Unknown(format!("the audit log of {tenant} was never listed"));
        }
        if count == 0 {
            return Verdict::Unknown("no leaf was made".to_owned());
        }
    }
    Verdict::from_evidence(evidence, format!("{count} leaves of {} tenants are those of the history", listings.len()))
}

fn leaves<'a>(listing: &Call<'a>) -> &'a [Value] {
    listing.done().and_then(|end| end.value["leaves"].as_array()).map_or(&[], Vec::as_slice)
}

fn one_listing(tenant: &str, listing: &Call<'_>, evidence: &mut Vec<String>) {
    let mut logs: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, leaf) in leaves(listing).iter().enumerate() {
        if leaf["index"].as_u64() != Some(at as u64) {
            evidence.push(format!("{}: leaf {at} of {tenant} is numbered {}", listing.name(), leaf["index"]));
            return;
        }
        let (group, index) = (leaf["group"].as_u64().unwrap_or(0), leaf["log_index"].as_u64().unwrap_or(0));
        if let Some(before) = logs.insert(group, index).filter(|before| index < *before) {
            let name = listing.name();
            evidence.push(format!("{name}: leaf {at} of {tenant} is of log index {index}, behind one of {before}"));
        }
    }
    let Some(end) = listing.done() else { return };
    if let (Some(hashes), Some(root)) = (end.value["hashes"].as_array(), end.value["root"].as_str()) {
        let hashes: Option<Vec<Hash>> = hashes.iter().map(|hash| unhex(hash.as_str()?)).collect();
        let computed = hashes.filter(|hashes| hashes.len() == leaves(listing).len()).map(|hashes| hex(&top(&hashes)));
        if computed.as_deref() != Some(root) {
            evidence.push(format!("{}: the leaves of {tenant} do not add up to the root {root}", listing.name()));
        }
    }
}

fn append_only(tenant: &str, earlier: &Call<'_>, later: &Call<'_>, evidence: &mut Vec<String>) {
    let (before, after) = (leaves(earlier), leaves(later));
    if after.len() < before.len() {
        let (one, other) = (earlier.name(), later.name());
        evidence.push(format!("{tenant} had {} leaves by {one} and has {} by {other}", before.len(), after.len()));
    }
    if let Some(at) = before.iter().zip(after).position(|(one, other)| one != other) {
        evidence.push(format!("leaf {at} of {tenant} differs between {} and {}", earlier.name(), later.name()));
    }
}

/// How many streams a commit makes snapshots of, each with a leaf, beside the whole: none, if it is of one list only.
fn streams(commit: &Call<'_>) -> usize {
    let lists = commit.invoke.argument["elements"].as_object().map_or(0, serde_json::Map::len);
    if 1 < lists { lists } else { 0 }
}

fn one_to_one(
    events: &[Event],
    tenant: &str,
    (first, last): (&Call<'_>, &Call<'_>),
    new: &[Value],
    evidence: &mut Vec<String>,
) {
    let between =
        |call: &Call<'_>| call.tenant() == tenant && first.began() < call.began() && call.began() < last.ended();
    let commits: Vec<Call<'_>> = calls(events, &COMMITS).into_iter().filter(between).collect();
    let mut committed: BTreeMap<&str, usize> = BTreeMap::new();
    for snapshot in new.iter().filter(|leaf| leaf["event"] == "committed").filter_map(|leaf| leaf["snapshot"].as_str())
    {
        *committed.entry(snapshot).or_default() += 1;
    }
    let mut known = BTreeSet::new();
    for call in &commits {
        let Some(snapshot) = call.done().and_then(|end| end.answered("snapshot")) else { continue };
        known.insert(snapshot);
        let count = committed.get(snapshot).copied().unwrap_or(0);
        if count != 1 {
            evidence.push(format!("{}: snapshot {snapshot} of {tenant} has {count} leaves", call.name()));
        }
    }
    // Of a whole's streams nobody is told the ids.
    let sum = |kind: Kind| commits.iter().filter(|call| call.kind() == kind).map(streams).sum::<usize>();
    let unknown = commits.iter().filter(|call| call.kind() == Kind::Info).count() + sum(Kind::Info);
    let strange: Vec<&&str> = committed.keys().filter(|snapshot| !known.contains(*snapshot)).collect();
    if strange.len() < sum(Kind::Ok) {
        let (is, are) = (strange.len(), sum(Kind::Ok));
        evidence
            .push(format!("{tenant} has {is} leaves of streams, and {are} streams were committed with their wholes"));
    }
    if unknown + sum(Kind::Ok) < strange.len() {
        let (count, some) = (strange.len(), &strange[..strange.len().min(3)]);
        evidence.push(format!(
            "{tenant} has leaves of {count} snapshots that nobody was told of, {some:?} among them, and {unknown} backups \
             whose outcome is unknown"
        ));
    }
    let words: Vec<&str> = COMMANDS.iter().map(|(word, _)| *word).collect();
    let mut asked: BTreeMap<&str, Vec<Call<'_>>> = BTreeMap::new();
    let named = |event: &&Event| event.argument["command"].is_string();
    let other_words: BTreeSet<&str> = events.iter().filter(named).map(|event| event.f.as_str()).collect();
    let all: Vec<&str> = words.iter().copied().chain(other_words.into_iter().filter(|w| !words.contains(w))).collect();
    for call in calls(events, &all).into_iter().filter(between) {
        let by_word = match (call.invoke.f.as_str(), call.key()) {
            (LIMIT, "tenant") => Some("limit-tenant"),
            (f, _) => COMMANDS.iter().find(|(word, _)| *word == f).map(|(_, command)| *command),
        };
        if let Some(command) = call.invoke.asked("command").or(by_word) {
            asked.entry(command).or_default().push(call);
        }
    }
    let commands = COMMANDS.iter().map(|(_, command)| *command).chain(asked.keys().copied());
    for command in commands.collect::<BTreeSet<&str>>() {
        let asked = asked.get(command).map_or(&[][..], Vec::as_slice);
        let allowed: Vec<&Value> = new
            .iter()
            .filter(|leaf| leaf["event"] == "decision" && leaf["command"] == command && leaf["allowed"] == true)
            .collect();
        let done = asked.iter().filter(|call| call.done().is_some()).count();
        let unknown = asked.iter().filter(|call| call.kind() == Kind::Info).count();
        if !(done..=done + unknown).contains(&allowed.len()) {
            evidence.push(format!(
                "{tenant}: {command} was done {done} times, {unknown} outcomes are unknown, and there are {} leaves",
                allowed.len()
            ));
        }
        if command == "delete-snapshot" {
            for call in asked.iter().filter(|call| call.done().is_some()) {
                let count = allowed.iter().filter(|leaf| leaf["subject"] == call.key()).count();
                if count != 1 {
                    evidence.push(format!("{}: the end of {} has {count} leaves", call.name(), call.key()));
                }
            }
        }
    }
}

type Hash = [u8; 32];

/// The root over leaf hashes: the largest power of two below their number on the left (RFC 6962, §2.1).
fn top(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            Sha256::new().chain_update([1]).chain_update(top(left)).chain_update(top(right)).finalize().into()
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    (text.len() == 64).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_that_of_rfc_6962() {
        // The test vectors of the certificate transparency log's reference implementation.
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let leaf = |text: &str| -> Hash {
            let bytes: Vec<u8> =
                (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect();
            Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
        };
        let hashes: Vec<Hash> = inputs.iter().map(|text| leaf(text)).collect();
        let root = |count: usize| hex(&top(&hashes[..count]));
        assert_eq!(root(0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(root(1), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(root(2), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(root(3), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
        assert_eq!(root(8), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
        assert_eq!(unhex(&root(8)), Some(top(&hashes)));
    }
}
