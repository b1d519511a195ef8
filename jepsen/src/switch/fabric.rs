//! The switch's inside: machines, the links between each two of them, and the frames that are on their way. Pure: frames
//! and times come in, frames go out.
//!
//! A machine's Ethernet address says which machine it is, so nothing is learned and nothing can be learned wrong.
//! Frames to many go to all others, each over its own link; frames to nobody are counted as strayed.
//!
//! Not here: what a link does (`link.rs`), devices (`tap.rs`), the loop (`switch.rs`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::time::Duration;

use crate::switch::link::{Counted, Fate, Link, Wire};

/// The beginning of our machines' Ethernet addresses: locally administered.
const ADDRESS_PREFIX: [u8; 5] = [0x02, 0x5a, 0x00, 0x00, 0x00];
/// An Ethernet header; a shorter frame is none.
const HEADER_BYTES: usize = 14;

/// A machine, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(u8);

/// The Ethernet address of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetAddress([u8; 6]);

/// A machine as the switch knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plug {
    /// Its name.
    pub machine: String,
    /// Its region.
    pub region: String,
}

/// Everything between the machines.
pub struct Fabric {
    plugs: Vec<Plug>,
    wires: BTreeMap<(Port, Port), Wire>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sequence: u64,
    strayed: u64,
}

/// A frame on its way. Ordered by when it is due, then by when it came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    sequence: u64,
    sent: Duration,
    from: Port,
    to: Port,
    frame: Vec<u8>,
}

/// One direction between two machines, as reports name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// The machine that sends.
    pub from: Plug,
    /// The machine that receives.
    pub to: Plug,
    /// How the link behaves.
    pub link: Link,
    /// What happened on it.
    pub counted: Counted,
}

impl Port {
    /// Of this many, all.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..u8::try_from(count).unwrap_or(u8::MAX)).map(Self)
    }

    /// Its place.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }

    /// Its Ethernet address.
    pub fn address(self) -> EthernetAddress {
        let [a, b, c, d, e] = ADDRESS_PREFIX;
        EthernetAddress([a, b, c, d, e, self.0])
    }
}

impl fmt::Display for EthernetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Fabric {
    /// Links that do nothing, between all of them; at most 200 machines.
    pub fn new(seed: u64, plugs: Vec<Plug>) -> Self {
        assert!(plugs.len() <= 200, "an address of ours has one byte for the machine");
        let ports = || Port::all(plugs.len());
        let mut wires = BTreeMap::new();
        for (from, to) in ports().flat_map(|from| ports().map(move |to| (from, to))).filter(|(from, to)| from != to) {
            let wire = Wire::new(seed, &plugs[from.place()].machine, &plugs[to.place()].machine);
            wires.insert((from, to), wire);
        }
        Self { plugs, wires, waiting: BinaryHeap::new(), sequence: 0, strayed: 0 }
    }

    /// Sets every link from one place to another; a place is a machine's name or a region's. Links inside of a region
    /// are named by the region twice. Says how many it changed; none if a name means nothing.
    pub fn set(&mut self, from: &str, to: &str, change: impl Fn(Link) -> Link) -> usize {
        let mut changed = 0;
        for ((a, b), wire) in &mut self.wires {
            if self.plugs[a.place()].is_named(from) && self.plugs[b.place()].is_named(to) {
                wire.set(change(wire.link()));
                changed += 1;
            }
        }
        changed
    }

    /// Sets every link between two regions that differ.
    pub fn set_between_regions(&mut self, link: Link) {
        for ((from, to), wire) in &mut self.wires {
            if self.plugs[from.place()].region != self.plugs[to.place()].region {
                wire.set(link);
            }
        }
    }

    /// All links, as they are now.
    pub fn directions(&self) -> Vec<Direction> {
        let direction = |((from, to), wire): (&(Port, Port), &Wire)| Direction {
            from: self.plugs[from.place()].clone(),
            to: self.plugs[to.place()].clone(),
            link: wire.link(),
            counted: wire.counted(),
        };
        self.wires.iter().map(direction).collect()
    }

    /// Frames that were for nobody here.
    pub fn strayed(&self) -> u64 {
        self.strayed
    }

    /// A machine sends a frame.
    pub fn offer(&mut self, now: Duration, from: Port, frame: &[u8]) {
        let count = self.plugs.len();
        let Some(to) = frame.get(..6).filter(|_| HEADER_BYTES <= frame.len()) else {
            self.strayed += 1;
            return;
        };
        if to[0] & 1 == 1 {
            Port::all(count).filter(|to| *to != from).for_each(|to| self.send(now, from, to, frame));
            return;
        }
        match Port::all(count).find(|port| port.address().0 == to).filter(|to| *to != from) {
            Some(to) => self.send(now, from, to, frame),
            None => self.strayed += 1,
        }
    }

    /// The next frame that arrives by now, and where.
    pub fn arrival(&mut self, now: Duration) -> Option<(Port, Vec<u8>)> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Reverse(waiting) = self.waiting.pop()?;
            let wire = self.wires.get_mut(&(waiting.from, waiting.to)).expect("a frame came over one of the links");
            if wire.arrives(waiting.sent, now, waiting.frame.len()) {
                return Some((waiting.to, waiting.frame));
            }
        }
        None
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    fn send(&mut self, now: Duration, from: Port, to: Port, frame: &[u8]) {
        let wire = self.wires.get_mut(&(from, to)).expect("there is a link between each two");
        let Fate::Arrives { due, copies } = wire.offer(now, frame.len()) else { return };
        for _ in 0..copies {
            self.sequence += 1;
            let waiting = Waiting { due, sequence: self.sequence, sent: now, from, to, frame: frame.to_vec() };
            self.waiting.push(Reverse(waiting));
        }
    }
}

impl Plug {
    fn is_named(&self, name: &str) -> bool {
        self.machine == name || self.region == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fabric() -> Fabric {
        let plug = |(machine, region): (&str, &str)| Plug { machine: machine.into(), region: region.into() };
        Fabric::new(1, [("one", "west"), ("two", "east"), ("three", "east")].map(plug).to_vec())
    }

    fn port(at: usize) -> Port {
        Port::all(3).nth(at).unwrap()
    }

    fn frame(to: [u8; 6], text: &[u8]) -> Vec<u8> {
        [&to[..], &[0; 8], text].concat()
    }

    fn arrivals(fabric: &mut Fabric, now: Duration) -> Vec<(usize, Vec<u8>)> {
        std::iter::from_fn(|| fabric.arrival(now)).map(|(port, frame)| (port.place(), frame[14..].to_vec())).collect()
    }

    #[test]
    fn a_frame_goes_to_the_machine_that_it_names_and_to_no_other() {
        let mut fabric = fabric();
        fabric.offer(MS, port(0), &frame(port(1).address().0, b"hi"));
        assert_eq!(arrivals(&mut fabric, MS), [(1, b"hi".to_vec())]);
        fabric.offer(MS, port(0), &frame([0xff; 6], b"who?"));
        assert_eq!(arrivals(&mut fabric, MS), [(1, b"who?".to_vec()), (2, b"who?".to_vec())]);
        assert_eq!(fabric.strayed(), 0);
        fabric.offer(MS, port(0), &frame([0x02, 9, 9, 9, 9, 9], b"lost"));
        fabric.offer(MS, port(0), &frame(port(0).address().0, b"mine"));
        fabric.offer(MS, port(0), b"short");
        assert_eq!((arrivals(&mut fabric, MS).len(), fabric.strayed()), (0, 3));
    }

    #[test]
    fn regions_and_machines_are_places_and_a_cut_has_a_direction() {
        let mut fabric = fabric();
        let cut = |link: Link| Link { cut: true, ..link };
        assert_eq!(fabric.set("west", "two", cut), 1);
        fabric.offer(MS, port(0), &frame(port(1).address().0, b"cut"));
        fabric.offer(MS, port(1), &frame(port(0).address().0, b"back"));
        fabric.offer(MS, port(0), &frame(port(2).address().0, b"beside"));
        assert_eq!(arrivals(&mut fabric, MS), [(0, b"back".to_vec()), (2, b"beside".to_vec())]);
        assert_eq!(fabric.set("east", "east", cut), 2, "inside of a region");
        assert_eq!(fabric.set("east", "nowhere", cut), 0);
        let of_cut: u64 = fabric.directions().iter().map(|direction| direction.counted.cut).sum();
        assert_eq!(of_cut, 1);
    }

    #[test]
    fn a_delay_between_regions_holds_frames_there_and_nowhere_else() {
        let mut fabric = fabric();
        fabric.set_between_regions(Link { delay: 40 * MS, ..Link::default() });
        fabric.offer(MS, port(1), &frame(port(0).address().0, b"far"));
        fabric.offer(MS, port(1), &frame(port(2).address().0, b"near"));
        assert_eq!(arrivals(&mut fabric, MS), [(2, b"near".to_vec())]);
        assert_eq!(fabric.next_due(), Some(41 * MS));
        assert_eq!(arrivals(&mut fabric, 40 * MS), []);
        assert_eq!(arrivals(&mut fabric, 41 * MS), [(0, b"far".to_vec())]);
        let held: Vec<_> = fabric.directions().into_iter().filter_map(|d| d.counted.held_ms()).collect();
        assert!(held.contains(&40.0) && held.contains(&0.0), "{held:?}");
    }

    #[test]
    fn addresses_are_written_as_ip_takes_them() {
        assert_eq!(port(2).address().to_string(), "02:5a:00:00:00:02");
    }
}
