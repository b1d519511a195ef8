//! A key-value store of several processes whose tables hold rows of several tenants, backed up per tenant in one moment and
//! restored without mixing.
//!
//! ```text
//!   STORE/table-0, table-1, …   one process each; a line is TENANT<tab>KEY<tab>VALUE, rows of all tenants mixed
//!   backup:   coordinator ─ticket, cut─▶ one process a table ─▶ its tenant's rows are one stream ─▶ commit: all or none
//!   restore:  each stream ─▶ its table: rows of other tenants stay as they are
//! ```
//!
//!     cargo run -p strongroom --example shared_tables -- backup STORE papers acme-web-1.toml acme-web-2.toml
//!     cargo run -p strongroom --example shared_tables -- restore STORE acme-rita.toml SNAPSHOT
//!
//! Which tenant it is, the profile says: its identities, its vault, its keys. A process that is given one tenant's profile
//! sends that tenant's rows and nobody else's, and the cluster would take them under no other tenant's name. The first
//! profile opens the ticket and commits; the processes take all of them in turn. Not here: how such a store works.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use strongroom::backup::{BackupRequest, Piped};
use strongroom::client::{Client, PATIENCE};
use strongroom::profile::Profile;
use strongroom::progress::Progress;
use strongroom::restore::ByteRange;
use strongroom::tickets::Ticket;
use strongroom_format::gathered::ExpectedStream;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["backup", store, vault, ref profiles @ ..] if !profiles.is_empty() => {
            back_up(Path::new(store), vault, profiles).await
        }
        // What `backup` starts for each table.
        ["stream", table, cut, ticket, profile] => {
            stream(Path::new(table), cut.parse()?, &ticket.parse()?, profile).await
        }
        ["restore", store, profile, snapshot] => restore(Path::new(store), profile, snapshot).await,
        _ => Err("usage: shared_tables backup STORE VAULT PROFILE… | restore STORE PROFILE SNAPSHOT".into()),
    }
}

async fn connect(profile: &str) -> Outcome<Client> {
    Ok(Client::connect(Profile::read(Path::new(profile))?, PATIENCE).await?)
}

/// The tables of a store, by name.
fn tables(store: &Path) -> Outcome<Vec<PathBuf>> {
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(store)? {
        let path = entry?.path();
        if name_of(&path).starts_with("table-") {
            tables.push(path);
        }
    }
    tables.sort();
    Ok(tables)
}

/// A table's name is its stream's, too.
fn name_of(table: &Path) -> String {
    table.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The tenant of a row.
fn tenant_of(row: &str) -> &str {
    row.split('\t').next().unwrap_or_default()
}

/// Backs up one tenant's rows of all tables, as they are at one moment.
async fn back_up(store: &Path, vault: &str, profiles: &[&str]) -> Outcome<()> {
    let tables = tables(store)?;
    let mut writers = Vec::new();
    for profile in profiles {
        writers.push(connect(profile).await?.identity().clone());
    }
    let opener = connect(profiles[0]).await?;
    let whose = |at: usize| at % profiles.len();
    let mut expected = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        expected.push(ExpectedStream { name: name_of(table).parse()?, writer: writers[whose(at)].clone() });
    }
    let ticket = opener.open_ticket(&vault.parse()?, "shared tables".parse()?, expected).await?;

    // The moment: tables are only appended to, so their lengths now say what belongs to it.
    let program = std::env::current_exe()?;
    let mut processes = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let cut = std::fs::metadata(table)?.len();
        let mut process = Command::new(&program);
        process.arg("stream").arg(table).args([cut.to_string(), ticket.to_string(), profiles[whose(at)].to_owned()]);
        processes.push(process.stdin(Stdio::null()).spawn()?);
    }
    let mut all_ready = true;
    for mut process in processes {
        all_ready &= process.wait()?.success();
    }
    if !all_ready {
        // One died: nothing of the others is ever shown.
        opener.abort_ticket(&ticket).await?;
        return Err("a process failed; nothing was committed".into());
    }
    let whole = opener.commit_ticket(&ticket).await?;
    println!("snapshot {} has all tables", whole.snapshot);
    Ok(())
}

/// One table's rows of one tenant, up to the cut, as one stream.
async fn stream(table: &Path, cut: u64, ticket: &Ticket, profile: &str) -> Outcome<()> {
    let client = connect(profile).await?;
    let tenant = client.profile().tenant()?.name.to_string();
    let file = BufReader::new(std::fs::File::open(table)?.take(cut));
    let mut rows = String::new();
    for row in file.lines() {
        let row = row?;
        if tenant_of(&row) == tenant {
            rows.push_str(&row);
            rows.push('\n');
        }
    }
    let piped = Piped::reader("rows", std::io::Cursor::new(rows))?;
    let label = format!("shared tables/{}", name_of(table));
    let request = BackupRequest::piped(piped, ticket.vault.clone(), label.parse()?);
    let joined = client.join(ticket, name_of(table).parse()?, request).await?;
    println!("stream {} of {tenant} is ready", joined.stream);
    Ok(())
}

/// Puts one tenant's rows back as they were, and leaves all others as they are.
async fn restore(store: &Path, profile: &str, snapshot: &str) -> Outcome<()> {
    let client = connect(profile).await?;
    let tenant = client.profile().tenant()?.name.to_string();
    let whole = snapshot.parse()?;
    let mut restored: BTreeMap<String, String> = BTreeMap::new();
    for stream in client.streams(whole).await? {
        let snapshot = client.find_stream(whole, &stream.name).await?;
        let mut rows = Vec::new();
        client.read_file(snapshot, b"rows", ByteRange::ALL, &mut rows, Progress::silent()).await?;
        let rows = String::from_utf8(rows)?;
        if let Some(row) = rows.lines().find(|row| tenant_of(row) != tenant) {
            return Err(format!("a row of another tenant: {row}").into());
        }
        restored.insert(stream.name.to_string(), rows);
    }
    // Nothing is written before all of it is there.
    for (name, rows) in restored {
        let table = store.join(&name);
        let present = if table.exists() { std::fs::read_to_string(&table)? } else { String::new() };
        let others = present.lines().filter(|row| tenant_of(row) != tenant).map(|row| format!("{row}\n"));
        let new = table.with_file_name(format!("new-{name}"));
        std::fs::write(&new, others.collect::<String>() + &rows)?;
        std::fs::rename(new, table)?;
        println!("{name}: {} rows of {tenant}", rows.lines().count());
    }
    Ok(())
}
