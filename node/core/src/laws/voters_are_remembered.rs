//! What a voter reported is remembered, and a fenced voter stays fenced, for as long as its replica id votes.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::voters::{FencedRow, VoterRow};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let voters = after.voters()?;
    let later: BTreeMap<_, _> = after.shared::<VoterRow>()?.into_iter().collect();
    for (key, was) in before.shared::<VoterRow>()? {
        let known = later.contains_key(&key) || !voters.contains(&key.0);
        holds(known, || format!("what {:?} reported is forgotten: {was:?}", key.0))?;
    }
    let later: BTreeMap<_, _> = after.shared::<FencedRow>()?.into_iter().collect();
    for (key, was) in before.shared::<FencedRow>()? {
        let same = later.get(&key) == Some(&was) || !voters.contains(&key.0);
        holds(same, || format!("{:?} was fenced and is no more", key.0))?;
    }
    Ok(())
}
