//! Properties: whatever is asked, in whatever order, by whomever: the laws hold after every entry, and the same log gives
//! the same rows. Several tenants and writers over several shards, well-behaved and not.

use std::collections::BTreeMap;

use proptest::prelude::*;
use strongroom_core::cluster::rows::Changing;
use strongroom_core::entry::{Decided, EntryCommand, NodeCommand, Reported};
use strongroom_core::locking::Keeping;
use strongroom_core::query::{Answer, Decision, Query};
use strongroom_core::shard::rows::PartState;
use strongroom_format::command::{BlobRef, Body, HandedOver, OperatorBody, RegisteredChunk};
use strongroom_format::id::{GroupId, SessionId, Slot, SnapshotId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::quota::{Quota, QuotaSubject, Quotas, TenantLimits};
use strongroom_format::role::{Plane, Role};
use strongroom_format::statement::issuer_digest;

use crate::backup::{Backup, Piece, id_of, inner, leaf};
use crate::group::{MINUTE_MS, cases, claim, done, identity, signing_key};
use crate::tenant::{ADMIN, OFFICER, OPERATOR, RESTORER, issue_body};
use crate::world::{Session, World, issue_node_body, rebuild_request, redeem_node};

const TENANTS: [&str; 2] = ["acme", "globex"];
const WRITERS: [&str; 2] = ["web-1", "web-2"];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Backups that run beside each other.
const BACKUPS: usize = 4;

/// What one after the other makes a whole backup.
fn whole(backup: usize, pieces: u8, copy: u32) -> Vec<Step> {
    let mut steps = vec![Step::Open { backup }];
    for group in 1..=3 {
        steps.push(Step::Join { backup, group });
        steps.push(Step::Register { backup, group, pieces, copy, elsewhere: 0 });
        steps.push(Step::PutLeaf { backup, group, pieces, copy });
        steps.push(Step::PutInner { backup, group, times: 2 });
    }
    steps.push(Step::PutManifest { backup });
    steps.extend((1..=3).map(|group| Step::Seal { backup, group }));
    steps.push(Step::Commit { backup, change: 15 });
    steps
}

/// One thing that somebody does. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Open {
        backup: usize,
    },
    /// Everything up to a place on the way to the commit.
    Whole {
        backup: usize,
        pieces: u8,
        copy: u32,
        until: usize,
    },
    /// The next snapshot of the same writer.
    Fresh {
        backup: usize,
    },
    Join {
        backup: usize,
        group: u32,
    },
    Register {
        backup: usize,
        group: u32,
        pieces: u8,
        copy: u32,
        elsewhere: u8,
    },
    PutLeaf {
        backup: usize,
        group: u32,
        pieces: u8,
        copy: u32,
    },
    PutInner {
        backup: usize,
        group: u32,
        times: usize,
    },
    PutManifest {
        backup: usize,
    },
    Seal {
        backup: usize,
        group: u32,
    },
    Commit {
        backup: usize,
        change: u8,
    },
    Abort {
        backup: usize,
    },
    EndSession {
        backup: usize,
        group: u32,
    },
    Ask {
        backup: usize,
        group: u32,
        back: u64,
    },
    /// A backup goes on in the session of another one.
    Swap {
        backup: usize,
        with: usize,
    },
    Restore {
        tenant: usize,
        backup: usize,
    },
    EndRestore {
        tenant: usize,
    },
    Report {
        tenant: usize,
        backup: usize,
        piece: u8,
    },
    Close {
        tenant: usize,
        who: usize,
    },
    Enrol {
        tenant: usize,
        who: u8,
    },
    /// An admin issues a token: some for who is there, some for roles that it may not give.
    Issue {
        tenant: usize,
        token: u8,
        who: u8,
    },
    /// Somebody redeems a token, maybe in another tenant's name.
    Redeem {
        tenant: usize,
        token: u8,
        key: u8,
    },
    /// An operator issues a node's token.
    IssueNode {
        token: u8,
        node: u8,
    },
    /// Somebody redeems one.
    RedeemNode {
        token: u8,
        key: u8,
    },
    /// An operator decides about a tenant, and the shards hear of it or not.
    Stand {
        tenant: usize,
        what: u8,
        carried: bool,
    },
    /// An operator decides about a CA.
    Issuer {
        tenant: usize,
        which: u8,
        what: u8,
    },
    /// Somebody says how much a tenant, a vault or a writer may have: little, so that it matters.
    Quota {
        tenant: usize,
        whose: u8,
        measure: usize,
        hard: u64,
    },
    /// A writer asks for more under a lease.
    TopUp {
        backup: usize,
        group: u32,
        bytes: u64,
    },
    Tick {
        group: u32,
        minutes: u64,
    },
    /// A tick for which some voters do not vouch, and in which others tell of other states. Voters by bits.
    TickOf {
        group: u32,
        silent: u8,
        other: u8,
        third: u8,
    },
    /// A member asks for another id: who fills the slot, who comes, or an id that gave way long ago; some under a foreign
    /// key.
    Lose {
        group: u32,
        node: usize,
        whose: u8,
    },
    /// A shard hears of who comes, in time or not.
    Hear {
        group: u32,
        back: usize,
    },
    /// The cluster group hears that somebody has come, or is told so of somebody who gave way.
    Come {
        group: u32,
        back: usize,
    },
    Decide,
    Replay {
        from: u32,
        entry: usize,
        to: u32,
    },
    /// Two entries' commands as one.
    Merge {
        group: u32,
        one: usize,
        other: usize,
    },
    Garble {
        group: u32,
        entry: usize,
        at: usize,
    },
    /// What only a lying node says.
    Lie {
        backup: usize,
        group: u32,
        what: u8,
    },
}

/// A lie about what keeps a part: nothing.
fn unlocked() -> Keeping {
    Keeping { version: 0, terms: None, until_unix_ms: 0, left_ms: 0, holds: Vec::new() }
}

/// Few of six.
fn bits() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0_u8), 4 => (0..6_u8).prop_map(|bit| 1 << bit), 2 => 0..64_u8]
}

fn steps(hostile: bool) -> impl Strategy<Value = Vec<Step>> {
    let backup = || 0..BACKUPS;
    let group = || 1..=3_u32;
    let lies = if hostile {
        (backup(), group(), 0..8_u8).prop_map(|(backup, group, what)| Step::Lie { backup, group, what }).boxed()
    } else {
        Just(Step::Decide).boxed()
    };
    let step = prop_oneof![
        4 => backup().prop_map(|backup| Step::Open { backup }),
        5 => (backup(), 1..32_u8, 0..10_u32, 0..40_usize).prop_map(|(backup, pieces, copy, until)| {
            Step::Whole { backup, pieces, copy: copy.saturating_sub(3), until }
        }),
        3 => backup().prop_map(|backup| Step::Fresh { backup }),
        6 => (backup(), group()).prop_map(|(backup, group)| Step::Join { backup, group }),
        8 => (backup(), group(), 1..32_u8, 0..10_u32, 0..4_u8).prop_map(|(backup, group, pieces, copy, elsewhere)| {
            Step::Register { backup, group, pieces, copy: copy.saturating_sub(3), elsewhere }
        }),
        8 => (backup(), group(), 1..32_u8, 0..10_u32)
            .prop_map(|(backup, group, pieces, copy)| Step::PutLeaf { backup, group, pieces, copy: copy.saturating_sub(3) }),
        2 => (backup(), group(), 1..4_usize).prop_map(|(backup, group, times)| Step::PutInner { backup, group, times }),
        6 => backup().prop_map(|backup| Step::PutManifest { backup }),
        9 => (backup(), group()).prop_map(|(backup, group)| Step::Seal { backup, group }),
        9 => (backup(), 0..16_u8).prop_map(|(backup, change)| Step::Commit { backup, change }),
        1 => backup().prop_map(|backup| Step::Abort { backup }),
        1 => (backup(), group()).prop_map(|(backup, group)| Step::EndSession { backup, group }),
        1 => (backup(), group(), 0..80_u64).prop_map(|(backup, group, back)| Step::Ask { backup, group, back }),
        1 => (backup(), backup()).prop_map(|(backup, with)| Step::Swap { backup, with }),
        2 => (0..2_usize, backup()).prop_map(|(tenant, backup)| Step::Restore { tenant, backup }),
        1 => (0..2_usize).prop_map(|tenant| Step::EndRestore { tenant }),
        1 => (0..2_usize, backup(), 0..5_u8)
            .prop_map(|(tenant, backup, piece)| Step::Report { tenant, backup, piece }),
        1 => (0..2_usize, 0..8_usize).prop_map(|(tenant, who)| Step::Close { tenant, who }),
        1 => (0..2_usize, 0..3_u8).prop_map(|(tenant, who)| Step::Enrol { tenant, who }),
        2 => (0..2_usize, 0..3_u8, 0..6_u8).prop_map(|(tenant, token, who)| Step::Issue { tenant, token, who }),
        2 => (0..2_usize, 0..4_u8, 0..3_u8).prop_map(|(tenant, token, key)| Step::Redeem { tenant, token, key }),
        1 => (0..3_u8, 0..3_u8).prop_map(|(token, node)| Step::IssueNode { token, node }),
        1 => (0..4_u8, 0..3_u8).prop_map(|(token, key)| Step::RedeemNode { token, key }),
        1 => (0..2_usize, 0..24_u8, any::<bool>())
            .prop_map(|(tenant, what, carried)| Step::Stand { tenant, what, carried }),
        1 => (0..2_usize, 0..3_u8, 0..12_u8).prop_map(|(tenant, which, what)| Step::Issuer { tenant, which, what }),
        2 => (0..2_usize, 0..4_u8, 0..4_usize, 0..40_u64)
            .prop_map(|(tenant, whose, measure, hard)| Step::Quota { tenant, whose, measure, hard }),
        2 => (backup(), group(), 0..4_u64).prop_map(|(backup, group, bytes)| Step::TopUp { backup, group, bytes }),
        3 => (0..=3_u32, 0..90_u64).prop_map(|(group, minutes)| Step::Tick { group, minutes }),
        3 => (0..=3_u32, bits(), bits(), bits())
            .prop_map(|(group, silent, other, third)| Step::TickOf { group, silent, other, third }),
        3 => (0..=3_u32, 0..6_usize, 0..8_u8).prop_map(|(group, node, whose)| Step::Lose { group, node, whose }),
        3 => (1..=3_u32, 0..4_usize).prop_map(|(group, back)| Step::Hear { group, back: back.saturating_sub(2) }),
        2 => (0..=3_u32, 0..4_usize).prop_map(|(group, back)| Step::Come { group, back: back.saturating_sub(2) }),
        3 => Just(Step::Decide),
        2 => (0..=3_u32, any::<usize>(), 0..=3_u32).prop_map(|(from, entry, to)| Step::Replay { from, entry, to }),
        1 => (0..=3_u32, any::<usize>(), any::<usize>())
            .prop_map(|(group, one, other)| Step::Merge { group, one, other }),
        1 => (0..=3_u32, any::<usize>(), any::<usize>())
            .prop_map(|(group, entry, at)| Step::Garble { group, entry, at }),
        if hostile { 4 } else { 1 } => lies,
    ];
    proptest::collection::vec(step, 1..70)
}

struct Play {
    world: World,
    backups: Vec<Backup>,
    snapshots: usize,
    finished: Vec<Backup>,
    restorers: BTreeMap<usize, Session>,
    restores: BTreeMap<usize, SessionId>,
    admins: BTreeMap<usize, Session>,
    /// Every replacement that was ever begun: its group, and what it was.
    changes: Vec<(GroupId, Changing)>,
}

impl Play {
    fn new() -> Self {
        let mut world = World::new();
        let backups = (0..BACKUPS)
            .map(|number| {
                // Three of the first tenant, so that they meet; one neighbour.
                let tenant = TENANTS[number / 3];
                let writer = WRITERS[number % 2];
                let session = world.open_session(tenant, writer);
                Backup::new(&world, tenant, writer, session, &format!("snapshot {number}"))
            })
            .collect();
        let mut of = |who| (0..2).map(|tenant| (tenant, world.open_session(TENANTS[tenant], who))).collect();
        let (restorers, admins) = (of(RESTORER), of(ADMIN));
        Self {
            world,
            backups,
            snapshots: 0,
            finished: Vec::new(),
            restorers,
            restores: BTreeMap::new(),
            admins,
            changes: Vec::new(),
        }
    }

    /// The newest replacement of a group, or one `back` before it.
    fn change(&self, group: GroupId, back: usize) -> Option<Changing> {
        let mut of_group = self.changes.iter().rev().filter(|(of, _)| *of == group);
        of_group.nth(back).map(|(_, change)| *change)
    }

    fn act(&mut self, step: &Step) -> Option<Outcome> {
        if let Step::Whole { backup, pieces, copy, until } = step {
            return whole(*backup, *pieces, *copy).iter().take(*until).filter_map(|step| self.act(step)).last();
        }
        let world = &mut self.world;
        match *step {
            Step::Open { backup } => {
                let backup = &mut self.backups[backup];
                Some(backup.open(world))
            }
            Step::Whole { .. } => None,
            Step::Fresh { backup } => {
                self.snapshots += 1;
                let old = &self.backups[backup];
                let session = old.sessions[&old.home(world)];
                let name = format!("snapshot {backup} {}", self.snapshots);
                let mut fresh = Backup::new(world, &old.tenant, &old.writer, session, &name);
                fresh.parent = Some(old.snapshot);
                self.finished.push(std::mem::replace(&mut self.backups[backup], fresh));
                None
            }
            Step::Join { backup, group } => {
                let backup = &mut self.backups[backup];
                backup.opened.is_some().then(|| backup.join(world, GroupId(group)))
            }
            Step::Register { backup, group, pieces, copy, elsewhere } => {
                let (backup, group) = (&mut self.backups[backup], GroupId(group));
                let (lease, _) = lease_of(backup, group)?;
                let tenant = world.tenant(&backup.tenant);
                let dek = tenant.dek(&backup.writer);
                let code = world.code(group);
                let lie = |piece: Piece| {
                    let mut chunk = piece.registered(dek);
                    let own = code.slot_of(&chunk.blob, 1);
                    match elsewhere {
                        1 => chunk.missing = vec![0],
                        2 => {
                            let slot = Slot((own.0 + 1) % code.slots());
                            chunk.handed_over = vec![HandedOver { index: 1, slot }];
                        }
                        3 => chunk.missing = vec![0, 1, 2],
                        _ => {}
                    }
                    chunk
                };
                let chunks: Vec<RegisteredChunk> = chosen(pieces, copy).into_iter().map(lie).collect();
                let body =
                    Body::RegisterChunks { lease, vault: tenant.vault, domain: backup.keys(world).domain, chunks };
                Some(backup.submit(world, group, body))
            }
            Step::PutLeaf { backup, group, pieces, copy } => {
                let (backup, group) = (&mut self.backups[backup], GroupId(group));
                lease_of(backup, group)?;
                let (node, bytes) = leaf(&backup.keys(world), &chosen(pieces, copy));
                let outcome = backup.put(world, group, &[bytes]);
                if matches!(outcome, Outcome::Done(_)) {
                    backup.contents.insert(group, node);
                }
                Some(outcome)
            }
            Step::PutInner { backup, group, times } => {
                let (backup, group) = (&mut self.backups[backup], GroupId(group));
                lease_of(backup, group)?;
                let below = backup.contents.get(&group)?.clone();
                if 6 < below.totals().height {
                    return None;
                }
                let (node, bytes) = inner(&backup.keys(world), &vec![&below; times]);
                let outcome = backup.put(world, group, &[bytes]);
                if matches!(outcome, Outcome::Done(_)) {
                    backup.contents.insert(group, node);
                }
                Some(outcome)
            }
            Step::PutManifest { backup } => {
                let backup = &mut self.backups[backup];
                let home = backup.home(world);
                lease_of(backup, home)?;
                let piece = Piece::new(&format!("manifest of {}", backup.snapshot), 0);
                backup.register(world, home, &[piece]);
                let (node, bytes) = leaf(&backup.keys(world), &[piece]);
                let outcome = backup.put(world, home, &[bytes]);
                backup.manifest = Some(node);
                Some(outcome)
            }
            Step::Seal { backup, group } => {
                let (backup, group) = (&mut self.backups[backup], GroupId(group));
                lease_of(backup, group)?;
                let snapshot = backup.snapshot;
                let roots = backup.roots(world, group);
                let outcome = backup.submit(world, group, Body::SealPart { snapshot, roots, records: Vec::new() });
                if let Outcome::Done(Done::Sealed(sealed)) = &outcome {
                    backup.sealed.insert(group, sealed.clone());
                }
                Some(outcome)
            }
            Step::Commit { backup, change } => {
                let backup = &mut self.backups[backup];
                backup.manifest.as_ref()?;
                let mut envelope = backup.envelope(world);
                match change {
                    0 => envelope.manifest.stored_bytes += 1,
                    1 => envelope.label = "/another".parse().ok()?,
                    2 => envelope.parent = Some(backup.snapshot),
                    3 => envelope.writer = identity(WRITERS[0]),
                    4 => envelope.snapshot = SnapshotId::from_bytes([1; 16]),
                    _ => {}
                }
                Some(backup.commit_envelope(world, &envelope))
            }
            Step::Abort { backup } => {
                let backup = &mut self.backups[backup];
                let (home, snapshot) = (backup.home(world), backup.snapshot);
                Some(backup.submit(world, home, Body::AbortSnapshot { snapshot }))
            }
            Step::EndSession { backup, group } => {
                let (backup, group) = (&mut self.backups[backup], GroupId(group));
                lease_of(backup, group)?;
                let outcome = backup.submit(world, group, Body::EndSession);
                let home = backup.home(world);
                // Whoever is closed, suspended or has its quota opens no other.
                if group == home && !matches!(outcome, Outcome::Refused(_)) {
                    let session = world.try_open_session(&backup.tenant, &backup.writer.clone());
                    backup.sessions.extend(session.map(|session| (home, session)));
                }
                Some(outcome)
            }
            Step::Ask { backup, group, back } => {
                let (backup, group) = (&mut self.backups[backup], GroupId(group));
                let next = backup.sessions.get(&group)?.next;
                let sequence = (next + 10).saturating_sub(back);
                Some(backup.submit(world, group, Body::Ask { sequence }))
            }
            Step::Swap { backup, with } => {
                let (mut one, mut other) = (self.backups[backup].sessions.clone(), self.backups[with].sessions.clone());
                for (group, session) in &mut one {
                    if let Some(session_there) = other.get_mut(group) {
                        std::mem::swap(session, session_there);
                    }
                }
                self.backups[backup].sessions = one;
                self.backups[with].sessions = other;
                None
            }
            Step::Restore { tenant, backup } => {
                let session = self.restorers.get_mut(&tenant)?;
                let snapshots = vec![self.backups[backup].snapshot];
                let body = Body::OpenRestore { snapshots, purpose: "test".into(), lifetime_ms: MINUTE_MS };
                let outcome = world.submit(TENANTS[tenant], RESTORER, session, body);
                if let Outcome::Done(Done::RestoreOpened { restore, .. }) = outcome {
                    self.restores.insert(tenant, restore);
                }
                Some(outcome)
            }
            Step::EndRestore { tenant } => {
                let restore = *self.restores.get(&(1 - tenant)).or(self.restores.get(&tenant))?;
                let session = self.restorers.get_mut(&tenant)?;
                Some(world.submit(TENANTS[tenant], RESTORER, session, Body::EndRestore { restore }))
            }
            Step::Report { tenant, backup, piece } => {
                let session = self.restorers.get_mut(&tenant)?;
                let backup = &self.backups[backup];
                let BlobRef { chunk, blob } = Piece::new(NAMES[usize::from(piece)], 0).of;
                let body = Body::ReportBlob {
                    vault: world.tenant(TENANTS[tenant]).vault,
                    domain: backup.keys(world).domain,
                    chunk,
                    blob,
                    snapshot: backup.snapshot,
                };
                Some(world.submit(TENANTS[tenant], RESTORER, session, body))
            }
            Step::Close { tenant, who } => {
                let session = self.admins.get_mut(&tenant)?;
                let who = ["web-3", "web-2", ADMIN, "nobody", "web-4", "web-4", "web-4", "web-4"][who];
                let body = Body::CloseIdentity { identity: identity(who), reason: "test".into() };
                Some(world.submit(TENANTS[tenant], ADMIN, session, body))
            }
            Step::Enrol { tenant, who } => {
                let session = self.admins.get_mut(&tenant)?;
                let name = format!("web-{}", 2 + who);
                let body = Body::EnrolIdentity {
                    identity: identity(&name),
                    roles: vec![Role::Writer],
                    signing_key: world.tenant(TENANTS[tenant]).key(&name).public_key(),
                    locks: None,
                    approvals: Vec::new(),
                };
                Some(world.submit(TENANTS[tenant], ADMIN, session, body))
            }
            Step::Issue { tenant, token, who } => {
                let roles = [Role::Auditor, Role::Writer, Role::Writer, Role::Admin, Role::Auditor, Role::Writer];
                let body = issue_body(&format!("t{token}"), &format!("web-{who}"), &[roles[usize::from(who)]]);
                let session = self.admins.get_mut(&tenant)?;
                Some(world.submit(TENANTS[tenant], ADMIN, session, body))
            }
            Step::Redeem { tenant, token, key } => {
                let of = world.tenant(TENANTS[tenant]);
                let (redemption, home) = (of.redeem(&format!("t{token}"), &format!("bearer {key}")), of.home);
                Some(world.group(home).redeem(redemption))
            }
            Step::IssueNode { token, node } => {
                Some(world.operator(issue_node_body(&format!("n{token}"), &format!("node-{node}"), "r7")))
            }
            Step::RedeemNode { token, key } => {
                let redemption = redeem_node(
                    &format!("n{token}"),
                    &signing_key(&format!("node key {key}")),
                    9000 + 10 * u16::from(key),
                );
                Some(world.cluster().redeem(redemption))
            }
            Step::Stand { tenant, what, carried } => {
                let (name, who) = (TENANTS[tenant], [OPERATOR, OFFICER][usize::from(what % 2)]);
                let (tenant, reason) = (world.tenant(name).id, String::new());
                let body = match what / 2 {
                    0 => OperatorBody::EndTenant { tenant, reason },
                    1..=4 => OperatorBody::SuspendTenant { tenant, reason },
                    _ => OperatorBody::ResumeTenant { tenant, reason },
                };
                let outcome = world.operator_as(who, body);
                if carried {
                    world.tell(name);
                }
                Some(outcome)
            }
            Step::Issuer { tenant, which, what } => {
                let certificate = format!("ca {which}").into_bytes();
                let issuer = issuer_digest(&certificate);
                let accepted = world.tenant(TENANTS[tenant]).accepts(&certificate, 1 + u32::from(what));
                let body = match what {
                    0 => OperatorBody::RetireIssuer { issuer },
                    1..=3 => OperatorBody::PutRevocations { issuer, number: what.into(), revocations: vec![what] },
                    4 => OperatorBody::RegisterIssuer { plane: Plane::Peer, certificate, acceptances: Vec::new() },
                    _ => {
                        OperatorBody::RegisterIssuer { plane: Plane::Tenant, certificate, acceptances: vec![accepted] }
                    }
                };
                Some(world.operator_as([OPERATOR, OFFICER][usize::from(what == 1)], body))
            }
            Step::Quota { tenant, whose, measure, hard } => {
                // Of bytes in mebibytes: a session has eight, a snapshot one.
                let unit = if measure < 2 { 1 << 20 } else { 1 };
                // Rather seldom so little that nothing goes any more.
                let hard = (hard < 30).then_some((hard + 8) * unit);
                let mut quotas = [Quota::default(); 4];
                quotas[measure] = Quota { soft: None, hard };
                let [logical_bytes, stored_bytes, snapshots, sessions] = quotas;
                let quotas = Quotas { logical_bytes, stored_bytes, snapshots, sessions };
                let name = TENANTS[tenant];
                let of = match whose {
                    0 => {
                        let limits = TenantLimits { quotas, upload_bytes_per_second: None };
                        let tenant = world.tenant(name).id;
                        let outcome =
                            world.operator(OperatorBody::LimitTenant { tenant, limits, reason: String::new() });
                        world.tell(name);
                        return Some(outcome);
                    }
                    1 => QuotaSubject::Vault(world.tenant(name).vault),
                    who => QuotaSubject::Writer(identity(WRITERS[usize::from(who) - 2])),
                };
                let session = self.admins.get_mut(&tenant)?;
                Some(world.submit(name, ADMIN, session, Body::SetQuotas { of, quotas }))
            }
            Step::TopUp { backup, group, bytes } => {
                let (backup, group) = (&mut self.backups[backup], GroupId(group));
                let (lease, _) = lease_of(backup, group)?;
                Some(backup.submit(world, group, Body::TopUp { lease, bytes: bytes << 20 }))
            }
            Step::Tick { group, minutes } => Some(world.group(GroupId(group)).tick(minutes * MINUTE_MS)),
            Step::TickOf { group, silent, other, third } => {
                let of = |bits: u8| (0..6_u8).filter(move |bit| bits & (1 << bit) != 0).map(|bit| format!("n{bit}"));
                let (silent, other, third): (Vec<_>, Vec<_>, Vec<_>) =
                    (of(silent).collect(), of(other).collect(), of(third).collect());
                let said = |nodes: &[String], state| nodes.iter().map(|node| (node.clone(), state)).collect::<Vec<_>>();
                let states = [said(&other, "other"), said(&third, "third")].concat();
                let states: Vec<(&str, &str)> = states.iter().map(|(node, state)| (node.as_str(), *state)).collect();
                let silent: Vec<&str> = silent.iter().map(String::as_str).collect();
                Some(world.group(GroupId(group)).tick_of(MINUTE_MS, &silent, &states))
            }
            Step::Lose { group, node, whose } => {
                let (group, name) = (GroupId(group), format!("n{node}"));
                let (slot, fills) = world.member(group, &name);
                let change = world.changing(group);
                let from = match whose {
                    0..=2 => fills,
                    3..=5 => change?.to,
                    _ => self.change(group, 1)?.to,
                };
                let world = &mut self.world;
                let outcome = match whose {
                    2 => {
                        let asked = rebuild_request(group, slot, from).sign(&signing_key("somebody"));
                        world.cluster().node(NodeCommand::RebuildReplica(asked))
                    }
                    _ => world.rebuild(group, &name, from),
                };
                let now = world.changing(group);
                self.changes.extend(now.filter(|_| now != change).map(|change| (group, change)));
                Some(outcome)
            }
            Step::Hear { group, back } => {
                let change = self.change(GroupId(group), back)?;
                let members = self.world.map().shards.into_iter().find(|row| row.group == GroupId(group))?.slots;
                let node = members.into_iter().find(|slot| slot.slot == change.slot)?.node;
                let there = self.world.shard_member(GroupId(group), &node.to_string());
                Some(self.world.replace(GroupId(group), change.slot, there, change.to))
            }
            Step::Come { group, back } => {
                let change = self.change(GroupId(group), back)?;
                Some(self.world.has_come(GroupId(group), change.slot, change.to))
            }
            Step::Decide => {
                world.decide();
                None
            }
            Step::Replay { from, entry, to } => {
                let log = &world.groups[&GroupId(from)].log;
                let bytes = log[entry % log.len()].1.clone();
                world.group(GroupId(to)).apply_bytes(bytes);
                None
            }
            Step::Merge { group, one, other } => {
                let log = &world.groups[&GroupId(group)].log;
                let read = |entry: usize| {
                    strongroom_format::codec::decode::<strongroom_core::entry::Entry>(&log[entry % log.len()].1).ok()
                };
                let commands: Vec<EntryCommand> =
                    [read(one), read(other)].into_iter().flatten().flat_map(|entry| entry.commands).collect();
                world.group(GroupId(group)).apply(commands);
                None
            }
            Step::Garble { group, entry, at } => {
                let log = &world.groups[&GroupId(group)].log;
                let mut bytes = log[entry % log.len()].1.clone();
                let length = bytes.len();
                bytes[at % length] ^= 1 << (at % 8);
                world.group(GroupId(group)).apply_bytes(bytes);
                None
            }
            Step::Lie { backup, group, what } => {
                let backup = &self.backups[backup];
                let (home, tenant) = (backup.home(world), world.tenant(&backup.tenant).id);
                let node = match what {
                    0..=3 => NodeCommand::DecidePart(claim(Decided {
                        home: if what < 2 { home } else { GroupId(group) },
                        tenant,
                        snapshot: backup.snapshot,
                        kept: (what % 2 == 0).then(unlocked),
                    })),
                    4 => NodeCommand::HideBlob(claim(Reported {
                        home,
                        tenant,
                        vault: world.tenant(&backup.tenant).vault,
                        domain: backup.keys(world).domain,
                        of: Piece::new("a", 0).of,
                    })),
                    5 => {
                        let mut row = world.map().tenants.into_iter().find(|row| row.facts.tenant == tenant)?;
                        row.facts.set_version.0 += 1;
                        row.facts.groups = vec![GroupId(group)];
                        NodeCommand::AdmitTenant(claim(row.facts))
                    }
                    6 => {
                        let Answer::Shard(mut facts) = world.groups[&GroupId(group)].ask(&Query::Shard) else {
                            return None;
                        };
                        facts.code.k += 1;
                        NodeCommand::FoundShard(claim(facts))
                    }
                    _ => {
                        // A sealed part that was never sealed.
                        let backup = &mut self.backups.iter_mut().find(|backup| !backup.sealed.is_empty())?;
                        let sealed = backup.sealed.values_mut().next()?;
                        sealed.stored_bytes += 1;
                        return None;
                    }
                };
                // Of a node alone nobody believes it; a majority that lies breaks no law either.
                let alone = world.group(GroupId(group)).rogue(node.clone());
                assert_eq!(alone, Outcome::Refused(Refusal::Unattested));
                Some(world.group(GroupId(group)).node(node))
            }
        }
    }

    /// All shards agree with the home shard, once they have asked. Where states were in dispute, they are not any more.
    fn shards_agree(&mut self) -> Result<(), TestCaseError> {
        for group in self.world.groups.values_mut().filter(|group| group.view().disputed) {
            done(group.tick(0));
            prop_assert!(!group.view().disputed, "all honest voters agree");
        }
        self.world.decide();
        for backup in self.backups.iter().chain(&self.finished) {
            let tenant = self.world.tenant(&backup.tenant);
            let decision = match self.world.groups[&tenant.home]
                .ask(&Query::Decision { tenant: tenant.id, snapshot: backup.snapshot })
            {
                Answer::Decision(decision) => decision,
                Answer::NotFound => continue,
                other => panic!("{other:?}"),
            };
            for group in &backup.groups {
                let query = Query::Part { tenant: tenant.id, snapshot: backup.snapshot };
                let Answer::Part(part) = self.world.groups[group].ask(&query) else {
                    prop_assert!(!matches!(decision, Decision::Committed { .. }), "a committed part is not there");
                    continue;
                };
                let agrees = match (&decision, &part.state) {
                    (Decision::Committed { .. }, PartState::Committed { sealed }) => {
                        let content = backup.contents.get(group).map(id_of);
                        prop_assert!(
                            content.is_none_or(|root| sealed.roots.first() == Some(&root))
                                || backup.sealed[group].roots == sealed.roots
                        );
                        true
                    }
                    (Decision::Committed { .. }, _) => false,
                    (Decision::Open | Decision::Aborted, PartState::Committed { .. }) => false,
                    (Decision::Open, _) => true,
                    // One that is open dies with its lease.
                    (Decision::Aborted, state) => matches!(state, PartState::Dropped | PartState::Open),
                };
                prop_assert!(agrees, "{group}: {decision:?}, {:?}", part.state);
            }
        }
        Ok(())
    }
}

fn lease_of(backup: &Backup, group: GroupId) -> Option<(strongroom_format::id::LeaseId, Session)> {
    Some((*backup.leases.get(&group)?, *backup.sessions.get(&group)?))
}

fn chosen(pieces: u8, copy: u32) -> Vec<Piece> {
    let names = NAMES.iter().enumerate().filter(|(bit, _)| pieces & (1 << bit) != 0);
    names.map(|(_, name)| Piece::new(name, copy)).collect()
}

fn play(steps: &[Step]) -> Play {
    let mut play = Play::new();
    for step in steps {
        play.act(step);
    }
    play
}

fn replays(play: &Play) -> Result<(), TestCaseError> {
    for group in play.world.groups.values() {
        prop_assert!(group.replayed() == group.tables, "group {} replays otherwise", group.group);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..cases(96) })]

    #[test]
    fn laws_hold_after_any_commands_and_shards_agree(steps in steps(false)) {
        let mut play = play(&steps);
        play.shards_agree()?;
        replays(&play)?;
    }

    #[test]
    fn laws_hold_whatever_nodes_say(steps in steps(true)) {
        replays(&play(&steps))?;
    }
}

/// The play reaches what it is about: without this, the properties could hold of nothing.
#[test]
fn plays_commit_abort_and_restore() {
    let mut play = Play::new();
    let mut done = 0;
    for step in
        whole(0, 7, 0).into_iter().chain(whole(1, 7, 0)).chain([Step::Restore { tenant: 0, backup: 0 }, Step::Decide])
    {
        done += usize::from(matches!(play.act(&step), Some(Outcome::Done(_))));
    }
    assert!(30 < done, "{done}");
    play.shards_agree().unwrap();
    let tenant = play.world.tenant("acme");
    let view = play.world.groups[&tenant.home].view();
    assert_eq!(view.usage.snapshots, 2);
}

/// So do tokens, tenants and CAs.
#[test]
fn plays_enrol_suspend_and_register() {
    let mut play = Play::new();
    let steps = [
        Step::Issue { tenant: 0, token: 0, who: 5 },
        Step::Redeem { tenant: 0, token: 0, key: 0 },
        Step::IssueNode { token: 0, node: 0 },
        Step::RedeemNode { token: 0, key: 0 },
        Step::Stand { tenant: 0, what: 3, carried: true },
        Step::Stand { tenant: 0, what: 11, carried: true },
        Step::Issuer { tenant: 0, which: 0, what: 5 },
        Step::Issuer { tenant: 0, which: 0, what: 1 },
        Step::Issuer { tenant: 0, which: 0, what: 0 },
    ];
    for step in steps {
        let outcome = play.act(&step);
        assert!(matches!(outcome, Some(Outcome::Done(_))), "{step:?}: {outcome:?}");
    }
    replays(&play).unwrap();
}

/// So do quotas.
#[test]
fn plays_limit_and_refuse() {
    let mut play = Play::new();
    let quota = |whose, measure, hard| Step::Quota { tenant: 0, whose, measure, hard };
    for step in [quota(0, 1, 22), quota(1, 0, 3), quota(2, 3, 1), quota(3, 2, 0)] {
        let outcome = play.act(&step);
        assert!(matches!(outcome, Some(Outcome::Done(_))), "{step:?}: {outcome:?}");
    }
    let mut refused = 0;
    for _ in 0..12 {
        for step in [Step::Open { backup: 0 }, Step::TopUp { backup: 0, group: 1, bytes: 3 }, Step::Fresh { backup: 0 }]
        {
            let outcome = play.act(&step);
            refused += usize::from(matches!(outcome, Some(Outcome::Refused(Refusal::Quota { .. }))));
        }
    }
    assert!(0 < refused);
    replays(&play).unwrap();
}

/// So do ticks and members.
#[test]
fn plays_fence_dispute_and_replace() {
    let mut play = Play::new();
    let group = 1;
    let tick = |other, third| Step::TickOf { group, silent: 0, other, third };
    let steps = [
        tick(0b1, 0),
        Step::Lose { group, node: 0, whose: 0 },
        Step::Lose { group, node: 0, whose: 3 },
        Step::Hear { group, back: 0 },
        Step::Come { group, back: 0 },
        tick(0b11, 0b1100),
        tick(0b11, 0b1100),
        tick(0b11, 0b1100),
    ];
    for (at, step) in steps.iter().enumerate() {
        let outcome = play.act(step);
        assert!(matches!(outcome, Some(Outcome::Done(_))), "{at} {step:?}: {outcome:?}");
        assert_eq!(play.world.groups[&GroupId(1)].fenced().is_empty(), 3 <= at, "{at} {step:?}");
    }
    assert!(play.world.groups[&GroupId(1)].view().disputed);
    assert_eq!(play.changes.len(), 2);
    play.shards_agree().unwrap();
    replays(&play).unwrap();
}
