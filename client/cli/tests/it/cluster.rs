//! One development cluster for all tests of this binary: `strongroomd dev` from the same target directory.
//!
//! It ends when this process does, however it does: a shell holds the other end of a pipe and stops the cluster, and
//! removes its directory, when the pipe closes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::program::{Ran, run_json};

/// How long anything may take that must come to pass, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Starts the cluster and ends it when stdin closes. If the cluster ends by itself, its log stays for who looks.
const KEEPER: &str = r#"
exec 3<&0
"$1" dev --data "$2/dev" --nodes 3 --regions 3 --tenants acme,globex >/dev/null 2>"$2/log" </dev/null 3<&- &
cluster=$!
(read -r _nothing <&3; : >"$2/asked"; kill -TERM $cluster) &
reader=$!
wait $cluster
[ -e "$2/asked" ] || { kill $reader; exit 1; }
rm -rf "$2"
"#;

/// A running cluster.
pub struct Cluster {
    home: PathBuf,
    /// Holds its stdin, which closes when this process ends.
    _keeper: Mutex<Child>,
    vaults: Mutex<u32>,
}

/// The cluster, started by whoever asks first. If it does not start, it is tried once.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start).as_ref().unwrap_or_else(|why| panic!("{why}"))
}

/// Looks at a condition until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "after {PATIENCE:?} it still does not hold that {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs `strongroomd`, from the same target directory.
pub fn strongroomd<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Ran {
    let output = Command::new(node_program()).args(arguments).env_clear().output();
    output.map(Ran::from).expect("strongroomd starts")
}

fn node_program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_strongroom")).with_file_name("strongroomd")
}

impl Cluster {
    /// One of one's own, for tests that stop nodes and spoil disks. It ends when it is dropped.
    pub fn alone() -> Self {
        Self::start().unwrap_or_else(|why| panic!("{why}"))
    }

    fn start() -> Result<Self, String> {
        let strongroomd = node_program();
        if !strongroomd.exists() {
            let release = if cfg!(debug_assertions) { "" } else { " --release" };
            let (path, build) = (strongroomd.display(), format!("cargo build{release} -p strongroom-node"));
            return Err(format!("these tests start {path}; build it with: {build}"));
        }
        let home = tempfile::Builder::new().prefix("strongroom-cli-").tempdir().expect("a directory").keep();
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&strongroomd)
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a shell");
        let began = Instant::now();
        while !home.join("dev/dev.json").exists() {
            let ended = keeper.try_wait().expect("a child of ours").is_some();
            if ended || PATIENCE <= began.elapsed() {
                let log = std::fs::read_to_string(home.join("log")).unwrap_or_default();
                drop(keeper.stdin.take());
                keeper.wait().expect("a child of ours");
                let _removed = std::fs::remove_dir_all(&home);
                return Err(format!("the cluster does not serve:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self { home, _keeper: Mutex::new(keeper), vaults: Mutex::new(0) })
    }

    /// The directory that `dev` was given.
    pub fn directory(&self) -> PathBuf {
        self.home.join("dev")
    }

    /// A profile of `dev`.
    pub fn profile(&self, name: &str) -> PathBuf {
        self.home.join(format!("dev/profiles/{name}.toml"))
    }

    /// A file of the tenant's that `dev` made.
    pub fn tenant_file(&self, tenant: &str, name: &str) -> PathBuf {
        self.home.join(format!("dev/tenants/{tenant}/{name}"))
    }

    /// Runs the program with a profile.
    pub fn run<const N: usize>(&self, profile: &str, arguments: [&str; N]) -> Ran {
        run_json(&self.profile(profile), arguments)
    }

    /// A new vault of acme, for one test alone.
    pub fn vault(&self) -> String {
        let mut last: MutexGuard<'_, u32> = self.vaults.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let name = format!("vault-{last}");
        self.run("acme-admin", ["vault", "create", &name]).done();
        name
    }
}
