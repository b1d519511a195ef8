//! `strongroomd doctor`: looks at a node from outside and says what is wrong, and what to do about it.
//!
//! It reads; it changes nothing and needs no running node. Not here: what lies in a stopped node's stores (`inspect.rs`).

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use strongroom::disk::FileSystem;
use strongroom_format::id::NodeName;
use strongroom_format::keys::KeyFile as _;
use strongroom_format::role::Plane;
use strongroom_format::sign::SigningKey;
use strongroom_host::Host;
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::tls::{Credentials, read_certificates, read_private};

use crate::found::root_file;
use crate::origin::Origin;
use crate::processes::running_pid;
use crate::settings::NodeSettings;

/// Certificates that end sooner are worth a word.
const SOON_S: u64 = 30 * 24 * 3600;

/// How one look ended.
enum Found {
    Good(String),
    Warning(String),
    Bad(String),
}

/// Looks at everything; an error if anything is wrong that would stop or endanger the node.
pub fn doctor(config: &Path) -> anyhow::Result<()> {
    let settings = NodeSettings::read(config)?;
    let mut found = Vec::new();
    found.push(in_words("configuration", permissions(config, 0o022, "others can change it; run: chmod go-w")));
    found.extend(directory(&settings));
    found.extend(membership(&settings));
    for plane in Plane::ALL {
        found.push(in_words(&format!("certificate, {plane} plane"), certificate(&settings, plane)));
    }
    found.push(in_words("signing key", signing(&settings)));
    found.extend(enrolment(&settings));
    found.extend(ports(&settings));
    let mut bad = 0;
    for one in found {
        match one {
            Found::Good(text) => println!("ok       {text}"),
            Found::Warning(text) => println!("warning  {text}"),
            Found::Bad(text) => {
                bad += 1;
                println!("WRONG    {text}");
            }
        }
    }
    match bad {
        0 => Ok(()),
        1 => bail!("one thing is wrong; it stands above with what to do"),
        bad => bail!("{bad} things are wrong; they stand above with what to do"),
    }
}

/// A look that gives a note for people.
fn in_words(what: &str, look: anyhow::Result<Option<String>>) -> Found {
    match look {
        Ok(None) => Found::Good(what.to_owned()),
        Ok(Some(note)) => Found::Warning(format!("{what}: {note}")),
        Err(fault) => Found::Bad(format!("{what}: {fault:#}")),
    }
}

fn permissions(path: &Path, forbidden: u32, why: &str) -> anyhow::Result<Option<String>> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if metadata.permissions().mode() & forbidden != 0 {
        bail!("{why} {}", path.display());
    }
    Ok(None)
}

fn directory(settings: &NodeSettings) -> Vec<Found> {
    let dir = &settings.data_dir;
    let mut found = vec![in_words("data directory", permissions(dir, 0o022, "others can change it; run: chmod go-w"))];
    let free = rustix::fs::statvfs(dir).map(|of| of.f_bavail.saturating_mul(of.f_frsize));
    found.push(match free {
        Err(fault) => Found::Bad(format!("disk: {fault}")),
        Ok(free) if free < settings.storage.reserve_bytes => Found::Bad(format!(
            "disk: {free} bytes are free, less than storage.reserve_bytes ({}): writes are refused; free some",
            settings.storage.reserve_bytes
        )),
        Ok(free) => Found::Good(format!("disk: {free} bytes are free")),
    });
    found.push(in_words("file system", file_system(dir)));
    found.push(in_words("encryption of the disk", encrypted(dir)));
    found
}

/// Whether what is synced there stays there.
fn file_system(dir: &Path) -> anyhow::Result<Option<String>> {
    Ok(match FileSystem::of(dir)? {
        FileSystem::Local => None,
        FileSystem::Memory(kind) => Some(format!(
            "the data directory is in memory ({kind}): all of it is gone when the machine starts again; for trying out only"
        )),
        FileSystem::Layers(kind) => Some(format!(
            "the data directory is on layers of a container ({kind}): it is gone with the container; mount a volume"
        )),
        FileSystem::Program(kind) => Some(format!(
            "a program answers for the data directory ({kind}): what it calls durable is its word; use a disk"
        )),
        FileSystem::Network(kind) => bail!(
            "the data directory is on another machine ({kind}): its syncs and locks are not what a node relies on; use a \
             disk of this machine"
        ),
    })
}

/// Whether the file system's device is an encrypted mapping, as far as the kernel says.
fn encrypted(dir: &Path) -> anyhow::Result<Option<String>> {
    let device = fs::metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let uuid = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/dm/uuid")).unwrap_or_default();
    Ok((!uuid.starts_with("CRYPT-")).then(|| {
        "the data directory is on no encrypted device that the kernel knows of: names, sizes and times are open to \
         whoever takes the disk (contents are sealed); use LUKS"
            .to_owned()
    }))
}

fn membership(settings: &NodeSettings) -> Vec<Found> {
    let look = || -> anyhow::Result<Option<String>> {
        let origin = Origin::read(&settings.data_dir)?;
        let me: NodeName = settings.node.parse().with_context(|| format!("`{}` is no node name", settings.node))?;
        let (region, _) = origin.place(&me).with_context(|| format!("the cluster has no node {me}"))?;
        if origin.cluster().to_string() != settings.cluster || region.to_string() != settings.region {
            bail!(
                "node.toml says {} in {}, the cluster {} in {region}",
                settings.cluster,
                settings.region,
                origin.cluster()
            );
        }
        Ok(None)
    };
    vec![in_words("genesis", look())]
}

fn certificate(settings: &NodeSettings, plane: Plane) -> anyhow::Result<Option<String>> {
    let file = |end: &str| settings.data_dir.join("identity").join(format!("{plane}.{end}"));
    let credentials = Credentials::read(&file("pem"), &file("key"), Purpose::Server)?;
    let now_s = Host::real().clock().wall_unix_ns() / 1_000_000_000;
    let end = credentials.leaf().not_after_unix_s;
    if end < now_s {
        bail!("it has ended: put another pair in its place; a running node takes it within seconds");
    }
    Ok((end < now_s + SOON_S).then(|| {
        format!(
            "it ends in {} days: put another pair in its place; a running node takes it within seconds",
            (end - now_s) / 86_400
        )
    }))
}

fn signing(settings: &NodeSettings) -> anyhow::Result<Option<String>> {
    let text = read_private(&settings.data_dir.join("identity/signing.key"))?;
    let key = SigningKey::from_text(std::str::from_utf8(&text).context("it is no text")?)?;
    let me: NodeName = settings.node.parse().context("node")?;
    let place = Origin::read(&settings.data_dir)?.place(&me);
    match place {
        Some((_, expected)) if expected == key.public_key() => Ok(None),
        Some(_) => bail!("it is not the one that the cluster has for {me}"),
        None => bail!("the cluster has no node {me}"),
    }
}

fn enrolment(settings: &NodeSettings) -> Vec<Found> {
    if settings.listen.enrol.is_none() {
        return vec![Found::Warning("enrolment: listen.enrol is not set, this node lets nobody enrol".into())];
    }
    let known = settings.ca.by_plane();
    let look = |plane: Plane| -> anyhow::Result<Option<String>> {
        read_certificates(&settings.data_dir.join("identity").join(root_file(plane)))?;
        let place = known.get(&plane).with_context(|| format!("name its CA process: ca.{plane} in node.toml"))?;
        // One address that takes connections is enough.
        let reached = std::net::ToSocketAddrs::to_socket_addrs(place.as_str())
            .with_context(|| format!("`{place}` cannot be resolved"))?
            .any(|at| std::net::TcpStream::connect_timeout(&at, std::time::Duration::from_secs(2)).is_ok());
        Ok((!reached).then(|| format!("{place} does not answer: start it with `strongroomd ca --plane {plane} …`")))
    };
    Plane::ALL.into_iter().map(|plane| in_words(&format!("CA process, {plane} plane"), look(plane))).collect()
}

fn ports(settings: &NodeSettings) -> Vec<Found> {
    if running_pid(&settings.data_dir).is_some() {
        return vec![Found::Good("the node runs".into())];
    }
    let listen = &settings.listen;
    let all = [Some(listen.tenant), Some(listen.peer), Some(listen.operator), Some(listen.ops), listen.enrol];
    let look = |at: std::net::SocketAddr| match TcpListener::bind(at) {
        Ok(_) => Found::Good(format!("{at} is free")),
        Err(fault) => Found::Bad(format!("{at} cannot be listened on: {fault}")),
    };
    all.into_iter().flatten().map(look).collect()
}
