//! The host's wall clock, as TLS wants to read it.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use strongroom_host::Host;

/// Certificates are judged by the wall clock of the host, never by another.
#[derive(Debug)]
pub(crate) struct HostTime(pub(crate) Host);

impl TimeProvider for HostTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(now(&self.0))
    }
}

/// The wall clock in whole seconds.
pub(crate) fn now(host: &Host) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_nanos(host.clock().wall_unix_ns()))
}
