//! A database there and back: `pg_dump` through `--from-command`, restored, read into another database, compared.
//!
//! A server of our own, of Debian's package, on a socket below `/tmp`. It does not run as root: then it runs as `postgres`,
//! and only the client as root. Fails where PostgreSQL is not installed, and says how it is.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::child;
use crate::contestant::Contestant as _;
use crate::vault::{self, Strongroom};

const INSTALLED: &str = "/usr/lib/postgresql";
/// Types, references, an index, a view, a function, names and texts that want quoting.
const SHOP: &str = r#"
create table customers (id bigint primary key, name text not null, since timestamptz not null, notes jsonb, face bytea);
create table orders (id bigserial primary key, customer bigint not null references customers, paid numeric(12,2) not null,
    tags text[] not null, "when, exactly" date);
create index on orders (customer, paid);
create view owing as select customer, sum(paid) as paid from orders group by customer;
create function twice(n numeric) returns numeric language sql immutable as $$ select n * 2 $$;
insert into customers select n, 'Müller, "' || n || E'" \\\n\t''€''', timestamptz '2026-01-01 00:00+00' + n * interval '1 hour',
    jsonb_build_object('n', n, 'text', md5(n::text)), decode(md5(n::text), 'hex') from generate_series(1, 20000) n;
insert into orders (customer, paid, tags, "when, exactly") select 1 + n % 20000, n * 1.37, array[md5(n::text), null, 'a,b{}'],
    case n % 3 when 0 then null else date '2026-01-01' + n % 300 end from generate_series(1, 200000) n;
"#;
/// What two databases must agree on beside their dumps.
const SUMS: &str = r#"
select count(*), md5(string_agg(c::text, '' order by id)) from customers c;
select count(*), md5(string_agg(o::text, '' order by id)) from orders o;
select sum(twice(paid)) from owing;
select nextval('orders_id_seq') > 200000;
"#;

/// A server of our own; dropped, it ends.
struct Server {
    programs: PathBuf,
    place: PathBuf,
    log: PathBuf,
}

/// Makes a database, backs it up, restores it into another one and compares; what fails is no snapshot.
pub fn trip(strongroom: &Strongroom, place: &Path) -> anyhow::Result<String> {
    let server = Server::start(place)?;
    let log = place.join("client.log");
    server.run("createdb", &["shop"])?;
    server.feed("shop", SHOP.as_bytes())?;
    let dump = |database: &str| -> Vec<OsString> {
        let mut words = vec![server.programs.join("pg_dump").into_os_string()];
        words.extend(server.reach().map(OsString::from));
        words.push(database.into());
        words
    };
    let piped = |database: &str| {
        let words = dump(database);
        let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
        strongroom.piped_command("shop.sql", &words)
    };
    let kept = vault::kept(&child::run(&mut piped("shop")?, &log)?.stdout)?;
    let to = place.join("restored");
    strongroom.restore(&kept, &to, &log)?;
    let text = fs::read(to.join("shop.sql")).context("the dump was not restored")?;
    server.run("createdb", &["back"])?;
    server.feed("back", &text)?;
    let sums = |database: &str| server.run("psql", &["--no-psqlrc", "--tuples-only", "--command", SUMS, database]);
    let (was, is) = (sums("shop")?, sums("back")?);
    ensure!(was == is && was.lines().count() >= 4, "the databases differ: {was} and {is}");
    let plain = |database: &str| anyhow::Ok(without_tokens(&server.run("pg_dump", &[database])?));
    ensure!(plain("shop")? == plain("back")?, "dumps of the two databases differ");

    // A command that fails makes no snapshot.
    let count = || anyhow::Ok(child::run(&mut strongroom.snapshots_command()?, &log)?.stdout.lines().count());
    let before = count()?;
    ensure!(child::run(&mut piped("absent")?, &log).is_err(), "pg_dump failed and the backup did not");
    ensure!(count()? == before, "pg_dump failed and there is a snapshot");
    Ok(format!("a dump of {} bytes of 220000 rows, read into another database: equal", text.len()))
}

impl Server {
    fn start(place: &Path) -> anyhow::Result<Self> {
        let programs =
            programs(Path::new(INSTALLED)).context("PostgreSQL is not installed: apt-get install -y postgresql")?;
        let log = place.join("postgres.log");
        // The path of a socket is short.
        let made = child::run(as_owner(Path::new("mktemp")).args(["--directory", "/tmp/bench-pg-XXXXXX"]), &log)?;
        let server = Self { programs, place: PathBuf::from(made.stdout.trim_end()), log };
        let data = server.place.join("data");
        child::run(
            as_owner(&server.programs.join("initdb"))
                .args([
                    "--no-sync",
                    "--auth",
                    "trust",
                    "--username",
                    "bench",
                    "--encoding",
                    "UTF8",
                    "--locale",
                    "C.UTF-8",
                ])
                .arg(&data),
            &server.log,
        )?;
        let options = format!("-k {} -c listen_addresses= -c fsync=off", server.place.display());
        server.control(&["--wait", "--options", &options, "start"])?;
        Ok(server)
    }

    fn control(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = as_owner(&self.programs.join("pg_ctl"));
        command.arg("--pgdata").arg(self.place.join("data")).arg("--log").arg(self.place.join("log"));
        child::run(command.args(arguments), &self.log).map(drop)
    }

    /// How its programs find it.
    fn reach(&self) -> [String; 4] {
        ["--host".to_owned(), self.place.display().to_string(), "--username".to_owned(), "bench".to_owned()]
    }

    /// One of its programs: what it prints.
    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.programs.join(program));
        Ok(child::run(command.args(self.reach()).args(arguments), &self.log)?.stdout)
    }

    /// Statements into a database, all or none.
    fn feed(&self, database: &str, statements: &[u8]) -> anyhow::Result<()> {
        let file = self.log.with_extension("sql");
        fs::write(&file, statements)?;
        let file = file.to_str().context("a path that is no text")?;
        let quiet = ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--single-transaction", "--file", file];
        self.run("psql", &[&quiet[..], &[database]].concat()).map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What cannot be ended or removed is left below /tmp.
        self.control(&["--mode", "immediate", "stop"]).ok();
        fs::remove_dir_all(&self.place).ok();
    }
}

/// As somebody whom the server accepts: not root.
fn as_owner(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

/// Where the newest version's programs are.
fn programs(installed: &Path) -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(installed)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = versions.filter_map(|version| version.parse::<u32>().ok()).max();
    let programs = newest.map(|version| installed.join(version.to_string()).join("bin"));
    match programs.filter(|programs| programs.join("initdb").exists()) {
        Some(programs) => Ok(programs),
        None => bail!("no server below {}", installed.display()),
    }
}

/// A dump without the words that are drawn anew each time.
fn without_tokens(dump: &str) -> String {
    let lines = dump.lines().filter(|line| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict "));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert!(programs(dir.path()).is_err());
        for version in ["9", "15", "contrib"] {
            fs::create_dir_all(dir.path().join(version).join("bin")).unwrap();
            fs::write(dir.path().join(version).join("bin/initdb"), "").unwrap();
        }
        assert_eq!(programs(dir.path()).unwrap(), dir.path().join("15/bin"));
    }

    #[test]
    fn tokens_are_no_difference() {
        assert_eq!(
            without_tokens("\\restrict a\nx\n\\unrestrict a\n"),
            without_tokens("\\restrict b\nx\n\\unrestrict b\n")
        );
        assert_ne!(without_tokens("x\n"), without_tokens("y\n"));
    }
}
