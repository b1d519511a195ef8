//! Somebody else's cluster: a command of theirs is called with `kill`, `start`, `pause`, `resume`, `cut` or `heal` and a
//! node's name, does that, and ends with 0 when it is done. What it says last is the proof.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::cluster::file::Node;
use crate::process::State;

/// The command, and what was done with it.
pub struct Hooked {
    command: Option<PathBuf>,
    now: Mutex<Vec<State>>,
}

impl Hooked {
    /// Nothing was done yet. Without a command nothing can be.
    pub fn new(command: Option<&Path>, nodes: usize) -> Self {
        Self { command: command.map(Path::to_path_buf), now: Mutex::new(vec![State::Alive; nodes]) }
    }

    /// Has it done; the node is in this state then.
    pub fn act(&self, verb: &str, nodes: &[Node], at: usize, becomes: State) -> Result<String, String> {
        let node = &nodes[at].name;
        let command = self.command.as_ref().ok_or("there is no --hook")?;
        let done = Command::new(command).args([verb, node]).stdin(Stdio::null()).output();
        let done = done.map_err(|why| format!("cannot start {}: {why}", command.display()))?;
        let last = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().unwrap_or_default().to_owned();
        if !done.status.success() {
            return Err(format!("the hook's `{verb} {node}` ended with {}: {}", done.status, last(&done.stderr)));
        }
        self.now.lock().unwrap_or_else(PoisonError::into_inner)[at] = becomes;
        Ok(format!("{verb} {node}: {}", last(&done.stdout)))
    }

    /// What was done to a node last.
    pub fn state(&self, at: usize) -> State {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)[at]
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_hook_is_called_with_verb_and_node_and_believed_by_how_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let hook = dir.path().join("hook");
        std::fs::write(&hook, "#!/bin/sh\n[ $1 = kill ] || { echo no >&2; exit 1; }\necho it was $2\n").unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let node: Node = serde_json::from_str(r#"{"name": "n-1", "region": "north"}"#).unwrap();
        let hooked = Hooked::new(Some(&hook), 1);
        let nodes = [node];
        assert_eq!(hooked.act("kill", &nodes, 0, State::Gone).unwrap(), "kill n-1: it was n-1");
        assert_eq!(hooked.state(0), State::Gone);
        assert!(hooked.act("start", &nodes, 0, State::Alive).unwrap_err().ends_with(": no"));
        assert_eq!(hooked.state(0), State::Gone);
        assert!(Hooked::new(None, 1).act("kill", &nodes, 0, State::Gone).is_err());
    }
}
