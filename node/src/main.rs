//! `strongroomd`: a node of a Strongroom cluster, and what only a machine with a node's disk can do.
//!
//! Not here: what needs a tenant's or an operator's identity (`strongroom`, package `client/cli`).

mod arenas;
mod ca;
mod confirm;
mod copies;
mod demo;
mod dev;
mod doctor;
mod found;
mod fsck;
mod init;
mod inspect;
mod join;
mod kill_switch;
mod manual;
mod metrics;
mod origin;
mod people;
mod ports;
mod processes;
mod scrape;
mod settings;
mod trees;
mod wiring;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use strongroom_format::role::Plane;

/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;
/// Exit code: damage was found.
const DAMAGE: u8 = 6;

#[derive(Parser)]
#[command(
    name = "strongroomd",
    version,
    about = "A node of a Strongroom cluster, and tools for its disk",
    after_help = "Commands for tenants and operators (backup, restore, vault, tenant, status …) are in `strongroom`.\n\n\
        To see it work:            strongroomd demo\n\
        A cluster to play with:    strongroomd dev --data /tmp/strongroom\n\
        A cluster's first machine: strongroomd init --data /var/lib/strongroom --cluster NAME --region REGION --address HOST\n\
        A further one:             strongroomd join TOKEN --data /var/lib/strongroom --address HOST\n\
        Then, on each:             strongroomd run --config /var/lib/strongroom/node/node.toml\n\
        What is wrong here:        strongroomd doctor --config /var/lib/strongroom/node/node.toml\n\n\
        Every flag has an environment variable, which its help names.\n\
        Exit codes: 0 done, 1 failed (the message says what to mend), 2 usage."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGINT or SIGTERM.
    #[command(after_help = "Example:\n  strongroomd run --config /var/lib/strongroom/node/node.toml")]
    Run {
        /// The node's configuration; `deploy/node.example.toml` explains every key.
        #[arg(long, env = "STRONGROOM_CONFIG")]
        config: PathBuf,
    },
    /// Found a cluster on its first machine: the node's directory, the CAs', the operator's profile.
    ///
    /// With --address other machines can join, and shards are created when there are nodes to keep them. Without, it is
    /// one node with one shard that survives nothing (code 1+0): for trying out, not for the last copy of anything.
    #[command(after_help = "Example:\n  strongroomd init --cluster prod --region north --data /var/lib/strongroom \
        --address 10.0.0.1 --time 2026-11-27T08:00:00Z\n\nIt says what to do next: CA processes, the node, tokens for the others.")]
    Init {
        /// The data directory to be.
        #[arg(long, env = "STRONGROOM_DATA")]
        data: PathBuf,
        /// The cluster's name.
        #[arg(long, env = "STRONGROOM_CLUSTER")]
        cluster: String,
        /// The node's region.
        #[arg(long, env = "STRONGROOM_REGION")]
        region: String,
        /// The node's name; by default the region's with a 1.
        #[arg(long, env = "STRONGROOM_NODE")]
        node: Option<String>,
        /// How the other machines reach this one: an IP address or a name, without a port.
        #[arg(long, env = "STRONGROOM_ADDRESS", value_name = "HOST")]
        address: Option<String>,
        /// The first of eight ports: tenants, nodes, operators, operations, enrolment, three CA processes.
        #[arg(long, env = "STRONGROOM_PORT", default_value_t = 7701)]
        port: u16,
        /// What the time is by a clock that you trust, as RFC 3339. This machine's must agree within a minute: the
        /// compliance clock begins there, and nothing sets it later. Without it, whoever sits at the terminal is asked.
        #[arg(long, env = "STRONGROOM_TIME")]
        time: Option<String>,
    },
    /// Make this machine a node of a cluster, with a token of an operator (`strongroom node token`).
    ///
    /// Keys are made here and stay here. Run it again if the answer was lost: the same keys get the same answer.
    #[command(after_help = "Example:\n  strongroomd join TOKEN --data /var/lib/strongroom --address 10.0.0.2\n  \
        strongroomd join - --data /var/lib/strongroom --address 10.0.0.2 < token.txt")]
    Join {
        /// The token's text; `-` reads it from stdin, where it shows in no list of processes.
        #[arg(env = "STRONGROOM_TOKEN", hide_env_values = true)]
        token: String,
        /// The data directory to be.
        #[arg(long, env = "STRONGROOM_DATA")]
        data: PathBuf,
        /// How the other machines reach this one: an IP address or a name, without a port.
        #[arg(long, env = "STRONGROOM_ADDRESS", value_name = "HOST")]
        address: String,
        /// The first of five ports: tenants, nodes, operators, operations, enrolment.
        #[arg(long, env = "STRONGROOM_PORT", default_value_t = 7701)]
        port: u16,
    },
    /// Run the CA process of one plane: it issues certificates to whoever nodes let in, and has the only copy of the key.
    #[command(
        after_help = "Nodes find it under [ca] in node.toml. Whatever it issues stands in DIR/issued.log first.\n\n\
        Example:\n  strongroomd ca --plane tenant --dir /var/lib/strongroom/ca/tenant --listen 10.0.0.1:7707"
    )]
    Ca {
        /// Which plane: peer, tenant or operator.
        #[arg(long, env = "STRONGROOM_PLANE", value_parser = plane)]
        plane: Plane,
        /// Its directory, as `init` made it.
        #[arg(long, env = "STRONGROOM_CA_DIR")]
        dir: PathBuf,
        /// Where nodes reach it.
        #[arg(long, env = "STRONGROOM_LISTEN")]
        listen: SocketAddr,
        /// How many days certificates live.
        #[arg(long, env = "STRONGROOM_DAYS", default_value_t = 90)]
        days: u64,
        /// At most so many days, whatever is asked for.
        #[arg(long, env = "STRONGROOM_DAYS_MAX", default_value_t = 397)]
        days_max: u64,
    },
    /// Make another certificate for a CA process; needs the key of the peer plane's CA.
    #[command(
        after_help = "A process that runs takes it within seconds; `doctor` says a month before that it is time.\n\n\
        Example:\n  strongroomd ca-tls --peer-dir ca/peer --plane tenant --dir ca/tenant"
    )]
    CaTls {
        /// The directory of the peer plane's CA.
        #[arg(long, env = "STRONGROOM_PEER_DIR")]
        peer_dir: PathBuf,
        /// The plane of the CA process that gets it.
        #[arg(long, env = "STRONGROOM_PLANE", value_parser = plane)]
        plane: Plane,
        /// Its directory.
        #[arg(long, env = "STRONGROOM_CA_DIR")]
        dir: PathBuf,
    },
    /// Take certificates back that a CA issued, or make its next revocation list.
    #[command(after_help = "It writes a list into DIR; the cluster learns of it with `strongroom issuer revoke`.\n\n\
        Example:\n  strongroomd ca-revoke --plane tenant --dir ca/tenant --serial 4f21…")]
    CaRevoke {
        /// The CA's plane.
        #[arg(long, env = "STRONGROOM_PLANE", value_parser = plane)]
        plane: Plane,
        /// Its directory.
        #[arg(long, env = "STRONGROOM_CA_DIR")]
        dir: PathBuf,
        /// Serial numbers in hex, as in issued.log; none: only a new list with those from before.
        #[arg(long, env = "STRONGROOM_SERIAL", value_delimiter = ',')]
        serial: Vec<String>,
        /// For how many days the list is good; afterwards nobody of this CA gets in until there is another.
        #[arg(long, env = "STRONGROOM_DAYS", default_value_t = 30)]
        days: u64,
    },
    /// Look at a node's configuration, keys, certificates and disk, and say what is wrong and what to do.
    #[command(after_help = "It changes nothing, and ends with 1 if anything is WRONG.\n\n\
        Example:\n  strongroomd doctor --config /var/lib/strongroom/node/node.toml")]
    Doctor {
        /// The node's configuration.
        #[arg(long, env = "STRONGROOM_CONFIG")]
        config: PathBuf,
    },
    /// Run a whole cluster on this machine: for trying out, for tests, for attacks.
    #[command(
        after_help = "Example:\n  strongroomd dev --data /tmp/strongroom --nodes 3\n\nOn machines of their own, \
        network namespaces for instance, as root:\n  strongroomd dev --data /tmp/strongroom --nodes 3 \
        --addresses 10.0.0.1,10.0.0.2,10.0.0.3 --before 'ip netns exec {node}'"
    )]
    Dev {
        /// Where everything of it lies; new, or of an earlier `dev`, which is continued.
        #[arg(long, env = "STRONGROOM_DATA")]
        data: PathBuf,
        /// How many nodes.
        #[arg(long, env = "STRONGROOM_NODES", default_value_t = 6)]
        nodes: usize,
        /// In how many regions.
        #[arg(long, env = "STRONGROOM_REGIONS", default_value_t = 3)]
        regions: usize,
        /// How many shards.
        #[arg(long, env = "STRONGROOM_SHARDS", default_value_t = 3)]
        shards: u32,
        /// The tenants; the first is spread over all shards.
        #[arg(long, env = "STRONGROOM_TENANTS", value_delimiter = ',', default_value = "acme,globex")]
        tenants: Vec<String>,
        /// Where each node listens, one address a node, as where nodes have network namespaces of their own.
        #[arg(long, env = "STRONGROOM_ADDRESSES", value_delimiter = ',', value_name = "IP")]
        addresses: Vec<IpAddr>,
        /// Words in front of each node's command, split at spaces; {node} stands for its name.
        #[arg(long, env = "STRONGROOM_BEFORE", value_delimiter = ' ', value_name = "WORDS")]
        before: Vec<String>,
    },
    /// Show the main job: back up a directory, lose a region and two disks, get every byte back.
    #[command(after_help = "Example:\n  strongroomd demo ~/photos")]
    Demo {
        /// What to back up; by default the current directory without build output (directories with a CACHEDIR.TAG).
        path: Option<PathBuf>,
        /// Keep the cluster's directory afterwards and say where it is.
        #[arg(long, env = "STRONGROOM_KEEP", value_parser = FalseyValueParser::new())]
        keep: bool,
    },
    /// List fragments, groups and digests of a stopped node.
    #[command(after_help = "Example:\n  strongroomd inspect /var/lib/strongroom/node --json")]
    Inspect {
        /// The node's data directory.
        data: PathBuf,
        /// One JSON object a line.
        #[arg(long, env = "STRONGROOM_JSON", hide_env_values = true, value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Recount everything on stopped nodes' disks: references, quotas, audit trees, digests, and each fragment that rows name.
    /// Exit code 6: something differs. All data is read.
    #[command(after_help = "Example:\n  strongroomd fsck /var/lib/strongroom/*/")]
    Fsck {
        /// The nodes' data directories; replicas in several are compared.
        #[arg(required = true)]
        data: Vec<PathBuf>,
        /// One JSON object a line.
        #[arg(long, env = "STRONGROOM_JSON", hide_env_values = true, value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Print what a shell needs to complete command lines.
    #[command(after_help = "Example:\n  strongroomd completions bash > /etc/bash_completion.d/strongroomd\n  \
        strongroomd completions zsh > /usr/local/share/zsh/site-functions/_strongroomd")]
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Print or write the manual pages.
    #[command(after_help = "Without --out the page of the program goes to stdout.\n\n\
        Example:\n  strongroomd man --out /usr/local/share/man/man8")]
    Man {
        /// A directory that is there, for all pages.
        #[arg(long, env = "STRONGROOM_OUT", value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(client_command);
    let done = match arguments.command {
        Command::Run { config } => {
            if let Err(cause) = arenas::bound() {
                eprintln!("strongroomd: memory is not bounded as well as it could be: {cause}");
            }
            wiring::run(&config)
        }
        Command::Init { data, cluster, region, node, address, port, time } => init::init(&init::Wish {
            data: &data,
            cluster: &cluster,
            region: &region,
            node: node.as_deref(),
            address: address.as_deref(),
            port,
            time: time.as_deref(),
        }),
        Command::Join { token, data, address, port } => wiring::block_on(join::join(&token, &data, &address, port)),
        Command::Ca { plane, dir, listen, days, days_max } => {
            wiring::log_to_stderr();
            wiring::block_on(ca::serve(plane, &dir, listen, days, days_max))
        }
        Command::CaTls { peer_dir, plane, dir } => ca::renew(&peer_dir, plane, &dir),
        Command::CaRevoke { plane, dir, serial, days } => ca::revoke(plane, &dir, &serial, days),
        Command::Doctor { config } => doctor::doctor(&config),
        Command::Dev { data, nodes, regions, shards, tenants, addresses, before } => {
            wiring::block_on(dev::run(&data, &dev::DevPlan { nodes, regions, shards, tenants, addresses, before }))
        }
        Command::Demo { path, keep } => return demo::demo(path, keep),
        Command::Inspect { data, json } => inspect::inspect(&data, json),
        Command::Fsck { data, json } => match fsck::fsck(&data, json) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::from(DAMAGE),
            Err(why) => Err(why),
        },
        Command::Completions { shell } => manual::completions(Arguments::command(), shell),
        Command::Man { out } => manual::pages(Arguments::command(), out.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Where it cannot be said, the code still says it.
            writeln!(std::io::stderr(), "strongroomd: {why:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn plane(word: &str) -> Result<Plane, String> {
    let known = Plane::ALL.into_iter().find(|plane| plane.as_str() == word);
    known.ok_or_else(|| format!("`{word}` is no plane; there are peer, tenant and operator"))
}

/// Says so where somebody asks a node's program for a client's command.
fn client_command(why: clap::Error) -> Arguments {
    const CLIENTS: [&str; 17] = [
        "backup",
        "restore",
        "snapshots",
        "ls",
        "verify",
        "vault",
        "tenant",
        "status",
        "init-key",
        "key",
        "receipt",
        "audit",
        "identity",
        "enrol",
        "node",
        "shard",
        "issuer",
    ];
    let asked = std::env::args().nth(1).unwrap_or_default();
    if CLIENTS.contains(&asked.as_str()) {
        eprintln!("strongroomd: `{asked}` needs an identity, not a disk: run `strongroom {asked}`");
        std::process::exit(i32::from(USAGE));
    }
    why.exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_an_environment_variable_and_every_command_an_example() {
        let whole = Arguments::command();
        whole.clone().debug_assert();
        for command in whole.get_subcommands() {
            let name = command.get_name();
            let flags =
                command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"));
            for flag in flags {
                assert!(flag.get_help().is_some(), "{name} {} has no help", flag.get_id());
                let Some(long) = flag.get_long() else { continue };
                let variable =
                    flag.get_env().and_then(|name| name.to_str()).unwrap_or_else(|| panic!("{name} --{long}"));
                let own_name = format!("STRONGROOM_{}", long.to_uppercase().replace('-', "_"));
                // `--dir` is that of a CA wherever it stands, and was called so before.
                let expected = if long == "dir" { "STRONGROOM_CA_DIR" } else { own_name.as_str() };
                assert_eq!(variable, expected, "{name} --{long}");
            }
            let after = command.get_after_help().unwrap_or_else(|| panic!("{name} shows no example")).to_string();
            assert!(after.contains(&format!("strongroomd {name}")), "{name}: {after}");
        }
    }
}
