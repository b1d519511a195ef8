//! `key check`: what a key file holds, who can read it, and whether it is the key of a profile or a vault.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom::keyring;
use strongroom::profile::Profile;
use strongroom_format::any_key::AnyKey;
use strongroom_format::id::{PublicKey, VaultName};
use strongroom_format::keys::{KeyFile as _, RestorerPublicKey};
use strongroom_format::sign::SigningKey;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::recovery::{fingerprint, public_half};
use crate::text::FileName;

/// No key file is larger.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Flags of `key check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It says the kind, the public half and who can read the file; with --profile whether it is the key that the profile pins
or names, with --vault whether that vault knows it. Nothing secret is shown. It ends with 1 if anything is WRONG.

Examples:
  strongroom key check web-1.writer
  strongroom key check rita.restorer --profile rita.toml --vault papers")]
pub struct KeyCheck {
    /// A key file, or a public half.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Ask whether this vault knows the key; needs a profile.
    #[arg(long, env = "STRONGROOM_VAULT", value_name = "NAME")]
    vault: Option<VaultName>,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "key_check")]
struct Checked {
    file: FileName,
    kind: &'static str,
    public: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    mode: String,
    looks: Vec<Look>,
    ok: bool,
}

/// One comparison.
#[derive(Debug, Serialize)]
struct Look {
    about: String,
    ok: bool,
    message: String,
}

/// What the file holds.
enum Held {
    Secret(AnyKey),
    Signing(PublicKey),
    Recipient(Box<RestorerPublicKey>),
}

impl KeyCheck {
    /// Looks.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (held, mode) = read(&self.file)?;
        let mut looks = vec![permissions(&held, &self.file, mode)];
        match (&self.vault, context.has_profile()) {
            (None, false) => {}
            (Some(_), false) => {
                return Err(Failure::usage("--vault needs a profile", "name one with --profile FILE"));
            }
            (vault, true) => {
                let profile = context.profile()?;
                looks.extend(in_profile(&held, &profile));
                if let Some(vault) = vault {
                    looks.push(in_vault(&held, context, vault).await?);
                }
            }
        }
        let ok = looks.iter().all(|look| look.ok);
        let (identity, epoch, tenant) = match &held {
            Held::Secret(AnyKey::Writer(key)) => {
                (Some(key.writer.to_string()), Some(key.epoch.0), Some(key.tenant.to_string()))
            }
            Held::Secret(AnyKey::Restorer(key)) => (Some(key.identity.to_string()), None, None),
            Held::Recipient(key) => (Some(key.identity.to_string()), None, None),
            Held::Secret(AnyKey::Root(_) | AnyKey::Signing(_)) | Held::Signing(_) => (None, None, None),
        };
        context.output.item(&Checked {
            file: FileName::of(&self.file),
            kind: held.kind(),
            public: held.public(),
            identity,
            epoch,
            tenant,
            mode: format!("{mode:04o}"),
            looks,
            ok,
        })?;
        Ok(if ok { Exit::Done } else { Exit::Failed })
    }
}

impl Held {
    fn kind(&self) -> &'static str {
        match self {
            Self::Secret(key) => key.kind().as_str(),
            Self::Signing(_) => "public half of a root or signing key",
            Self::Recipient(_) => "public half of a restorer key",
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Secret(key) => public_half(key),
            Self::Signing(key) => key.to_string(),
            Self::Recipient(key) => fingerprint(&key.to_text()),
        }
    }
}

fn read(path: &Path) -> Result<(Held, u32), Failure> {
    let cannot = |cause: std::io::Error| Failure::broken(&format!("cannot read {}", path.display()), &cause);
    let file = std::fs::File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(no_key(path, "it is no file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_BYTES_MAX).expect("64 KiB") + 1));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if FILE_BYTES_MAX < bytes.len() as u64 {
        return Err(no_key(path, "it is too large"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| no_key(path, "it is no text"))?;
    let held = if text.starts_with(RestorerPublicKey::HEADER) {
        Held::Recipient(Box::new(RestorerPublicKey::from_text(text).map_err(|fault| no_key(path, &fault.to_string()))?))
    } else if let Ok(public) = text.trim_end().parse() {
        Held::Signing(public)
    } else {
        Held::Secret(AnyKey::from_text(text).map_err(|fault| no_key(path, &fault.to_string()))?)
    };
    Ok((held, metadata.permissions().mode() & 0o7777))
}

fn no_key(path: &Path, why: &str) -> Failure {
    Failure::refused(
        "INVALID_ARGUMENT",
        "KEY_FILE",
        format!("{}: {why}", path.display()),
        "name a file that `strongroom init-key` wrote; a damaged one comes back from its recovery sheet: \
         `strongroom key recover`",
    )
}

fn permissions(held: &Held, path: &Path, mode: u32) -> Look {
    let is_secret = matches!(held, Held::Secret(_));
    let others = if is_secret { mode & 0o077 } else { mode & 0o022 };
    let message = match (is_secret, others) {
        (true, 0) => "its owner only".to_owned(),
        (false, 0) => "nobody else can change it".to_owned(),
        (true, _) => format!(
            "others can read it: take it for stolen unless nobody else was on the machine, then: chmod 600 {}",
            path.display()
        ),
        (false, _) => format!("others can change it: chmod go-w {}", path.display()),
    };
    Look { about: "permissions".into(), ok: others == 0, message }
}

/// Whether the key is the one that the profile pins or names, as far as that can be said without asking anybody.
fn in_profile(held: &Held, profile: &Profile) -> Vec<Look> {
    let look = |about: &str, ok: bool, message: &str| Look { about: about.into(), ok, message: message.into() };
    let same = |about: &str, is_same: bool| {
        look(about, is_same, if is_same { "the same key" } else { "another key than the profile's" })
    };
    let pinned = profile.tenant.as_ref();
    let pins_root = |public: PublicKey| pinned.is_some_and(|tenant| tenant.root == public);
    let signs = |public: PublicKey| match keyring::read_key::<SigningKey>(&profile.identity.signing) {
        Ok(key) => same("profile, identity.signing", key.public_key() == public),
        Err(error) => look("profile, identity.signing", false, &error.to_string()),
    };
    match held {
        Held::Secret(AnyKey::Root(key)) => vec![same("profile, tenant.root", pins_root(key.public_key()))],
        Held::Secret(AnyKey::Signing(key)) => vec![signs(key.public_key())],
        Held::Signing(public) if pins_root(*public) => vec![same("profile, tenant.root", true)],
        Held::Signing(public) => vec![signs(*public)],
        Held::Secret(AnyKey::Writer(key)) => {
            let mut looks = Vec::new();
            if let Some(tenant) = pinned.and_then(|tenant| tenant.id) {
                let ok = tenant == key.tenant;
                looks.push(look("profile, tenant.id", ok, if ok { "of this tenant" } else { "of another tenant" }));
            }
            looks.extend(profile.keys.writer.as_ref().map(|path| match keyring::read_key(path) {
                Ok(named) => same("profile, keys.writer", *key == named),
                Err(error) => look("profile, keys.writer", false, &error.to_string()),
            }));
            looks
        }
        Held::Secret(AnyKey::Restorer(key)) => named_recipient(&key.public_key(), profile),
        Held::Recipient(key) => named_recipient(key, profile),
    }
}

fn named_recipient(key: &RestorerPublicKey, profile: &Profile) -> Vec<Look> {
    use strongroom_format::keys::RestorerKey;
    let compared = |path: &PathBuf| {
        let about = "profile, keys.restorer".to_owned();
        match keyring::read_key::<RestorerKey>(path) {
            Ok(named) if named.public_key() == *key => Look { about, ok: true, message: "the same key".into() },
            Ok(_) => Look { about, ok: false, message: "another key than the profile's".into() },
            Err(error) => Look { about, ok: false, message: error.to_string() },
        }
    };
    profile.keys.restorer.iter().map(compared).collect()
}

/// Whether a vault knows the key.
async fn in_vault(held: &Held, context: &Context, name: &VaultName) -> Result<Look, Failure> {
    let client = context.client().await?;
    let look = |ok: bool, yes: &str, no: &str| Look {
        about: format!("vault {name}"),
        ok,
        message: if ok { yes.into() } else { no.into() },
    };
    let recipient = |is_named| {
        look(
            is_named,
            "it opens this vault: the statement names it",
            "it does not open this vault: `vault show` names who does",
        )
    };
    Ok(match held {
        Held::Secret(AnyKey::Writer(key)) => {
            let vault = client.vault(name).await?;
            let domain = key.in_vault(&vault.id).domain;
            let has_card = vault.cards.iter().any(|card| card.domain == domain);
            look(has_card, "it has its card", "it has no card there: make one with `strongroom vault card`")
        }
        Held::Secret(AnyKey::Restorer(key)) => recipient(client.names_recipient(name, &key.public_key()).await?),
        Held::Recipient(key) => recipient(client.names_recipient(name, key).await?),
        Held::Secret(AnyKey::Root(key)) => {
            // What is shown was verified against the pinned key: it signed the vault if it is that one.
            client.vault(name).await?;
            let is_pinned = client.profile().tenant()?.root == key.public_key();
            look(is_pinned, "it has signed this vault", "it has not signed this vault")
        }
        Held::Secret(AnyKey::Signing(_)) | Held::Signing(_) => {
            let public = held.public();
            let vault = client.vault(name).await?;
            let writes = vault.cards.iter().any(|card| card.signing_key.to_string() == public);
            look(writes, "a writer of this vault signs with it", "no writer of this vault signs with it")
        }
    })
}

impl Item for Checked {
    fn text(&self) -> String {
        let mut lines = vec![format!("{}: {} key", self.file, self.kind).replace("key key", "key")];
        lines.extend(self.identity.as_ref().map(|identity| match self.epoch {
            Some(epoch) => format!("of          {identity}, epoch {epoch}"),
            None => format!("of          {identity}"),
        }));
        lines.extend(self.tenant.as_ref().map(|tenant| format!("tenant      {tenant}")));
        lines.push(format!("public half {}", self.public));
        for look in &self.looks {
            let verdict = if look.ok { "ok   " } else { "WRONG" };
            lines.push(format!("{verdict}       {}: {}", look.about, look.message));
        }
        lines.join("\n")
    }
}
