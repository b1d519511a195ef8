//! Ports for the nodes of a development cluster, which keeps them for the life of its directory.
//!
//! They lie below those that the kernel gives to outgoing connections: it would give a node's port to somebody while the
//! node is down, and the node could not start again. Not here: what listens on them (`found.rs`).

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;
use strongroom_host::Host;

/// The first that may be taken.
const FIRST: u16 = 10_000;
/// Where the kernel begins unless it says otherwise.
const OUTGOING: u16 = 32_768;
const RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Ports in a row that were free together a moment ago. The one before them is held as long as this value lives: nobody
/// who asks in the same way gets any of them meanwhile.
#[derive(Debug)]
pub struct Claim {
    _marker: TcpListener,
    /// The ports.
    pub ports: Vec<u16>,
}

/// Claims so many ports.
///
/// # Errors
/// If there are not so many in a row anywhere.
pub fn claim(host: &Host, count: usize) -> anyhow::Result<Claim> {
    let below = fs::read_to_string(RANGE_FILE).ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    let below = below.filter(|below| FIRST < *below).unwrap_or(OUTGOING);
    let mut random = [0; 2];
    host.entropy().fill(&mut random);
    in_row(usize::from(below - FIRST), count, usize::from(u16::from_le_bytes(random)))
        .with_context(|| format!("no {count} free ports in a row between {FIRST} and {below}"))
}

/// Looks at rows of `count` and a marker, from a random one on.
fn in_row(room: usize, count: usize, random: usize) -> Option<Claim> {
    let row = count + 1;
    let rows = room / row;
    let listen = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    (0..rows).find_map(|step| {
        let first = FIRST + u16::try_from((random + step) % rows * row).ok()?;
        let marker = listen(first).ok()?;
        let ports: Vec<u16> = (first + 1..).take(count).collect();
        // all at once: what is free is free together
        let free: Result<Vec<_>, _> = ports.iter().map(|port| listen(*port)).collect();
        free.is_ok().then_some(Claim { _marker: marker, ports })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_who_ask_get_different_ports_that_no_outgoing_connection_gets() {
        let host = Host::real();
        let claims: Vec<Claim> = (0..8).map(|_| claim(&host, 33).unwrap()).collect();
        let mut ports: Vec<u16> = claims.iter().flat_map(|claim| claim.ports.clone()).collect();
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((ports.len(), count), (8 * 33, 8 * 33));
        assert!(ports.iter().all(|port| (FIRST..OUTGOING).contains(port)));
        // from the same place on, and nobody gets what another holds
        let (one, other) = (in_row(20_000, 5, 7).unwrap(), in_row(20_000, 5, 7).unwrap());
        assert!(one.ports.iter().all(|port| !other.ports.contains(port)));
        assert!(in_row(20, 21, 0).is_none());
    }
}
