//! On what it was measured: without it no figure means anything.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The commit of the workspace, with `-dirty` where files differ from it.
pub fn commit(workspace: &Path) -> String {
    let git =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).current_dir(workspace).output();
    match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

/// Processor, cores, memory, kernel and the file system of `dir`.
pub fn describe(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = value(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown processor").to_owned();
    let memory =
        value(&read("/proc/meminfo"), "MemTotal").and_then(|kib| kib.trim_end_matches(" kB").parse::<u64>().ok());
    let memory = memory.map_or("unknown".to_owned(), |kib| format!("{} GiB", kib.div_ceil(1 << 20)));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {processor}, {memory} memory, Linux {}, {}", kernel.trim(), file_system(dir))
}

/// How many processes wanted to run, over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':')).map(str::trim)
}

/// The kind of file system that holds `dir`: the longest mount point on the way to it.
fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = kinds.filter(|(point, _)| dir.starts_with(point)).max_by_key(|(point, _)| point.len());
    holding.map_or("unknown file system".to_owned(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_proc_files_are_found() {
        assert_eq!(value("a\t: 1\nmodel name\t: X 2\n", "model name"), Some("X 2"));
        assert_eq!(value("MemTotal:       16 kB\n", "MemTotal"), Some("16 kB"));
        assert!(describe(Path::new("/")).contains("cores of"));
    }
}
