//! An attempt: a rule followed in a draft. Done, all that it wrote is kept; refused, nothing is.

use strongroom_format::outcome::{Done, Outcome};

use crate::draft::Draft;
use crate::stop::{Ruled, Stop};
use crate::tables::{Halt, Tables};

/// Follows a rule.
pub(crate) fn attempt(
    tables: &mut dyn Tables,
    rule: impl FnOnce(&mut dyn Tables) -> Ruled<Done>,
) -> Result<Outcome, Halt> {
    let mut draft = Draft::over(tables);
    match rule(&mut draft) {
        Ok(done) => {
            draft.keep()?;
            Ok(Outcome::Done(done))
        }
        Err(Stop::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
        Err(Stop::Halt(halt)) => Err(halt),
    }
}
