//! Issuing CAs: registered for one plane and, on the tenant plane, for exactly the tenants that accepted them; retired for
//! ever; and what they revoked, by a number that only grows.
//!
//!     RegisterIssuer + acceptances signed by root keys ──▶ row ◀── PutRevocations
//!                                                          └──RetireIssuer──▶ retired: never registered again
//!
//! A CA proves identities; it makes none, so what is decided here opens doors and decides nothing behind them (DESIGN.md
//! §8). Not here: reading certificates and lists, judging chains (`node/identity`): what does not read there judges
//! nobody in. Laws: `laws/cluster_adds_up.rs`, `laws/issuers_only_tighten.rs`.

use strongroom_format::codec;
use strongroom_format::id::{ClusterEpoch, Digest, TenantId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Plane;
use strongroom_format::sign::Signed;
use strongroom_format::statement::{FoundingRecord, IssuerAcceptance, issuer_digest};

use crate::cluster::rows::{AcceptanceRow, IssuerRow, RetiredIssuerRow, Revocations, TenantRow};
use crate::entry::TenantState;
use crate::genesis::ISSUER_BYTES_MAX;
use crate::row::Space;
use crate::stop::{Ruled, format_refusal, impossible, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many CAs of one tenant.
pub(crate) const ISSUERS_PER_TENANT_MAX: usize = 16;
/// At most so many tenants share one CA.
pub(crate) const TENANTS_PER_ISSUER_MAX: usize = 4096;
/// At most so many CAs of nodes, and so many of operators.
const ISSUERS_PER_PLANE_MAX: usize = 64;
/// A revocation list has at most so many bytes: some ten thousand certificates, which live for days.
pub const REVOCATIONS_BYTES_MAX: usize = 512 << 10;
/// All lists together: every node holds them in memory.
const REVOCATIONS_BYTES_IN_ALL_MAX: usize = 16 << 20;

/// Registers a CA, or lets more tenants use it.
pub(crate) fn register(
    tables: &mut dyn Tables,
    epoch: ClusterEpoch,
    plane: Plane,
    certificate: &[u8],
    acceptances: &[Vec<u8>],
) -> Ruled<Done> {
    let mut row = of_certificate(&*tables, plane, certificate)?;
    let digest = issuer_digest(certificate);
    match plane {
        Plane::Tenant => {
            if acceptances.is_empty() || TENANTS_PER_ISSUER_MAX < acceptances.len() {
                return Err(invalid("a CA of the tenant plane is there for 1 to 4096 tenants that accepted it"));
            }
            for acceptance in acceptances {
                accept(tables, epoch, digest, &mut row, acceptance)?;
            }
        }
        Plane::Peer | Plane::Operator => {
            if !acceptances.is_empty() {
                return Err(invalid("tenants accept CAs of the tenant plane and no other"));
            }
            let known = Space::whole().has::<IssuerRow>(&*tables, &(digest,))?;
            if !known && ISSUERS_PER_PLANE_MAX <= of_plane(&*tables, plane)? {
                return Err(limit("issuing CAs of the plane"));
            }
        }
    }
    Space::whole().put(tables, &(digest,), &row)?;
    Ok(Done::Done)
}

/// The row of a CA, or a new one. A CA serves one plane (N13, N102), and one that was retired none.
fn of_certificate(reads: &dyn Reads, plane: Plane, certificate: &[u8]) -> Ruled<IssuerRow> {
    if certificate.is_empty() || ISSUER_BYTES_MAX < certificate.len() {
        return Err(invalid("a CA's certificate is empty or too long"));
    }
    let key = (issuer_digest(certificate),);
    if Space::whole().has::<RetiredIssuerRow>(reads, &key)? {
        return Err(Refusal::NameRetired.into());
    }
    match Space::whole().get::<IssuerRow>(reads, &key)? {
        Some(row) if row.plane != plane => Err(invalid("the CA is registered for another plane")),
        Some(row) => Ok(row),
        None => Ok(IssuerRow { plane, certificate: certificate.to_vec(), tenants: Vec::new(), revocations: None }),
    }
}

/// Takes a tenant's acceptance: signed by its root key, for this CA and this life of the cluster, and no older than what
/// the tenant said before.
fn accept(
    tables: &mut dyn Tables,
    epoch: ClusterEpoch,
    issuer: Digest,
    row: &mut IssuerRow,
    acceptance: &[u8],
) -> Ruled<()> {
    let signed: Signed<IssuerAcceptance> = codec::decode(acceptance).map_err(|fault| format_refusal(&fault))?;
    let claimed = signed.unverified().map_err(|fault| format_refusal(&fault))?;
    let space = Space::whole();
    let tenant: Option<TenantRow> = space.get(&*tables, &(claimed.tenant,))?;
    let mut tenant = tenant.ok_or(Refusal::NotFound)?;
    let root = FoundingRecord::open(&tenant.facts.founding)
        .map_err(|_| impossible("an admitted tenant's founding record does not read"))?
        .root;
    let acceptance = signed.open(&root).map_err(|_| Refusal::ProvenanceInvalid {
        why: "an acceptance is not signed by the tenant's root key".into(),
    })?;
    if (acceptance.cluster, acceptance.issuer) != (epoch, issuer) {
        return Err(invalid("an acceptance is for another CA or another cluster"));
    }
    if tenant.facts.standing.state == TenantState::Ended {
        return Err(Refusal::TenantSuspended.into());
    }
    let key = (acceptance.tenant, issuer);
    let before: Option<AcceptanceRow> = space.get(&*tables, &key)?;
    if before.is_some_and(|before| acceptance.version < before.version) {
        return Err(Refusal::VersionConflict.into());
    }
    space.put(tables, &key, &AcceptanceRow { version: acceptance.version })?;
    let mut issuers = tenant.issuers.clone();
    serve(row, issuer, acceptance.tenant, &mut issuers)?;
    tenant.issuers = issuers;
    space.put(tables, &(acceptance.tenant,), &tenant)?;
    Ok(())
}

/// Notes on both sides that the CA is there for the tenant.
fn serve(row: &mut IssuerRow, issuer: Digest, tenant: TenantId, issuers: &mut Vec<Digest>) -> Ruled<()> {
    if let Err(place) = row.tenants.binary_search(&tenant) {
        if TENANTS_PER_ISSUER_MAX <= row.tenants.len() {
            return Err(limit("tenants of one issuing CA"));
        }
        row.tenants.insert(place, tenant);
    }
    if let Err(place) = issuers.binary_search(&issuer) {
        if ISSUERS_PER_TENANT_MAX <= issuers.len() {
            return Err(limit("issuing CAs of one tenant"));
        }
        issuers.insert(place, issuer);
    }
    Ok(())
}

/// Registers the CAs that a new tenant begins with; returns them sorted.
pub(crate) fn of_new_tenant(tables: &mut dyn Tables, tenant: TenantId, certificates: &[Vec<u8>]) -> Ruled<Vec<Digest>> {
    if certificates.is_empty() || ISSUERS_PER_TENANT_MAX < certificates.len() {
        return Err(invalid("a tenant has 1 to 16 issuing CAs"));
    }
    let mut issuers = Vec::new();
    for certificate in certificates {
        let mut row = of_certificate(&*tables, Plane::Tenant, certificate)?;
        let digest = issuer_digest(certificate);
        serve(&mut row, digest, tenant, &mut issuers)?;
        Space::whole().put(tables, &(digest,), &row)?;
    }
    Ok(issuers)
}

/// Takes a CA out of use, for ever. The last one of nodes or of operators stays: without it nobody could repair anything.
pub(crate) fn retire(tables: &mut dyn Tables, issuer: Digest) -> Ruled<Done> {
    let space = Space::whole();
    let row: Option<IssuerRow> = space.get(&*tables, &(issuer,))?;
    let row = row.ok_or(Refusal::NotFound)?;
    if row.plane != Plane::Tenant && of_plane(&*tables, row.plane)? <= 1 {
        return Err(invalid("it is the last CA of its plane: register another first"));
    }
    for tenant in row.tenants {
        let of: Option<TenantRow> = space.get(&*tables, &(tenant,))?;
        let mut of = of.ok_or_else(|| impossible("a CA's tenant is not there"))?;
        of.issuers.retain(|one| *one != issuer);
        space.put(tables, &(tenant,), &of)?;
    }
    space.delete::<IssuerRow>(tables, &(issuer,))?;
    space.put(tables, &(issuer,), &RetiredIssuerRow {})?;
    Ok(Done::Done)
}

/// Takes over what a CA revoked. A number that is not higher says nothing new, or something old again.
pub(crate) fn put_revocations(tables: &mut dyn Tables, issuer: Digest, number: u64, list: &[u8]) -> Ruled<Done> {
    if list.is_empty() || REVOCATIONS_BYTES_MAX < list.len() {
        return Err(limit("bytes of a revocation list"));
    }
    let row: Option<IssuerRow> = Space::whole().get(&*tables, &(issuer,))?;
    let mut row = row.ok_or(Refusal::NotFound)?;
    if row.revocations.as_ref().is_some_and(|before| number <= before.number) {
        return Err(Refusal::VersionConflict.into());
    }
    let others = all(&*tables)?.into_iter().filter(|(digest, _)| *digest != issuer);
    let bytes: usize = others.map(|(_, row)| row.revocations.map_or(0, |of| of.list.len())).sum();
    if REVOCATIONS_BYTES_IN_ALL_MAX < bytes + list.len() {
        return Err(limit("bytes of all revocation lists"));
    }
    row.revocations = Some(Revocations { number, list: list.to_vec() });
    Space::whole().put(tables, &(issuer,), &row)?;
    Ok(Done::Done)
}

fn of_plane(reads: &dyn Reads, plane: Plane) -> Result<usize, Halt> {
    Ok(all(reads)?.into_iter().filter(|(_, row)| row.plane == plane).count())
}

fn all(reads: &dyn Reads) -> Result<Vec<(Digest, IssuerRow)>, Halt> {
    let rows = Space::whole().range::<IssuerRow>(reads, &(), 1 << 20)?;
    Ok(rows.into_iter().map(|((digest,), row)| (digest, row)).collect())
}
