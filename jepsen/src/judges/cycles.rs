//! Circles among transactions: who must come before whom, and whether that can be.
//!
//! | arrow | from → to |
//! |---|---|
//! | `ww` | who appended → who appended next to the same list |
//! | `wr` | who appended → who read it |
//! | `rw` | who read and did not see it yet → who appended it |
//! | `rt` | who ended → who began afterwards |
//!
//! A circle is named by the arrows that it needs: G0 (`ww`), G1c (`ww`, `wr`), G-single (one `rw` more), G2 (more of them);
//! with `-realtime` where it needs `rt`, too. Adya, *Weak consistency* (1999); Kingsbury and Alvaro, *Elle* (2020).

use std::collections::VecDeque;

/// Kinds of arrows, as a set.
pub const WW: u8 = 1;
/// See [`WW`].
pub const WR: u8 = 2;
/// See [`WW`].
pub const RW: u8 = 4;
/// See [`WW`].
pub const RT: u8 = 8;

/// What is looked for, the worst first: its name, its arrows, and whether exactly one `rw` is in it.
const ANOMALIES: [(&str, u8, bool); 8] = [
    ("G0", WW, false),
    ("G1c", WW | WR, false),
    ("G-single", WW | WR | RW, true),
    ("G2", WW | WR | RW, false),
    ("G0-realtime", WW | RT, false),
    ("G1c-realtime", WW | WR | RT, false),
    ("G-single-realtime", WW | WR | RW | RT, true),
    ("G2-realtime", WW | WR | RW | RT, false),
];
/// So many circles are shown.
const SHOWN: usize = 5;

/// Who must come before whom.
#[derive(Clone, Debug, Default)]
pub struct Arrows {
    from: Vec<Vec<(usize, u8)>>,
}

/// A circle: its name and its members with the arrow to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The anomaly.
    pub name: &'static str,
    /// Each member, and the kind of the arrow that leaves it.
    pub members: Vec<(usize, u8)>,
}

/// An arrow's name.
pub fn arrow(kind: u8) -> &'static str {
    match kind {
        WW => "ww",
        WR => "wr",
        RW => "rw",
        _ => "rt",
    }
}

impl Arrows {
    /// None yet, among so many.
    pub fn among(count: usize) -> Self {
        Self { from: vec![Vec::new(); count] }
    }

    /// One must come before the other. To oneself there is none.
    pub fn add(&mut self, from: usize, to: usize, kind: u8) {
        if from != to && !self.from[from].contains(&(to, kind)) {
            self.from[from].push((to, kind));
        }
    }

    /// The worst kind of circle that there is, with a few examples.
    pub fn circles(&self) -> Vec<Circle> {
        for (name, kinds, one_rw) in ANOMALIES {
            let mut found = Vec::new();
            for knot in self.knots(kinds) {
                let members =
                    if one_rw { self.circle_with_one_rw(&knot, kinds) } else { self.circle(&knot, knot[0], kinds) };
                found.extend(members.map(|members| Circle { name, members }));
                if SHOWN <= found.len() {
                    break;
                }
            }
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// Sets of more than one in which each leads to each (Tarjan), the smallest first.
    fn knots(&self, kinds: u8) -> Vec<Vec<usize>> {
        const NEW: usize = usize::MAX;
        let count = self.from.len();
        let (mut number, mut low) = (vec![NEW; count], vec![0; count]);
        let mut is_open = vec![false; count];
        let (mut open, mut knots, mut next) = (Vec::new(), Vec::new(), 0);
        for root in 0..count {
            if number[root] != NEW {
                continue;
            }
            // Who is being looked at, and which of its arrows is next.
            let mut path = vec![(root, 0)];
            while let Some((at, arrow)) = path.pop() {
                if arrow == 0 {
                    number[at] = next;
                    low[at] = next;
                    next += 1;
                    open.push(at);
                    is_open[at] = true;
                }
                if let Some((to, kind)) = self.from[at].get(arrow).copied() {
                    path.push((at, arrow + 1));
                    if kind & kinds == 0 {
                        continue;
                    }
                    if number[to] == NEW {
                        path.push((to, 0));
                    } else if is_open[to] {
                        low[at] = low[at].min(number[to]);
                    }
                    continue;
                }
                if let Some((above, _)) = path.last() {
                    low[*above] = low[*above].min(low[at]);
                }
                if low[at] == number[at] {
                    let begin = open.iter().rposition(|one| *one == at).expect("it was opened");
                    let knot = open.split_off(begin);
                    knot.iter().for_each(|one| is_open[*one] = false);
                    if 1 < knot.len() {
                        knots.push(knot);
                    }
                }
            }
        }
        knots.sort_by_key(Vec::len);
        knots
    }

    /// A shortest circle through one member of a knot.
    fn circle(&self, knot: &[usize], through: usize, kinds: u8) -> Option<Vec<(usize, u8)>> {
        let firsts = self.from[through].iter().filter(|(to, kind)| kind & kinds != 0 && knot.contains(to));
        let ways = firsts.filter_map(|(to, kind)| {
            let mut members = vec![(through, *kind)];
            members.extend(self.way(*to, through, kinds)?);
            Some(members)
        });
        ways.min_by_key(Vec::len)
    }

    fn circle_with_one_rw(&self, knot: &[usize], kinds: u8) -> Option<Vec<(usize, u8)>> {
        let ways = knot.iter().flat_map(|from| {
            let readers = self.from[*from].iter().filter(|(_, kind)| *kind == RW);
            readers.filter_map(|(to, kind)| {
                let mut members = vec![(*from, *kind)];
                members.extend(self.way(*to, *from, kinds & !RW)?);
                Some(members)
            })
        });
        ways.min_by_key(Vec::len)
    }

    /// A shortest way: who is on it but its end, each with the arrow that leaves it.
    fn way(&self, begin: usize, end: usize, kinds: u8) -> Option<Vec<(usize, u8)>> {
        let mut came: std::collections::HashMap<usize, (usize, u8)> = std::collections::HashMap::new();
        let mut open = VecDeque::from([begin]);
        while let Some(at) = open.pop_front() {
            if at == end {
                let mut way = Vec::new();
                let mut here = end;
                while here != begin {
                    let (before, kind) = came[&here];
                    way.push((before, kind));
                    here = before;
                }
                way.reverse();
                return Some(way);
            }
            for (to, kind) in self.from[at].iter().filter(|(_, kind)| kind & kinds != 0) {
                if *to != begin && !came.contains_key(to) {
                    came.insert(*to, (at, *kind));
                    open.push_back(*to);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(count: usize, arrows: &[(usize, usize, u8)]) -> Option<(&'static str, usize)> {
        let mut among = Arrows::among(count);
        arrows.iter().for_each(|(from, to, kind)| among.add(*from, *to, *kind));
        among.circles().first().map(|circle| (circle.name, circle.members.len()))
    }

    #[test]
    fn circles_are_named_by_the_arrows_that_they_need() {
        assert_eq!(worst(3, &[(0, 1, WW), (1, 2, WR), (0, 2, RW), (0, 2, RT)]), None);
        assert_eq!(worst(2, &[(0, 1, WW), (1, 0, WW)]), Some(("G0", 2)));
        assert_eq!(worst(3, &[(0, 1, WW), (1, 2, WW), (2, 0, WR)]), Some(("G1c", 3)));
        assert_eq!(worst(2, &[(0, 1, WR), (1, 0, RW)]), Some(("G-single", 2)));
        assert_eq!(worst(2, &[(0, 1, RW), (1, 0, RW)]), Some(("G2", 2)));
        assert_eq!(worst(2, &[(0, 1, WW), (1, 0, RT)]), Some(("G0-realtime", 2)));
        assert_eq!(worst(2, &[(0, 1, WR), (1, 0, RT)]), Some(("G1c-realtime", 2)));
        assert_eq!(worst(2, &[(0, 1, RW), (1, 0, RT)]), Some(("G-single-realtime", 2)));
        assert_eq!(worst(4, &[(0, 1, RW), (1, 2, RT), (2, 3, RW), (3, 0, RT)]), Some(("G2-realtime", 4)));
    }

    #[test]
    fn the_worst_is_named_and_the_shortest_shown() {
        let mut arrows: Vec<_> = (0..9).map(|at| (at, (at + 1) % 9, WW)).collect();
        arrows.push((4, 3, WW));
        arrows.push((8, 7, RW));
        assert_eq!(worst(9, &arrows).map(|(name, _)| name), Some("G0"));
        assert_eq!(worst(12, &[&arrows[..8], &[(4, 3, WW)]].concat()), Some(("G0", 2)));
    }
}
