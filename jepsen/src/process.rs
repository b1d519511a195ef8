//! What Linux says of a process, and signals to it. A fault is believed when `/proc` shows it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long a signal may take to show.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none, or only its exit status is left.
    Gone,
    /// It is stopped (T).
    Stopped,
    /// Anything else.
    Alive,
}

/// The state of a process now.
pub fn state(pid: u32) -> State {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => state_in(&stat),
        Err(_) => State::Gone,
    }
}

/// Whether the process was started with this command line: a number may have been given to another one since. Programs in
/// front of the last one (`nsenter`, `env`) become the next: what is left of the words are the last of them, two at least.
pub fn is_running(pid: u32, argv: &[String]) -> bool {
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = command_line.strip_suffix(&[0]).unwrap_or_default().split(|byte| *byte == 0).collect();
    let wanted: Vec<&[u8]> = argv.iter().map(String::as_bytes).collect();
    2 <= words.len() && wanted.ends_with(&words)
}

/// Sends a signal; false if there is nobody to get it.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

/// Waits until the process is in this state; false if it does not come to it.
pub fn comes_to(pid: u32, wanted: State) -> bool {
    let began = Instant::now();
    while state(pid) != wanted {
        if PATIENCE < began.elapsed() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Waits until a process that is gone holds nothing any more; false if it does not let go.
pub fn lets_go(pid: u32) -> bool {
    let began = Instant::now();
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !is_over_in(&stat)) {
        if PATIENCE < began.elapsed() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Kills a process and all that it began, and all that these did.
pub fn kill_with_children(pid: u32) {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        // Who is stopped begins nobody else meanwhile.
        signal(parent, Signal::STOP);
        all.extend(children(parent));
        next += 1;
    }
    for pid in all {
        signal(pid, Signal::KILL);
    }
}

/// The processes that a process began and that are there.
fn children(parent: u32) -> Vec<u32> {
    let is_its =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent_in(&stat) == Some(parent));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_its).collect()
}

/// Field 4 of proc(5)'s `stat`.
fn parent_in(stat: &str) -> Option<u32> {
    fields(stat).nth(1)?.parse().ok()
}

/// Field 3 of proc(5)'s `stat`; the name before it may hold anything.
fn state_in(stat: &str) -> State {
    match fields(stat).next().and_then(|state| state.chars().next()) {
        Some('Z' | 'X' | 'x') | None => State::Gone,
        Some('T') => State::Stopped,
        Some(_) => State::Alive,
    }
}

/// Fields 3 and 20: whether nothing runs any more. Where the first thread has ended and others are still ending, the process
/// is a zombie, and these still hold its files and their locks.
fn is_over_in(stat: &str) -> bool {
    let threads = fields(stat).nth(17).and_then(|threads| threads.parse::<u32>().ok());
    state_in(stat) == State::Gone && threads.is_none_or(|threads| threads <= 1)
}

/// The fields behind the name, from the third.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_stopped_continued_and_killed_before_our_eyes() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        assert!(comes_to(pid, State::Alive));
        assert!(signal(pid, Signal::STOP) && comes_to(pid, State::Stopped));
        assert!(signal(pid, Signal::CONT) && comes_to(pid, State::Alive));
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(is_running(pid, &words(&["sleep", "60"])) && is_running(pid, &words(&["env", "sleep", "60"])));
        assert!(!is_running(pid, &words(&["sleep"])) && !is_running(pid, &words(&["sleep", "60", "s"])));
        // Not reaped yet: a zombie is gone.
        assert!(signal(pid, Signal::KILL) && comes_to(pid, State::Gone));
        assert!(lets_go(pid));
        child.wait().unwrap();
        assert!(state(pid) == State::Gone && lets_go(pid));
    }

    #[test]
    fn whose_threads_still_end_has_not_let_go() {
        let stat = |state: &str, threads: u32| {
            format!("71 (a ) b) {state} 1 71 71 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 311 0")
        };
        assert_eq!([state_in(&stat("Z", 9)), state_in(&stat("Z", 1)), state_in("")], [State::Gone; 3]);
        assert_eq!([state_in(&stat("T", 9)), state_in(&stat("S", 1))], [State::Stopped, State::Alive]);
        assert!(is_over_in(&stat("Z", 1)) && is_over_in(""));
        assert!(!is_over_in(&stat("Z", 9)) && !is_over_in(&stat("S", 1)));
    }

    #[test]
    fn whoever_is_killed_takes_its_children_along() {
        let mut shell = Command::new("sh").args(["-c", "sleep 60 & sleep 61 & wait"]).spawn().unwrap();
        let began = Instant::now();
        while children(shell.id()).len() < 2 {
            assert!(began.elapsed() < PATIENCE, "a shell begins its children");
            std::thread::yield_now();
        }
        let begun = children(shell.id());
        kill_with_children(shell.id());
        shell.wait().unwrap();
        assert!(begun.into_iter().all(|pid| comes_to(pid, State::Gone)));
    }
}
