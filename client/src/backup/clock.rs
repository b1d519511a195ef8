//! The machine's wall clock. What it says is a label, and tells how long ago something was on this machine: never a rule
//! of the cluster's.

use std::time::{SystemTime, UNIX_EPOCH};

use strongroom_format::manifest::entry::Moment;

/// What it is.
pub(crate) fn now() -> Moment {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => {
            Moment { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
        }
        Err(_before_1970) => Moment::default(),
    }
}
