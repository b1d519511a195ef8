//! Scripts: `tests/scripts/*.txt`, commands and outcomes that can be read without reading Rust.
//!
//! ```text
//! # a comment
//! world 6 nodes 3 regions 3 shards: acme/3 globex/1/unlocked
//! > acme web-1 opens a session
//! done session
//! ```
//!
//! A line that begins with `>` is a command; the line behind it is the outcome. A session is opened for whoever has none.
//! With `BLESS_SCRIPTS=1` the outcomes are written as they are: read the difference before you commit it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use strongroom_core::entry::NodeCommand;
use strongroom_core::query::{Answer, Query};
use strongroom_core::voters::VoterView;
use strongroom_format::command::{BlobRef, Body, OperatorBody};
use strongroom_format::ending::EndOrder;
use strongroom_format::id::{GroupId, ReplicaId};
use strongroom_format::outcome::{Done, Outcome, Redeemed, Refusal};
use strongroom_format::role::Role;

use crate::backup::{Backup, Piece, inner, leaf};
use crate::group::{HOUR_MS, MINUTE_MS, identity, node_key, signing_key};
use crate::tenant::issue_body;
use crate::world::{Session, World, genesis, issue_node_body, rebuild_request, redeem_node};

#[test]
fn every_script_reads_as_it_runs() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        let text = std::fs::read_to_string(&script).unwrap();
        let told = tell(&text);
        if std::env::var_os("BLESS_SCRIPTS").is_some() {
            std::fs::write(&script, &told).unwrap();
            continue;
        }
        assert!(told == text, "{} runs otherwise:\n{told}", script.display());
    }
}

/// The script with the outcomes that it really has.
fn tell(text: &str) -> String {
    let mut told = String::new();
    let mut stage: Option<Stage> = None;
    let mut skip = false;
    for line in text.lines() {
        if std::mem::take(&mut skip) {
            continue;
        }
        writeln!(told, "{line}").unwrap();
        if let Some(world) = line.strip_prefix("world ") {
            stage = Some(Stage::new(world));
        } else if let Some(command) = line.strip_prefix("> ") {
            let outcome = stage.as_mut().expect("a script begins with its world").act(command);
            writeln!(told, "{outcome}").unwrap();
            skip = true;
        }
    }
    told
}

struct Stage {
    world: World,
    sessions: BTreeMap<(String, String), Session>,
    backups: BTreeMap<String, Backup>,
    replicas: Vec<ReplicaId>,
}

impl Stage {
    fn new(world: &str) -> Self {
        let words: Vec<&str> = world.split([' ', ':']).filter(|word| !word.is_empty()).collect();
        let [nodes, "nodes", regions, "regions", shards, "shards", tenants @ ..] = &words[..] else {
            panic!("world: {world}")
        };
        let (nodes, regions) = (nodes.parse().unwrap(), regions.parse().unwrap());
        let mut world = World::founded(&genesis(nodes, regions, shards.parse().unwrap()));
        for tenant in tenants {
            match tenant.split('/').collect::<Vec<_>>()[..] {
                [name, width] => world.create_tenant(name, width.parse().unwrap()),
                [name, width, "unlocked"] => world.create_unlocked_tenant(name, width.parse().unwrap()),
                _ => panic!("tenant: {tenant}"),
            }
            world.settle(tenant.split('/').next().unwrap());
        }
        Self { world, sessions: BTreeMap::new(), backups: BTreeMap::new(), replicas: Vec::new() }
    }

    fn act(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        match &words[..] {
            ["time", "passes", amount] => {
                self.world.pass(milliseconds(amount));
                "done".into()
            }
            ["the", "home", "shards", "are", "asked"] => format!("done told {}", self.world.decide()),
            ["other", "shards", "are", "told", "of", "ends"] => format!("done told {}", self.world.tell_ends()),
            ["garbage", "is", "collected", "after", amount] => {
                self.world.collect(milliseconds(amount));
                "done".into()
            }
            ["shard", group, "uses"] => {
                let usage = self.world.group(GroupId(group.parse().unwrap())).view().usage;
                format!("done {} blobs {} nodes {} snapshots", usage.blobs, usage.nodes, usage.snapshots)
            }
            ["group", group, "ticks", how @ ..] => {
                let (silent, states) = heard(how);
                let silent: Vec<&str> = silent.iter().map(String::as_str).collect();
                let states: Vec<(&str, &str)> = states.iter().map(|(of, is)| (of.as_str(), is.as_str())).collect();
                say(&self.world.group(parse_group(group)).tick_of(MINUTE_MS, &silent, &states))
            }
            ["group", group, "tells", "of", "its", "voters"] => {
                let view = self.world.groups[&parse_group(group)].view();
                let voter = |voter: &VoterView| format!("{}{}", voter.node, if voter.fenced { " fenced" } else { "" });
                let voters: Vec<String> = view.voters.iter().map(voter).collect();
                format!("done {}{}", voters.join(", "), if view.disputed { "; disputed" } else { "" })
            }
            ["group", group, "has"] => self.members_of(parse_group(group)),
            ["shard", group, "hears", "of", node] => {
                let group = parse_group(group);
                let (change, there) = (self.world.changing(group), self.world.shard_member(group, node));
                let (slot, _) = self.world.member(group, node);
                let to = change.filter(|change| change.slot == slot).expect("somebody comes").to;
                say(&self.world.replace(group, slot, there, to))
            }
            [node, "has", "come", "in", "group", group] => {
                let (group, (slot, _)) = (parse_group(group), self.world.member(parse_group(group), node));
                let to = self.world.changing(group).expect("somebody comes").to;
                say(&self.world.has_come(group, slot, to))
            }
            [node, "is", "lost", "in", "group", group] => {
                let (_, from) = self.world.member(parse_group(group), node);
                self.rebuild(parse_group(group), node, from)
            }
            [node, "is", "lost", "on", "its", "way", "in", "group", group] => {
                let from = self.world.changing(parse_group(group)).expect("somebody comes").to;
                self.rebuild(parse_group(group), node, from)
            }
            [liar, "says", "that", node, "is", "lost", "in", "group", group] => {
                let (slot, from) = self.world.member(parse_group(group), node);
                let key = node_key(&liar.parse().unwrap());
                let asked = rebuild_request(parse_group(group), slot, from).sign(&key);
                say(&self.world.cluster().node(NodeCommand::RebuildReplica(asked)))
            }
            ["operator", who, step @ ("suspends" | "resumes" | "ends"), tenant] => {
                let (id, reason) = (self.world.tenant(tenant).id, "script".to_owned());
                let outcome = self.world.operator_as(
                    who,
                    match *step {
                        "suspends" => OperatorBody::SuspendTenant { tenant: id, reason },
                        "resumes" => OperatorBody::ResumeTenant { tenant: id, reason },
                        _ => OperatorBody::EndTenant { tenant: id, reason },
                    },
                );
                self.world.carry(tenant);
                say(&outcome)
            }
            ["operator", who, "issues", token, "for", "node", node, "in", region] => {
                say(&self.world.operator_as(who, issue_node_body(token, node, region)))
            }
            ["somebody", "redeems", token, "as", "node", "with", "key", key] => {
                let redemption = redeem_node(token, &signing_key(key), 9000);
                say(&self.world.cluster().redeem(redemption))
            }
            ["somebody", "redeems", token, "of", tenant, "with", "key", key] => {
                let redemption = self.world.tenant(tenant).redeem(token, key);
                let home = self.world.tenant(tenant).home;
                say(&self.world.group(home).redeem(redemption))
            }
            [tenant, who, rest @ ..] => self.act_as(tenant, who, rest),
            _ => panic!("what is: {command}"),
        }
    }

    fn act_as(&mut self, tenant: &str, who: &str, words: &[&str]) -> String {
        let outcome = match words {
            ["opens", "a", "session"] => {
                let session = self.world.open_session(tenant, who);
                self.sessions.insert((tenant.into(), who.into()), session);
                return "done session".into();
            }
            ["opens", name] => {
                let session = self.session(tenant, who);
                let mut backup = Backup::new(&self.world, tenant, who, session, name);
                let outcome = backup.open(&mut self.world);
                self.keep(tenant, who, &backup);
                self.backups.entry((*name).into()).or_insert(backup);
                outcome
            }
            ["joins", name, "in", group] => {
                self.with(tenant, who, name, |backup, world| backup.join(world, GroupId(group.parse().unwrap())))
            }
            ["registers", "for", name, "in", group, pieces @ ..] => self.with(tenant, who, name, |backup, world| {
                let pieces: Vec<Piece> = pieces.iter().map(|piece| parse_piece(piece)).collect();
                backup.register(world, GroupId(group.parse().unwrap()), &pieces)
            }),
            ["puts", "a", "leaf", "for", name, "in", group, "over", pieces @ ..] => {
                self.with(tenant, who, name, |backup, world| {
                    let pieces: Vec<Piece> = pieces.iter().map(|piece| parse_piece(piece)).collect();
                    let (node, bytes) = leaf(&backup.keys(world), &pieces);
                    let group = GroupId(group.parse().unwrap());
                    backup.contents.insert(group, node);
                    backup.put(world, group, &[bytes])
                })
            }
            ["puts", "a", "node", "over", "it", "for", name, "in", group] => {
                self.with(tenant, who, name, |backup, world| {
                    let group = GroupId(group.parse().unwrap());
                    let (node, bytes) = inner(&backup.keys(world), &[&backup.contents[&group]]);
                    backup.contents.insert(group, node);
                    backup.put(world, group, &[bytes])
                })
            }
            ["puts", "the", "manifest", "for", name] => self.with(tenant, who, name, |backup, world| {
                backup.fill_manifest(world);
                Outcome::Done(Done::Done)
            }),
            ["seals", name, "in", group] => {
                self.with(tenant, who, name, |backup, world| backup.seal(world, GroupId(group.parse().unwrap())))
            }
            ["commits", name] => self.with(tenant, who, name, |backup, world| backup.commit(world)),
            ["gives", "up", name] => self.with(tenant, who, name, |backup, world| {
                let (home, snapshot) = (backup.home(world), backup.snapshot);
                backup.submit(world, home, Body::AbortSnapshot { snapshot })
            }),
            ["deletes", name] => {
                let snapshot = self.backups[*name].snapshot;
                self.submit(tenant, who, Body::End(EndOrder::DeleteSnapshot { snapshot, reason: "script".into() }))
            }
            ["deletes", "its", "vault"] => {
                let vault = self.world.tenant(tenant).vault;
                self.submit(tenant, who, Body::End(EndOrder::DeleteVault { vault, reason: "script".into() }))
            }
            ["restores", name] => {
                let snapshots = vec![self.backups[*name].snapshot];
                let body = Body::OpenRestore { snapshots, purpose: "script".into(), lifetime_ms: HOUR_MS };
                self.submit(tenant, who, body)
            }
            ["reports", piece, "in", name] => {
                let of = self.world.tenant(tenant);
                let BlobRef { chunk, blob } = parse_piece(piece).of;
                let backup = &self.backups[*name];
                let body = Body::ReportBlob {
                    vault: of.vault,
                    domain: of.domain(&backup.writer).domain,
                    chunk,
                    blob,
                    snapshot: backup.snapshot,
                };
                self.submit(tenant, who, body)
            }
            ["asks", "for", "chunk", piece] => {
                let of = self.world.tenant(tenant);
                let query = Query::Which {
                    tenant: of.id,
                    by: identity(who),
                    vault: of.vault,
                    domain: of.domain(who).domain,
                    chunks: vec![parse_piece(piece).of.chunk],
                    nodes: Vec::new(),
                };
                let Answer::Which(which) = self.world.groups[&of.home].ask(&query) else { panic!() };
                return if which.chunks.is_empty() { "done unknown".into() } else { "done known".into() };
            }
            ["lists", "its", "snapshots"] => {
                let of = self.world.tenant(tenant);
                let query = Query::Snapshots {
                    tenant: of.id,
                    vault: of.vault,
                    by: Some(identity(who)),
                    label: None,
                    after: 0,
                    limit: 10,
                };
                let Answer::Snapshots(page) = self.world.groups[&of.home].ask(&query) else { panic!() };
                let names: Vec<&str> = page
                    .snapshots
                    .iter()
                    .map(|view| {
                        let of = self.backups.iter().find(|(_, backup)| backup.snapshot == view.snapshot);
                        of.map_or("?", |(name, _)| name.as_str())
                    })
                    .collect();
                return format!("done [{}]", names.join(" "));
            }
            ["closes", whom] => {
                let body = Body::CloseIdentity { identity: identity(whom), reason: "script".into() };
                self.submit(tenant, who, body)
            }
            ["issues", token, "for", whom, "as", roles @ ..] => {
                let roles: Vec<Role> = roles.iter().map(|role| role.parse().unwrap()).collect();
                self.submit(tenant, who, issue_body(token, whom, &roles))
            }
            ["enrols", whom, "as", role] => {
                let body = Body::EnrolIdentity {
                    identity: identity(whom),
                    roles: vec![role.parse::<Role>().unwrap()],
                    signing_key: self.world.tenant(tenant).key(whom).public_key(),
                    locks: None,
                    approvals: Vec::new(),
                };
                self.submit(tenant, who, body)
            }
            _ => panic!("what is: {tenant} {who} {words:?}"),
        };
        say(&outcome)
    }

    fn rebuild(&mut self, group: GroupId, node: &str, from: ReplicaId) -> String {
        match self.world.rebuild(group, node, from) {
            Outcome::Done(Done::ReplicaAllotted { replica }) => format!("done {}", self.name(replica)),
            other => say(&other),
        }
    }

    /// The members as the cluster group has them.
    fn members_of(&mut self, group: GroupId) -> String {
        let map = self.world.map();
        let mut nodes: Vec<String> = map.nodes.iter().map(|node| node.name.to_string()).collect();
        nodes.sort();
        let change = self.world.changing(group);
        let mut members = Vec::new();
        for node in nodes {
            let (_, replica) = self.world.member(group, &node);
            let comes = change.filter(|change| change.from == replica).map(|change| change.to);
            let comes = comes.map_or_else(String::new, |to| format!(", {} comes", self.name(to)));
            members.push(format!("{node} is {}{comes}", self.name(replica)));
        }
        format!("done {}", members.join("; "))
    }

    /// Replica ids are called by numbers in the order in which a script names them.
    fn name(&mut self, replica: ReplicaId) -> String {
        let known = self.replicas.iter().position(|known| *known == replica);
        let at = known.unwrap_or_else(|| {
            self.replicas.push(replica);
            self.replicas.len() - 1
        });
        format!("#{}", at + 1)
    }

    fn session(&mut self, tenant: &str, who: &str) -> Session {
        let key = (tenant.to_owned(), who.to_owned());
        if !self.sessions.contains_key(&key) {
            let session = self.world.open_session(tenant, who);
            self.sessions.insert(key.clone(), session);
        }
        self.sessions[&key]
    }

    fn submit(&mut self, tenant: &str, who: &str, body: Body) -> Outcome {
        let mut session = self.session(tenant, who);
        let outcome = self.world.submit(tenant, who, &mut session, body);
        self.sessions.insert((tenant.into(), who.into()), session);
        outcome
    }

    /// Goes on with a backup as `who`, in that identity's own session at home.
    fn with(
        &mut self,
        tenant: &str,
        who: &str,
        name: &str,
        step: impl FnOnce(&mut Backup, &mut World) -> Outcome,
    ) -> Outcome {
        let session = self.session(tenant, who);
        let mut backup = self.backups[name].clone();
        backup.sessions.insert(session.group, session);
        let owner = std::mem::replace(&mut backup.writer, who.into());
        let outcome = step(&mut backup, &mut self.world);
        backup.writer = owner;
        self.keep(tenant, who, &backup);
        self.backups.insert(name.into(), backup);
        outcome
    }

    fn keep(&mut self, tenant: &str, who: &str, backup: &Backup) {
        let home = backup.home(&self.world);
        self.sessions.insert((tenant.into(), who.into()), backup.sessions[&home]);
    }
}

/// `name` or `name.copy`.
fn parse_piece(word: &str) -> Piece {
    match word.split_once('.') {
        Some((name, copy)) => Piece::new(name, copy.parse().unwrap()),
        None => Piece::new(word, 0),
    }
}

fn parse_group(word: &str) -> GroupId {
    GroupId(word.parse().unwrap())
}

/// `without NODE … with NODE:STATE …`: who says nothing, and who has which state instead of the right one.
fn heard(words: &[&str]) -> (Vec<String>, Vec<(String, String)>) {
    let (mut silent, mut states) = (Vec::new(), Vec::new());
    for word in words.iter().filter(|word| !matches!(**word, "without" | "with")) {
        match word.split_once(':') {
            Some((node, state)) => states.push((node.to_owned(), state.to_owned())),
            None => silent.push((*word).to_owned()),
        }
    }
    (silent, states)
}

fn milliseconds(amount: &str) -> u64 {
    let (number, unit) = amount.split_at(amount.len() - 1);
    let number: u64 = number.parse().unwrap();
    match unit {
        "h" => number * HOUR_MS,
        "m" => number * MINUTE_MS,
        _ => panic!("what is: {amount}"),
    }
}

fn say(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(Done::Registered { known }) => format!("done registered, {known} known"),
        Outcome::Done(Done::NodesPut { known }) => format!("done put, {known} known"),
        Outcome::Done(Done::Sealed(sealed)) => {
            format!("done sealed, {} roots, {} chunk references", sealed.roots.len(), sealed.chunk_refs)
        }
        Outcome::Done(Done::Committed { strength, .. }) => {
            format!("done committed, survives {} regions, {} nodes", strength.regions, strength.nodes)
        }
        Outcome::Done(Done::SnapshotOpened { .. }) => "done opened".into(),
        Outcome::Done(Done::Joined { .. }) => "done joined".into(),
        Outcome::Done(Done::RestoreOpened { .. }) => "done restore".into(),
        Outcome::Done(Done::Redeemed(Redeemed::Identity { identity, roles })) => {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            format!("done {identity} is {}", roles.join(" "))
        }
        Outcome::Done(Done::Redeemed(Redeemed::Node { node, region, .. })) => format!("done {node} is in {region}"),
        Outcome::Done(Done::Done) => "done".into(),
        Outcome::Done(done) => format!("done {done:?}"),
        Outcome::Refused(Refusal::ManifestMismatch { why, missing_chunks, missing_nodes, groups }) => {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            let (chunks, nodes) = (missing_chunks.len(), missing_nodes.len());
            format!("refused: {why} ({chunks} chunks, {nodes} nodes, groups [{}])", groups.join(" "))
        }
        Outcome::Refused(refusal) => format!("refused: {refusal:?}"),
        Outcome::Forgotten => "forgotten".into(),
    }
}
