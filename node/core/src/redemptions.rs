//! Redemptions, as both kinds of groups read them: is it signed by both keys that it names, and for this group?
//!
//! Not here: whether the token counts (`shard/tokens.rs`, `cluster/tokens.rs`).

use strongroom_format::enrolment::{Redemption, SignedRedemption};
use strongroom_format::id::{ClusterEpoch, GroupId};
use strongroom_format::outcome::Refusal;
use strongroom_format::sign::SignedError;

use crate::stop::format_refusal;

/// No token counts for longer.
pub(crate) const LIFETIME_MS_MAX: u64 = 3_600_000;

/// What is asked, if both keys have signed it for this group of this cluster.
pub(crate) fn open(signed: &SignedRedemption, epoch: ClusterEpoch, group: GroupId) -> Result<Redemption, Refusal> {
    let redemption = signed.open().map_err(|fault| match fault {
        SignedError::Format(fault) => format_refusal(&fault),
        SignedError::Signature(_) => Refusal::Signature,
    })?;
    if (redemption.cluster, redemption.group) != (epoch, group) {
        return Err(Refusal::WrongGroup);
    }
    Ok(redemption)
}
