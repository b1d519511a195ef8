//! I9: charged = live (+ in flight); limits are never exceeded; nothing leaks from aborts.
//!
//! - Under a limit, what is used never grows beyond it: neither as `usage` shows it nor by what was acknowledged. What was
//!   there when the limit was set may stay.
//! - At rest (the final `usage`): nothing is under way; a vault has as many snapshots as are listed; its tenant has what its
//!   vaults have together, and what its writers have. Listed is what was acknowledged and not deleted, perhaps what nobody
//!   knows, and nothing else of this workload's vaults.
//!
//! Logical bytes are those of sealed chunks: a listing's sizes are others, so acknowledged bytes count only where a `charge`
//! says its `logical_bytes`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::calls::{Call, calls};
use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{CHARGE, DELETE, LIMIT, STOCK, USAGE};

/// Its words; a deletion alone does not ask for it.
pub const WORDS: [&str; 4] = [LIMIT, CHARGE, STOCK, USAGE];

const MEASURES: [&str; 4] = ["logical_bytes", "stored_bytes", "snapshots", "sessions"];
/// What adds up over vaults; sessions are not of vaults.
const OF_VAULTS: [&str; 3] = ["logical_bytes", "stored_bytes", "snapshots"];

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let usages = calls(events, &[USAGE]);
    let charges = calls(events, &[CHARGE]);
    let deletes = calls(events, &[DELETE]);
    let limits = calls(events, &[LIMIT]);
    let tenants: BTreeSet<&str> = charges.iter().chain(&usages).chain(&limits).map(Call::tenant).collect();
    let mut evidence = Vec::new();
    let mut missing = None;
    for tenant in &tenants {
        let (usages, charges) = (own(&usages, tenant), own(&charges, tenant));
        let (deletes, limits) = (own(&deletes, tenant), own(&limits, tenant));
        for limit in limits.iter().filter(|limit| limit.done().is_some()) {
            // Until another one may have taken its place.
            let others = limits.iter().filter(|other| other.key() == limit.key() && !other.is_refused());
            let end = others.map(Call::began).filter(|began| limit.began() < *began).min().unwrap_or(u64::MAX);
            shown(limit, end, &usages, &mut evidence);
            acknowledged(limit, end, &charges, &deletes, &mut evidence);
        }
        let last = usages.iter().rev().find(|usage| usage.invoke.is_final() && usage.done().is_some());
        let stock = calls(events, &[STOCK]).into_iter().rev().find(|s| s.tenant() == *tenant && s.done().is_some());
        let Some((last, stock)) = last.zip(stock) else {
            missing = missing.or(Some(*tenant));
            continue;
        };
        let unknown = charges.iter().any(|charge| charge.kind() == Kind::Info);
        at_rest(tenant, last, &stock, unknown, &mut evidence);
        is_listed(&stock, &charges, &deletes, &mut evidence);
    }
    if evidence.is_empty() {
        if let Some(tenant) = missing {
            return Verdict::Unknown(format!("quotas: {tenant} has no usage and no stock from the end"));
        }
        if charges.iter().all(|charge| charge.done().is_none()) {
            return Verdict::Unknown("quotas: nothing was charged".to_owned());
        }
    }
    let refused = charges.iter().filter(|charge| charge.is_refused()).count();
    let figures = format!(
        "{} charged, {refused} of them refused, {} limits, {} times usage",
        charges.len(),
        limits.len(),
        usages.len()
    );
    Verdict::from_evidence(evidence, figures)
}

fn own<'a>(calls: &[Call<'a>], tenant: &str) -> Vec<Call<'a>> {
    calls.iter().filter(|call| call.tenant() == tenant).copied().collect()
}

/// The line of a usage that a limit is about.
fn line<'a>(usage: &Call<'a>, of: &str) -> Option<&'a Value> {
    let (kind, name) = of.split_once(':').unwrap_or((of, ""));
    let lines = usage.done()?.value["usage"].as_array()?;
    lines.iter().find(|line| line["of"] == kind && (kind == "tenant" || line["name"] == name))
}

fn used(line: &Value, measure: &str) -> u64 {
    line[measure]["used"].as_u64().unwrap_or(0)
}

/// No growth beyond the limit from one `usage` to the next.
fn shown(limit: &Call<'_>, end: u64, usages: &[Call<'_>], evidence: &mut Vec<String>) {
    let while_in_force = usages.iter().filter(|usage| limit.is_before(usage) && usage.ended() < end);
    let in_force: Vec<(&Call<'_>, &Value)> =
        while_in_force.filter_map(|usage| Some((usage, line(usage, limit.key())?))).collect();
    for measure in MEASURES {
        let Some(most) = limit.invoke.argument[measure].as_u64() else { continue };
        let mut least = None;
        for (usage, line) in &in_force {
            let now = used(line, measure);
            // What was there at the first look may have been there before the limit.
            if least.is_some_and(|least| most < now && least < now) {
                let key = limit.key();
                evidence.push(format!("{}: {key} uses {now} {measure}, and may use {most}", usage.name()));
            }
            least = Some(least.unwrap_or(now).min(now));
        }
    }
}

/// Nothing is acknowledged beyond the limit.
fn acknowledged(limit: &Call<'_>, end: u64, charges: &[Call<'_>], deletes: &[Call<'_>], evidence: &mut Vec<String>) {
    let (kind, name) = limit.key().split_once(':').unwrap_or((limit.key(), ""));
    let within = |charge: &&Call<'_>| kind == "tenant" || charge.invoke.asked(kind) == Some(name);
    let done: Vec<&Call<'_>> = charges.iter().filter(within).filter(|charge| charge.done().is_some()).collect();
    let id = |charge: &Call<'_>| charge.done().and_then(|end| end.value["snapshot"].as_str().map(str::to_owned));
    for (measure, weight) in [("snapshots", None), ("logical_bytes", Some("logical_bytes"))] {
        let Some(most) = limit.invoke.argument[measure].as_u64() else { continue };
        let weight = |charge: &Call<'_>| match (weight, charge.done()) {
            (Some(field), Some(end)) => end.value[field].as_u64().unwrap_or(0),
            _ => 1,
        };
        for charge in done.iter().filter(|charge| limit.is_before(charge) && charge.ended() < end) {
            // Surely there while this one was charged.
            let there = done.iter().filter(|other| other.is_before(charge)).filter(|other| {
                let id = id(other);
                let ends = deletes.iter().filter(|delete| Some(delete.key()) == id.as_deref() && !delete.is_refused());
                ends.map(Call::began).all(|began| charge.ended() < began)
            });
            let sum: u64 = there.map(|other| weight(other)).sum::<u64>() + weight(charge);
            if most < sum {
                let (name, key) = (charge.name(), limit.key());
                evidence
                    .push(format!("{name}: acknowledged though {key} then has {sum} {measure}, and may have {most}"));
            }
        }
    }
}

fn at_rest(tenant: &str, usage: &Call<'_>, stock: &Call<'_>, unknown: bool, evidence: &mut Vec<String>) {
    let end = usage.done().expect("it was answered");
    let name = usage.name();
    let lines = end.value["usage"].as_array().map_or(&[][..], Vec::as_slice);
    let is_over = usage.invoke.argument["leases_ended"] == true;
    for line in lines.iter().filter(|_| !unknown || is_over) {
        for measure in MEASURES.into_iter().filter(|measure| 0 < line[*measure]["under_way"].as_u64().unwrap_or(0)) {
            let (of, whose) = (&line["of"], &line["name"]);
            evidence.push(format!(
                "{name}: at rest, {} {measure} of {of} {whose} are under way",
                line[measure]["under_way"]
            ));
        }
    }
    let of = |kind: &'static str| lines.iter().filter(move |line| line["of"] == kind);
    if let Some(whole) = of("tenant").next() {
        for measure in OF_VAULTS {
            for kind in ["vault", "writer"] {
                let sum: u64 = of(kind).map(|line| used(line, measure)).sum();
                if of(kind).next().is_some() && sum != used(whole, measure) {
                    let whole = used(whole, measure);
                    evidence.push(format!("{name}: {tenant} uses {whole} {measure}, its {kind}s {sum} together"));
                }
            }
        }
    }
    let mut vaults: BTreeMap<&str, u64> = of("vault").filter_map(|line| Some((line["name"].as_str()?, 0))).collect();
    for snapshot in snapshots(stock) {
        *vaults.entry(snapshot["vault"].as_str().unwrap_or_default()).or_default() += 1;
    }
    for (vault, count) in vaults {
        let charged = of("vault").find(|line| line["name"] == vault).map_or(0, |line| used(line, "snapshots"));
        if charged != count {
            evidence
                .push(format!("{name}: vault {vault} of {tenant} is charged {charged} snapshots, {count} are there"));
        }
    }
}

fn snapshots<'a>(stock: &Call<'a>) -> &'a [Value] {
    stock.done().and_then(|end| end.value["snapshots"].as_array()).map_or(&[], Vec::as_slice)
}

fn is_listed(stock: &Call<'_>, charges: &[Call<'_>], deletes: &[Call<'_>], evidence: &mut Vec<String>) {
    let there: BTreeSet<&str> = snapshots(stock).iter().filter_map(|snapshot| snapshot["id"].as_str()).collect();
    let vaults: BTreeSet<&str> = charges.iter().filter_map(|charge| charge.invoke.asked("vault")).collect();
    let mut known = BTreeSet::new();
    for charge in charges.iter().filter(|charge| charge.is_before(stock)) {
        let Some(id) = charge.done().and_then(|end| end.answered("snapshot")) else { continue };
        known.insert(id);
        let ends: Vec<&Call<'_>> = deletes.iter().filter(|delete| delete.key() == id && !delete.is_refused()).collect();
        let is_gone = ends.iter().any(|delete| delete.done().is_some() && delete.is_before(stock));
        if is_gone && there.contains(id) {
            evidence.push(format!("{}: {id} was deleted and is there", stock.name()));
        }
        if ends.is_empty() && !there.contains(id) {
            evidence.push(format!("{}: {id} of {} is not there", stock.name(), charge.name()));
        }
    }
    let unknown = charges.iter().filter(|charge| charge.kind() == Kind::Info).count();
    let of_ours = |snapshot: &&Value| snapshot["vault"].as_str().is_some_and(|vault| vaults.contains(vault));
    let strange = snapshots(stock).iter().filter(of_ours).filter_map(|snapshot| snapshot["id"].as_str());
    let strange: Vec<&str> = strange.filter(|id| !known.contains(id)).collect();
    if unknown < strange.len() {
        evidence.push(format!("{}: {strange:?} are there, and {unknown} outcomes are unknown", stock.name()));
    }
}
