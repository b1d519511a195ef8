//! A cluster that is attacked: its nodes and profiles, and how its processes are ended and started again.
//!
//! It is our own (`own.rs`: `strongroomd dev` and `dev.json`) or somebody else's (`hooked.rs`: a file that looks like
//! `dev.json`, and a command that ends and starts nodes there).

pub mod file;
mod hooked;
mod own;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cluster::file::{DevFile, Node, Start};
use crate::cluster::hooked::Hooked;
use crate::cluster::own::Own;
use crate::disk::Disk;
use crate::process::{self, State};

/// How long a node may take to answer at its ops port.
const HTTP_PATIENCE: Duration = Duration::from_secs(3);

/// A running cluster; dropped, our own ends.
pub struct Cluster {
    processes: Processes,
    /// The nodes, in the order of `dev.json`.
    pub nodes: Vec<Node>,
    /// Paths of profiles, by name.
    pub profiles: BTreeMap<String, PathBuf>,
}

enum Processes {
    Own(Own),
    Hooked(Hooked),
}

impl Cluster {
    /// Starts a cluster of our own.
    ///
    /// # Errors
    /// It does not serve in time.
    pub fn start(start: &Start<'_>) -> anyhow::Result<Self> {
        let (own, file) = Own::start(start)?;
        Ok(Self { processes: Processes::Own(own), nodes: file.nodes, profiles: file.profiles })
    }

    /// Takes somebody else's: a file like `dev.json`, of which a node needs its name and its region, and a command that is
    /// called with a verb and a node's name.
    ///
    /// # Errors
    /// The file does not say what is needed.
    pub fn of_somebody(file: &Path, hook: Option<&Path>) -> anyhow::Result<Self> {
        let DevFile { nodes, profiles, .. } = DevFile::read(file)?;
        let hooked = Hooked::new(hook, nodes.len());
        Ok(Self { processes: Processes::Hooked(hooked), nodes, profiles })
    }

    /// Makes our own nodes ready to be attacked: from now on they forget and sweep without rest, and, if `images` names a
    /// directory, each has a disk of its own there. All are restarted.
    ///
    /// # Errors
    /// A disk cannot be made, or a node does not come back.
    pub fn arm(&self, images: Option<&Path>) -> anyhow::Result<Vec<Disk>> {
        let mut disks = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let data_dir = node.data_dir.as_deref().context("a node of our own has a directory here")?;
            self.kill(at).map_err(anyhow::Error::msg)?;
            own::hasten(data_dir).with_context(|| format!("the settings of {}", node.name))?;
            if let Some(images) = images {
                std::fs::create_dir_all(images).context("cannot make a directory for disks")?;
                let image = images.join(format!("{}.ext4", node.name));
                disks.push(Disk::move_in(&image, data_dir).with_context(|| format!("the disk of {}", node.name))?);
            }
        }
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        for at in &all {
            self.mend(*at).map_err(anyhow::Error::msg)?;
        }
        self.become_ready(&all, Duration::from_secs(60)).map_err(anyhow::Error::msg)?;
        Ok(disks)
    }

    /// Whether it is our own: then its processes, disks and logs can be seen.
    pub fn is_own(&self) -> bool {
        matches!(self.processes, Processes::Own(_))
    }

    /// SIGKILL; what shows that it took effect.
    pub fn kill(&self, at: usize) -> Result<String, String> {
        match &self.processes {
            Processes::Own(own) => own.kill(&self.nodes, at),
            Processes::Hooked(hooked) => {
                let said = hooked.act("kill", &self.nodes, at, State::Gone)?;
                match self.nodes[at].ops.is_some_and(answers) {
                    true => Err(format!("{}: the hook killed it, and it still answers", self.nodes[at].name)),
                    false => Ok(said),
                }
            }
        }
    }

    /// SIGKILL if it still runs: somebody else may have ended it a moment ago.
    pub fn end(&self, at: usize) -> Result<String, String> {
        match self.state(at) {
            State::Gone => Ok(format!("{} is gone", self.nodes[at].name)),
            // It may be ending by itself just now.
            State::Alive | State::Stopped => {
                self.kill(at).or_else(|why| match self.pid(at).is_some_and(|pid| process::comes_to(pid, State::Gone)) {
                    true => Ok(format!("{} is gone", self.nodes[at].name)),
                    false => Err(why),
                })
            }
        }
    }

    /// SIGSTOP; what shows that it took effect.
    pub fn pause(&self, at: usize) -> Result<String, String> {
        match &self.processes {
            Processes::Own(own) => own.pause(&self.nodes, at),
            Processes::Hooked(hooked) => hooked.act("pause", &self.nodes, at, State::Stopped),
        }
    }

    /// Nothing goes between this node and the others, where links are somebody else's.
    pub fn cut(&self, at: usize) -> Result<String, String> {
        match &self.processes {
            Processes::Own(_) => Err("links of our own are cut at the switch".to_owned()),
            Processes::Hooked(hooked) => hooked.act("cut", &self.nodes, at, State::Alive),
        }
    }

    /// Undoes that.
    pub fn heal(&self, at: usize) -> Result<String, String> {
        match &self.processes {
            Processes::Own(_) => Err("links of our own are healed at the switch".to_owned()),
            Processes::Hooked(hooked) => hooked.act("heal", &self.nodes, at, State::Alive),
        }
    }

    /// The state of the process that runs a node, or ran it last; of somebody else's, what was done to it last.
    pub fn state(&self, at: usize) -> State {
        match &self.processes {
            Processes::Own(own) => own.state(at),
            Processes::Hooked(hooked) => hooked.state(at),
        }
    }

    /// The process that runs a node of our own.
    pub fn pid(&self, at: usize) -> Option<u32> {
        match &self.processes {
            Processes::Own(own) => Some(own.pid(at)),
            Processes::Hooked(_) => None,
        }
    }

    /// Continues a paused node, starts a dead one, leaves a running one as it is.
    pub fn mend(&self, at: usize) -> Result<String, String> {
        match &self.processes {
            Processes::Own(own) => own.mend(&self.nodes, at),
            Processes::Hooked(hooked) => match hooked.state(at) {
                State::Alive => Ok(format!("{} runs", self.nodes[at].name)),
                State::Stopped => hooked.act("resume", &self.nodes, at, State::Alive),
                State::Gone => hooked.act("start", &self.nodes, at, State::Alive),
            },
        }
    }

    /// Whether all groups of a node serve, by its own word; whoever cannot be asked is believed to.
    pub fn is_ready(&self, at: usize) -> bool {
        self.nodes[at]
            .ops
            .is_none_or(|ops| http_get(ops, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))
    }

    /// Waits until these nodes are ready; names those that are not in time.
    pub fn become_ready(&self, nodes: &[usize], patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        for at in nodes {
            while !self.is_ready(*at) {
                if patience < began.elapsed() {
                    return Err(format!("{} is not ready after {} s", self.nodes[*at].name, patience.as_secs()));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// The metrics page of a node; nothing where nobody shows it.
    pub fn metrics(&self, at: usize) -> std::io::Result<String> {
        self.nodes[at].ops.map_or(Ok(String::new()), |ops| http_get(ops, "/metrics"))
    }

    /// What a node's segments take on its disk; what was punched out of them takes nothing.
    pub fn fragment_bytes(&self, at: usize) -> anyhow::Result<u64> {
        let node = &self.nodes[at];
        let data_dir = node.data_dir.as_deref().context("disks of others cannot be weighed")?;
        let mut bytes = 0;
        let mut below = vec![data_dir.join("segments")];
        while let Some(directory) = below.pop() {
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                // An empty one may go at any time.
                Err(why) if why.kind() == std::io::ErrorKind::NotFound => continue,
                Err(why) => return Err(why).with_context(|| format!("cannot list {}", directory.display())),
            };
            for entry in entries {
                let path = entry.with_context(|| format!("cannot list {}", directory.display()))?.path();
                match std::fs::symlink_metadata(&path) {
                    Ok(found) if found.is_dir() => below.push(path),
                    Ok(found) if path.extension().is_some_and(|end| end == "seg") => bytes += found.blocks() * 512,
                    Ok(_) => {}
                    Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
                    Err(why) => return Err(why).with_context(|| format!("cannot look at {}", path.display())),
                }
            }
        }
        Ok(bytes)
    }

    /// Ends all nodes, if they are our own.
    pub fn stop(&self) {
        match &self.processes {
            Processes::Own(own) => own.stop(&self.nodes),
            Processes::Hooked(_) => {}
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answers(ops: SocketAddr) -> bool {
    http_get(ops, "/healthz").is_ok()
}

fn http_get(at: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, HTTP_PATIENCE)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
