//! Whether memory stays bounded: with very many files, and with one file of 1 and then of 4 GiB.
//!
//! Fails if a client held more than 300 MiB or a node more than 700 MiB, or if four times the bytes took more. Not here:
//! very many chunks (`chunks.rs`).

use std::path::Path;

use anyhow::Context as _;

use crate::contest;
use crate::plan::Plan;
use crate::report::Row;

/// What a client may hold (DESIGN, budgets), MiB.
const CLIENT_MIB_MAX: f64 = 300.0;
/// What a node may hold while it works, MiB.
const NODE_MIB_MAX: f64 = 700.0;
/// What four times the bytes may take more: how full queues were at their fullest differs from run to run.
const GROWTH_MIB_MAX: f64 = 64.0;

/// Measures, prints, and says whether the promise was kept.
pub fn run(dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    let report = contest::run(&Plan::memory(), dir)?;
    let broken = broken(&report.shapes)?;
    if is_json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    broken.iter().for_each(|what| eprintln!("{what}"));
    Ok(broken.is_empty())
}

/// What is not as promised.
fn broken(rows: &[Row]) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for row in rows {
        let (client, node) = row.peaks_mib();
        for (who, peak, most) in [("client", client, CLIENT_MIB_MAX), ("node", node, NODE_MIB_MAX)] {
            if most < peak {
                broken.push(format!("{}, {}: a {who} held {peak:.0} MiB, not {most} at most", row.shape, row.op));
            }
        }
    }
    for large in rows.iter().filter(|row| row.shape == "random-4g") {
        let small = rows.iter().find(|row| row.shape == "random-1g" && row.op == large.op);
        let (client, node) = small.context("the smaller shape was not measured")?.peaks_mib();
        let (larger_client, larger_node) = large.peaks_mib();
        for (who, grown) in [("client", larger_client - client), ("node", larger_node - node)] {
            if GROWTH_MIB_MAX < grown {
                broken.push(format!("{}: a {who} held {grown:.0} MiB more for 4 GiB than for 1", large.op));
            }
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::Spent;
    use crate::report::Measured;

    fn row(shape: &str, client_mib: u64, node_mib: u64) -> Row {
        let spent = Spent { node_peak_kib: Some(node_mib * 1024), ..Spent::default() };
        let measured = Measured {
            bytes: 1,
            duration: Duration::from_secs(1),
            client_peak_kib: client_mib * 1024,
            spent,
            each: None,
            bytes_sent: None,
            commits: None,
        };
        Row::new(shape.to_owned(), "first", &measured)
    }

    #[test]
    fn too_much_is_said_and_so_is_growth() {
        let of = |rows: &[Row]| broken(rows).unwrap();
        assert!(of(&[row("random-1g", 200, 300), row("random-4g", 264, 300)]).is_empty());
        assert_eq!(of(&[row("files-100k", 301, 701)]).len(), 2);
        let grown = of(&[row("random-1g", 100, 300), row("random-4g", 100, 365)]);
        assert!(grown.len() == 1 && grown[0].contains("a node held 65 MiB more"), "{grown:?}");
        assert!(broken(&[row("random-4g", 1, 1)]).is_err());
    }
}
