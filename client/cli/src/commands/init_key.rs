//! `init-key`: keys are made where they belong, from the system's random source, into files that nobody else can read.
//!
//! ```text
//!   signing   FILE  FILE.pub            what one identity signs with
//!   root      FILE  FILE.pub  FILE.founding    who the tenant is: its first identities, signed
//!   writer    FILE                      one writer's key of one epoch
//!   restorer  FILE  FILE.pub            opens vaults; the public half is named when a vault is created
//! ```
//!
//! Not here: certificates (any CA that the tenant trusts), profiles (written by hand, `strongroom::profile`).

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Subcommand;
use clap::builder::FalseyValueParser;
use serde::Serialize;
use strongroom::{small_file, tenants};
use strongroom_format::any_key::AnyKey;
use strongroom_format::id::{IdentityId, KeyEpoch, TenantId, TenantName};
use strongroom_format::keys::{KeyFile as _, RestorerKey, RootKey, WriterKey};
use strongroom_format::role::Role;
use strongroom_format::secret::WeakKey;
use strongroom_format::sign::SigningKey;
use strongroom_format::statement::{FoundingIdentity, FoundingRecord};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::new_file::{Readers, beside, nothing_at, write_new};
use crate::output::Item;
use crate::public_key::public_key;
use crate::recovery;
use crate::terminal::Terminal;
use crate::text::FileName;

/// Flags of `init-key`.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
A new tenant, step by step:

  1. Each person and machine makes a signing key, and hands its public half (.pub) to whoever founds the tenant.
     Restorers make a restorer key too.
       strongroom init-key signing  --out anna.signing
       strongroom init-key signing  --out web-1.signing
       strongroom init-key signing  --out rita.signing
       strongroom init-key restorer --identity rita --out rita.restorer

  2. On a machine that is offline otherwise, the tenant is founded. The record names who it consists of.
       strongroom init-key root --tenant acme --identity anna:admin:anna.signing.pub \\
           --identity web-1:writer:web-1.signing.pub --identity rita:restorer:rita.signing.pub --out acme.root

  3. Writers' keys are made in the same place and carried to the writers.
       strongroom init-key writer --founding acme.root.founding --writer web-1 --out web-1.writer

  4. The operator of the cluster gets acme.root.founding and the certificate of the tenant's CA:
       strongroom tenant create acme --founding acme.root.founding --issuer acme-ca.pem

  5. Profiles pin acme.root.pub as tenant.root. Vaults name who can open them:
       strongroom vault create papers --root-key acme.root --recipient rita.restorer.pub --writer-key web-1.writer

Files with secrets can be read by their owner only; nothing is ever written over.

At a terminal, root and restorer keys come with a recovery sheet: the key on paper, asked back once before the key is
made. Elsewhere nothing secret is printed; `strongroom key sheet FILE` prints the sheet of any key later."
)]
pub struct InitKey {
    /// Which kind.
    #[command(subcommand)]
    kind: Kind,
}

/// Which kind of key.
#[derive(Debug, Subcommand)]
enum Kind {
    /// A tenant's root key and its founding record.
    #[command(after_help = "\
Writes FILE (the key; keep it offline), FILE.pub (64 hex digits, for every profile's tenant.root) and FILE.founding
(for `tenant create` and `init-key writer`). Roles are writer, restorer, admin, auditor, key-custodian, legal,
approver, gateway; several are joined by `+`.

Example:
  strongroom init-key root --tenant acme --identity anna:admin:anna.signing.pub \\
      --identity web-1:writer:web-1.signing.pub --identity rita:restorer:rita.signing.pub --out acme.root")]
    Root {
        /// The tenant's name.
        #[arg(long, env = "STRONGROOM_TENANT", value_name = "NAME")]
        tenant: TenantName,
        /// A first identity: its id, its roles, and its public signing key as 64 hex digits or a .pub file.
        #[arg(
            long,
            env = "STRONGROOM_IDENTITY",
            value_name = "ID:ROLE[+ROLE]:PUB",
            required = true,
            value_delimiter = ','
        )]
        identity: Vec<NewIdentity>,
        /// A first approver: its id and its public signing key as 64 hex digits or a .pub file.
        #[arg(long, env = "STRONGROOM_APPROVER", value_name = "ID:PUB", value_delimiter = ',')]
        approver: Vec<NewApprover>,
        /// Where the key goes.
        #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
        out: PathBuf,
        /// Show the recovery sheet without asking it back.
        #[arg(long, env = "STRONGROOM_NO_CONFIRM", value_parser = FalseyValueParser::new())]
        no_confirm: bool,
    },
    /// The signing key of one person or machine.
    #[command(after_help = "\
Writes FILE (the key, for the profile's identity.signing) and FILE.pub (64 hex digits, for whoever founds the tenant
or enrols the identity).

Example:
  strongroom init-key signing --out anna.signing")]
    Signing {
        /// Where the key goes.
        #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
        out: PathBuf,
    },
    /// A writer's key: names and proves what it backs up; opens nothing.
    #[command(after_help = "\
Writes FILE, for the writer's profile (keys.writer) and for `vault create --writer-key`, which makes the writer's
card. After a theft make one with the next --epoch.

Example:
  strongroom init-key writer --founding acme.root.founding --writer web-1 --out web-1.writer")]
    Writer {
        /// The tenant's founding record, from which its id is read.
        #[arg(
            long,
            env = "STRONGROOM_FOUNDING",
            value_name = "FILE",
            required_unless_present = "tenant_id",
            conflicts_with = "tenant_id"
        )]
        founding: Option<PathBuf>,
        /// The tenant's id, where the founding record is not at hand: 32 hex digits.
        #[arg(long, env = "STRONGROOM_TENANT_ID", value_name = "ID")]
        tenant_id: Option<TenantId>,
        /// The writer's identity.
        #[arg(long, env = "STRONGROOM_WRITER", value_name = "ID")]
        writer: IdentityId,
        /// Which key of this writer, from 1.
        #[arg(long, env = "STRONGROOM_EPOCH", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        epoch: u32,
        /// Where the key goes.
        #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
        out: PathBuf,
    },
    /// A restorer's key: opens the vaults that name it as a recipient.
    #[command(after_help = "\
Writes FILE (the key, for the restorer's profile: keys.restorer) and FILE.pub (for `vault create --recipient`). Whoever
loses the last key of a vault's recipients loses what is in the vault.

Example:
  strongroom init-key restorer --identity rita --out rita.restorer")]
    Restorer {
        /// The restorer's identity.
        #[arg(long, env = "STRONGROOM_IDENTITY", value_name = "ID")]
        identity: IdentityId,
        /// Where the key goes.
        #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
        out: PathBuf,
        /// Show the recovery sheet without asking it back.
        #[arg(long, env = "STRONGROOM_NO_CONFIRM", value_parser = FalseyValueParser::new())]
        no_confirm: bool,
    },
}

/// Whether a recovery sheet is asked back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sheet {
    Confirmed,
    Shown,
}

/// `ID:ROLE[+ROLE]:PUB`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NewIdentity {
    identity: IdentityId,
    roles: Vec<Role>,
    public: String,
}

/// `ID:PUB`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NewApprover {
    identity: IdentityId,
    public: String,
}

/// What was made.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "key")]
struct Made {
    kind: &'static str,
    files: Vec<FileName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
}

impl InitKey {
    /// Makes the key and its files.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let made = match self.kind {
            Kind::Root { tenant, identity, approver, out, no_confirm } => {
                let (key, record, signed) = found(tenant, identity, approver)?;
                on_paper(context, AnyKey::Root(key.clone()), &out, Sheet::asked(no_confirm)).await?;
                root(&key, &record, &signed, &out)?
            }
            Kind::Signing { out } => signing(&out)?,
            Kind::Writer { founding, tenant_id, writer, epoch, out } => {
                writer_key(founding.as_deref(), tenant_id, writer, KeyEpoch(epoch), &out)?
            }
            Kind::Restorer { identity, out, no_confirm } => {
                let key = RestorerKey::from_secret(identity, random()?).map_err(weak)?;
                on_paper(context, AnyKey::Restorer(key.clone()), &out, Sheet::asked(no_confirm)).await?;
                restorer(&key, &out)?
            }
        };
        context.output.item(&made)?;
        Ok(Exit::Done)
    }
}

impl Sheet {
    fn asked(no_confirm: bool) -> Self {
        if no_confirm { Self::Shown } else { Self::Confirmed }
    }
}

/// Puts the key on paper, if a person is there who can: before the key exists, so that none exists without.
async fn on_paper(context: &Context, key: AnyKey, out: &Path, sheet: Sheet) -> Result<(), Failure> {
    // Before anybody types in vain.
    nothing_at(&[out, &beside(out, ".pub"), &beside(out, ".founding")])?;
    let Some(mut terminal) = Terminal::of_a_person() else {
        context.output.note(&format!(
            "no recovery sheet was shown, for this is no terminal; print it later: strongroom key sheet {}",
            out.display()
        ));
        return Ok(());
    };
    // Of a thread of its own, so that Ctrl-C is heard.
    let asked = tokio::task::spawn_blocking(move || match sheet {
        Sheet::Confirmed => recovery::confirm(&mut terminal, &key),
        Sheet::Shown => recovery::show(&mut terminal, &key),
    });
    asked.await.map_err(|panic| Failure::broken("asking broke", &panic))?
}

fn found(
    name: TenantName,
    identities: Vec<NewIdentity>,
    approvers: Vec<NewApprover>,
) -> Result<(RootKey, FoundingRecord, Vec<u8>), Failure> {
    let identity = |new: NewIdentity| {
        Ok(FoundingIdentity { identity: new.identity, roles: new.roles, signing_key: public_key(&new.public)? })
    };
    let approver = |new: NewApprover| {
        let roles = vec![Role::Approver];
        Ok(FoundingIdentity { identity: new.identity, roles, signing_key: public_key(&new.public)? })
    };
    let identities = identities.into_iter().map(identity).collect::<Result<_, Failure>>()?;
    let approvers = approvers.into_iter().map(approver).collect::<Result<_, Failure>>()?;
    let key = RootKey::from_secret(random()?).map_err(weak)?;
    let (record, signed) = tenants::found(&key, name, identities, approvers)?;
    Ok((key, record, signed))
}

fn root(key: &RootKey, record: &FoundingRecord, signed: &[u8], out: &Path) -> Result<Made, Failure> {
    let (public_file, founding_file) = (beside(out, ".pub"), beside(out, ".founding"));
    let public = key.public_key().to_string();
    write_new(&[
        (out, Readers::Owner, key.to_text().as_bytes()),
        (&public_file, Readers::All, format!("{public}\n").as_bytes()),
        (&founding_file, Readers::All, signed),
    ])?;
    Ok(Made {
        kind: "root",
        files: [out, &public_file, &founding_file].map(FileName::of).into(),
        public: Some(public),
        tenant: Some(record.tenant.to_string()),
    })
}

fn signing(out: &Path) -> Result<Made, Failure> {
    let key = SigningKey::from_secret(random()?).map_err(weak)?;
    let public_file = beside(out, ".pub");
    let public = key.public_key().to_string();
    write_new(&[
        (out, Readers::Owner, key.to_text().as_bytes()),
        (&public_file, Readers::All, format!("{public}\n").as_bytes()),
    ])?;
    Ok(Made {
        kind: "signing",
        files: [out, &public_file].map(FileName::of).into(),
        public: Some(public),
        tenant: None,
    })
}

fn writer_key(
    founding: Option<&Path>,
    tenant: Option<TenantId>,
    writer: IdentityId,
    epoch: KeyEpoch,
    out: &Path,
) -> Result<Made, Failure> {
    let tenant = match (tenant, founding) {
        (Some(tenant), _) => tenant,
        (None, Some(path)) => {
            let bytes = small_file::read(path, tenants::FOUNDING_FILE_BYTES_MAX)
                .map_err(|cause| Failure::broken(&format!("cannot read {}", path.display()), &cause))?;
            tenants::read_founding(&bytes)?.tenant
        }
        (None, None) => return Err(Failure::usage("no tenant is named", "name --founding FILE or --tenant-id ID")),
    };
    let key = WriterKey::from_secret(tenant, writer, epoch, random()?).map_err(weak)?;
    write_new(&[(out, Readers::Owner, key.to_text().as_bytes())])?;
    Ok(Made { kind: "writer", files: vec![FileName::of(out)], public: None, tenant: Some(tenant.to_string()) })
}

fn restorer(key: &RestorerKey, out: &Path) -> Result<Made, Failure> {
    let public_file = beside(out, ".pub");
    write_new(&[
        (out, Readers::Owner, key.to_text().as_bytes()),
        (&public_file, Readers::All, key.public_key().to_text().as_bytes()),
    ])?;
    Ok(Made { kind: "restorer", files: [out, &public_file].map(FileName::of).into(), public: None, tenant: None })
}

impl Item for Made {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self.files.iter().map(|file| format!("wrote {file}")).collect();
        if let Some(tenant) = self.tenant.as_ref().filter(|_| self.kind == "root") {
            lines.push(format!("tenant id   {tenant}"));
        }
        if let Some(public) = &self.public {
            lines.push(format!("public half {public}"));
        }
        lines.join("\n")
    }
}

impl FromStr for NewIdentity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(identity), Some(roles), Some(public)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("write ID:ROLE:PUB, for instance anna:admin:anna.signing.pub".into());
        };
        let identity = identity.parse().map_err(|why| format!("`{identity}`: {why}"))?;
        let role = |word: &str| {
            let all = Role::ALL.map(Role::as_str).join(", ");
            word.parse().map_err(|_| format!("`{word}` is no role; there are {all}"))
        };
        let roles = roles.split('+').map(role).collect::<Result<_, _>>()?;
        Ok(Self { identity, roles, public: public.to_owned() })
    }
}

impl FromStr for NewApprover {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (identity, public) = text.split_once(':').ok_or("write ID:PUB, for instance anna:anna.signing.pub")?;
        let identity = identity.parse().map_err(|why| format!("`{identity}`: {why}"))?;
        Ok(Self { identity, public: public.to_owned() })
    }
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|cause| Failure::broken("the system gives no random bytes", &cause))?;
    Ok(bytes)
}

fn weak(fault: WeakKey) -> Failure {
    Failure::broken("the system's random bytes make no key", &fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_its_id_its_roles_and_its_key() {
        let new: NewIdentity = "anna:admin+auditor:keys/anna.pub".parse().unwrap();
        assert_eq!(new.identity.to_string(), "anna");
        assert_eq!(new.roles, [Role::Admin, Role::Auditor]);
        assert_eq!(new.public, "keys/anna.pub");
        for (bad, why) in [("anna:admin", "ID:ROLE:PUB"), ("Anna:admin:x", "a-z"), ("anna:king:x", "is no role")] {
            let fault = bad.parse::<NewIdentity>().unwrap_err();
            assert!(fault.contains(why), "{bad}: {fault}");
        }
        assert!("anna".parse::<NewApprover>().is_err());
    }
}
