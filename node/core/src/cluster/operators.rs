//! Operators' commands: signed, each with a nonce, each answered once. The same command again gives the remembered
//! answer; another under the same nonce is refused. What is not authenticated leaves no trace (N107, N108).

use strongroom_format::codec;
use strongroom_format::command::{OperatorBody, OperatorCommand, SignedCommand};
use strongroom_format::id::TenantId;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::role::OperatorRole;
use strongroom_format::sign;

use crate::attempt::attempt;
use crate::cluster::at::At;
use crate::cluster::issuers;
use crate::cluster::rows::{AnsweredRow, FactsRow, OperatorRow};
use crate::cluster::shards;
use crate::cluster::tenants::{self, Step};
use crate::cluster::tokens;
use crate::row::Space;
use crate::stop::{Ruled, format_refusal};
use crate::tables::{Halt, Tables};
use strongroom_format::codec::Format;

/// Applies one command of an operator.
pub(crate) fn apply(
    at: &At,
    tables: &mut dyn Tables,
    facts: &FactsRow,
    signed: &SignedCommand,
) -> Result<Outcome, Halt> {
    let refuse = |refusal| Ok(Outcome::Refused(refusal));
    let command: OperatorCommand = match codec::decode(&signed.command) {
        Ok(command) => command,
        Err(fault) => return refuse(format_refusal(&fault)),
    };
    if command.cluster != facts.epoch {
        return refuse(Refusal::WrongGroup);
    }
    let space = Space::whole();
    let Some(operator) = space.get::<OperatorRow>(&*tables, &(command.operator.clone(),))? else {
        return refuse(Refusal::Identity);
    };
    if sign::verify_operator_command(signed, &operator.signing_key).is_err() {
        return refuse(Refusal::Signature);
    }
    let digest = sign::digest(OperatorCommand::NAME, &signed.command);
    let key = (command.operator.clone(), command.nonce);
    match space.get::<AnsweredRow>(&*tables, &key)? {
        Some(row) if row.command == digest => return Ok(row.outcome),
        Some(_) => return refuse(Refusal::VersionConflict),
        None => {}
    }
    let outcome = attempt(tables, |draft| execute(at, draft, facts, &command, &operator))?;
    space.put(tables, &key, &AnsweredRow { command: digest, outcome: outcome.clone() })?;
    Ok(outcome)
}

/// The roles of which one is needed. What holds somebody off, an officer may as well: it must not wait for the people who
/// run the platform. What lets somebody in or makes something is theirs alone. Who lifts a suspension, `tenants.rs` says.
fn needed(body: &OperatorBody) -> &'static [OperatorRole] {
    use OperatorRole::{PlatformOperator, SecurityOfficer};
    match body {
        OperatorBody::CreateTenant { .. }
        | OperatorBody::EndTenant { .. }
        | OperatorBody::RegisterIssuer { .. }
        | OperatorBody::IssueNodeToken { .. }
        | OperatorBody::CreateShard { .. }
        | OperatorBody::LimitTenant { .. } => &[PlatformOperator],
        OperatorBody::SuspendTenant { .. }
        | OperatorBody::ResumeTenant { .. }
        | OperatorBody::RetireIssuer { .. }
        | OperatorBody::PutRevocations { .. } => &[PlatformOperator, SecurityOfficer],
    }
}

fn execute(
    at: &At,
    tables: &mut dyn Tables,
    facts: &FactsRow,
    command: &OperatorCommand,
    operator: &OperatorRow,
) -> Ruled<Done> {
    if !needed(&command.body).iter().any(|role| operator.roles.contains(role)) {
        return Err(Refusal::Role.into());
    }
    if at.disputed {
        return Err(Refusal::DigestsDisagree.into());
    }
    let by = &command.operator;
    let change = |tables: &mut dyn Tables, step, tenant: &TenantId, reason: &str| {
        tenants::change(tables, by, &operator.roles, step, *tenant, reason)
    };
    match &command.body {
        OperatorBody::CreateTenant { name, founding, issuers, home, width } => {
            let wish = tenants::Wish { name, founding, issuers, home: *home, width: *width };
            tenants::create(tables, by, &wish)
        }
        OperatorBody::RegisterIssuer { plane, certificate, acceptances } => {
            issuers::register(tables, facts.epoch, *plane, certificate, acceptances)
        }
        OperatorBody::RetireIssuer { issuer } => issuers::retire(tables, *issuer),
        OperatorBody::PutRevocations { issuer, number, revocations } => {
            issuers::put_revocations(tables, *issuer, *number, revocations)
        }
        OperatorBody::SuspendTenant { tenant, reason } => change(tables, Step::Suspend, tenant, reason),
        OperatorBody::ResumeTenant { tenant, reason } => change(tables, Step::Resume, tenant, reason),
        OperatorBody::EndTenant { tenant, reason } => change(tables, Step::End, tenant, reason),
        OperatorBody::IssueNodeToken { token, node, region, lifetime_ms, wall_end_unix_ms } => {
            let wish = tokens::Wish {
                token: *token,
                node,
                region,
                lifetime_ms: *lifetime_ms,
                wall_end_unix_ms: *wall_end_unix_ms,
            };
            tokens::issue(at, tables, by, &wish)
        }
        OperatorBody::CreateShard { slots } => shards::create(tables, facts, at, slots),
        OperatorBody::LimitTenant { tenant, limits, reason } => {
            tenants::set_limits(tables, by, *tenant, *limits, reason)
        }
    }
}
