//! How many arenas glibc's allocator may use: one a core, where it would take eight.
//!
//! ```text
//!   strongroomd run ── exec, MALLOC_ARENA_MAX = cores ──▶ the same process, the same pid, from its beginning
//! ```
//!
//! Threads that free what others allocated leave holes in each other's arenas: with eight a core a node held 242 MiB
//! after 200 000 chunks, with one a core 188. glibc reads the setting once, before `main`, so a process that has it not
//! starts itself anew. Not here: what is allocated; each cache says its own bound.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use strongroom_host::lane;

/// glibc's own name (mallopt(3)). Whoever sets it is left alone.
const VARIABLE: &str = "MALLOC_ARENA_MAX";

/// Starts this process anew with the setting, unless it has it. Returns if there is nothing to do, or with the cause
/// where that does not work: it can go on, and takes more memory.
pub fn bound() -> io::Result<()> {
    if cfg!(not(target_env = "gnu")) || std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env(VARIABLE, lane::cores()?.to_string()).exec())
}
