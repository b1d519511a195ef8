//! What is measured: shapes of data, how often, by how many clients, and the space that it takes.
//!
//! Not here: how the bytes are made (`shapes.rs`).

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What one shape of data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One file that does not compress.
    Random,
    /// Many small files that compress as source code does.
    Sources {
        /// How many.
        files: u32,
    },
    /// One file of rows, about 3:1.
    Dump,
}

/// A shape of data that is backed up, backed up again unchanged and with a hundredth changed, and restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// As the report names it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Bytes of one client's data.
    pub bytes: u64,
    /// How many clients at once, each with data of its own.
    pub clients: u32,
}

impl Shape {
    /// Bytes of all clients.
    pub fn bytes_in_all(&self) -> u64 {
        self.bytes * u64::from(self.clients)
    }
}

/// Many snapshots of a few kilobytes: how long one takes from the command's start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Small {
    /// As the report names it.
    pub name: &'static str,
    /// Bytes of the one file.
    pub bytes: u64,
    /// How many snapshots each client makes, one after another.
    pub snapshots: u32,
    /// How many clients at once.
    pub clients: u32,
}

/// What an application sees that keeps a client open (`application.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InProcess {
    /// As the report names it.
    pub name: &'static str,
    /// Bytes of each snapshot.
    pub bytes: usize,
    /// How many snapshots, one after another.
    pub snapshots: u32,
    /// How often the leader is killed.
    pub kills: u32,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Shapes, in order.
    pub shapes: Vec<Shape>,
    /// Latencies, in order.
    pub small: Vec<Small>,
    /// The last: it kills nodes.
    pub application: Option<InProcess>,
    /// Whether other programs that are installed do the same.
    pub has_rivals: bool,
}

impl Plan {
    /// Two minutes.
    pub fn quick() -> Self {
        Self {
            shapes: vec![
                Shape { name: "random-2g", kind: Kind::Random, bytes: 2 * GIB, clients: 1 },
                Shape { name: "sources-40k", kind: Kind::Sources { files: 40_000 }, bytes: 800_000_000, clients: 1 },
            ],
            small: vec![
                Small { name: "small-4k", bytes: 4 * KIB, snapshots: 100, clients: 1 },
                Small { name: "small-4k-x16", bytes: 4 * KIB, snapshots: 10, clients: 16 },
            ],
            application: Some(InProcess { name: "sdk-4k", bytes: 4096, snapshots: 100, kills: 5 }),
            has_rivals: true,
        }
    }

    /// Everything.
    pub fn full() -> Self {
        Self {
            shapes: vec![
                Shape { name: "random-2g", kind: Kind::Random, bytes: 2 * GIB, clients: 1 },
                Shape { name: "sources-40k", kind: Kind::Sources { files: 40_000 }, bytes: 800_000_000, clients: 1 },
                Shape { name: "dump-2g", kind: Kind::Dump, bytes: 2 * GIB, clients: 1 },
                Shape { name: "random-128m-x16", kind: Kind::Random, bytes: 128 * MIB, clients: 16 },
            ],
            small: vec![
                Small { name: "small-4k", bytes: 4 * KIB, snapshots: 400, clients: 1 },
                Small { name: "small-4k-x16", bytes: 4 * KIB, snapshots: 50, clients: 16 },
            ],
            application: Some(InProcess { name: "sdk-4k", bytes: 4096, snapshots: 400, kills: 30 }),
            has_rivals: true,
        }
    }

    /// What shows how much memory grows with files and with bytes.
    pub fn memory() -> Self {
        Self {
            shapes: vec![
                Shape { name: "files-100k", kind: Kind::Sources { files: 100_000 }, bytes: 400_000_000, clients: 1 },
                Shape { name: "random-1g", kind: Kind::Random, bytes: GIB, clients: 1 },
                Shape { name: "random-4g", kind: Kind::Random, bytes: 4 * GIB, clients: 1 },
            ],
            small: Vec::new(),
            application: None,
            has_rivals: false,
        }
    }

    /// What of it is named, or all of it if nothing is. Fails on a name that it does not have.
    pub fn only(mut self, names: &[String]) -> anyhow::Result<Self> {
        if names.is_empty() {
            return Ok(self);
        }
        let shapes = self.shapes.iter().map(|shape| shape.name).chain(self.small.iter().map(|small| small.name));
        let all: Vec<&str> = shapes.chain(self.application.iter().map(|application| application.name)).collect();
        if let Some(wrong) = names.iter().find(|name| !all.contains(&name.as_str())) {
            anyhow::bail!("there is no {wrong} in it, but {}", all.join(", "));
        }
        let is_named = |name: &str| names.iter().any(|named| named == name);
        self.shapes.retain(|shape| is_named(shape.name));
        self.small.retain(|small| is_named(small.name));
        self.application = self.application.filter(|application| is_named(application.name));
        Ok(self)
    }

    /// Bytes that must be free. Nodes keep 6/4 of every shape (code 4+2) as if nothing compressed, and nothing can be
    /// deleted meanwhile; the source and each one's restore lie beside the largest shape, and three rivals' repositories
    /// beside all; 4 GiB are for logs, the nodes' reserves, segments that grow in steps, and a machine that goes on living.
    pub fn space(&self) -> u64 {
        let rivals = if self.has_rivals { 3 } else { 0 };
        let all: u64 = self.shapes.iter().map(Shape::bytes_in_all).sum();
        let largest = self.shapes.iter().map(Shape::bytes_in_all).max().unwrap_or(0);
        all / 2 * 3 + all * rivals + largest * (2 + rivals) + 4 * GIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_asks_for_room_for_all_that_lies_there_at_once() {
        let quick = Plan::quick();
        assert!(25 * GIB < quick.space() && quick.space() < 28 * GIB, "{}", quick.space());
        assert!(quick.space() < Plan::full().space());
    }

    #[test]
    fn what_is_named_is_all_that_is_left_and_a_wrong_name_is_refused_with_the_right_ones() {
        let named =
            |names: &[&str]| Plan::quick().only(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&[]).unwrap(), Plan::quick());
        let one = named(&["random-2g"]).unwrap();
        assert_eq!((one.shapes.len(), one.small.len(), one.application.is_some()), (1, 0, false));
        assert!(one.space() < Plan::quick().space());
        let application = named(&["sdk-4k"]).unwrap();
        assert_eq!(
            (application.shapes.len(), application.small.len(), application.application.is_some()),
            (0, 0, true)
        );
        let refused = named(&["random-2g", "dump-2g"]).unwrap_err().to_string();
        assert!(refused.contains("dump-2g") && refused.contains("small-4k-x16"), "{refused}");
    }

    #[test]
    fn names_are_given_once() {
        let full = Plan::full();
        let names: Vec<_> = full.shapes.iter().map(|s| s.name).chain(full.small.iter().map(|s| s.name)).collect();
        let once: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(once.len(), names.len());
    }
}
