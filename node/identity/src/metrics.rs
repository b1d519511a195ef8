//! What this package counts.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const HANDSHAKES: &str = "strongroom_identity_handshakes_total";
const RELOADS: &str = "strongroom_identity_reloads_total";
const RELOAD_REFUSED: &str = "strongroom_identity_reload_refused_count";
const REVOCATIONS_REFUSED: &str = "strongroom_identity_revocations_refused_count";

/// Says what the names mean. Called once, when the process starts.
pub fn describe() {
    describe_counter!(HANDSHAKES, Unit::Count, "TLS handshakes of callers, by plane and by how they ended");
    describe_counter!(
        RELOADS,
        Unit::Count,
        "certificate files that were read, by listener and by whether they were taken"
    );
    describe_gauge!(
        RELOAD_REFUSED,
        Unit::Count,
        "1 while a certificate file cannot be used and an older one is presented"
    );
    describe_gauge!(REVOCATIONS_REFUSED, Unit::Count, "issuers whose newest revocation list cannot be used");
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The caller got in.
    Accepted,
    /// TLS failed or the caller may not come in here.
    Refused,
    /// The caller was too slow.
    TooSlow,
    /// Too many were under way from its address.
    Crowded,
}

/// What became of a certificate file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// It is presented.
    Taken,
    /// It cannot be used.
    Refused,
}

/// `listener` is one of the fixed words that wiring gives.
pub(crate) fn reloaded(listener: &'static str, reloaded: Reloaded) {
    let (how, refused) = match reloaded {
        Reloaded::Taken => ("taken", 0.0),
        Reloaded::Refused => ("refused", 1.0),
    };
    counter!(RELOADS, "listener" => listener, "how" => how).increment(1);
    gauge!(RELOAD_REFUSED, "listener" => listener).set(refused);
}

pub(crate) fn revocations_refused(issuers: usize) {
    gauge!(REVOCATIONS_REFUSED).set(f64::from(u32::try_from(issuers).unwrap_or(u32::MAX)));
}

pub(crate) fn handshake(listener: &'static str, ended: Ended) {
    let how = match ended {
        Ended::Accepted => "accepted",
        Ended::Refused => "refused",
        Ended::TooSlow => "too_slow",
        Ended::Crowded => "crowded",
    };
    counter!(HANDSHAKES, "plane" => listener, "how" => how).increment(1);
}
