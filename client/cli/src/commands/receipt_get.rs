//! `receipt get`: the receipt of a snapshot that is committed, verified, once more or for the first time.

use std::path::PathBuf;

use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::new_file::{Readers, write_new};
use crate::output::Item;
use crate::text::base64;
use crate::which::Which;

/// Flags of `receipt get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A backup that was committed while too few voters could sign prints no receipt: this fetches it.

Examples:
  strongroom receipt get 3f9a01bc --out www.receipt
  strongroom receipt get latest --vault papers --json | jq -r .receipt")]
pub struct ReceiptGet {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,

    /// Write the receipt to this file, which must not exist.
    #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The receipt.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "receipt")]
struct Got {
    snapshot: String,
    signatures: usize,
    receipt: String,
}

impl ReceiptGet {
    /// Fetches it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        let proof = client.receipt(snapshot).await?;
        let receipt = base64(&proof.bytes);
        if let Some(path) = &self.out {
            write_new(&[(path, Readers::All, format!("{receipt}\n").as_bytes())])?;
        }
        let signatures = proof.receipt.signatures.len();
        context.output.item(&Got { snapshot: snapshot.to_string(), signatures, receipt })?;
        Ok(Exit::Done)
    }
}

impl Item for Got {
    fn text(&self) -> String {
        self.receipt.clone()
    }
}
