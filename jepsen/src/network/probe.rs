//! What a link does, as two machines see it: datagrams there and back, counted and timed.
//!
//! The counters of the switch say what it did; this says what arrived. Both must agree, else a fault is not believed.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

/// A datagram follows another after so long.
const INTERVAL: Duration = Duration::from_millis(4);
/// How long an answer is waited for after the last one was sent.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the one who answers looks whether it is over.
const TURN: Duration = Duration::from_millis(50);

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// Datagrams that were sent.
    pub sent: u32,
    /// Datagrams that came back, doubles not counted.
    pub answered: u32,
    /// The middle round trip, in milliseconds; nothing if none came back.
    pub round_trip_ms: Option<f64>,
}

impl Probed {
    /// As one object.
    pub fn line(&self, from: &str, to: &str) -> Value {
        json!({
            "type": "probe", "from": from, "to": to, "sent": self.sent, "answered": self.answered,
            "round_trip_ms": self.round_trip_ms,
        })
    }
}

/// Sends `count` datagrams from one namespace to another and back.
///
/// # Errors
/// A namespace or a socket that is not to be had.
pub fn probe(from: &Path, to: &Path, address: Ipv4Addr, count: u32) -> io::Result<Probed> {
    let over = AtomicBool::new(false);
    // A thread of its own for each: the namespace is the thread's.
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| -> io::Result<(UdpSocket, u16)> {
            enter(to)?;
            let socket = UdpSocket::bind((address, 0))?;
            let port = socket.local_addr()?.port();
            Ok((socket, port))
        });
        let (echo, port) = answering.join().map_err(|_| io::Error::other("a probe's thread panicked"))??;
        // A socket stays in the namespace in which it was made.
        let over = &over;
        scope.spawn(move || answer(&echo, over));
        let asking = scope.spawn(move || {
            enter(from)?;
            ask(&UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, address, port, count)
        });
        let probed = asking.join().map_err(|_| io::Error::other("a probe's thread panicked"));
        over.store(true, Ordering::Relaxed);
        probed?
    })
}

/// This thread, and what it starts, is in that namespace from now on.
pub fn enter(namespace: &Path) -> io::Result<()> {
    let file = File::open(namespace)?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn answer(socket: &UdpSocket, over: &AtomicBool) -> io::Result<()> {
    socket.set_read_timeout(Some(TURN))?;
    let mut buffer = [0; 64];
    while !over.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => drop(socket.send_to(&buffer[..bytes], from)),
            Err(cause) if is_timeout(&cause) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

fn ask(socket: &UdpSocket, address: Ipv4Addr, port: u16, count: u32) -> io::Result<Probed> {
    socket.connect((address, port))?;
    let mut sent_at: Vec<Instant> = Vec::new();
    let mut round_trips: Vec<Option<Duration>> = vec![None; count as usize];
    let mut buffer = [0; 64];
    while sent_at.len() < count as usize || sent_at.last().is_some_and(|last| last.elapsed() < PATIENCE) {
        let is_turn = sent_at.last().is_none_or(|last| INTERVAL <= last.elapsed());
        if sent_at.len() < count as usize && is_turn {
            let number = u32::try_from(sent_at.len()).unwrap_or(u32::MAX);
            sent_at.push(Instant::now());
            // A first datagram may be refused while nobody is known there: then it is lost.
            drop(socket.send(&number.to_le_bytes()));
        }
        if sent_at.len() == count as usize && round_trips.iter().all(Option::is_some) {
            break;
        }
        let left = INTERVAL.saturating_sub(sent_at.last().map_or(INTERVAL, Instant::elapsed));
        let wait = if sent_at.len() < count as usize { left } else { TURN };
        socket.set_read_timeout(Some(wait.max(Duration::from_micros(100))))?;
        match socket.recv(&mut buffer) {
            Ok(4) => {
                let [a, b, c, d, ..] = buffer;
                let number = u32::from_le_bytes([a, b, c, d]) as usize;
                if let (Some(sent), Some(round_trip)) = (sent_at.get(number), round_trips.get_mut(number)) {
                    round_trip.get_or_insert(sent.elapsed());
                }
            }
            Ok(_) => {}
            Err(cause) if is_timeout(&cause) => {}
            // Nobody is reached: as good as lost.
            Err(cause) if matches!(cause.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable) => {}
            Err(cause) => return Err(cause),
        }
    }
    let mut came: Vec<Duration> = round_trips.into_iter().flatten().collect();
    came.sort_unstable();
    Ok(Probed {
        sent: count,
        answered: u32::try_from(came.len()).unwrap_or(u32::MAX),
        round_trip_ms: came.get(came.len() / 2).map(|middle| middle.as_secs_f64() * 1000.0),
    })
}

fn is_timeout(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
