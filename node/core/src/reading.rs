//! Reading entries: what is no entry is answered, not applied, and never a panic: its bytes may be anybody's.

use strongroom_format::codec;
use strongroom_format::id::Place;
use strongroom_format::outcome::{Outcome, Refusal};

use crate::entry::{Entry, Outcomes};
use crate::stop::format_refusal;

/// The entry in the bytes, or the answer to what is none.
pub(crate) fn read_entry(bytes: &[u8]) -> Result<Entry, Outcomes> {
    let refused = |refusal| Outcomes { outcomes: vec![Outcome::Refused(refusal)] };
    let entry: Entry = codec::decode(bytes).map_err(|fault| refused(format_refusal(&fault)))?;
    if usize::from(Place::COMMANDS_MAX) < entry.commands.len() {
        return Err(refused(Refusal::Limit { what: "commands in one entry".into() }));
    }
    Ok(entry)
}
