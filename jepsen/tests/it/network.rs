//! Machines, links and cuts from outside: `strongroom-jepsen network …`.
//!
//! Most of it needs what only root on a host with TAP devices has; `.ci/run` runs these with `--ignored`. There they
//! fail if it is missing: a network that cannot be set up is no test that passed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// A network in a process of its own, ended with the test.
struct Up {
    name: &'static str,
    process: Child,
}

impl Up {
    fn start(name: &'static str, flags: &[&str]) -> Self {
        let mut process = harness(&["up", "--name", name], flags).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let is_up = said.any(|line| line.is_ok_and(|line| line.contains("\"up\"")));
        assert!(is_up, "the network {name} does not come up: {:?}", process.wait());
        Self { name, process }
    }

    fn ask(&self, command: &str, arguments: &[&str]) -> Vec<Value> {
        let output = harness(&[command, "--name", self.name], arguments).output().unwrap();
        assert!(output.status.success(), "{command} {arguments:?}: {output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn answered(&self, from: &str, to: &str) -> u64 {
        self.ask("probe", &[from, to, "--count", "50"])[0]["answered"].as_u64().unwrap()
    }

    fn counted(&self, from: &str, to: &str, what: &str) -> u64 {
        let shown = self.ask("show", &[]);
        let link = shown.iter().find(|line| line["from"] == *from && line["to"] == *to).unwrap();
        link["counted"][what].as_u64().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        comes_true("its namespaces go with it", || namespaces(self.name).is_empty());
    }
}

fn harness(command: &[&str], rest: &[&str]) -> Command {
    let mut harness = Command::new(env!("CARGO_BIN_EXE_strongroom-jepsen"));
    harness.arg("network").args(command).args(rest).stdin(Stdio::null());
    harness
}

fn namespaces(name: &str) -> Vec<String> {
    let prefix = format!("strongroom.{name}.");
    let entries = fs::read_dir("/run/netns").into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

fn comes_true(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "in {PATIENCE:?} it did not come true that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes whose command line holds this.
fn processes(mark: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let holds = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes())
    };
    numbers.filter(holds).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_a_host_lacks_is_named_and_nothing_is_begun() {
    let output = harness(&["run", "--name", "lacking"], &["--", "true"]).env("PATH", "/nowhere").output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("this host lacks") && said.contains("ip: not in PATH (apt-get install iproute2)"), "{said}");
    assert!(namespaces("lacking").is_empty());
}

#[test]
fn flags_that_mean_no_link_and_machines_that_mean_no_place_are_refused() {
    for flags in [["--loss", "1.5"], ["--delay-ms", "-1"], ["--machines", "one"], ["--name", "../x"]] {
        let output = harness(&["run"], &flags).args(["--", "true"]).output().unwrap();
        assert!(!output.status.success(), "{flags:?}");
    }
}

#[test]
#[ignore = "needs root, /dev/net/tun and iproute2; .ci/run has them"]
fn a_command_runs_in_a_machine_behind_links_that_were_proved() {
    let flags = ["--name", "behind", "--delay-ms", "40", "--jitter-ms", "2", "--loss", "0.01", "--on", "two"];
    let output = harness(&["run"], &flags).args(["--", "ip", "-brief", "address"]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("10.77.2.10/16"), "{said}");
    let probes: Vec<f64> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok().filter(|line| line["type"] == "probe"))
        .map(|line| line["round_trip_ms"].as_f64().unwrap())
        .collect();
    assert!(probes.len() == 3 && probes.iter().all(|ms| (76.0..150.0).contains(ms)), "{said}");
    assert!(said.contains("frames lost") && said.contains("held for"), "{said}");
    assert!(namespaces("behind").is_empty(), "it takes itself down");
    let failed = harness(&["run", "--name", "failed"], &["--", "false"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "it ends as its command ended");
}

#[test]
#[ignore = "needs root, /dev/net/tun and iproute2; .ci/run has them"]
fn a_cut_takes_one_direction_and_heals_and_the_counters_say_so() {
    let up = Up::start("cutting", &["--machines", "one@west,two@east,more@east"]);
    assert_eq!(up.answered("one", "two"), 50);
    assert_eq!(up.ask("set", &["west", "east", "--cut"])[0]["links"], 2);
    let (passed, cut) = (up.counted("one", "two", "passed"), up.counted("one", "two", "cut"));
    assert_eq!(up.answered("one", "two"), 0);
    assert!(cut + 50 <= up.counted("one", "two", "cut"));
    assert_eq!(up.counted("one", "two", "passed"), passed);
    // The other way round questions arrive, answers do not.
    let arrived = up.counted("two", "one", "passed");
    assert_eq!(up.answered("two", "one"), 0);
    assert!(arrived < up.counted("two", "one", "passed"));
    assert_eq!(up.answered("two", "more"), 50, "inside of the region nothing is cut");
    up.ask("set", &["west", "east"]);
    assert_eq!(up.answered("one", "two"), 50);
    up.ask("set", &["one", "two", "--duplicate", "1", "--delay-ms", "20"]);
    let probed = up.ask("probe", &["one", "two", "--count", "50"]);
    assert!((20.0..39.0).contains(&probed[0]["round_trip_ms"].as_f64().unwrap()), "one way only: {probed:?}");
    assert!(50 <= up.counted("one", "two", "doubled"));
    let nowhere = harness(&["set", "--name", "cutting"], &["one", "nowhere", "--cut"]).output().unwrap();
    assert!(!nowhere.status.success() && said(&nowhere).contains("no link leads"), "{}", said(&nowhere));
}

#[test]
#[ignore = "needs root, /dev/net/tun and iproute2; .ci/run has them"]
fn after_a_kill_its_machines_and_their_processes_are_gone() {
    let mut up = Up::start("killed", &[]);
    let mark = "100077.25";
    let mut inside = harness(&["exec", "--name", "killed", "one"], &["--", "sleep", mark]).spawn().unwrap();
    // The harness that waits for it names it too.
    comes_true("it runs", || 2 <= processes(mark).len());
    assert_eq!(namespaces("killed").len(), 3);
    up.process.kill().unwrap();
    up.process.wait().unwrap();
    comes_true("the process ends", || inside.try_wait().unwrap().is_some());
    comes_true("the namespaces go", || namespaces("killed").is_empty());
    assert!(processes(mark).is_empty());
    // What the undertaker takes last.
    comes_true("its directory goes", || !fs::exists("/run/strongroom-jepsen/killed").unwrap());
}

#[test]
#[ignore = "needs root, /dev/net/tun and iproute2; .ci/run has them"]
fn what_is_left_when_all_were_killed_is_swept_by_the_next_one() {
    let mut up = Up::start("swept", &[]);
    let pid = up.process.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert_eq!(children.split_whitespace().count(), 1, "its undertaker: {children}");
    let mut inside = harness(&["exec", "--name", "swept", "one"], &["--", "sleep", "100077.5"]).spawn().unwrap();
    comes_true("it runs", || 2 <= processes("100077.5").len());
    assert!(Command::new("kill").args(["-KILL", children.trim()]).status().unwrap().success());
    comes_true("the undertaker is gone", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", children.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    up.process.kill().unwrap();
    up.process.wait().unwrap();
    assert_eq!(namespaces("swept").len(), 3, "nobody was there to sweep");
    let next = harness(&["run", "--name", "swept"], &["--machines", "one@west", "--", "true"]).output().unwrap();
    assert!(next.status.success(), "{}", said(&next));
    assert!(inside.wait().unwrap().code() != Some(0) && namespaces("swept").is_empty());
}

#[test]
#[ignore = "needs root, /dev/net/tun and iproute2; .ci/run has them"]
fn a_fault_without_effect_makes_a_run_void() {
    // One machine: the links between regions, which are to be cut, do not exist, and nothing is claimed of them.
    let alone =
        harness(&["run", "--name", "alone"], &["--machines", "one@west", "--cut", "--", "true"]).output().unwrap();
    assert!(alone.status.success(), "{}", said(&alone));
    // Between two, a cut is proved; what reorders nothing is not.
    let cut = harness(&["run", "--name", "void"], &["--cut", "--", "true"]).output().unwrap();
    assert!(cut.status.success() && said(&cut).contains("met the cut"), "{}", said(&cut));
    let flags = ["--reorder", "1e-9", "--", "true"];
    let void = harness(&["run", "--name", "void"], &flags).output().unwrap();
    assert!(!void.status.success() && said(&void).contains("reordering had no effect"), "{}", said(&void));
}
