//! `strongroom-jepsen network …`: machines on this host, with a command running in them or kept up for a person.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::network::control::{self, Request};
use crate::network::plan::{self, Plan};
use crate::network::{Network, command_in, probe, proof};
use crate::switch::link::Link;

/// How often it is looked whether a command has ended.
const TURN: Duration = Duration::from_millis(20);
/// What a command finds the network's name in.
const NAME_VARIABLE: &str = "JEPSEN_NETWORK";

/// What to do with machines.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Set machines up, prove the links, run a command, take all down; ends as the command ended.
    Run {
        /// Which machines, and how their links behave.
        #[command(flatten)]
        layout: Layout,
        /// The machine that it runs in; by default this host.
        #[arg(long)]
        on: Option<String>,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Set machines up, prove the links, and keep them until `down` or SIGINT.
    Up {
        /// Which machines, and how their links behave.
        #[command(flatten)]
        layout: Layout,
    },
    /// Run a command in a machine of a network that is up.
    Exec {
        /// The network.
        #[arg(long, default_value = "net")]
        name: String,
        /// The machine.
        machine: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Send datagrams from one machine to another and back.
    Probe {
        /// The network.
        #[arg(long, default_value = "net")]
        name: String,
        /// The machine that asks.
        from: String,
        /// The machine that answers.
        to: String,
        /// How many, 4 ms after each other.
        #[arg(long, default_value_t = 100)]
        count: u32,
    },
    /// Set how links behave, in this direction only; without flags they do nothing to their frames any more.
    Set {
        /// The network.
        #[arg(long, default_value = "net")]
        name: String,
        /// A machine or a region.
        from: String,
        /// A machine or a region.
        to: String,
        /// How.
        #[command(flatten)]
        link: LinkFlags,
    },
    /// Show all machines, all links and what happened on them, as JSON Lines.
    Show {
        /// The network.
        #[arg(long, default_value = "net")]
        name: String,
    },
    /// Take a network down.
    Down {
        /// The network.
        #[arg(long, default_value = "net")]
        name: String,
    },
}

/// Which machines there are.
#[derive(Debug, Args)]
pub struct Layout {
    /// The network's name on this host.
    #[arg(long, default_value = "net")]
    name: String,
    /// The machines: NAME@REGION. The n-th of region r gets 10.77.r.(10 n).
    #[arg(long, value_delimiter = ',', default_value = "one@west,two@middle,three@east")]
    machines: Vec<String>,
    /// What the fates of frames follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How links between regions behave.
    #[command(flatten)]
    between_regions: LinkFlags,
}

/// How a link behaves; what is not named does not happen.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LinkFlags {
    /// How long a frame is on its way, in one direction.
    #[arg(long, default_value_t = 0.0)]
    delay_ms: f64,
    /// It may take so much less or more.
    #[arg(long, default_value_t = 0.0)]
    jitter_ms: f64,
    /// The share of frames that is lost: 0.01 is one in a hundred.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// The share of frames that arrives twice.
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// The share of frames that overtakes others.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Nothing goes through.
    #[arg(long)]
    cut: bool,
}

impl LinkFlags {
    /// The link that is meant.
    pub fn link(self) -> anyhow::Result<Link> {
        let time = |name: &str, ms: f64| {
            ensure!((0.0..=60_000.0).contains(&ms), "--{name}: 0 to 60000");
            Ok(Duration::from_secs_f64(ms / 1000.0))
        };
        let share = |name: &str, share: f64| {
            ensure!((0.0..=1.0).contains(&share), "--{name} is a share: 0 to 1");
            Ok(share)
        };
        Ok(Link {
            delay: time("delay-ms", self.delay_ms)?,
            jitter: time("jitter-ms", self.jitter_ms)?,
            loss: share("loss", self.loss)?,
            duplicate: share("duplicate", self.duplicate)?,
            reorder: share("reorder", self.reorder)?,
            cut: self.cut,
        })
    }
}

impl Layout {
    fn plan(&self) -> anyhow::Result<Plan> {
        Ok(Plan {
            name: self.name.clone(),
            seed: self.seed,
            machines: plan::machines(&self.machines)?,
            between_regions: self.between_regions.link()?,
        })
    }
}

/// Does it; true if what was run ended well.
pub fn run(command: &NetworkCommand) -> anyhow::Result<bool> {
    match command {
        NetworkCommand::Run { layout, on, command } => run_in(layout.plan()?, on.as_deref(), command),
        NetworkCommand::Up { layout } => up(layout.plan()?),
        NetworkCommand::Exec { name, machine, command } => {
            plan::require_name(machine)?;
            Ok(told(Some((name, machine)), name, command)?.status()?.success())
        }
        NetworkCommand::Probe { name, from, to, count } => probe(name, from, to, *count),
        NetworkCommand::Set { name, from, to, link } => {
            ask(name, &Request::Set { from: from.clone(), to: to.clone(), link: link.link()? })
        }
        NetworkCommand::Show { name } => ask(name, &Request::Show),
        NetworkCommand::Down { name } => ask(name, &Request::Down),
    }
}

fn run_in(plan: Plan, on: Option<&str>, command: &[String]) -> anyhow::Result<bool> {
    let network = set_up(plan)?;
    let name = network.plan().name.clone();
    let on = on.map(|on| network.machine(on)).transpose()?.map(|machine| (name.as_str(), machine.name.as_str()));
    let listener = control::listen(&name)?;
    let mut child = told(on, &name, command)?.spawn().with_context(|| format!("cannot start {}", command[0]))?;
    let status: Option<ExitStatus> = std::thread::scope(|scope| {
        let served = scope.spawn(|| control::serve(&listener, network.switch(), &network.plan().machines));
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for the command")? {
                control::ask(&name, &Request::Down)?;
                break Some(status);
            }
            if served.is_finished() {
                // Somebody took it down; the command has nothing to run in any more.
                child.kill().ok();
                child.wait().ok();
                break None;
            }
            std::thread::sleep(TURN);
        };
        anyhow::Ok(status)
    })?;
    for direction in network.switch().directions() {
        println!("{}", control::line(&direction));
    }
    let code = status.and_then(|status| status.code());
    println!("{}", json!({ "type": "network", "name": name, "code": code, "strayed": network.switch().strayed() }));
    Ok(code == Some(0))
}

fn up(plan: Plan) -> anyhow::Result<bool> {
    let network = set_up(plan)?;
    let name = &network.plan().name;
    let listener = control::listen(name)?;
    for machine in &network.plan().machines {
        eprintln!("{:<12} {:<12} {}", machine.name, machine.region, machine.address);
    }
    eprintln!("a command in a machine:  strongroom-jepsen network exec --name {name} MACHINE -- COMMAND …");
    eprintln!("until `strongroom-jepsen network down --name {name}` or SIGINT");
    println!("{}", json!({ "type": "up", "name": name }));
    control::serve(&listener, network.switch(), &network.plan().machines)?;
    Ok(true)
}

fn probe(name: &str, from: &str, to: &str, count: u32) -> anyhow::Result<bool> {
    let shown = control::ask(name, &Request::Show)?;
    let is_machine = |line: &&Value, name: &str| line["type"] == "machine" && line["name"] == *name;
    let machine =
        |name: &str| shown.iter().find(|line| is_machine(line, name)).with_context(|| format!("no machine `{name}`"));
    let address = machine(to)?["address"].as_str().and_then(|text| text.parse().ok()).context("it has no address")?;
    machine(from)?;
    let probed = probe::probe(&plan::namespace_file(name, from), &plan::namespace_file(name, to), address, count)?;
    println!("{}", probed.line(from, to));
    Ok(true)
}

fn set_up(plan: Plan) -> anyhow::Result<Network> {
    let network = Network::up(plan)?;
    let proof = proof::prove(&network)?;
    for line in proof.lines() {
        println!("{line}");
    }
    if !proof.words.is_empty() {
        eprintln!("links between regions: {}", proof.words);
    }
    Ok(network)
}

fn ask(name: &str, request: &Request) -> anyhow::Result<bool> {
    for answer in control::ask(name, request)? {
        println!("{answer}");
    }
    Ok(true)
}

/// The command, in a machine or on this host; it finds the network's name in its environment.
fn told(on: Option<(&str, &str)>, name: &str, command: &[String]) -> anyhow::Result<Command> {
    let Some((program, arguments)) = command.split_first() else { bail!("which command?") };
    let mut told = match on {
        Some((network, machine)) => command_in(network, machine, program),
        None => Command::new(Path::new(program)),
    };
    told.args(arguments).env(NAME_VARIABLE, name);
    Ok(told)
}
