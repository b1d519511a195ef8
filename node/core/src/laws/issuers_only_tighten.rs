//! A retired CA stays retired, a CA's plane and certificate stay, the number of its revocation list never falls and a list
//! never goes while its CA is in use; a tenant's acceptances never get older.

use std::collections::BTreeMap;

use crate::cluster::rows::{AcceptanceRow, IssuerRow, RetiredIssuerRow};
use crate::laws::state::{State, holds};

/// Of one state of the cluster group.
pub(crate) fn check(state: &State) -> Result<(), String> {
    let issuers: BTreeMap<_, IssuerRow> = state.shared::<IssuerRow>()?.into_iter().collect();
    let retired: BTreeMap<_, RetiredIssuerRow> = state.shared::<RetiredIssuerRow>()?.into_iter().collect();
    for key in retired.keys() {
        holds(!issuers.contains_key(key), || format!("the CA {} is retired and in use", key.0))?;
    }
    for ((tenant, issuer), _) in state.shared::<AcceptanceRow>()? {
        let serves = issuers.get(&(issuer,)).is_some_and(|row| row.tenants.contains(&tenant));
        holds(serves || retired.contains_key(&(issuer,)), || format!("{tenant} accepted {issuer} in vain"))?;
    }
    Ok(())
}

/// Of what may change.
pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    let later: BTreeMap<_, IssuerRow> = after.shared::<IssuerRow>()?.into_iter().collect();
    let retired: BTreeMap<_, RetiredIssuerRow> = after.shared::<RetiredIssuerRow>()?.into_iter().collect();
    for (key, was) in before.shared::<IssuerRow>()? {
        let Some(is) = later.get(&key) else {
            holds(retired.contains_key(&key), || format!("the CA {} went and is not retired", key.0))?;
            continue;
        };
        let number = |row: &IssuerRow| row.revocations.as_ref().map(|of| of.number);
        let same_list = number(&was) != number(is) || was.revocations == is.revocations;
        let tighter = (was.plane, &was.certificate) == (is.plane, &is.certificate) && number(&was) <= number(is);
        holds(tighter && same_list, || format!("the CA {} changed what it was", key.0))?;
    }
    for (key, _) in before.shared::<RetiredIssuerRow>()? {
        holds(retired.contains_key(&key), || format!("the CA {} came back", key.0))?;
    }
    let accepted: BTreeMap<_, AcceptanceRow> = after.shared::<AcceptanceRow>()?.into_iter().collect();
    for (key, was) in before.shared::<AcceptanceRow>()? {
        let is = accepted.get(&key);
        holds(is.is_some_and(|is| was.version <= is.version), || format!("{was:?} became {is:?}"))?;
    }
    Ok(())
}
