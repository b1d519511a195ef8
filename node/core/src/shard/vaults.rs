//! Vaults and writer cards, at home: what the tenant's root key signed, stored after its signature was verified.
//!
//! A vault's id and name are never given again within the tenant; a statement's versions follow one another; a card's
//! epochs do. Not here: what a statement means (`strongroom_format::statement`), policies (`shard/policies.rs`).

use strongroom_format::codec;
use strongroom_format::codec::Format;
use strongroom_format::id::{DomainId, IdentityId, KeyEpoch, PolicyVersion, StatementVersion, VaultId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::policy::Policy;
use strongroom_format::role::Role;
use strongroom_format::sign::{Signed, SignedError};
use strongroom_format::statement::{VaultStatement, WriterCard};

use crate::shard::at::Caller;
use crate::shard::living;
use crate::shard::policies;
use crate::shard::rows::{CardRow, DomainRow, IdentityRow, VaultNameRow, VaultRow};
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, Stop, format_refusal, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many vaults of one tenant.
pub(crate) const VAULTS_MAX: usize = 1024;
/// At most so many cards of one writer in one vault.
pub(crate) const CARDS_MAX: usize = 1024;

/// Creates a vault.
pub(crate) fn create(caller: &Caller, tables: &mut dyn Tables, statement: &[u8], policy: &Policy) -> Ruled<Done> {
    caller.require(&[Role::Admin])?;
    let signed: VaultStatement = open_signed(caller, statement)?;
    check_statement(caller, &signed)?;
    policies::check(policy)?;
    if policy.version != PolicyVersion(1) {
        return Err(invalid("a vault's first policy has version 1"));
    }
    if signed.version != StatementVersion(1) {
        return Err(Refusal::StatementVersion { stored: StatementVersion(0) }.into());
    }
    let scope = &caller.scope;
    if scope.has::<VaultRow>(&*tables, &(signed.vault,))? {
        return Err(Refusal::Immutable.into());
    }
    if scope.has::<VaultNameRow>(&*tables, &(signed.name.clone(),))? {
        return Err(Refusal::NameRetired.into());
    }
    if VAULTS_MAX <= scope.range::<VaultNameRow>(&*tables, &(), VAULTS_MAX)?.len() {
        return Err(limit("vaults of the tenant"));
    }
    let row = VaultRow {
        name: signed.name.clone(),
        statement: statement.to_vec(),
        statement_version: signed.version,
        policy: policy.clone(),
        end: None,
        lock: None,
    };
    scope.put(tables, &(signed.vault,), &row)?;
    scope.put(tables, &(signed.name,), &VaultNameRow { vault: signed.vault })?;
    Ok(Done::VaultCreated { vault: signed.vault })
}

/// Replaces a vault's statement by the next version.
pub(crate) fn update_statement(caller: &Caller, tables: &mut dyn Tables, statement: &[u8]) -> Ruled<Done> {
    caller.require(&[Role::Admin, Role::KeyCustodian])?;
    let signed: VaultStatement = open_signed(caller, statement)?;
    check_statement(caller, &signed)?;
    let scope = &caller.scope;
    let mut row = living::vault(scope, &*tables, signed.vault)?;
    if signed.name != row.name {
        return Err(Refusal::Immutable.into());
    }
    let next = row.statement_version.0.checked_add(1).map(StatementVersion);
    if next != Some(signed.version) {
        return Err(Refusal::StatementVersion { stored: row.statement_version }.into());
    }
    let old: VaultStatement = stored_signed(&row.statement)?;
    if (old.tag, old.mode, old.chunking) != (signed.tag, signed.mode, signed.chunking) {
        // What is stored was made under these.
        return Err(Refusal::Immutable.into());
    }
    row.statement = statement.to_vec();
    row.statement_version = signed.version;
    scope.put(tables, &(signed.vault,), &row)?;
    Ok(Done::Done)
}

/// Stores the next card of a writer.
pub(crate) fn put_card(caller: &Caller, tables: &mut dyn Tables, card: &[u8]) -> Ruled<Done> {
    caller.require(&[Role::Admin])?;
    let signed: WriterCard = open_signed(caller, card)?;
    if signed.tenant != caller.scope.tenant() {
        return Err(Refusal::ForeignTenant.into());
    }
    let scope = &caller.scope;
    let vault = living::vault(scope, &*tables, signed.vault)?;
    if vault.statement_version < signed.statement_version {
        return Err(Refusal::StatementVersion { stored: vault.statement_version }.into());
    }
    let identity: Option<IdentityRow> = scope.get(&*tables, &(signed.writer.clone(),))?;
    let identity = identity.filter(|row| row.open).ok_or(Refusal::NotFound)?;
    if !identity.has(Role::Writer) && !identity.has(Role::Gateway) {
        return Err(Refusal::Role.into());
    }
    let stored = scope.get::<CardRow>(&*tables, &(signed.vault, signed.writer.clone(), signed.epoch))?;
    match stored {
        Some(row) if row.card == card => return Ok(Done::Done),
        Some(_) => return Err(Refusal::Immutable.into()),
        None => {}
    }
    let newest = newest_epoch(scope, &*tables, signed.vault, &signed.writer)?;
    if signed.epoch <= newest {
        return Err(Refusal::VersionConflict.into());
    }
    let cards = scope.range::<CardRow>(&*tables, &(signed.vault, signed.writer.clone()), CARDS_MAX)?;
    if CARDS_MAX <= cards.len() {
        return Err(limit("cards of the writer in the vault"));
    }
    if cards.iter().any(|(_, row)| row.domain == signed.domain) {
        // A new epoch is for a new domain: that is what it is for.
        return Err(Refusal::Immutable.into());
    }
    require_sole_owner(scope, &*tables, signed.vault, signed.domain, &signed.writer)?;
    let row = CardRow {
        card: card.to_vec(),
        digest: signed.digest(),
        domain: signed.domain,
        signing_key: signed.signing_key,
    };
    scope.put(tables, &(signed.vault, signed.writer.clone(), signed.epoch), &row)?;
    scope.put(tables, &(signed.vault, signed.domain, signed.writer), &DomainRow { epoch: signed.epoch })?;
    Ok(Done::Done)
}

/// The newest card of a writer in a vault.
pub(crate) fn newest_card(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    writer: &IdentityId,
) -> Result<Option<(KeyEpoch, CardRow)>, Halt> {
    let mut cards = scope.range::<CardRow>(reads, &(vault, writer.clone()), CARDS_MAX)?;
    Ok(cards.pop().map(|((_, _, epoch), row)| (epoch, row)))
}

/// Whose a domain is: one writer's and never another's, so that what lies in it counts for one.
pub(crate) fn owner(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    domain: DomainId,
) -> Result<Option<IdentityId>, Halt> {
    let first = scope.range::<DomainRow>(reads, &(vault, domain), 1)?.pop();
    Ok(first.map(|((_, _, owner), _)| owner))
}

/// Refuses to make a domain that is another's this writer's too.
pub(crate) fn require_sole_owner(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    domain: DomainId,
    writer: &IdentityId,
) -> Ruled<()> {
    match owner(scope, reads, vault, domain)? {
        Some(owner) if owner != *writer => Err(Refusal::Immutable.into()),
        Some(_) | None => Ok(()),
    }
}

/// Whether a writer owns a domain.
pub(crate) fn owns(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    domain: DomainId,
    writer: &IdentityId,
) -> Result<bool, Halt> {
    scope.has::<DomainRow>(reads, &(vault, domain, writer.clone()))
}

fn newest_epoch(scope: &TenantScope, reads: &dyn Reads, vault: VaultId, writer: &IdentityId) -> Result<KeyEpoch, Halt> {
    Ok(newest_card(scope, reads, vault, writer)?.map_or(KeyEpoch(0), |(epoch, _)| epoch))
}

fn check_statement(caller: &Caller, statement: &VaultStatement) -> Ruled<()> {
    if statement.tenant != caller.scope.tenant() {
        return Err(Refusal::ForeignTenant.into());
    }
    statement
        .require_known_suite()
        .map_err(|fault| Stop::Refused(Refusal::UnsupportedFormat { why: fault.to_string() }))
}

/// What the tenant's root key signed, or a refusal.
fn open_signed<T: Format>(caller: &Caller, bytes: &[u8]) -> Ruled<T> {
    let signed: Signed<T> = codec::decode(bytes).map_err(|fault| Stop::Refused(format_refusal(&fault)))?;
    signed.open(&caller.tenant.root).map_err(|fault| match fault {
        SignedError::Format(fault) => Stop::Refused(format_refusal(&fault)),
        SignedError::Signature(fault) => {
            Stop::Refused(Refusal::ProvenanceInvalid { why: format!("{}: {fault}", T::NAME) })
        }
    })
}

/// What was verified when it was stored.
fn stored_signed<T: Format>(bytes: &[u8]) -> Result<T, Halt> {
    codec::decode::<Signed<T>>(bytes)
        .and_then(|signed| signed.unverified())
        .map_err(|fault| Halt { why: format!("a stored value does not read: {fault}") })
}
