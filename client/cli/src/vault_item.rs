//! A vault as a result: what `vault create`, `vault list` and `vault show` say about it.

use serde::Serialize;
use strongroom::vaults::{CardInfo, VaultInfo};
use strongroom_format::chunk::Chunking;
use strongroom_format::lock::{LockMode, LockTerms};
use strongroom_format::statement::VaultMode;

use crate::output::Item;
use crate::text::length;

/// A vault.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "vault")]
pub struct VaultItem {
    id: String,
    name: String,
    version: u32,
    mode: &'static str,
    chunking: &'static str,
    recipients: Vec<String>,
    policy: Policy,
    writers: Vec<Writer>,
}

/// Its policy.
#[derive(Debug, Serialize)]
struct Policy {
    version: u32,
    lock: Option<Lock>,
    least_regions: u8,
}

/// A writer with a card.
#[derive(Debug, Serialize)]
pub struct Writer {
    writer: String,
    epoch: u32,
    domain: String,
}

/// The default lock: a mode and a length.
#[derive(Debug, PartialEq, Serialize)]
struct Lock {
    mode: &'static str,
    seconds: f64,
    #[serde(skip)]
    milliseconds: u64,
}

impl From<VaultInfo> for VaultItem {
    fn from(vault: VaultInfo) -> Self {
        Self {
            id: vault.id.to_string(),
            name: vault.name.to_string(),
            version: vault.version.0,
            mode: match vault.mode {
                VaultMode::Default => "default",
                VaultMode::Hardened => "hardened",
            },
            chunking: match vault.chunking {
                Chunking::Default => "default",
                Chunking::Fixed => "fixed",
                Chunking::Hardened => "hardened",
            },
            recipients: vault.recipients.iter().map(ToString::to_string).collect(),
            policy: Policy {
                version: vault.policy.version.0,
                lock: vault.policy.default_lock.map(Lock::from),
                least_regions: vault.policy.least_regions,
            },
            writers: vault.cards.into_iter().map(Writer::from).collect(),
        }
    }
}

impl From<CardInfo> for Writer {
    fn from(card: CardInfo) -> Self {
        Self { writer: card.writer.to_string(), epoch: card.epoch.0, domain: card.domain.to_string() }
    }
}

impl From<LockTerms> for Lock {
    #[expect(clippy::cast_precision_loss, reason = "contracts want seconds as floats")]
    fn from(terms: LockTerms) -> Self {
        let mode = match terms.mode {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        };
        Self { mode, seconds: terms.length_ms as f64 / 1000.0, milliseconds: terms.length_ms }
    }
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} lock of {}", self.mode, length(self.milliseconds))
    }
}

impl Item for VaultItem {
    fn text(&self) -> String {
        let lock = self.policy.lock.as_ref().map_or_else(|| "no lock".to_owned(), ToString::to_string);
        let mut text = format!(
            "vault {} ({}), {}, statement {}, {lock}\n  opened by  {}",
            self.name,
            self.id,
            self.mode,
            self.version,
            self.recipients.join(", ")
        );
        for Writer { writer, epoch, .. } in &self.writers {
            text.push_str(&format!("\n  written by {writer}, key {epoch}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_is_one_object() {
        let item = VaultItem {
            id: "ab".into(),
            name: "papers".into(),
            version: 1,
            mode: "default",
            chunking: "default",
            recipients: vec!["rita".into()],
            policy: Policy { version: 1, lock: None, least_regions: 0 },
            writers: vec![Writer { writer: "web-1".into(), epoch: 1, domain: "cd".into() }],
        };
        let expected = r#"{"type":"vault","id":"ab","name":"papers","version":1,"mode":"default","chunking":"default","recipients":["rita"],"policy":{"version":1,"lock":null,"least_regions":0},"writers":[{"writer":"web-1","epoch":1,"domain":"cd"}]}"#;
        assert_eq!(serde_json::to_string(&item).unwrap(), expected);
        assert!(item.text().contains("opened by  rita\n  written by web-1, key 1"), "{}", item.text());
    }

    #[test]
    fn a_lock_has_its_length_in_seconds() {
        let lock = Lock::from(LockTerms { mode: LockMode::Compliance, length_ms: 2_592_000_500 });
        let json = serde_json::to_string(&lock).unwrap();
        assert_eq!(json, r#"{"mode":"compliance","seconds":2592000.5}"#);
        let days = Lock::from(LockTerms { mode: LockMode::Governance, length_ms: 30 * 86_400_000 });
        assert_eq!(days.to_string(), "governance lock of 30 d");
    }
}
