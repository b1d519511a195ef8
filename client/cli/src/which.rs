//! Which snapshot is meant: an id, the beginning of one, or the latest of a name.

use std::str::FromStr;

use strongroom::client::Client;
use strongroom::restore::one_stream_at_a_time;
use strongroom::snapshots::SnapshotName;
use strongroom_format::gathered::NamedStream;
use strongroom_format::id::{SnapshotId, StreamName, VaultName};

use crate::exit::Failure;

/// Fewer digits of an id name nothing.
const PREFIX_DIGITS_MIN: usize = 8;

/// The argument SNAPSHOT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The latest of a vault, or of a name in it.
    Latest,
    /// This one.
    Id(SnapshotId),
    /// The one whose id begins so.
    Prefix(String),
}

/// A snapshot on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// An id, its first 8 or more digits, or `latest` (with --vault).
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: Named,

    /// The vault; needed for `latest`.
    #[arg(long, env = "STRONGROOM_VAULT")]
    pub vault: Option<VaultName>,

    /// For `latest`: of this name, LABEL or WRITER/LABEL.
    #[arg(long, env = "STRONGROOM_NAME", value_name = "LABEL")]
    pub name: Option<String>,

    /// One stream of a snapshot that several writers made.
    #[arg(long, env = "STRONGROOM_STREAM", value_name = "STREAM")]
    pub stream: Option<StreamName>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || !(PREFIX_DIGITS_MIN..2 * SnapshotId::BYTES).contains(&text.len()) {
            return Err(format!(
                "a snapshot is an id (32 hex digits), its first {PREFIX_DIGITS_MIN} or more digits, or `latest`"
            ));
        }
        Ok(Self::Prefix(text.to_owned()))
    }
}

impl Which {
    /// The snapshot that is meant.
    ///
    /// # Errors
    /// Usage for `latest` without a vault; refused if there is none, or several.
    pub async fn resolve(&self, client: &Client) -> Result<SnapshotId, Failure> {
        let snapshot = client.find_snapshot(&self.name_for_the_sdk()?).await?;
        match &self.stream {
            None => Ok(snapshot),
            Some(stream) => Ok(client.find_stream(snapshot, stream).await?),
        }
    }

    /// The same, where a snapshot that has streams instead of files makes no sense.
    ///
    /// # Errors
    /// Refused for such a snapshot unless one of its streams is named.
    pub async fn resolve_one(&self, client: &Client) -> Result<SnapshotId, Failure> {
        let snapshot = self.resolve(client).await?;
        match self.streams(client, snapshot).await?.first() {
            None => Ok(snapshot),
            Some(_) => Err(one_stream_at_a_time().into()),
        }
    }

    /// The streams of a snapshot that is meant as a whole; none where a stream was named.
    pub async fn streams(&self, client: &Client, snapshot: SnapshotId) -> Result<Vec<NamedStream>, Failure> {
        match &self.stream {
            None => Ok(client.streams(snapshot).await?),
            Some(_) => Ok(Vec::new()),
        }
    }

    fn name_for_the_sdk(&self) -> Result<SnapshotName, Failure> {
        match &self.snapshot {
            Named::Id(id) => Ok(SnapshotName::Id(*id)),
            Named::Prefix(digits) => Ok(SnapshotName::Prefix { digits: digits.clone(), vault: self.vault.clone() }),
            Named::Latest => {
                let vault = self.vault.clone().ok_or_else(|| {
                    Failure::usage(
                        "`latest` of which vault?",
                        "name it with --vault NAME, and perhaps the snapshot with --name LABEL",
                    )
                })?;
                Ok(SnapshotName::Latest { vault, name: self.name.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_an_id_a_long_enough_prefix_or_the_latest() {
        assert_eq!("latest".parse(), Ok(Named::Latest));
        let id = "0123456789abcdef".repeat(2);
        assert_eq!(id.parse::<Named>(), Ok(Named::Id(id.parse().unwrap())));
        assert_eq!("01234567".parse(), Ok(Named::Prefix("01234567".into())));
        assert_eq!(id[..31].parse(), Ok(Named::Prefix(id[..31].into())));
        for bad in ["", "0123456", "0123456G", "0123456A", &id.repeat(2), "newest"] {
            assert!(bad.parse::<Named>().is_err(), "{bad}");
        }
    }
}
