//! The SDK of Strongroom: an identity of a tenant backs up, restores, verifies, and looks after vaults.
//!
//! ```text
//!   tickets · backup · restore · snapshots · vaults · status · tenants
//!      │         │          │         │        │        │
//!      └─────────┴── vault ─┴─────────┘        │     operator
//!                      │                       │        │
//!              session · client ───────────────┴────────┤
//!                      │                                │
//!      audit (what is believed of the tenant's log) · receipts · kept, farewells (what is left open, and ended)
//!                      │
//!      profile · keyring · state · topology · connect ──┘        error · progress · aead · random · handle
//! ```
//!
//! What is kept, by whom it can be opened and what a cluster cannot do is decided here and in `strongroom-format`, not
//! by nodes: contents and names are sealed before they leave this process, and nothing that comes back is believed
//! before it is proved against the tenant's root key, which the [`profile`] pins.
//!
//! ```no_run
//! use std::path::{Path, PathBuf};
//!
//! use strongroom::backup::BackupRequest;
//! use strongroom::client::{Client, PATIENCE};
//! use strongroom::profile::Profile;
//! use strongroom::restore::RestoreRequest;
//! use strongroom::snapshots::SnapshotName;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // A writer can only lock, not open.
//! let writer = Client::connect(Profile::read(Path::new("web-1.toml"))?, PATIENCE).await?;
//! let paths = [PathBuf::from("/srv/www")];
//! let done = writer.back_up(BackupRequest::new(&paths, "papers".parse()?, "www".parse()?)?).await?;
//! println!("snapshot {} survives {} regions", done.snapshot, done.survives.regions);
//! writer.close().await;
//!
//! // A restorer can open.
//! let restorer = Client::connect(Profile::read(Path::new("rita.toml"))?, PATIENCE).await?;
//! let name = SnapshotName::Latest { vault: "papers".parse()?, name: Some("www".into()) };
//! let snapshot = restorer.find_snapshot(&name).await?;
//! let restored = restorer.restore(RestoreRequest::new(snapshot, PathBuf::from("/tmp/www"))).await?;
//! assert!(restored.is_whole(), "damaged: {:?}", restored.damaged);
//! # Ok(())
//! # }
//! ```
//!
//! Every future needs a tokio runtime with timers and I/O. `client/examples` has programs that run: a backup that tells
//! how it goes, one that is cancelled, one of what an application makes, a list, a restore of some paths, a range of a file.
//!
//! # Refused, failed, unknown
//!
//! There is one [`error::Error`], and [`error::Error::outcome`] says in a word what its reader knows: *refused*, and the same
//! request gets the same answer; *failed*, nothing was done and it may be asked for again; *unknown*, it may have been done,
//! so look first. [`error::Error::next`] says what to do, for people.
//!
//! # Repeating is safe
//!
//! The SDK waits out elections, restarts and dead nodes by itself until the client's patience ends, and it may because of
//! how requests are made, not because of luck: commands carry a session and a number, or a nonce, and no replica executes
//! the same one twice; a snapshot's id is chosen here, so a commit that is sent again is the same commit; chunks are named by
//! what is in them. For the same reasons a caller may run a backup again after any error: it makes a snapshot more, never
//! half of one, and sends only what is not there.
//!
//! # Stopping
//!
//! Drop the future. What was read and not sent is forgotten; what arrived lies under a lease that ends by itself; nothing is
//! committed unless the commit was already under way. A restore leaves a staging directory that the next one clears, and its
//! restore session is ended beside everything else.
//!
//! Before a process ends, [`client::Client::close`] ends what a client keeps open between calls and waits for what is being
//! ended; all of that would end by itself, after a minute, an hour, or a day.
//!
//! # Memory
//!
//! ```text
//!   reader ──permits──▶ chunks in memory ──bounded──▶ one upload a shard ──windows──▶ nodes
//!      ▲ waits for a permit                              ▲ waits for acknowledgements
//! ```
//!
//! Every queue between two steps is bounded, and who is ahead waits: a slow cluster slows the reading, not the memory. What
//! grows is the index (about 70 bytes a chunk while backing up) and the list of files while restoring (a few hundred bytes
//! each). Progress is told by calls, not queued.
//!
//! Not here: the command line (`client/cli`).

pub mod aead;
pub mod audit;
pub mod backup;
pub mod client;
mod connect;
pub mod disk;
pub mod doctor;
pub mod ends;
pub mod enrol;
pub mod error;
mod farewells;
pub mod globs;
pub mod governance;
mod handle;
pub mod identities;
mod kept;
pub mod keyring;
pub mod locks;
pub mod operator;
pub mod profile;
pub mod progress;
mod random;
pub mod receipts;
pub mod restore;
#[cfg(test)]
mod roundtrip;
mod session;
pub mod small_file;
pub mod snapshots;
pub mod state;
pub mod status;
pub mod tenants;
mod throttle;
pub mod tickets;
mod topology;
pub mod usage;
mod vault;
pub mod vaults;
