//! A look at what a profile names: is it well formed, safe, reachable, and what to do where it is not.
//!
//! ```text
//!   profile ─▶ certificate ─▶ keys ─▶ who else's keys lie here ─▶ state directory ─▶ each endpoint: who, and what time
//! ```
//!
//! It reads and asks; it changes nothing, here or in the cluster. Not here: how findings look (`client/cli`), a node's own
//! configuration (`strongroomd doctor`).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Access;
use strongroom_format::any_key::KeyKind;
use strongroom_format::id::IdentityId;
use strongroom_format::role::Role;
use strongroom_proto::v1 as pb;
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::Credentials;
use tonic::Status;

use crate::connect::{self, Deadline, Effect, Nodes};
use crate::disk::FileSystem;
use crate::error::{Answered, Error, Result, answered};
use crate::keyring;
use crate::profile::Profile;
use crate::state::{Verification, verifications_in};
use crate::topology::Topology;

/// Certificates that end sooner are worth a word.
const SOON_S: u64 = 30 * 24 * 3600;
/// Clocks that differ by more are worth a word …
const SKEW_MS: u64 = 2_000;
/// … and by more than this stop things: tokens and certificates count by them.
const SKEW_WRONG_MS: u64 = 300_000;
/// A verification that is older is worth a word.
const VERIFY_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// More names of a directory are not looked at.
const NAMES_MAX: usize = 4096;
/// How one look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Good,
    /// It works, and should not stay so.
    Warning,
    /// Something does not work, or is not safe.
    Wrong,
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub verdict: Verdict,
    /// What was looked at.
    pub about: String,
    /// What is so; may be empty where it is good.
    pub message: String,
    /// What to do; empty where it is good.
    pub next: String,
}

impl Finding {
    fn good(about: impl Display, message: impl Display) -> Self {
        Self { verdict: Verdict::Good, about: about.to_string(), message: message.to_string(), next: String::new() }
    }

    fn warning(about: impl Display, message: impl Display, next: impl Display) -> Self {
        Self {
            verdict: Verdict::Warning,
            about: about.to_string(),
            message: message.to_string(),
            next: next.to_string(),
        }
    }

    fn wrong(about: impl Display, message: impl Display, next: impl Display) -> Self {
        Self { verdict: Verdict::Wrong, ..Self::warning(about, message, next) }
    }

    fn of_error(about: impl Display, error: &Error) -> Self {
        let message = match error {
            Error::Refused { message, .. } | Error::Failed { message, .. } => message.clone(),
            Error::Unknown { .. } | Error::Unavailable { .. } => error.to_string(),
        };
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::wrong(about, format!("{message}{cause}"), error.next())
    }
}

/// Looks at everything that the profile at `path` names. `patience` is how long each endpoint may take to answer.
pub async fn examine(path: &Path, patience: Duration) -> Vec<Finding> {
    let profile = match Profile::read(path) {
        Ok(profile) => profile,
        Err(error) => return vec![Finding::of_error("profile", &error)],
    };
    let mut found = vec![writable_by_others("profile", path)];
    let credentials = connect::credentials(&profile);
    found.push(match &credentials {
        Ok(credentials) => certificate(&profile, credentials, now_s()),
        Err(error) => Finding::of_error("certificate", error),
    });
    found.extend(keys(&profile, credentials.as_ref().ok()));
    found.extend(company(path, &profile));
    if let Some(tenant) = &profile.tenant {
        found.push(state_directory(&tenant.state));
        if profile.keys.restorer.is_some() {
            found.push(last_verify(&tenant.state, now_s()));
        }
    }
    if let Ok(credentials) = &credentials {
        match Nodes::of(&profile, credentials) {
            Ok(nodes) => found.extend(endpoints(&profile, &nodes, patience).await),
            Err(error) => found.push(Finding::of_error("cluster.roots", &error)),
        }
    }
    found
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn writable_by_others(about: &str, path: &Path) -> Finding {
    let others = |metadata: &Metadata| metadata.permissions().mode() & 0o022 != 0;
    match std::fs::metadata(path) {
        Ok(metadata) if others(&metadata) => Finding::wrong(
            about,
            format_args!("others can change {}, and with it what is trusted", path.display()),
            format_args!("look what was changed, then: chmod go-w {}", path.display()),
        ),
        Ok(_) => Finding::good(about, ""),
        Err(cause) => Finding::of_error(about, &Error::file("look at", path, cause)),
    }
}

fn certificate(profile: &Profile, credentials: &Credentials, now_s: u64) -> Finding {
    const ABOUT: &str = "certificate";
    let leaf = credentials.leaf();
    let renew = "get the next one: strongroom enrol --renew";
    let who = match (&leaf.id, &profile.tenant) {
        (SpiffeId::Tenant { tenant, identity, role, .. }, Some(pinned)) if *tenant == pinned.name.0 => {
            format!("{identity} of {tenant}, {role}")
        }
        (SpiffeId::Tenant { tenant, .. }, Some(pinned)) => {
            let message = format!("it is of tenant {tenant}, the profile of {}", pinned.name);
            return Finding::wrong(ABOUT, message, "name the tenant's own certificate in identity.certificate");
        }
        (SpiffeId::Operator { operator, .. }, None) => format!("operator {operator}"),
        (SpiffeId::Tenant { .. }, None) => {
            return Finding::wrong(ABOUT, "it is a tenant's, and the profile has no [tenant]", "add [tenant]");
        }
        (SpiffeId::Operator { .. }, Some(_)) => {
            return Finding::wrong(ABOUT, "it is an operator's, and operators have no tenant", "remove [tenant]");
        }
        (SpiffeId::Node { .. }, _) => {
            return Finding::wrong(ABOUT, "it is a node's", "name our own certificate in identity.certificate");
        }
    };
    if leaf.not_after_unix_s < now_s {
        let next =
            "ended certificates cannot be renewed: enrol with a token, or as a founder (strongroom enrol --help)";
        return Finding::wrong(ABOUT, format_args!("{who}: it has ended"), next);
    }
    if now_s < leaf.not_before_unix_s {
        return Finding::wrong(
            ABOUT,
            format_args!("{who}: it does not count yet, by this machine's clock"),
            "compare this machine's clock with another one",
        );
    }
    let days = (leaf.not_after_unix_s - now_s) / 86_400;
    match leaf.not_after_unix_s < now_s + SOON_S {
        true => Finding::warning(ABOUT, format_args!("{who}: it ends in {days} days"), renew),
        false => Finding::good(ABOUT, format_args!("{who}; {days} days to go")),
    }
}

/// The keys that the profile names: whether each can be used, and is the one that it must be.
fn keys(profile: &Profile, credentials: Option<&Credentials>) -> Vec<Finding> {
    let mut found =
        vec![by(&format!("signing key {}", profile.identity.signing.display()), keyring::signing(profile).map(drop))];
    let me = credentials.and_then(|credentials| match &credentials.leaf().id {
        SpiffeId::Tenant { identity, role, .. } => Some((IdentityId(identity.clone()), *role)),
        SpiffeId::Operator { .. } | SpiffeId::Node { .. } => None,
    });
    let is_mine = |about: String, whose: &IdentityId| match &me {
        Some((identity, _)) if identity != whose => Finding::wrong(
            about,
            format_args!("it is the key of {whose}, and the certificate that of {identity}"),
            format_args!("name the key of {identity}, or use a profile of {whose}"),
        ),
        Some(_) | None => Finding::good(about, ""),
    };
    if let Some(path) = &profile.keys.root {
        found.push(by(&format!("root key {}", path.display()), keyring::root(profile, None).map(drop)));
    }
    if let Some(path) = &profile.keys.writer {
        let about = format!("writer key {}", path.display());
        found.push(match keyring::writer(profile) {
            Ok(key) => is_mine(about, &key.writer),
            Err(error) => Finding::of_error(about, &error),
        });
    }
    if let Some(path) = &profile.keys.restorer {
        let about = format!("restorer key {}", path.display());
        found.push(match keyring::restorer(profile) {
            Ok(key) => is_mine(about, &key.identity),
            Err(error) => Finding::of_error(about, &error),
        });
    }
    if !profile.keys.writers.is_empty() {
        found.push(by("keys.writers", keyring::writers(profile).map(drop)));
    }
    if !profile.keys.recipients.is_empty() {
        found.push(by("keys.recipients", keyring::recipients(profile).map(drop)));
    }
    let missing = match me {
        Some((_, Role::Writer)) if profile.keys.writer.is_none() => Some("writer"),
        Some((_, Role::Restorer)) if profile.keys.restorer.is_none() => Some("restorer"),
        Some(_) | None => None,
    };
    found.extend(missing.map(|role| {
        Finding::wrong(
            "keys",
            format_args!("the certificate is a {role}'s, and the profile names no {role} key"),
            format_args!("add `{role} = \"…\"` under [keys]; `strongroom init-key {role}` makes one"),
        )
    }));
    found
}

fn by(about: &str, look: Result<()>) -> Finding {
    match look {
        Ok(()) => Finding::good(about, ""),
        Err(error) => Finding::of_error(about, &error),
    }
}

/// Which kinds of keys lie on this machine, where the profile and its keys are: what one theft would take.
fn company(path: &Path, profile: &Profile) -> Option<Finding> {
    let keys = &profile.keys;
    let files = [Some(&profile.identity.signing), keys.root.as_ref(), keys.writer.as_ref(), keys.restorer.as_ref()];
    let directories: BTreeSet<PathBuf> = files
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .chain([path])
        .filter_map(|file| std::fs::canonicalize(file).ok()?.parent().map(Path::to_owned))
        .collect();
    let lying: Vec<(KeyKind, PathBuf)> = directories.iter().flat_map(|directory| keys_in(directory)).collect();
    let first = |kind| lying.iter().find(|(lies, _)| *lies == kind).map(|(_, path)| path.display());
    let (root, writer, restorer) = (first(KeyKind::Root), first(KeyKind::Writer), first(KeyKind::Restorer));
    match (writer, restorer, root) {
        (Some(writer), Some(restorer), _) => Some(Finding::warning(
            "keys on one machine",
            format_args!("{writer} and {restorer}: whoever takes this machine can read all that it ever backed up"),
            "keep the restorer's key on another machine, or on paper (`strongroom key sheet`): backing up needs none",
        )),
        (Some(other), None, Some(root)) | (None, Some(other), Some(root)) => Some(Finding::warning(
            "keys on one machine",
            format_args!("{root} and {other}: whoever takes this machine speaks for the whole tenant"),
            "keep the root key where nothing else is, offline",
        )),
        (_, _, _) => None,
    }
}

/// The key files of a directory, by their first lines; their secrets are not read.
fn keys_in(directory: &Path) -> Vec<(KeyKind, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let kind_of = |path: &Path| {
        let longest = KeyKind::ALL.map(|kind| kind.header().len()).into_iter().max().unwrap_or_default();
        let mut start = Vec::new();
        // Whatever else lies there, a fifo included, is passed over.
        std::fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
        File::open(path).ok()?.take(longest as u64 + 1).read_to_end(&mut start).ok()?;
        KeyKind::ALL
            .into_iter()
            .find(|kind| start.strip_prefix(kind.header().as_bytes()).is_some_and(|rest| rest.first() == Some(&b'\n')))
    };
    let mut paths: Vec<PathBuf> = entries.take(NAMES_MAX).filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort_unstable();
    paths.into_iter().filter_map(|path| Some((kind_of(&path)?, path))).collect()
}

fn state_directory(directory: &Path) -> Finding {
    let about = format!("state directory {}", directory.display());
    // What is not there yet is made at the first use, where its parent lets it.
    let there = directory.ancestors().find(|at| at.exists()).unwrap_or(Path::new("/"));
    if rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() || !there.is_dir() {
        return Finding::wrong(
            about,
            format_args!("{} is no directory that can be written", there.display()),
            "make the directory for the user that runs this, or name another one in tenant.state",
        );
    }
    let about = about.as_str();
    match FileSystem::of(there) {
        Ok(FileSystem::Memory(kind)) => Finding::warning(
            about,
            format_args!("it is in memory ({kind}): what this machine has seen is forgotten when it starts again"),
            "name a directory on a disk in tenant.state",
        ),
        Ok(FileSystem::Network(kind) | FileSystem::Program(kind)) => Finding::warning(
            about,
            format_args!("it is on {kind}: locks and syncs may not hold there"),
            "name a directory on a disk of this machine in tenant.state",
        ),
        Ok(FileSystem::Local | FileSystem::Layers(_)) if directory.exists() => writable_by_others(about, directory),
        Ok(FileSystem::Local | FileSystem::Layers(_)) => Finding::good(about, "it is made at the first use"),
        Err(error) => Finding::of_error(about, &error),
    }
}

/// Whether somebody has made sure lately that what is backed up can be read back.
fn last_verify(state: &Path, now_s: u64) -> Finding {
    const ABOUT: &str = "last verify";
    let next = "run: strongroom verify latest --vault VAULT";
    let verified = match verifications_in(state) {
        Ok(verified) => verified,
        Err(error) => return Finding::of_error(ABOUT, &error),
    };
    if let Some(damaged) = verified.iter().find(|verified| !verified.is_whole) {
        let message = format!("the last one in vault {} found damage", damaged.vault);
        return Finding::warning(ABOUT, message, "verify again; if it stays, tell whoever runs the cluster");
    }
    let Some(Verification { unix_ms, vault, .. }) = verified.into_iter().min_by_key(|verified| verified.unix_ms) else {
        let message = "no snapshot was ever verified from here: a backup that nobody has read is a hope";
        return Finding::warning(ABOUT, message, next);
    };
    let age = Duration::from_secs(now_s.saturating_sub(unix_ms / 1000));
    let message = format!("{} days ago in vault {vault}", age.as_secs() / 86_400);
    match VERIFY_AGE < age {
        true => Finding::warning(ABOUT, message, next),
        false => Finding::good(ABOUT, message),
    }
}

/// Each endpoint by itself: who answers there, and what time it has.
async fn endpoints(profile: &Profile, nodes: &Nodes, patience: Duration) -> Vec<Finding> {
    let look = |endpoint: &String| {
        let endpoint = endpoint.clone();
        async move {
            let asked_ms = now_ms();
            let answer = tokio::time::timeout(patience, ask(profile, nodes, &endpoint)).await;
            let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            of_answer(profile, &endpoint, answer, asked_ms, now_ms())
        }
    };
    let mut found = futures_util::future::join_all(profile.cluster.endpoints.iter().map(look)).await;
    if found.iter().all(|one| one.message.starts_with(SILENT)) {
        found.push(Finding::wrong(
            "cluster",
            "none of the endpoints answers",
            "check that nodes run, that the endpoints are right, and that nothing between is closed",
        ));
    } else if let Some(tenant) = &profile.tenant {
        found.push(match founded(profile, nodes, patience).await {
            Ok(topology) => {
                Finding::good(format_args!("tenant {}", tenant.name), format_args!("id {}", topology.tenant))
            }
            Err(error) => Finding::of_error(format_args!("tenant {}", tenant.name), &error),
        });
    }
    found
}

/// How the message about an endpoint begins from which nothing was heard.
const SILENT: &str = "it does not answer";

async fn ask(profile: &Profile, nodes: &Nodes, endpoint: &str) -> std::result::Result<pb::StatusReply, Status> {
    let no_client = |error: Error| Status::unavailable(error.to_string());
    let reply = match profile.tenant {
        Some(_) => nodes.vaults(endpoint).map_err(no_client)?.status(pb::StatusRequest {}).await,
        None => nodes.operators(endpoint).map_err(no_client)?.status(pb::StatusRequest {}).await,
    };
    reply.map(tonic::Response::into_inner)
}

/// Who the tenant is, as the cluster says and the pinned root key has signed.
async fn founded(profile: &Profile, nodes: &Nodes, patience: Duration) -> Result<Topology> {
    let deadline = Deadline::after(patience);
    let ask = |endpoint: String| {
        let client = nodes.vaults(&endpoint);
        async move {
            match client {
                Ok(mut client) => client.topology(pb::TopologyRequest {}).await,
                Err(error) => Err(Status::unavailable(error.to_string())),
            }
        }
    };
    Topology::read(nodes.call(&[], deadline, Effect::None, ask).await?, profile)
}

fn of_answer(
    profile: &Profile,
    endpoint: &str,
    answer: std::result::Result<pb::StatusReply, Status>,
    asked_ms: u64,
    heard_ms: u64,
) -> Finding {
    let about = format!("endpoint {endpoint}");
    let reply = match answer {
        Ok(reply) => reply,
        Err(status) => {
            if let Some(error) = connect::turned_away(&status) {
                return Finding::of_error(about, &error);
            }
            return match answered(&status) {
                Answered::No(error) => Finding::of_error(about, &error),
                Answered::NotNow(text) | Answered::Perhaps(text) => Finding::warning(
                    about,
                    format_args!("{SILENT}: {text}"),
                    "start that node, or correct cluster.endpoints; one that answers is enough",
                ),
            };
        }
    };
    if reply.cluster != profile.cluster.name.0.as_str() {
        let message = format!("it is of the cluster {}, the profile says {}", reply.cluster, profile.cluster.name);
        return Finding::wrong(about, message, "correct cluster.name or cluster.endpoints");
    }
    clocks(&about, reply.wall_unix_ms, asked_ms, heard_ms)
}

/// Compares the node's clock with ours when the question left and when the answer came.
fn clocks(about: &str, theirs_ms: u64, asked_ms: u64, heard_ms: u64) -> Finding {
    if theirs_ms == 0 {
        return Finding::good(about, "it answers");
    }
    let (apart_ms, which) = match (theirs_ms < asked_ms, heard_ms < theirs_ms) {
        (true, _) => (asked_ms - theirs_ms, "behind"),
        (false, true) => (theirs_ms - heard_ms, "ahead of"),
        (false, false) => (0, ""),
    };
    let message = format!("its clock is {}.{} s {which} this machine's", apart_ms / 1000, apart_ms % 1000 / 100);
    let next = "compare both clocks with a third, and run NTP on both machines";
    match apart_ms {
        SKEW_WRONG_MS.. => Finding::wrong(about, message, next),
        SKEW_MS.. => Finding::warning(about, message, next),
        _ => Finding::good(about, "it answers, and its clock agrees"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn clocks_are_compared_with_when_the_question_left_and_the_answer_came() {
        let verdict = |theirs| clocks("n", theirs, 1_000_000, 1_009_000).verdict;
        assert_eq!(verdict(0), Verdict::Good, "an older node says no time");
        for good in [998_001, 1_000_000, 1_004_000, 1_009_000, 1_010_999] {
            assert_eq!(verdict(good), Verdict::Good, "{good}");
        }
        assert_eq!((verdict(998_000), verdict(1_011_000)), (Verdict::Warning, Verdict::Warning));
        assert_eq!((verdict(700_000), verdict(1_309_000)), (Verdict::Wrong, Verdict::Wrong));
        assert!(clocks("n", 990_000, 1_000_000, 1_000_000).message.contains("10.0 s behind"));
    }

    #[test]
    fn an_old_verification_is_worth_a_word() {
        let home = tempfile::tempdir().unwrap();
        let at = |text: &str, now_s| {
            std::fs::write(home.path().join("last-verify"), text).unwrap();
            last_verify(home.path(), now_s)
        };
        assert!(last_verify(home.path(), 0).message.contains("ever verified"));
        let line = |vault: &str, day: u64, verdict: &str| {
            let (vault, snapshot) = (vault.repeat(16), "3f".repeat(16));
            format!("{vault} {snapshot} {} 10000 {verdict}\n", day * 86_400_000)
        };
        let both = line("aa", 100, "whole") + &line("bb", 120, "whole");
        assert_eq!(at(&both, 121 * 86_400).verdict, Verdict::Good);
        let old = at(&both, 131 * 86_400);
        assert_eq!(old.verdict, Verdict::Warning, "one vault is enough");
        assert!(old.message.contains("31 days ago in vault aaaa") && old.next.contains("strongroom verify"), "{old:?}");
        assert!(at(&(both.clone() + &line("cc", 120, "damaged")), 121 * 86_400).message.contains("cccc found damage"));
        // A clock that went back makes nothing old; what is no line says nothing.
        assert_eq!(at(&both, 0).verdict, Verdict::Good);
        assert!(at("\u{fffd} yesterday\n", 0).message.contains("ever verified"));
    }

    #[test]
    fn a_state_directory_must_be_ours_to_write() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(state_directory(&file).verdict, Verdict::Wrong);
        assert_eq!(state_directory(&file.join("below")).verdict, Verdict::Wrong);
        let shared = home.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
        if FileSystem::of(home.path()).unwrap() == FileSystem::Local {
            assert_eq!(state_directory(&shared).verdict, Verdict::Wrong, "others could show us an older world");
            assert!(state_directory(&home.path().join("a/b")).message.contains("first use"));
        }
    }

    #[test]
    fn keys_are_told_by_their_first_lines() {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.writer", "strongroom-writer-key-1\ntenant …"),
            ("b.restorer", "strongroom-restorer-key-1\nidentity rita"),
            ("b.restorer.pub", "strongroom-restorer-public-key-1\nidentity rita"),
            ("c", "strongroom-writer-key-10\n"),
            ("d", "x"),
        ] {
            std::fs::write(home.path().join(name), text).unwrap();
        }
        std::fs::create_dir(home.path().join("e")).unwrap();
        let found: Vec<KeyKind> = keys_in(home.path()).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(found, [KeyKind::Writer, KeyKind::Restorer]);
        assert!(keys_in(Path::new("/absent")).is_empty());
    }
}
