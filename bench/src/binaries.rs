//! The two programs that are measured: built as a user builds them, or taken from `STRONGROOM_BIN_DIR`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// Where both programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `strongroom`.
    pub client: PathBuf,
    /// `strongroomd`.
    pub node: PathBuf,
}

/// The workspace that this program was built from.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench/ lies in the workspace")
}

impl Binaries {
    /// Takes them from `STRONGROOM_BIN_DIR`, or builds them with Cargo.
    pub fn find() -> anyhow::Result<Self> {
        match std::env::var_os("STRONGROOM_BIN_DIR") {
            Some(dir) => {
                let dir = std::path::absolute(dir).context("STRONGROOM_BIN_DIR has no absolute path")?;
                let found = Self { client: dir.join("strongroom"), node: dir.join("strongroomd") };
                for program in [&found.client, &found.node] {
                    ensure!(program.exists(), "STRONGROOM_BIN_DIR: {} is not there", program.display());
                }
                Ok(found)
            }
            None => Self::build(),
        }
    }

    fn build() -> anyhow::Result<Self> {
        eprintln!("building strongroomd and strongroom …");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "-p", "strongroom-node", "-p", "strongroom-cli", "--bins"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(workspace())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(built.status.success(), "cargo build failed: {}", built.status);
        let messages = String::from_utf8_lossy(&built.stdout);
        let program = |name: &str| {
            executable_in(&messages, name).with_context(|| format!("cargo did not say where it put {name}"))
        };
        Ok(Self { client: program("strongroom")?, node: program("strongroomd")? })
    }
}

/// A line of Cargo's `--message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

fn executable_in(messages: &str, name: &str) -> Option<PathBuf> {
    let executables = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable);
    executables.into_iter().find(|path| path.file_name().is_some_and(|file| file == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_it_put_a_program() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/strongroomd\"}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/strongroom\"}\n";
        assert_eq!(executable_in(messages, "strongroom"), Some("/t/release/strongroom".into()));
        assert_eq!(executable_in(messages, "strongroomd"), Some("/t/release/strongroomd".into()));
        assert_eq!(executable_in(messages, "other"), None);
    }
}
