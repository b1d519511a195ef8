//! A machine with a file system and a shell of its own: what a person who sits at it has.
//!
//! ```text
//!   namespace of the network ─▶ own mounts: /etc /root /run /tmp /var /usr/local/bin ─▶ own name ─▶ one shell
//! ```
//!
//! Blocks of commands run in that one shell, so that what is exported stays. `systemctl` and `scp` are stand-ins: a
//! namespace has neither systemd nor a neighbour's sshd. Whatever a machine starts ends with its network.
//!
//! Not here: the network (`network.rs`), which blocks there are (`page.rs`).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::network::plan::namespace;

/// How long a block may take.
const BLOCK_PATIENCE: Duration = Duration::from_secs(600);
/// How long a machine may take to be there.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How often a block is looked after.
const TURN: Duration = Duration::from_millis(10);
/// Where its programs are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The directories that are the machine's own; /etc begins as a copy, the others empty.
const OWN: [&str; 6] = ["etc", "root", "run", "tmp", "var", "usr/local/bin"];
/// Where a machine sees the directories of all: its `scp` reaches the others there.
const ALL: &str = "/mnt";
/// What stands in for what a namespace does not have.
const STAND_INS: [(&str, &str); 2] =
    [("systemctl", include_str!("machine/systemctl.sh")), ("scp", include_str!("machine/scp.sh"))];

/// A machine; it ends with its network.
pub struct Machine {
    name: String,
    dir: PathBuf,
    shell: Child,
    input: ChildStdin,
    blocks: u32,
}

impl Machine {
    /// Starts a machine of a network that is up; its directories lie in `machines`/NAME. `peers` are (name, address)
    /// of all, as they stand in /etc/hosts.
    ///
    /// # Errors
    /// What of it cannot be made.
    pub fn start(network: &str, name: &str, machines: &Path, peers: &[(String, String)]) -> anyhow::Result<Self> {
        let dir = machines.join(name);
        for own in OWN {
            let own = dir.join(own);
            fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
        }
        for below in ["etc/systemd/system", "var/lib", "var/log", "var/tmp", "run/blocks"] {
            fs::create_dir_all(dir.join(below)).context("cannot create a machine's directories")?;
        }
        for everybodys in ["tmp", "var/tmp"] {
            fs::set_permissions(dir.join(everybodys), Permissions::from_mode(0o1777))?;
        }
        // What is passed on from this host is what a fresh one has: users, PAM, the linker's cache.
        let copied =
            Command::new("cp").args(["-a", "/etc/."]).arg(dir.join("etc")).status().context("cannot run cp")?;
        ensure!(copied.success(), "cannot copy /etc");
        let hosts: String = peers.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        fs::write(dir.join("etc/hosts"), format!("127.0.0.1 localhost\n{hosts}")).context("cannot write hosts")?;
        for (program, script) in STAND_INS {
            let path = dir.join("usr/local/bin").join(program);
            fs::write(&path, script).context("cannot write a stand-in")?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        }
        // Where the machines lie may be covered by one of the mounts: it is bound to a place that is not, first.
        let mounts: String = OWN.iter().map(|own| format!("mount --bind {ALL}/{name}/{own} /{own} && ")).collect();
        let ready = dir.join("run/ready");
        let script = format!(
            "mount --bind '{}' {ALL} && {mounts}hostname {name} && cd /root && touch /run/ready && \
             exec bash --noprofile --norc",
            machines.display()
        );
        let log = OpenOptions::new().create(true).append(true).open(dir.join("shell.log"))?;
        let mut shell = Command::new("ip")
            .args(["netns", "exec", &namespace(network, name)])
            .args(["unshare", "--mount", "--propagation", "private", "--uts", "sh", "-c", &script])
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("USER", "root")
            .env("LANG", "C.UTF-8")
            .env("MACHINES", ALL)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start a machine's shell")?;
        let input = shell.stdin.take().context("a shell reads")?;
        let began = Instant::now();
        while !ready.exists() {
            if let Some(status) = shell.try_wait()? {
                bail!("machine {name} ended with {status}: {}", fs::read_to_string(dir.join("shell.log"))?.trim());
            }
            ensure!(began.elapsed() < START_PATIENCE, "machine {name} does not come up");
            std::thread::sleep(TURN);
        }
        Ok(Self { name: name.to_owned(), dir, shell, input, blocks: 0 })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a file of the machine lies on this host; `path` is absolute there.
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// A command in this machine, beside its shell.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.shell.id().to_string(), "--mount", "--uts", "--net"])
            // nsenter's own --wd would be this host's /root.
            .args([
                "env",
                "-i",
                "--chdir=/root",
                &format!("PATH={PATH}"),
                "HOME=/root",
                "USER=root",
                "LANG=C.UTF-8",
                program,
            ])
            .stdin(Stdio::null());
        command
    }

    /// Runs commands in its shell; the first that fails ends them. Gives what they said on both outputs.
    ///
    /// # Errors
    /// A command failed, with what was said; the machine's shell is gone then.
    pub fn run(&mut self, commands: &str) -> anyhow::Result<String> {
        self.blocks += 1;
        let block = format!("run/blocks/{}", self.blocks);
        let (script, said, status) =
            (self.dir.join(&block), self.dir.join(format!("{block}.said")), self.dir.join(format!("{block}.status")));
        fs::write(&script, commands).context("cannot write a block")?;
        File::create(&said).context("cannot write what a block says")?;
        // `-e` as a person, who stops where something fails.
        writeln!(
            self.input,
            "set -eo pipefail; . /{block} </dev/null >/{block}.said 2>&1; set +e; echo done >/{block}.status"
        )
        .context("the machine's shell is gone")?;
        let began = Instant::now();
        loop {
            let heard = || fs::read(&said).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            if fs::read_to_string(&status).is_ok_and(|status| status == "done\n") {
                return Ok(heard()?);
            }
            if let Some(status) = self.shell.try_wait()? {
                bail!("it ended with {status}:\n{}", heard()?.trim_end());
            }
            ensure!(began.elapsed() < BLOCK_PATIENCE, "it does not end:\n{}", heard()?.trim_end());
            std::thread::sleep(TURN);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What runs in it ends with the network; this is its shell only.
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}
