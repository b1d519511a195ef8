//! `strongroomd join`: a machine becomes a node, with a token of an operator.
//!
//! ```text
//!   token ─▶ node.joining/ { signing.key, tls.key } ─▶ redeemed ─▶ all of node/ in node.joining/ ─rename─▶ node/
//!                  └── the answer was lost: run it again, the same keys get the same answer
//! ```
//!
//! Keys are made here and stay here; what comes back is taken only if it names this node and fits its keys. Not here: what
//! the cluster does with its new node (`node/core`, `node/service`).

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use strongroom::enrol::{self, Joined, TlsKey, chain_pem};
use strongroom_core::genesis::Genesis;
use strongroom_format::codec;
use strongroom_format::enrolment::{Bearer, Token};
use strongroom_format::keys::KeyFile as _;
use strongroom_format::sign::SigningKey;
use strongroom_host::Host;
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::read_private;

use crate::found::{GENESIS_FILE, random_signing_key, root_file, write_public, write_secret};
use crate::origin::{MAP_FILE, map_in};
use crate::settings::{Listen, Log, NodeSettings, Storage, Timing, addresses};

/// How long the cluster is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// No token is longer.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// Redeems the token and lays out `data`/node, which must not exist.
pub async fn join(token: &str, data: &Path, address: &str, port: u16) -> anyhow::Result<()> {
    let token = read_token(token)?;
    let Bearer::Node { name, region } = token.bearer() else {
        bail!("this token is for an identity of a tenant: use it with `strongroom enrol`");
    };
    let data = std::path::absolute(data).context("the data directory has no absolute path")?;
    let (home, half) = (data.join("node"), data.join("node.joining"));
    ensure!(
        !home.exists(),
        "{} exists already; if it is the node that you mean, start it: strongroomd run --config {}",
        home.display(),
        home.join(NodeSettings::FILE).display()
    );
    let identity = half.join("identity");
    make_private(&identity)?;
    let host = Host::real();
    let signing = kept_signing_key(&host, &identity)?;
    let tls = kept_tls_key(&identity)?;
    let listen = Listen::usual(address, port)?;
    let id = SpiffeId::Node { cluster: token.cluster().0.clone(), region: region.0.clone(), node: name.0.clone() };
    let joined = enrol::join(&token, &signing, &tls, addresses(address, &listen), &id, PATIENCE).await?;
    let genesis: Genesis = codec::decode(&joined.genesis).context("what came back is no genesis")?;
    genesis.check().context("the genesis breaks the rules of topology")?;
    ensure!(
        genesis.epoch == token.epoch() && map_in(&joined.map)?.epoch == token.epoch(),
        "what came back is of another cluster than the token's"
    );
    lay_out(&half, &identity, &tls, &joined)?;
    NodeSettings {
        cluster: token.cluster().to_string(),
        region: region.to_string(),
        node: name.to_string(),
        data_dir: home.clone(),
        address: address.to_owned(),
        listen,
        ca: joined.authorities.iter().cloned().collect(),
        storage: Storage::default(),
        log: Log::default(),
        timing: Timing::default(),
        test: None,
    }
    .write_into(&half)?;
    fs::rename(&half, &home).with_context(|| format!("cannot rename {} to {}", half.display(), home.display()))?;
    println!("{name} in region {region} is a node of {}", token.cluster());
    println!("next, here:   strongroomd run --config {}", home.join(NodeSettings::FILE).display());
    println!("then, where the operator is:  strongroom shard create NODE NODE NODE   (when all its nodes run)");
    Ok(())
}

fn read_token(text: &str) -> anyhow::Result<Token> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            std::io::stdin()
                .take(TOKEN_BYTES_MAX)
                .read_to_string(&mut read)
                .context("cannot read the token from stdin")?;
            &read
        }
        text => text,
    };
    Token::parse(text).context("the token cannot be read: copy all of it, in one piece")
}

fn make_private(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create {}", dir.display()))
}

/// The key of an attempt before this one, or a new one.
fn kept_signing_key(host: &Host, identity: &Path) -> anyhow::Result<SigningKey> {
    let file = identity.join("signing.key");
    if file.exists() {
        let text = read_private(&file).context("the signing key of the attempt before")?;
        let text = std::str::from_utf8(&text).context("the signing key is no text")?;
        return SigningKey::from_text(text).with_context(|| format!("{} is no signing key", file.display()));
    }
    let key = random_signing_key(host)?;
    write_secret(&file, key.to_text().as_bytes())?;
    Ok(key)
}

fn kept_tls_key(identity: &Path) -> anyhow::Result<TlsKey> {
    let file = identity.join("peer.key");
    if file.exists() {
        return Ok(TlsKey::from_pem(&read_private(&file).context("the TLS key of the attempt before")?)?);
    }
    let key = TlsKey::generate()?;
    write_secret(&file, key.to_pem().as_bytes())?;
    Ok(key)
}

fn lay_out(half: &Path, identity: &Path, tls: &TlsKey, joined: &Joined) -> anyhow::Result<()> {
    for (plane, chain) in &joined.certificates {
        write_public(&identity.join(format!("{plane}.pem")), &chain_pem(chain))?;
        let key = identity.join(format!("{plane}.key"));
        if !key.exists() {
            write_secret(&key, tls.to_pem().as_bytes())?;
        }
    }
    for (plane, roots) in &joined.roots {
        write_public(&identity.join(root_file(*plane)), &chain_pem(roots))?;
    }
    fs::write(half.join(GENESIS_FILE), &joined.genesis).context("cannot write the genesis")?;
    fs::write(half.join(MAP_FILE), &joined.map).context("cannot write the map")
}
