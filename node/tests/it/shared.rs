//! The cluster that tests share: three nodes in three regions, three tenants, started by whoever needs it first, ended
//! with the process.
//!
//! ```text
//!   acme      width 3   vault papers             writers `writer` and `second`
//!   globex    width 1   vaults papers, ledgers   where snapshots are made by hand
//!   initech   width 1   vault papers             quiet: for tests that count what is there, one at a time (`quiet`)
//! ```
//!
//! Not here: clusters of one's own (`cluster.rs`), for tests that kill.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use strongroom::backup::{Backup, BackupRequest};
use strongroom::client::Client;
use strongroom::keyring;
use strongroom::profile::Profile;
use strongroom::restore::{RestoreRequest, Restored};
use strongroom::vaults::{NewVault, NewWriter};
use strongroom_format::command::Body;
use strongroom_format::id::{IdentityId, KeyEpoch, SnapshotId};
use strongroom_format::keys::{KeyFile as _, WriterKey};
use strongroom_format::label::Label;
use strongroom_format::role::Role;
use strongroom_format::sign::SigningKey;

use crate::bearer::Authority;
use crate::cluster::{Cluster, PATIENCE};
use crate::speaker::{Speaker, random};

/// All tenants.
pub const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// The cluster, once for all tests of this process. The first caller waits until it serves.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let start = || {
        // A runtime of its own: nobody else's may be blocked for so long, and connections of this one end with it.
        let started = std::thread::spawn(|| {
            let cluster = Cluster::start(3, &TENANTS);
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(furnish(&cluster));
            cluster
        });
        started.join().ok()
    };
    SHARED.get_or_init(start).as_ref().expect("the shared cluster did not start; the first failure says why")
}

/// Held by every test that counts what there is of initech, or does something in its name: so nobody counts another's.
pub async fn quiet() -> tokio::sync::MutexGuard<'static, ()> {
    static QUIET: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    QUIET.lock().await
}

async fn furnish(cluster: &Cluster) {
    for (tenant, vaults) in [("acme", &["papers"][..]), ("globex", &["papers", "ledgers"]), ("initech", &["papers"])] {
        for vault in vaults {
            create_vault(cluster, tenant, vault).await;
        }
    }
    enrol_writer(cluster, "acme", "second", "papers").await;
}

/// Creates a vault for a tenant's restorer and writer.
pub async fn create_vault(cluster: &Cluster, tenant: &str, vault: &str) {
    let admin = cluster.client(&format!("{tenant}-admin")).await;
    let profile = admin.profile();
    let root = keyring::root(profile, None).expect("dev's admin has the root key");
    let recipients = keyring::recipients(profile).expect("dev's admin knows the restorer");
    let writers = keyring::writers(profile).expect("dev's admin has the writer's key");
    let writers = writers.into_iter().map(NewWriter::from).collect();
    let new = NewVault::new(vault.parse().expect("a name"), recipients, writers);
    admin.create_vault(new, &root).await.unwrap_or_else(|fault| panic!("vault {vault} of {tenant}: {fault}"));
}

/// Enrols one more writer, with certificate, keys, a card in one vault, and a profile ([`profile_of`]).
pub async fn enrol_writer(cluster: &Cluster, tenant: &str, id: &str, vault: &str) {
    let identity: IdentityId = id.parse().expect("a name");
    let home = cluster.directory().join("tenants").join(tenant);
    let signing = SigningKey::from_secret(random()).expect("a good key");
    let speaker = Speaker::founder(cluster, tenant, "administrator").await;
    let enrolment = Body::EnrolIdentity {
        identity: identity.clone(),
        roles: vec![Role::Writer],
        signing_key: signing.public_key(),
        locks: None,
        approvals: Vec::new(),
    };
    speaker.talk(0).await.say(enrolment).await.expect("an admin enrols writers");
    let key = WriterKey::from_secret(speaker.tenant, identity, KeyEpoch(1), random()).expect("a good key");
    write_private(&home.join(format!("{id}.writer")), key.to_text().as_bytes());
    write_private(&home.join(format!("{id}.signing")), signing.to_text().as_bytes());
    certify(cluster, tenant, id, "writer");

    let admin = cluster.client(&format!("{tenant}-admin")).await;
    let root = keyring::root(admin.profile(), None).expect("dev's admin has the root key");
    let writer = NewWriter { key, signing_key: Some(signing.public_key()) };
    admin.put_card(&vault.parse().expect("a name"), &writer, &root).await.expect("the writer gets a card");

    let text = fs::read_to_string(cluster.profile(&format!("{tenant}-writer"))).expect("a profile");
    let text = text.replace("/writer.", &format!("/{id}.")).replace("state-writer", &format!("state-{id}"));
    fs::write(profile_of(cluster, tenant, id), text).expect("a profile can be written");
}

/// Where the profile of a writer lies that [`enrol_writer`] made.
pub fn profile_of(cluster: &Cluster, tenant: &str, id: &str) -> PathBuf {
    cluster.directory().join("tenants").join(tenant).join(format!("{id}.toml"))
}

/// Writes `<id>.pem` and `<id>.key` for a name of the tenant, whether or not there is such an identity.
pub fn certify(cluster: &Cluster, tenant: &str, id: &str, role: &str) {
    let home = cluster.directory().join("tenants").join(tenant);
    let uri = format!("spiffe://{}/tenant/{tenant}/id/{id}/role/{role}", cluster.name);
    let (certificate, key) = Authority::of_tenant(cluster, tenant).issue(&uri).into_pem();
    fs::write(home.join(format!("{id}.pem")), certificate).expect("a certificate can be written");
    write_private(&home.join(format!("{id}.key")), key.as_bytes());
}

/// Writes a secret into a new file that only its owner can read.
pub fn write_private(path: &Path, secret: &[u8]) {
    use std::io::Write as _;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(secret)).expect("a key can be written");
}

/// The SDK with a profile in a file.
pub async fn client_with(profile: &Path) -> Client {
    let profile = Profile::read(profile).expect("a profile");
    Client::connect(profile, PATIENCE).await.expect("the cluster answers")
}

/// What is to be backed up.
pub fn request(path: &Path, vault: &str, label: &str) -> BackupRequest {
    let label = Label::try_from(label).expect("a label");
    BackupRequest::new(&[path.to_path_buf()], vault.parse().expect("a name"), label).expect("a source")
}

/// Backs a directory up.
pub async fn back_up(client: &Client, path: &Path, vault: &str, label: &str) -> Backup {
    client.back_up(request(path, vault, label)).await.expect("the backup completes")
}

/// Restores a snapshot into a directory that is not there yet.
pub async fn restore(client: &Client, snapshot: SnapshotId, to: &Path) -> Restored {
    client.restore(RestoreRequest::new(snapshot, to.to_path_buf())).await.expect("the restore completes")
}
