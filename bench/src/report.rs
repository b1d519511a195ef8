//! Figures: as one JSON object (CONTRACTS, "bench … --json"), and as a table.
//!
//! MB and GB are 10⁶ and 10⁹ bytes, MiB are 2²⁰. What a figure does not exist for is null.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::probe::Spent;

/// One operation on one shape.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The shape; a rival's begins with its name and a colon.
    pub shape: String,
    /// `first`, `unchanged`, `changed`, `restore`, `commit` or `leader-kill`.
    pub op: &'static str,
    bytes: u64,
    seconds: f64,
    mb_per_s: f64,
    cpu_s_per_gb: CpuPerGb,
    peak_mib: PeakMib,
    disk_bytes: u64,
    commit_ms: Option<CommitMs>,
    /// What was allocated on disks for each byte that was backed up for the first time.
    disk_per_byte: Option<f64>,
    /// What clients sent, if they say so.
    bytes_sent: Option<u64>,
    /// Entries that majorities committed, a second.
    commits_per_s: Option<f64>,
    /// A rival's seconds by ours: above 1 we are faster.
    times_faster_than: BTreeMap<&'static str, f64>,
}

/// CPU-seconds per 10⁹ bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct CpuPerGb {
    client: f64,
    nodes: Option<f64>,
}

/// The most memory that a process held.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct PeakMib {
    client: f64,
    node_max: Option<f64>,
}

/// How long one small snapshot takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct CommitMs {
    p50: f64,
    p99: f64,
}

/// An operation as it was measured.
pub struct Measured<'a> {
    /// Bytes of the data that it is about.
    pub bytes: u64,
    /// From the first client's start to the last one's end.
    pub duration: Duration,
    /// The largest client's peak.
    pub client_peak_kib: u64,
    /// What else it took.
    pub spent: Spent,
    /// How long each command took, if that is what was measured.
    pub each: Option<&'a [Duration]>,
    /// What the clients sent, if they say so.
    pub bytes_sent: Option<u64>,
    /// Entries that were committed, where there are any.
    pub commits: Option<f64>,
}

impl Row {
    /// Works the figures out.
    pub fn new(shape: String, op: &'static str, measured: &Measured<'_>) -> Self {
        let seconds = measured.duration.as_secs_f64();
        let gigabytes = measured.bytes as f64 / 1e9;
        let mib = |kib: u64| rounded(kib as f64 / 1024.0);
        let spent = &measured.spent;
        Self {
            shape,
            op,
            bytes: measured.bytes,
            seconds: rounded(seconds),
            mb_per_s: rounded(measured.bytes as f64 / 1e6 / seconds),
            cpu_s_per_gb: CpuPerGb {
                client: rounded(spent.clients_cpu.as_secs_f64() / gigabytes),
                nodes: spent.nodes_cpu.map(|cpu| rounded(cpu.as_secs_f64() / gigabytes)),
            },
            peak_mib: PeakMib { client: mib(measured.client_peak_kib), node_max: spent.node_peak_kib.map(mib) },
            disk_bytes: spent.disk_bytes,
            commit_ms: measured.each.map(|each| CommitMs {
                p50: rounded(percentile(each, 50).as_secs_f64() * 1000.0),
                p99: rounded(percentile(each, 99).as_secs_f64() * 1000.0),
            }),
            disk_per_byte: (op == "first").then(|| rounded(spent.disk_bytes as f64 / measured.bytes as f64)),
            bytes_sent: measured.bytes_sent,
            commits_per_s: measured.commits.map(|commits| rounded(commits / seconds)),
            times_faster_than: BTreeMap::new(),
        }
    }

    /// What the clients sent, if they say so.
    pub fn bytes_sent(&self) -> Option<u64> {
        self.bytes_sent
    }

    /// The largest client's and the largest node's peak, MiB.
    pub fn peaks_mib(&self) -> (f64, f64) {
        (self.peak_mib.client, self.peak_mib.node_max.unwrap_or_default())
    }

    /// Times of single operations, one after another, of which nothing else was measured.
    pub fn latencies(shape: String, op: &'static str, bytes: u64, each: &[Duration]) -> Self {
        let measured = Measured {
            bytes: bytes * each.len() as u64,
            duration: each.iter().sum(),
            client_peak_kib: 0,
            spent: Spent::default(),
            each: Some(each),
            bytes_sent: None,
            commits: None,
        };
        Self::new(shape, op, &measured)
    }

    /// CPU time per command, where seconds per GB say nothing.
    pub fn cpu_ms_each(&self, count: u32) -> String {
        let each = |per_gb: f64| per_gb * self.bytes as f64 / 1e9 * 1000.0 / f64::from(count.max(1));
        let nodes = self.cpu_s_per_gb.nodes.map_or_else(String::new, |nodes| format!(", nodes {:.1} ms", each(nodes)));
        format!("CPU per snapshot: client {:.1} ms{nodes}", each(self.cpu_s_per_gb.client))
    }
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Which source.
    pub commit: String,
    /// On what.
    pub machine: String,
    /// The figures, in order.
    pub shapes: Vec<Row>,
    /// How many processes wanted to run before and at the end, over the last minute: on a busy machine all is slower.
    pub load: [f64; 2],
    /// What people should know beside them.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Report {
    /// Compares each row with those of the same shape and operation of `rivals` (restic:, borg:, rustic:).
    pub fn compare(&mut self, rivals: &[&'static str]) {
        let seconds: BTreeMap<(String, &str), f64> =
            self.shapes.iter().map(|row| ((row.shape.clone(), row.op), row.seconds)).collect();
        for row in &mut self.shapes {
            for rival in rivals {
                if let Some(theirs) = seconds.get(&(format!("{rival}{}", row.shape), row.op)) {
                    row.times_faster_than.insert(rival.trim_end_matches(':'), rounded(theirs / row.seconds));
                }
            }
        }
    }

    /// One line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("figures are finite and names are text")
    }

    /// For people.
    pub fn table(&self) -> String {
        let fits = "text grows in memory";
        let [before, after] = self.load;
        let mut text = String::new();
        writeln!(text, "strongroom-bench {}\n{}, load {before:.1} to {after:.1}\n", self.commit, self.machine)
            .expect(fits);
        let two = [
            line(
                ["", "", "", "", "", "CPU-s", "per GB", "peak", "MiB", "sent", "disk", "per", "com-", "each", "ms"],
                "",
            ),
            line(
                [
                    "shape", "op", "MB", "s", "MB/s", "client", "nodes", "client", "node", "MB", "MB", "byte",
                    "mits/s", "p50", "p99",
                ],
                "times faster than",
            ),
        ];
        text.extend(two);
        let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"));
        for row in &self.shapes {
            let per_gb = |cpu: Option<f64>| shown(cpu.filter(|_| row.commit_ms.is_none()));
            let faster: Vec<String> =
                row.times_faster_than.iter().map(|(rival, times)| format!("{rival} {times:.2}")).collect();
            let columns = [
                row.shape.clone(),
                row.op.to_owned(),
                format!("{:.1}", row.bytes as f64 / 1e6),
                format!("{:.2}", row.seconds),
                format!("{:.1}", row.mb_per_s),
                per_gb(Some(row.cpu_s_per_gb.client)),
                per_gb(row.cpu_s_per_gb.nodes),
                format!("{:.0}", row.peak_mib.client),
                row.peak_mib.node_max.map_or_else(|| "-".to_owned(), |mib| format!("{mib:.0}")),
                shown(row.bytes_sent.map(|bytes| bytes as f64 / 1e6)),
                format!("{:.1}", row.disk_bytes as f64 / 1e6),
                row.disk_per_byte.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}")),
                shown(row.commits_per_s),
                shown(row.commit_ms.as_ref().map(|ms| ms.p50)),
                shown(row.commit_ms.as_ref().map(|ms| ms.p99)),
            ];
            text.push_str(&line(columns.each_ref().map(String::as_str), &faster.join(", ")));
        }
        text.push('\n');
        for note in &self.notes {
            writeln!(text, "{note}").expect(fits);
        }
        text
    }
}

/// One line of the table.
fn line(columns: [&str; 15], last: &str) -> String {
    let [shape, op, figures @ ..] = columns;
    let figures: String = figures.iter().map(|figure| format!(" {figure:>7}")).collect();
    format!("{shape:24} {op:11}{figures}  {last}").trim_end().to_owned() + "\n"
}

/// Three decimals: a JSON that people can read, too.
fn rounded(figure: f64) -> f64 {
    if figure.is_finite() { (figure * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// The smallest value that so many percent do not exceed (nearest rank); zero of none.
pub fn percentile(durations: &[Duration], percent: usize) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(shape: &str, seconds: u64, each: Option<&[Duration]>) -> Row {
        let spent = Spent {
            clients_cpu: Duration::from_secs(4),
            nodes_cpu: Some(Duration::from_secs(6)),
            node_peak_kib: Some(2048),
            disk_bytes: 3_000_000_000,
        };
        let duration = Duration::from_secs(seconds);
        let (bytes_sent, commits) = (Some(7), Some(5.0));
        let measured =
            Measured { bytes: 2_000_000_000, duration, client_peak_kib: 1024, spent, each, bytes_sent, commits };
        Row::new(shape.to_owned(), "first", &measured)
    }

    #[test]
    fn the_json_has_exactly_the_fields_of_the_contract() {
        let each = [Duration::from_millis(10), Duration::from_millis(20)];
        let report = Report {
            commit: "c".into(),
            machine: "m".into(),
            shapes: vec![row("a", 10, Some(&each)), row("b", 10, None)],
            load: [0.5, 2.0],
            notes: vec!["not in it".into()],
        };
        let expected = concat!(
            r#"{"commit":"c","machine":"m","shapes":["#,
            r#"{"shape":"a","op":"first","bytes":2000000000,"seconds":10.0,"mb_per_s":200.0,"#,
            r#""cpu_s_per_gb":{"client":2.0,"nodes":3.0},"peak_mib":{"client":1.0,"node_max":2.0},"#,
            r#""disk_bytes":3000000000,"commit_ms":{"p50":10.0,"p99":20.0},"#,
            r#""disk_per_byte":1.5,"bytes_sent":7,"commits_per_s":0.5,"times_faster_than":{}},"#,
            r#"{"shape":"b","op":"first","bytes":2000000000,"seconds":10.0,"mb_per_s":200.0,"#,
            r#""cpu_s_per_gb":{"client":2.0,"nodes":3.0},"peak_mib":{"client":1.0,"node_max":2.0},"#,
            r#""disk_bytes":3000000000,"commit_ms":null,"#,
            r#""disk_per_byte":1.5,"bytes_sent":7,"commits_per_s":0.5,"times_faster_than":{}}],"load":[0.5,2.0]}"#
        );
        assert_eq!(report.json(), expected);
    }

    #[test]
    fn the_table_shows_the_ratio_to_each_rival_of_the_same_shape() {
        let shapes = vec![row("a", 10, None), row("restic:a", 15, None), row("borg:a", 40, None), row("b", 1, None)];
        let (commit, machine, notes) = ("c".into(), "m".into(), vec!["a note".into()]);
        let mut report = Report { commit, machine, shapes, load: [0.5, 2.0], notes };
        report.compare(&["restic:", "borg:"]);
        let table = report.table();
        assert!(table.contains("borg 4.00, restic 1.50") && table.ends_with("a note\n"), "{table}");
        assert!(report.shapes[1..].iter().all(|row| row.times_faster_than.is_empty()));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let each: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&each, 50), Duration::from_millis(100));
        assert_eq!(percentile(&each, 99), Duration::from_millis(198));
        assert_eq!(percentile(&each[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
