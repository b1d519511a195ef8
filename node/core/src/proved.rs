//! Proved: a claim of another group that a majority of its voters has signed.
//!
//!     Attested<T> + electorate ──signatures sorted, each good, a majority──▶ Proved<T> ──▶ the rule that believes it
//!
//! Rules that act on what another group says take a [`Proved`], and only the functions here make one: so no path around
//! the signatures compiles. A signature that does not fit refuses the claim, however many others do. Not here: when a
//! member signs (`claims.rs`), whose signatures count (`electorates.rs`).

use strongroom_format::codec::{self, Format};
use strongroom_format::command::{Attested, MemberSignature, Opened, Sealed};
use strongroom_format::id::{ClusterEpoch, GroupId, TenantId};
use strongroom_format::outcome::Refusal;
use strongroom_format::sign;

use crate::claims::{Claim, Statement};
use crate::electorates::{self, Electorate};
use crate::stop::Ruled;
use crate::tables::Reads;

/// What a majority of a group's voters has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proved<T>(T);

impl<T> Proved<T> {
    /// What they say.
    pub(crate) fn value(&self) -> &T {
        &self.0
    }
}

/// The claim, if this electorate's majority signed it.
pub(crate) fn by<T: Clone + Into<Claim>>(electorate: &Electorate, attested: &Attested<T>) -> Ruled<Proved<T>> {
    check(electorate, attested.value.clone().into(), &attested.signatures)?;
    Ok(Proved(attested.value.clone()))
}

/// The claim, if the majority of its group, as this one knows it, signed it.
pub(crate) fn known<T: Clone + Into<Claim>>(
    reads: &dyn Reads,
    epoch: ClusterEpoch,
    attested: &Attested<T>,
) -> Ruled<Proved<T>> {
    let claim: Claim = attested.value.clone().into();
    let electorate = of(reads, epoch, claim.by())?;
    check(&electorate, claim, &attested.signatures)?;
    Ok(Proved(attested.value.clone()))
}

/// That the home shard opened what a caller says.
pub(crate) fn opened(
    reads: &dyn Reads,
    epoch: ClusterEpoch,
    opened: &Opened,
    signatures: &[Vec<MemberSignature>],
) -> Ruled<Proved<Opened>> {
    let [signatures] = signatures else {
        return Err(Refusal::Unattested.into());
    };
    known(reads, epoch, &Attested { value: opened.clone(), signatures: signatures.clone() })
}

/// That other shards sealed what a caller says, in this order.
pub(crate) fn sealed(
    reads: &dyn Reads,
    epoch: ClusterEpoch,
    tenant: TenantId,
    sealed: &[Attested<Sealed>],
    signatures: &[Vec<MemberSignature>],
) -> Ruled<Vec<Proved<Sealed>>> {
    if sealed.len() != signatures.len() {
        return Err(Refusal::Unattested.into());
    }
    let mut proved = Vec::with_capacity(sealed.len());
    for (part, signatures) in sealed.iter().zip(signatures) {
        let electorate = of(reads, epoch, part.value.group)?;
        check(&electorate, Claim::Sealed { tenant, sealed: part.value.clone() }, signatures)?;
        proved.push(Proved(part.value.clone()));
    }
    Ok(proved)
}

fn of(reads: &dyn Reads, epoch: ClusterEpoch, group: GroupId) -> Ruled<Electorate> {
    let known = electorates::known(reads, group)?;
    // Another life's voters are nobody here.
    Ok(known.filter(|electorate| electorate.epoch == epoch).ok_or(Refusal::Unattested)?)
}

fn check(electorate: &Electorate, claim: Claim, signatures: &[MemberSignature]) -> Ruled<()> {
    let refused = || Err(Refusal::Unattested.into());
    let Electorate { epoch, group, ref voters, .. } = *electorate;
    let enough = voters.majority() <= signatures.len() && signatures.len() <= voters.keys.len();
    let each_once = signatures.is_sorted_by(|one, other| one.replica < other.replica);
    if group != claim.by() || !enough || !each_once {
        return refused();
    }
    let payload = codec::encode(&Statement { epoch, by: group, claim });
    let good = |one: &MemberSignature| {
        let key = voters.keys.get(&one.replica);
        key.is_some_and(|key| sign::verify(key, Statement::NAME, &payload, &one.signature).is_ok())
    };
    if signatures.iter().all(good) { Ok(()) } else { refused() }
}
