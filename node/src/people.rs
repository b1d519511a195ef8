//! The people and machines that `dev` makes up: for each tenant a root key, an authority, a founding record and five
//! identities with certificates, keys and profiles; and one operator.
//!
//! Not here: how a real tenant does it (`strongroom init-key`, `strongroom tenant create`): the same files, made where
//! the keys belong instead of all in one place.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use strongroom_format::codec;
use strongroom_format::id::{ClusterName, IdentityId, KeyEpoch, StatementVersion, TenantId, TenantName, TenantTag};
use strongroom_format::keys::{KeyFile as _, RestorerKey, RootKey, WriterKey};
use strongroom_format::role::{OperatorRole, Plane, Role};
use strongroom_format::sign::SigningKey;
use strongroom_format::statement::{FoundingIdentity, FoundingRecord};
use strongroom_host::Host;
use strongroom_identity::ca::Ca;
use strongroom_proto_identity::spiffe::SpiffeId;

use crate::found::{
    Founded, keep_authority, keep_issued, leaf_life, life, random, random_signing_key, write_public, write_secret,
};

/// The identities of each tenant: id, role, and the profile's suffix.
const IDENTITIES: [(&str, Role, &str); 5] = [
    ("administrator", Role::Admin, "admin"),
    ("counsel", Role::Legal, "legal"),
    ("inspector", Role::Auditor, "auditor"),
    ("restorer", Role::Restorer, "restorer"),
    ("writer", Role::Writer, "writer"),
];

/// Makes a tenant's keys, certificates and profiles below `dir`.
pub fn make_tenant(
    host: &Host,
    dir: &Path,
    cluster: &ClusterName,
    name: &TenantName,
    endpoints: &[String],
) -> anyhow::Result<()> {
    let home = dir.join("tenants").join(name.to_string());
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let tenant = TenantId::from_bytes(random(host));
    let root = RootKey::from_secret(random(host)).context("the random source gives weak keys")?;
    write_secret(&home.join("root.key"), root.to_text().as_bytes())?;

    let ca = Ca::create(&cluster.0, Plane::Tenant, life(host, 20 * 365))?;
    keep_authority(&ca, &home, "ca")?;

    let mut identities = Vec::new();
    for (id, role, _) in IDENTITIES {
        let identity: IdentityId = id.parse().context("our own names are names")?;
        let signing = random_signing_key(host)?;
        write_secret(&home.join(format!("{id}.signing")), signing.to_text().as_bytes())?;
        let spiffe =
            SpiffeId::Tenant { cluster: cluster.0.clone(), tenant: name.0.clone(), identity: identity.0.clone(), role };
        keep_issued(&ca.issue(&spiffe, leaf_life(host))?, &home, id)?;
        identities.push(FoundingIdentity { identity, roles: vec![role], signing_key: signing.public_key() });
    }
    let writer: IdentityId = "writer".parse().context("our own names are names")?;
    let writer_key = WriterKey::from_secret(tenant, writer, KeyEpoch(1), random(host))
        .context("the random source gives weak keys")?;
    write_secret(&home.join("writer.writer"), writer_key.to_text().as_bytes())?;
    let restorer: IdentityId = "restorer".parse().context("our own names are names")?;
    let restorer_key = RestorerKey::from_secret(restorer, random(host)).context("the random source gives weak keys")?;
    write_secret(&home.join("restorer.restorer"), restorer_key.to_text().as_bytes())?;
    write_public(&home.join("restorer.pub"), &restorer_key.public_key().to_text())?;

    let record = FoundingRecord {
        tenant,
        name: name.clone(),
        tag: TenantTag::from_bytes(random(host)),
        root: root.public_key(),
        version: StatementVersion(1),
        identities,
        approvers: Vec::new(),
    };
    let signed = record.sign(&root).context("our own record is a record")?;
    fs::write(home.join("founding"), codec::encode(&signed)).context("cannot write the founding record")?;

    for (id, _, suffix) in IDENTITIES {
        let mut text = cluster_section(cluster, endpoints, &dir.join("ca/tenant.pem"));
        let fits = "text grows in memory";
        writeln!(text, "\n[tenant]\nname = \"{name}\"\nid = \"{tenant}\"\nroot = \"{}\"", root.public_key())
            .expect(fits);
        writeln!(text, "state = \"{}\"", home.join(format!("state-{suffix}")).display()).expect(fits);
        identity_section(&mut text, &home, id);
        match suffix {
            "admin" => writeln!(
                text,
                "\n[keys]\nroot = \"{0}/root.key\"\nwriters = [\"{0}/writer.writer\"]\nrecipients = [\"{0}/restorer.pub\"]",
                home.display()
            ),
            "restorer" => writeln!(text, "\n[keys]\nrestorer = \"{}/restorer.restorer\"", home.display()),
            "writer" => writeln!(text, "\n[keys]\nwriter = \"{}/writer.writer\"", home.display()),
            _ => Ok(()),
        }
        .expect(fits);
        write_public(&profile_path(dir, &format!("{name}-{suffix}")), &text)?;
    }
    Ok(())
}

/// Makes the operator's certificate, key and profile below `dir`.
pub fn make_operator(
    host: &Host,
    dir: &Path,
    cluster: &ClusterName,
    operator: &IdentityId,
    founded: &Founded,
    endpoints: &[String],
) -> anyhow::Result<()> {
    let home = dir.join("operator");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let spiffe = SpiffeId::Operator {
        cluster: cluster.0.clone(),
        operator: operator.0.clone(),
        role: OperatorRole::PlatformOperator,
    };
    let name = operator.to_string();
    keep_issued(&founded.operator_ca.issue(&spiffe, leaf_life(host))?, &home, &name)?;
    keep_signing(&founded.operator_key, &home.join(format!("{name}.signing")))?;
    let mut text = cluster_section(cluster, endpoints, &dir.join("ca/operator.pem"));
    identity_section(&mut text, &home, &name);
    write_public(&profile_path(dir, "operator"), &text)
}

/// Where a profile lies.
pub fn profile_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("profiles").join(format!("{name}.toml"))
}

fn keep_signing(key: &SigningKey, path: &Path) -> anyhow::Result<()> {
    write_secret(path, key.to_text().as_bytes())
}

fn cluster_section(cluster: &ClusterName, endpoints: &[String], roots: &Path) -> String {
    format!("[cluster]\nname = \"{cluster}\"\nendpoints = {endpoints:?}\nroots = \"{}\"\n", roots.display())
}

fn identity_section(text: &mut String, home: &Path, id: &str) {
    let home = home.display();
    writeln!(
        text,
        "\n[identity]\ncertificate = \"{home}/{id}.pem\"\nkey = \"{home}/{id}.key\"\nsigning = \"{home}/{id}.signing\""
    )
    .expect("text grows in memory");
}
