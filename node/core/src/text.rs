//! Free text of callers: reasons and purposes. Bounded, without control characters.

use strongroom_format::command::Body;

use crate::stop::{Ruled, invalid};

/// Refuses text that is too long for a record or could garble a terminal.
pub(crate) fn check(text: &str) -> Ruled<()> {
    if Body::TEXT_BYTES_MAX < text.len() || text.chars().any(char::is_control) {
        return Err(invalid("a text is too long or has control characters"));
    }
    Ok(())
}
