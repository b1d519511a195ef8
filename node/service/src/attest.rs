//! What this node signs as a voter of a group: what the group says of itself to another, where this replica bears it out.
//!
//! ```text
//!   claims, log index ─▶ applied here? (waits a moment) ─▶ each: this replica's own rows say so? ─▶ signed
//! ```
//!
//! Promises: a claim that the own applied state does not bear out is never signed, whoever asks and whatever it says; a
//! voter that is not admitted, lost or fenced signs nothing, and where no state is the right one nobody does. Not here:
//! what a claim is (`node/core/src/claims.rs`), who collects signatures (`majority.rs`).

use std::time::Duration;

use strongroom_core::claims::{Claim, Statement};
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::{GroupId, Signature};
use strongroom_peers::fault::WordFault;

use crate::sign::in_doubt;
use crate::voice::{Voice, not_yet};

/// Signs for this node. Clones are the same.
#[derive(Clone)]
pub struct Attestor(Voice);

impl Attestor {
    /// Signs with this voice.
    pub fn new(voice: Voice) -> Self {
        Self(voice)
    }

    /// One answer a claim, as soon as this replica has applied what is asked for; `None`: it does not bear it out.
    pub async fn sign(
        &self,
        group: GroupId,
        log_index: u64,
        claims: Vec<Claim>,
        within: Duration,
    ) -> Result<Vec<Option<Signature>>, WordFault> {
        let replica = self.0.consensus.replica(group).ok_or(WordFault::NotAMember)?;
        self.0.consensus.wait_applied(group, log_index, within).await.map_err(|_| not_yet("it is not applied here"))?;
        let mut borne_out = Vec::with_capacity(claims.len());
        let mut last: Option<(Query, Answer)> = None;
        for claim in &claims {
            let question = claim.question();
            // All claims of the cluster group have one question, whose answer is long.
            let answer = match last.take() {
                Some((asked, answer)) if asked == question => answer,
                Some(_) | None => {
                    let answer = self.0.reads.local(group, &question).await;
                    answer.map_err(|_| not_yet("the state cannot be read"))?
                }
            };
            borne_out.push(claim.by() == group && claim.is_borne_out(&answer));
            last = Some((question, answer));
        }
        // Asked last: whatever was read above is not signed if it came into doubt meanwhile.
        let view = self.0.view(group).await?;
        if self.0.consensus.replica(group) != Some(replica) || !self.0.gate.is_admitted(group, replica) {
            return Err(not_yet("this replica does not take part"));
        }
        if view.disputed || in_doubt(&view).contains(&replica) {
            return Err(not_yet("this replica's state is in doubt"));
        }
        let epoch = self.0.topology.now().epoch;
        let sign =
            |(claim, is_so): (Claim, bool)| is_so.then(|| Statement { epoch, by: group, claim }.sign(&self.0.key));
        Ok(claims.into_iter().zip(borne_out).map(sign).collect())
    }
}
