//! `receipt verify`: whether a receipt proves what it says. Asks nobody.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom::receipts::{Keys, Verified};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{count, from_base64, time_of_signed_ms};

/// The longest file that is read: a receipt in base64, and some.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Flags of `receipt verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE holds a receipt as `backup --json` and `receipt get` print it. The voters' keys come from what this machine has
believed before (the profile's state directory), or from a saved copy of the file `log` of such a directory. No node is
asked: it works when the cluster is gone.

Examples:
  strongroom receipt verify www.receipt
  strongroom receipt verify www.receipt --voters saved/log --json")]
pub struct ReceiptVerify {
    /// The receipt.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// A copy of `log` from a state directory, in place of the profile's own.
    #[arg(long, env = "STRONGROOM_VOTERS", value_name = "FILE")]
    voters: Option<PathBuf>,
}

/// What the receipt proves.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "receipt")]
struct Proved {
    snapshot: String,
    envelope: String,
    committed: Option<String>,
    leaf: u64,
    log_size: u64,
    signatures: usize,
    voters: usize,
    survives: Survives,
    ok: bool,
}

/// What could still be lost when it was committed.
#[derive(Debug, Serialize)]
struct Survives {
    regions: u8,
    nodes: u8,
}

impl ReceiptVerify {
    /// Verifies it.
    pub fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let receipt = read(&self.file)?;
        let keys = match &self.voters {
            Some(path) => Keys::saved(path)?,
            None => Keys::of_profile(&context.profile()?)?,
        };
        context.output.item(&Proved::from(keys.verify(&receipt)?))?;
        Ok(Exit::Done)
    }
}

/// The receipt's own bytes, or base64 of them.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let broken = |cause: std::io::Error| Failure::broken(&format!("cannot read {}", path.display()), &cause);
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)).map_err(broken)?;
    let decoded = std::str::from_utf8(&bytes).ok().and_then(|text| from_base64(text.trim()));
    Ok(decoded.unwrap_or(bytes))
}

impl From<Verified> for Proved {
    fn from(verified: Verified) -> Self {
        let strength = verified.committed.strength;
        Self {
            snapshot: verified.committed.snapshot.to_string(),
            envelope: verified.committed.envelope.to_string(),
            committed: time_of_signed_ms(verified.wall_unix_ms),
            leaf: verified.leaf_index,
            log_size: verified.log_size,
            signatures: verified.signatures,
            voters: verified.voters,
            survives: Survives { regions: strength.regions, nodes: strength.nodes },
            ok: true,
        }
    }
}

impl Item for Proved {
    fn text(&self) -> String {
        format!(
            "snapshot {} was committed {}\nsigned by {} of {}; it survived the loss of {} or {} then",
            self.snapshot,
            self.committed.as_deref().unwrap_or("at an unknown time"),
            self.signatures,
            count(self.voters as u64, "voter", "voters"),
            count(self.survives.regions.into(), "region", "regions"),
            count(self.survives.nodes.into(), "node", "nodes"),
        )
    }
}
