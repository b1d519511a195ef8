//! Whoever reported or is fenced is a voter, and the fenced are fewer than half of the voters.

use crate::laws::state::{State, holds};
use crate::voters::{FencedRow, VoterRow};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let voters = state.voters()?;
    for ((replica,), _) in state.shared::<VoterRow>()? {
        holds(voters.contains(&replica), || format!("{replica:?} reported and is no voter"))?;
    }
    let fenced = state.shared::<FencedRow>()?;
    for ((replica,), _) in &fenced {
        holds(voters.contains(replica), || format!("{replica:?} is fenced and no voter"))?;
    }
    let minority = fenced.is_empty() || fenced.len() * 2 < voters.len();
    holds(minority, || format!("{} of {} voters are fenced", fenced.len(), voters.len()))
}
