//! Tenants: how one is founded, where its root key is, and how an operator admits it to a cluster.
//!
//! ```text
//!   root key + first identities ──found──▶ founding record ──admit (operator)──▶ a tenant with a home shard
//! ```
//!
//! Promises: a founding record exists before any cluster knows the tenant, and is signed by the key that it names;
//! admitting the same record in the same way again is the same command, and answers what was answered first.
//! Not here: vaults (`vaults.rs`), key files (whoever makes them), who may admit (the rules).

use std::time::Duration;

use strongroom_format::codec;
use strongroom_format::command::OperatorBody;
use strongroom_format::id::{GroupId, Nonce, SetVersion, StatementVersion, TenantId, TenantName, TenantTag};
use strongroom_format::keys::RootKey;
use strongroom_format::outcome::Done;
use strongroom_format::sign;
use strongroom_format::statement::{FoundingIdentity, FoundingRecord};
use strongroom_proto_identity::certificate::read_authority;
use strongroom_proto_identity::tls::certificates_from_pem;

use crate::error::{Error, Result};
use crate::operator::Operator;
use crate::profile::Profile;
use crate::random::random;
use crate::session;

/// No file with a founding record is longer.
pub const FOUNDING_FILE_BYTES_MAX: u64 = 1 << 20;

/// A tenant to be admitted.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its name, as in its founding record.
    pub name: TenantName,
    /// Canonical bytes of its signed founding record ([`found`]).
    pub founding: Vec<u8>,
    /// PEM with the certificates of the authorities that may issue its certificates, at least one.
    pub issuers_pem: String,
    /// Over how many shards its data is spread, at least 1.
    pub width: u16,
}

/// A tenant that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its id.
    pub tenant: TenantId,
    /// The shard of its vaults and snapshots.
    pub home: GroupId,
    /// The shards over which its data is spread.
    pub groups: Vec<GroupId>,
    /// The version of that set.
    pub set_version: SetVersion,
}

/// Founds a tenant: gives it a random id and signs its first identities. Lists may come in any order.
///
/// # Errors
/// `Refused` with reason `FOUNDING` if there is no identity, one is named twice or has no role, or a key is none.
pub fn found(
    root: &RootKey,
    name: TenantName,
    mut identities: Vec<FoundingIdentity>,
    mut approvers: Vec<FoundingIdentity>,
) -> Result<(FoundingRecord, Vec<u8>)> {
    for list in [&mut identities, &mut approvers] {
        list.sort_by(|a, b| a.identity.cmp(&b.identity));
        list.iter_mut().for_each(|identity| identity.roles.sort_unstable());
    }
    let record = FoundingRecord {
        tenant: TenantId::from_bytes(random()?),
        name,
        tag: TenantTag::from_bytes(random()?),
        root: root.public_key(),
        version: StatementVersion(1),
        identities,
        approvers,
    };
    let signed = record.sign(root).map_err(|fault| unusable(&fault))?;
    Ok((record, codec::encode(&signed)))
}

/// Reads a signed founding record. Whose root key it names is for the reader to compare.
///
/// # Errors
/// `Refused` with reason `FOUNDING` if it is none, or not signed by the key that it names.
pub fn read_founding(bytes: &[u8]) -> Result<FoundingRecord> {
    FoundingRecord::open(bytes).map_err(|fault| unusable(&fault))
}

/// Admits a tenant with an operator's profile. Nodes that do not answer, and elections, are waited out until patience
/// ends. Doing it again is harmless: the same request gives the same answer.
///
/// # Errors
/// `Refused` if the record or the certificates are unusable, the operator may not, or the name or id was given before;
/// `Unavailable` or `Unknown` after the deadline (run it again: it is never done twice).
pub async fn admit(profile: &Profile, new: NewTenant, patience: Duration) -> Result<Admitted> {
    let body = request(new)?;
    let operator = Operator::connect(profile, patience).await?;
    match operator.submit(nonce_of(&body), body).await? {
        Done::TenantCreated { tenant, home, groups, set_version } => Ok(Admitted { tenant, home, groups, set_version }),
        other => Err(session::unexpected(&other)),
    }
}

/// What the rules would refuse, or take for something else than was meant, is refused here, with better words.
fn request(new: NewTenant) -> Result<OperatorBody> {
    let founding = read_founding(&new.founding)?;
    if founding.name != new.name {
        return Err(unusable(&format_args!("it founds `{}`, not `{}`", founding.name, new.name)));
    }
    let issuer = |fault: &dyn std::fmt::Display| {
        Error::refused(
            "INVALID_ARGUMENT",
            "ISSUER",
            format_args!("the issuer's certificate: {fault}"),
            "name a PEM file with the certificates of the tenant's own authorities",
        )
    };
    let certificates = certificates_from_pem(new.issuers_pem.as_bytes()).map_err(|fault| issuer(&fault))?;
    for certificate in &certificates {
        read_authority(certificate).map_err(|fault| issuer(&fault))?;
    }
    if new.width == 0 {
        return Err(Error::refused("INVALID_ARGUMENT", "WIDTH", "the width is 0", "spread over at least one shard"));
    }
    Ok(OperatorBody::CreateTenant {
        name: new.name,
        founding: new.founding,
        issuers: certificates.into_iter().map(|certificate| certificate.to_vec()).collect(),
        home: None,
        width: new.width,
    })
}

/// The nonce of a request is made from all that it asks: the same request again is the same command, another one is
/// not answered with its outcome.
fn nonce_of(body: &OperatorBody) -> Nonce {
    let bytes = borsh::to_vec(body).expect("memory takes all bytes");
    let mut nonce = [0; Nonce::BYTES];
    nonce.copy_from_slice(&sign::digest("nonce of an operator's request", &bytes).as_bytes()[..Nonce::BYTES]);
    Nonce::from_bytes(nonce)
}

fn unusable(why: &dyn std::fmt::Display) -> Error {
    Error::refused(
        "INVALID_ARGUMENT",
        "FOUNDING",
        format_args!("the founding record is unusable: {why}"),
        "make one with `strongroom init-key root` where the tenant's root key is",
    )
}

#[cfg(test)]
mod tests {
    use strongroom_format::role::Role;
    use strongroom_format::sign::SigningKey;

    use super::*;

    fn secret(seed: u8) -> [u8; 32] {
        let mut bytes = [seed; 32];
        bytes[0] = seed.wrapping_add(1);
        bytes
    }

    fn identity(name: &str, roles: &[Role]) -> FoundingIdentity {
        let seed = name.bytes().fold(0, u8::wrapping_add);
        let signing_key = SigningKey::from_secret(secret(seed)).unwrap().public_key();
        FoundingIdentity { identity: name.parse().unwrap(), roles: roles.to_vec(), signing_key }
    }

    fn founded() -> Vec<u8> {
        let root = RootKey::from_secret(secret(1)).unwrap();
        let people = vec![identity("rita", &[Role::Restorer]), identity("anna", &[Role::Auditor, Role::Admin])];
        found(&root, "acme".parse().unwrap(), people, Vec::new()).unwrap().1
    }

    #[test]
    fn a_founding_record_is_signed_and_sorted() {
        let record = read_founding(&founded()).unwrap();
        assert_eq!(record.name.to_string(), "acme");
        assert_eq!(record.identities[0].identity.to_string(), "anna");
        assert_eq!(record.identities[0].roles, [Role::Admin, Role::Auditor]);
        assert_ne!(record.tenant, read_founding(&founded()).unwrap().tenant, "ids are random");
    }

    #[test]
    fn a_record_that_the_rules_would_refuse_is_not_signed() {
        let root = RootKey::from_secret(secret(1)).unwrap();
        let name: TenantName = "acme".parse().unwrap();
        let twice = vec![identity("anna", &[Role::Admin]), identity("anna", &[Role::Writer])];
        for people in [Vec::new(), twice, vec![identity("anna", &[])]] {
            assert_eq!(found(&root, name.clone(), people, Vec::new()).unwrap_err().reason(), Some("FOUNDING"));
        }
    }

    #[test]
    fn an_altered_record_and_another_name_are_refused_before_anybody_is_asked() {
        let new = |name: &str, founding: Vec<u8>| NewTenant {
            name: name.parse().unwrap(),
            founding,
            issuers_pem: String::new(),
            width: 1,
        };
        let mut altered = founded();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        assert_eq!(request(new("acme", altered)).unwrap_err().reason(), Some("FOUNDING"));
        assert_eq!(request(new("globex", founded())).unwrap_err().reason(), Some("FOUNDING"));
        assert_eq!(request(new("acme", founded())).unwrap_err().reason(), Some("ISSUER"));
    }

    #[test]
    fn the_same_request_has_the_same_nonce_and_no_other_has_it() {
        let body = |founding: &[u8], width| OperatorBody::CreateTenant {
            name: "acme".parse().unwrap(),
            founding: founding.to_vec(),
            issuers: Vec::new(),
            home: None,
            width,
        };
        let founding = founded();
        assert_eq!(nonce_of(&body(&founding, 3)), nonce_of(&body(&founding, 3)));
        assert_ne!(nonce_of(&body(&founding, 3)), nonce_of(&body(&founding, 1)));
        assert_ne!(nonce_of(&body(&founding, 3)), nonce_of(&body(&founded(), 3)));
    }
}
