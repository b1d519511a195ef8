//! Tenants that one test has for itself on the shared cluster: admitted by the operator, suspended, ended, counted,
//! without a word of it reaching other tests.
//!
//! Their files lie as `dev`'s do (`tenants/<name>/`, `profiles/<name>-…toml`), so that whatever speaks for `acme` speaks
//! for them. Not here: what is done with them.

use std::fs;

use strongroom::operator::Operator;
use strongroom::profile::Profile;
use strongroom::tenants::{self, Admitted, NewTenant};
use strongroom_format::id::KeyEpoch;
use strongroom_format::keys::{KeyFile as _, RestorerKey, RootKey, WriterKey};
use strongroom_format::name::Name;
use strongroom_format::role::{Plane, Role};
use strongroom_format::sign::SigningKey;
use strongroom_format::statement::FoundingIdentity;
use strongroom_identity::ca::Ca;
use strongroom_proto_identity::certificate::Life;

use crate::bearer::{Door, Verdict, knock, since_1970};
use crate::cluster::{Cluster, PATIENCE, comes_true};
use crate::shared::{certify, write_private};
use crate::speaker::{Person, random};

/// Founders of every tenant: their ids, roles, and the suffixes of their profiles.
const FOUNDERS: [(&str, Role, &str); 3] = [
    ("administrator", Role::Admin, "admin"),
    ("restorer", Role::Restorer, "restorer"),
    ("writer", Role::Writer, "writer"),
];

/// The operator of a cluster.
pub async fn operator(cluster: &Cluster) -> Operator {
    Operator::connect(&operators_profile(cluster), PATIENCE).await.expect("the cluster answers its operator")
}

fn operators_profile(cluster: &Cluster) -> Profile {
    Profile::read(cluster.profile("operator")).expect("dev's profiles are profiles")
}

/// A life of a CA or certificate, in seconds from now.
pub fn life(from: i64, to: i64) -> Life {
    Life { not_before_unix_s: since_1970(from).as_secs(), not_after_unix_s: since_1970(to).as_secs() }
}

/// A new CA, in memory only.
pub fn new_ca(cluster: &Cluster, plane: Plane) -> Ca {
    let name = Name::try_from(cluster.name.as_str()).expect("a cluster's name is a name");
    Ca::create(&name, plane, life(-7200, 30 * 24 * 3600)).expect("a CA can be made")
}

/// Makes a tenant's keys and files, and gives what admits it.
pub fn found(cluster: &Cluster, name: &str) -> NewTenant {
    let home = cluster.directory().join("tenants").join(name);
    fs::create_dir(&home).expect("no other test has a tenant of this name");
    let ca = new_ca(cluster, Plane::Tenant);
    fs::write(home.join("ca.pem"), ca.certificate_pem()).expect("a certificate can be written");
    write_private(&home.join("ca.key"), ca.key_pem().as_bytes());
    let root = RootKey::from_secret(random()).expect("a good key");
    write_private(&home.join("root.key"), root.to_text().as_bytes());
    let mut founders = Vec::new();
    for (id, role, _) in FOUNDERS {
        let signing = SigningKey::from_secret(random()).expect("a good key");
        write_private(&home.join(format!("{id}.signing")), signing.to_text().as_bytes());
        certify(cluster, name, id, role.as_str());
        let identity = id.parse().expect("a name");
        founders.push(FoundingIdentity { identity, roles: vec![role], signing_key: signing.public_key() });
    }
    let restorer = RestorerKey::from_secret("restorer".parse().expect("a name"), random()).expect("a good key");
    write_private(&home.join("restorer.restorer"), restorer.to_text().as_bytes());
    fs::write(home.join("restorer.pub"), restorer.public_key().to_text().as_bytes()).expect("a key can be written");
    let named = name.parse().expect("a name");
    let (record, founding) = tenants::found(&root, named, founders, Vec::new()).expect("a founding record");
    let writer = "writer".parse().expect("a name");
    let writer = WriterKey::from_secret(record.tenant, writer, KeyEpoch(1), random()).expect("a good key");
    write_private(&home.join("writer.writer"), writer.to_text().as_bytes());

    for (_, _, suffix) in FOUNDERS {
        let of_acme = fs::read_to_string(cluster.profile(&format!("acme-{suffix}"))).expect("a profile");
        let profile = Profile::read(cluster.profile("acme-writer")).expect("a profile");
        let acme = profile.tenant.expect("a tenant's");
        let text = of_acme
            .replace("tenants/acme/", &format!("tenants/{name}/"))
            .replace("name = \"acme\"", &format!("name = \"{name}\""))
            .replace(&acme.id.expect("dev pins it").to_string(), &record.tenant.to_string())
            .replace(&acme.root.to_string(), &record.root.to_string());
        let file = cluster.directory().join("profiles").join(format!("{name}-{suffix}.toml"));
        fs::write(file, text).expect("a profile can be written");
    }
    // Its own CA, and the cluster's, so that its people can enrol.
    let clusters = fs::read_to_string(cluster.directory().join("ca/tenant.pem")).expect("a certificate");
    NewTenant { name: record.name, founding, issuers_pem: format!("{}{clusters}", ca.certificate_pem()), width: 1 }
}

/// Admits it, and waits until every node lets its people in.
pub async fn admit(cluster: &Cluster, new: NewTenant) -> Admitted {
    let name = new.name.to_string();
    let admitted = tenants::admit(&operators_profile(cluster), new, PATIENCE).await.expect("the tenant is admitted");
    let writer = Person::founder(cluster, &name, "writer");
    for node in &cluster.nodes {
        comes_true(PATIENCE, "the tenant is known", async || {
            knock(cluster, node, Door::Tenant, Some(&writer.bearer)).await == Verdict::In
        })
        .await;
    }
    admitted
}

/// A tenant for one test.
pub async fn own_tenant(cluster: &Cluster, name: &str) -> Admitted {
    admit(cluster, found(cluster, name)).await
}
