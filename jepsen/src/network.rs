//! Machines on one host: a network namespace each, with an address of its own and one cable, which ends in the switch.
//!
//! ```text
//!   up ─▶ lacks? ─▶ lock ─▶ sweep what a killed one left ─▶ undertaker ─▶ namespaces, devices ─▶ switch
//!   dropped, killed, crashed ─▶ the undertaker's input closes ─▶ processes, namespaces, directory gone ─▶ unlocked
//! ```
//!
//! There is one way down, and it does not need the harness: the undertaker is a process of its own. If both are killed,
//! the devices go with the harness, and the next one of that name sweeps the rest first.
//!
//! Not here: what links do (`switch.rs`), file systems and shells of machines (`machine.rs`).

pub mod commands;
pub mod control;
pub mod host;
pub mod plan;
pub mod probe;
pub mod proof;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::network::plan::{MachinePlan, PREFIX_BITS, Plan, RUN, dir_of, namespace, namespace_file, require_name};
use crate::network::probe::Probed;
use crate::switch::Switch;
use crate::switch::fabric::{Plug, Port};
use crate::switch::tap::Tap;

/// How long somebody else may take to end a network of this name.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
/// What takes a network down, whatever became of the harness.
const UNDERTAKER: &str = include_str!("network/undertaker.sh");
/// A frame holds as much as on any Ethernet.
const MTU: u32 = 1500;

/// Machines and the switch between them; dropped, all of it is gone.
pub struct Network {
    plan: Plan,
    /// The switch; nothing once it goes down.
    switch: Option<Switch>,
    undertaker: Child,
}

impl Network {
    /// Sets it up. What a killed one of this name left behind is swept first.
    ///
    /// # Errors
    /// What the host lacks, by name; or that a network of this name is up.
    pub fn up(plan: Plan) -> anyhow::Result<Self> {
        let lacks = host::lacks();
        ensure!(lacks.is_empty(), "this host lacks what machines need:\n  {}", lacks.join("\n  "));
        let lock = lock(&plan.name)?;
        undertaker(&plan.name, Stdio::null(), &lock)?.wait().context("cannot wait for the sweep")?;
        let left = namespaces_of(&plan.name)?;
        ensure!(left.is_empty(), "{} of an earlier run cannot be removed: a process in it hangs", left.join(", "));
        fs::create_dir_all(dir_of(&plan.name)).context("cannot create the network's directory")?;
        let undertaker = undertaker(&plan.name, Stdio::piped(), &lock)?;
        let mut network = Self { plan, switch: None, undertaker };
        let plan = &network.plan;
        let mut ends = Vec::new();
        for (machine, port) in plan.machines.iter().zip(Port::all(plan.machines.len())) {
            let tap = plug_in(&network.namespace(&machine.name), machine, port)
                .with_context(|| format!("machine {}", machine.name))?;
            ends.push((Plug { machine: machine.name.clone(), region: machine.region.clone() }, tap));
        }
        let switch = Switch::start(plan.seed, ends).context("the switch does not start")?;
        switch.set_between_regions(plan.between_regions);
        network.switch = Some(switch);
        Ok(network)
    }

    /// What it was made from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The switch.
    pub fn switch(&self) -> &Switch {
        self.switch.as_ref().expect("a network that is up has its switch")
    }

    /// A machine of this name.
    pub fn machine(&self, name: &str) -> anyhow::Result<&MachinePlan> {
        self.plan.machines.iter().find(|machine| machine.name == name).with_context(|| format!("no machine `{name}`"))
    }

    /// The namespace of a machine.
    pub fn namespace(&self, machine: &str) -> String {
        namespace(&self.plan.name, machine)
    }

    /// This thread, and what it starts, is in that machine from now on.
    ///
    /// # Errors
    /// No such machine.
    pub fn enter(&self, machine: &str) -> anyhow::Result<()> {
        let machine = self.machine(machine)?;
        probe::enter(&namespace_file(&self.plan.name, &machine.name))
            .with_context(|| format!("cannot enter machine {}", machine.name))
    }

    /// Sends datagrams from one machine to another and back.
    ///
    /// # Errors
    /// No such machine, or no sockets.
    pub fn probe(&self, from: &str, to: &str, count: u32) -> anyhow::Result<Probed> {
        let path = |machine: &MachinePlan| namespace_file(&self.plan.name, &machine.name);
        let (from, to) = (self.machine(from)?, self.machine(to)?);
        probe::probe(&path(from), &path(to), to.address, count)
            .with_context(|| format!("cannot probe from {} to {}", from.name, to.name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.switch.take());
        drop(self.undertaker.stdin.take());
        // Whatever it could not remove, the next network of this name says.
        self.undertaker.wait().ok();
    }
}

/// A command that runs in a machine of a network that is up.
pub fn command_in(network: &str, machine: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace(network, machine), program]);
    command
}

/// Held by the harness and its undertaker together: free when both are gone.
fn lock(name: &str) -> anyhow::Result<File> {
    require_name(name)?;
    fs::create_dir_all(RUN).with_context(|| format!("cannot create {RUN}"))?;
    let path = Path::new(RUN).join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let began = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(Errno::WOULDBLOCK) => bail!("a network named `{name}` is up; choose another --name, or end that one"),
            Err(cause) => return Err(cause).context("cannot lock"),
        }
    }
}

fn undertaker(name: &str, input: Stdio, lock: &File) -> anyhow::Result<Child> {
    Command::new("sh")
        .args(["-c", UNDERTAKER, "undertaker", name])
        .stdin(input)
        .stdout(lock.try_clone().context("cannot share the lock")?)
        // What is typed at the harness's terminal is not for it.
        .process_group(0)
        .current_dir("/")
        .spawn()
        .context("cannot start sh")
}

fn namespaces_of(name: &str) -> anyhow::Result<Vec<String>> {
    let listed = run(Command::new("ip").args(["netns", "list"]), "")?;
    let prefix = namespace(name, "");
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect())
}

/// Makes the namespace, and a device whose one end is the machine's `eth0` and whose other end is returned.
fn plug_in(namespace: &str, machine: &MachinePlan, port: Port) -> anyhow::Result<Tap> {
    run(Command::new("ip").args(["netns", "add", namespace]), "")?;
    // In this namespace only until it is moved; names there have 15 letters at most.
    let interim = format!("sr{}x{}", std::process::id(), port.place());
    let tap = Tap::create(&interim).context("cannot make a TAP device")?;
    run(Command::new("ip").args(["link", "set", "dev", &interim, "netns", namespace, "name", "eth0"]), "")?;
    let MachinePlan { address, .. } = machine;
    let ethernet = port.address();
    // No IPv6: its chatter would be counted as traffic.
    let batch = format!(
        "link set dev lo up\n\
         link set dev eth0 addrgenmode none\n\
         link set dev eth0 address {ethernet} mtu {MTU} txqueuelen 1000\n\
         address add {address}/{PREFIX_BITS} dev eth0\n\
         link set dev eth0 up\n"
    );
    run(Command::new("ip").args(["-netns", namespace, "-batch", "-"]), &batch)?;
    Ok(tap)
}

/// Runs a short command to its end and gives what it said.
fn run(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("it does not read")?;
    }
    let output = child.wait_with_output().context("cannot wait for a child")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
