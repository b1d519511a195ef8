//! What Linux says of a process: CPU time and peak memory, from `/proc`.
//!
//! CPU time comes in ticks of 10 ms; differences over a whole operation are summed by the kernel in nanoseconds first,
//! so the error is one tick per figure, not one per process.

use std::fs;
use std::time::Duration;

/// CPU time of a process and its threads, user and system; zero when it is gone.
pub fn cpu(pid: u32) -> Duration {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| ticks(&stat, 14..=15)).unwrap_or_default()
}

/// CPU time of all children of this process that have ended and been waited for, and of their own.
pub fn cpu_of_ended_children() -> Duration {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| ticks(&stat, 16..=17)).unwrap_or_default()
}

/// The most memory that a process has held, in KiB, since it began or since [`forget_peak`].
pub fn peak_kib(pid: u32) -> Option<u64> {
    peak_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Lets the peak begin anew at what is held now. Where the kernel does not allow it, the peak stays that of the whole
/// life, which is never too little.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
}

/// The sum of numbered fields of `/proc/PID/stat` (proc(5) counts from 1; the name in field 2 may hold anything).
fn ticks(stat: &str, fields: std::ops::RangeInclusive<usize>) -> Option<Duration> {
    let behind_the_name = stat.rsplit_once(')')?.1;
    let values: Vec<&str> = behind_the_name.split_ascii_whitespace().collect();
    let sum: u64 = fields.map(|field| values.get(field - 3)?.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_secs_f64(sum as f64 / rustix::param::clock_ticks_per_second() as f64))
}

fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_a_name_that_holds_brackets() {
        let stat = "12 (a) b) (c) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 30 20 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat, 14..=15).unwrap().as_secs_f64(), 300.0 / rustix::param::clock_ticks_per_second() as f64);
        assert_eq!(ticks(stat, 16..=17).unwrap().as_secs_f64(), 50.0 / rustix::param::clock_ticks_per_second() as f64);
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_kib(std::process::id()).unwrap() > 100);
        assert_eq!(peak_in("Name:\tx\nVmHWM:\t   1234 kB\n"), Some(1234));
        assert_eq!(peak_in("Name:\tx\n"), None);
    }
}
