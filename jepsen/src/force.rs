//! Carries out what was decided, proves that it took effect, and undoes it.
//!
//! ```text
//!   begin ─▶ (it stands) hold ─▶ proof ─▶ undo
//! ```
//!
//! A fault that cannot be proved is none: then the run is void. Undoing is the same for whatever stands, so that a fault
//! that went wrong half-way leaves nothing. Not here: which fault comes when (`nemesis.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::process::State;
use crate::random::Random;
use crate::rot;
use crate::site::Site;
use crate::strike::{Arrow, Means, Rotten, Strike};
use crate::switch::link::{Counted, Link};
use crate::tracer::{Syncs, Tracer};
use crate::wallclock::{self, RIGHT};

/// A node that was brought back must be ready in this time.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may go on after a sync of it failed.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How long a node may take to say that it does not trust its log.
const REFUSES_WITHIN: Duration = Duration::from_secs(20);
/// Strobed clocks change so often.
const STROBE: Duration = Duration::from_millis(150);

/// Where faults are carried out.
pub struct Force<'a> {
    /// Whose processes.
    pub cluster: &'a Cluster,
    /// Whose links and clocks.
    pub site: &'a Site,
    /// Whose disks, by node; empty if they have none of their own.
    pub disks: &'a [Disk],
    /// A directory for what is put aside.
    pub scratch: PathBuf,
}

/// A fault that stands.
pub enum Standing {
    /// Nodes are in this state.
    Nodes(State, Vec<String>),
    /// These links behave so; what was counted on them before.
    Links(Vec<Arrow>, Link, Counted),
    /// Somebody stands beside these nodes.
    Traced(Vec<Tracer>),
    /// Disks are full.
    Full(Vec<String>),
    /// Clocks are off, by node.
    Clocks(Vec<(usize, String)>),
    /// Clocks jump between these.
    Strobed(Vec<String>),
    /// It is over already; what shows that it was.
    Over(Vec<String>),
}

type Proofs = Result<Vec<String>, String>;

impl Force<'_> {
    /// Begins it.
    ///
    /// # Errors
    /// It has no effect.
    pub fn begin(&self, strike: &Strike, random: &mut Random) -> Result<Standing, String> {
        let each = |act: &dyn Fn(usize) -> Result<String, String>| -> Proofs {
            strike.nodes.iter().map(|at| act(*at)).collect()
        };
        match &strike.means {
            Means::Kill => Ok(Standing::Nodes(State::Gone, each(&|at| self.cluster.kill(at))?)),
            Means::Pause => Ok(Standing::Nodes(State::Stopped, each(&|at| self.cluster.pause(at))?)),
            Means::Rolling => Ok(Standing::Over(each(&|at| self.restart(at))?)),
            Means::Cut(_) if !self.cluster.is_own() => Ok(Standing::Over(each(&|at| self.cluster.cut(at))?)),
            Means::Cut(arrows) => Ok(self.set(arrows, Link { cut: true, ..Link::default() })),
            Means::Slow(arrows, link) => Ok(self.set(arrows, *link)),
            Means::PowerCut => {
                // The disks first: no node may sync what it was about to when it is killed.
                for at in &strike.nodes {
                    told(self.disk(*at)?.cut())?;
                }
                Ok(Standing::Nodes(State::Gone, each(&|at| self.cluster.end(at))?))
            }
            Means::Rot(what, blocks) => self.rot(*what, *blocks, &strike.nodes, random),
            Means::Full => Ok(Standing::Full(each(&|at| told(self.disk(at)?.fill()))?)),
            Means::SyncError => self.trace(&strike.nodes, Syncs::FailOnce),
            Means::SyncLost => self.trace(&strike.nodes, Syncs::Swallowed),
            Means::Replaced => Ok(Standing::Nodes(State::Gone, each(&|at| self.empty(at))?)),
            Means::SlowSync { by_ms } => self.trace(&strike.nodes, Syncs::Delayed(Duration::from_millis(*by_ms))),
            Means::Clock(offsets) => {
                let set: Vec<(usize, String)> = strike.nodes.iter().copied().zip(offsets.iter().cloned()).collect();
                set.iter().try_for_each(|(at, offset)| self.set_clock(*at, offset))?;
                Ok(Standing::Clocks(set))
            }
            Means::Strobe(offsets) => Ok(Standing::Strobed(offsets.clone())),
            Means::SetBack => each(&|at| self.set_back(at, Duration::from_millis(strike.hold_ms))).map(Standing::Over),
        }
    }

    /// Lets it stand for its time.
    ///
    /// # Errors
    /// It cannot be kept up.
    pub fn hold(&self, strike: &Strike, standing: &Standing, random: &mut Random) -> Result<(), String> {
        let until = Instant::now() + Duration::from_millis(strike.hold_ms);
        match standing {
            Standing::Over(_) if strike.means == Means::SetBack || strike.means == Means::Rolling => {}
            Standing::Traced(tracers) if strike.means == Means::SyncError => {
                // Until it ends, which is what is expected, or for long enough to say that it does not.
                let until = Instant::now() + ENDS_WITHIN;
                let ended = || strike.nodes.iter().all(|at| self.cluster.state(*at) == State::Gone);
                while Instant::now() < until && !(ended() && tracers.iter().all(|tracer| 0 < tracer.met())) {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            Standing::Strobed(offsets) => {
                while Instant::now() < until {
                    for at in &strike.nodes {
                        let offset = random.one_of(offsets).expect("there are offsets");
                        self.set_clock(*at, offset)?;
                    }
                    std::thread::sleep(STROBE);
                }
            }
            Standing::Nodes(..)
            | Standing::Links(..)
            | Standing::Traced(_)
            | Standing::Full(_)
            | Standing::Clocks(_)
            | Standing::Over(_) => std::thread::sleep(until.saturating_duration_since(Instant::now())),
        }
        Ok(())
    }

    /// What shows that it stood to the end.
    ///
    /// # Errors
    /// It did not, or that cannot be seen.
    pub fn proof(&self, strike: &Strike, standing: Standing) -> Proofs {
        let nodes = &strike.nodes;
        match standing {
            Standing::Nodes(wanted, mut proofs) => {
                if let Some(at) = nodes.iter().find(|at| self.cluster.state(**at) != wanted) {
                    let name = &self.cluster.nodes[*at].name;
                    return Err(format!("{name}: it did not last, somebody brought it back"));
                }
                if strike.means == Means::PowerCut {
                    for at in nodes {
                        proofs.push(told(self.disk(*at)?.power_on())?);
                    }
                }
                Ok(proofs)
            }
            Standing::Links(arrows, link, before) => Ok(vec![self.site.counted(&arrows).since(before).proves(link)?]),
            Standing::Traced(tracers) => {
                if strike.means == Means::SyncLost {
                    // Still nothing is synced: only then the power goes.
                    nodes.iter().try_for_each(|at| told(self.disk(*at)?.cut()))?;
                    for at in nodes {
                        self.cluster.end(*at)?;
                    }
                }
                let met: usize = tracers.iter().map(Tracer::met).sum();
                drop(tracers);
                if met == 0 {
                    return Err("no sync was met".to_owned());
                }
                if strike.means == Means::SyncLost {
                    let mut proofs = vec![format!("{met} syncs did nothing")];
                    for at in nodes {
                        proofs.push(told(self.disk(*at)?.power_on())?);
                    }
                    return Ok(proofs);
                }
                let gone = nodes.iter().all(|at| self.cluster.state(*at) == State::Gone);
                match (strike.means == Means::SyncError, gone) {
                    (true, false) => Err(format!("{met} syncs failed, and the node goes on")),
                    (true, true) => Ok(vec![format!("{met} syncs failed, and the node ended")]),
                    (false, _) => Ok(vec![format!("{met} syncs took longer")]),
                }
            }
            Standing::Full(mut proofs) => {
                for at in nodes {
                    if !self.disk(*at)?.is_full() {
                        return Err(format!("the disk of {} is not full any more", self.cluster.nodes[*at].name));
                    }
                    let ended = self.cluster.state(*at) == State::Gone;
                    proofs.push(if ended { "the node ended" } else { "the node goes on" }.to_owned());
                }
                Ok(proofs)
            }
            Standing::Clocks(set) => set.iter().map(|(at, offset)| self.is_off(*at, offset)).collect(),
            Standing::Strobed(offsets) => {
                let mut seen = BTreeSet::new();
                for offset in &offsets {
                    self.set_clock(nodes[0], offset)?;
                    seen.insert(self.is_off(nodes[0], offset)?);
                }
                Ok(seen.into_iter().collect())
            }
            Standing::Over(proofs) => Ok(proofs),
        }
    }

    /// Undoes whatever stands, brings back the nodes that are meant to be down, and says which others are.
    ///
    /// # Errors
    /// Something cannot be undone.
    pub fn undo(&self, strike: Option<&Strike>) -> Proofs {
        self.site.heal();
        let meant =
            |at: usize| strike.is_some_and(|strike| strike.nodes.contains(&at) && strike.means.may_end_a_node());
        let mut proofs = Vec::new();
        let mut deserters = Vec::new();
        for (at, node) in self.cluster.nodes.iter().enumerate() {
            if let Some(disk) = self.disks.get(at) {
                told(disk.empty())?;
            }
            if let Some(clocks) = &self.site.clocks {
                told(clocks.set(&node.name, RIGHT))?;
            }
            if !self.cluster.is_own() && strike.is_some_and(|strike| matches!(strike.means, Means::Cut(_))) {
                self.cluster.heal(at)?;
            }
            if !meant(at) && self.cluster.state(at) == State::Gone {
                deserters.push(node.name.clone());
            }
            let said = match strike.map(|strike| &strike.means) {
                Some(Means::Rot(Rotten::Log, _) | Means::SyncLost) if meant(at) => self.lay_log_aside(at)?,
                _ => self.cluster.mend(at)?,
            };
            if strike.is_none_or(|strike| strike.nodes.contains(&at)) {
                proofs.push(said);
            }
        }
        match deserters.is_empty() {
            true => Ok(proofs),
            false => Err(format!("{} ended, and nobody had ended it", deserters.join(", "))),
        }
    }

    fn restart(&self, at: usize) -> Result<String, String> {
        self.cluster.kill(at)?;
        let began = Instant::now();
        let said = self.cluster.mend(at)?;
        self.cluster.become_ready(&[at], READY_WITHIN)?;
        Ok(format!("{said} and served after {:.1} s", began.elapsed().as_secs_f64()))
    }

    fn set(&self, arrows: &[Arrow], link: Link) -> Standing {
        self.site.set(arrows, link);
        Standing::Links(arrows.to_vec(), link, self.site.counted(arrows))
    }

    fn rot(&self, what: Rotten, blocks: usize, nodes: &[usize], random: &mut Random) -> Result<Standing, String> {
        let (below, ending) = match what {
            Rotten::Segments => ("segments", ".seg"),
            Rotten::State => ("state", ".redb"),
            Rotten::Log => ("log", ""),
        };
        let mut proofs = Vec::new();
        for at in nodes {
            if what != Rotten::Segments {
                proofs.push(self.cluster.kill(*at)?);
            }
            proofs.extend(told(rot::spoil(&self.data_dir(*at)?.join(below), ending, blocks, random))?);
        }
        Ok(match what {
            Rotten::Segments => Standing::Over(proofs),
            Rotten::State | Rotten::Log => Standing::Nodes(State::Gone, proofs),
        })
    }

    /// Ends a node and takes away all that says which replicas it had and what they knew; keys and fragments stay.
    fn empty(&self, at: usize) -> Result<String, String> {
        let said = self.cluster.kill(at)?;
        let data_dir = self.data_dir(at)?;
        let files =
            told(rot::listing(&data_dir.join("log")))?.len() + told(rot::listing(&data_dir.join("state")))?.len();
        for name in ["log", "state"] {
            fs::remove_dir_all(data_dir.join(name)).map_err(|why| format!("cannot remove {name}: {why}"))?;
        }
        fs::remove_file(data_dir.join("replicas")).map_err(|why| format!("cannot remove replicas: {why}"))?;
        Ok(format!("{said}, {files} files of log and states are gone"))
    }

    fn trace(&self, nodes: &[usize], syncs: Syncs) -> Result<Standing, String> {
        let mut tracers = Vec::new();
        for at in nodes {
            let pid = self.cluster.pid(*at).ok_or("only processes of our own are traced")?;
            let log = self.scratch.join(format!("strace-{}", self.cluster.nodes[*at].name));
            tracers.push(told(Tracer::attach(pid, syncs, &log))?);
        }
        Ok(Standing::Traced(tracers))
    }

    fn set_clock(&self, at: usize, offset: &str) -> Result<(), String> {
        let clocks = self.site.clocks.as_ref().ok_or("clocks cannot be set here")?;
        told(clocks.set(&self.cluster.nodes[at].name, offset))
    }

    fn is_off(&self, at: usize, offset: &str) -> Result<String, String> {
        let clocks = self.site.clocks.as_ref().ok_or("clocks cannot be set here")?;
        let name = &self.cluster.nodes[at].name;
        let wanted = wallclock::seconds(offset).ok_or_else(|| format!("`{offset}` is no offset"))?;
        let off = told(clocks.off(name))?;
        // A second may end between two looks.
        if 2 < off.abs_diff(wanted) {
            return Err(format!("{name}: its clock is off by {off} s, not by {wanted} s"));
        }
        if !self.cluster.pid(at).is_some_and(|pid| clocks.is_in(pid)) {
            return Err(format!("{name}: it does not run under libfaketime"));
        }
        Ok(format!("{name}: its clock is off by {off} s"))
    }

    /// Copies the data directory, lets the node go on for a while, and puts the copy back.
    fn set_back(&self, at: usize, after: Duration) -> Result<String, String> {
        let (data_dir, copy) = (self.data_dir(at)?, self.scratch.join("set-back"));
        fs::remove_dir_all(&copy).ok();
        self.cluster.kill(at)?;
        copied(data_dir, &copy)?;
        self.restart_dead(at)?;
        std::thread::sleep(after);
        self.cluster.kill(at)?;
        let (before, now) = (told(rot::listing(&copy))?, told(rot::listing(data_dir))?);
        let newer = now.difference(&before).count();
        if newer == 0 {
            return Err("it wrote nothing meanwhile".to_owned());
        }
        for entry in fs::read_dir(data_dir).map_err(|why| why.to_string())?.filter_map(Result::ok) {
            let path = entry.path();
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.map_err(|why| format!("cannot remove {}: {why}", path.display()))?;
        }
        copied(&copy, data_dir)?;
        fs::remove_dir_all(&copy).ok();
        Ok(format!("{newer} files were put back to what they were {:.1} s before", after.as_secs_f64()))
    }

    fn restart_dead(&self, at: usize) -> Result<(), String> {
        self.cluster.mend(at)?;
        self.cluster.become_ready(&[at], READY_WITHIN)
    }

    /// Starts a node whose log has rotted. If it does not trust its log and says no, does what a person does then
    /// (`deploy/runbooks/replaced-data-directory.md`): takes the log away and starts it again.
    fn lay_log_aside(&self, at: usize) -> Result<String, String> {
        let said = self.cluster.mend(at)?;
        let began = Instant::now();
        while !self.cluster.is_ready(at) && began.elapsed() < REFUSES_WITHIN {
            if self.cluster.state(at) == State::Gone {
                let log = self.data_dir(at)?.join("log");
                fs::remove_dir_all(&log).map_err(|why| format!("cannot remove {}: {why}", log.display()))?;
                return Ok(format!("{said} and refused its log; without it, {}", self.cluster.mend(at)?));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(said)
    }

    fn disk(&self, at: usize) -> Result<&Disk, String> {
        self.disks.get(at).ok_or_else(|| "nodes have no disks of their own here".to_owned())
    }

    fn data_dir(&self, at: usize) -> Result<&Path, String> {
        self.cluster.nodes[at].data_dir.as_deref().ok_or_else(|| "its data directory cannot be seen".to_owned())
    }
}

fn told<T>(done: anyhow::Result<T>) -> Result<T, String> {
    done.map_err(|why| format!("{why:#}"))
}

fn copied(from: &Path, to: &Path) -> Result<(), String> {
    let done = Command::new("cp").args(["-a", "--sparse=always", "-T"]).arg(from).arg(to).status();
    match done {
        // On the disk: what is lost when the power goes must be the node's, not ours.
        Ok(status) if status.success() => fs::File::open(to)
            .and_then(|dir| rustix::fs::syncfs(dir).map_err(Into::into))
            .map_err(|why| format!("cannot sync {}: {why}", to.display())),
        Ok(status) => Err(format!("cp ended with {status}")),
        Err(why) => Err(format!("cannot run cp: {why}")),
    }
}
