//! `issuer …`: which CAs may vouch for whom, and what they took back.

use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom::governance;
use strongroom::keyring;
use strongroom_format::id::StatementVersion;
use strongroom_format::role::Plane;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::new_file::{Readers, write_new};
use crate::output::Item;

/// No certificate, acceptance or list is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Flags of `issuer accept`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs where the tenant's root key is, with a profile of the tenant. The operator registers the CA with the file that this
writes. A CA only proves who somebody is: it makes nobody.

Example:
  strongroom issuer accept corporate-ca.pem --out acme.acceptance --profile anna.toml")]
pub struct IssuerAccept {
    /// The CA's certificate: a PEM file.
    #[arg(value_name = "CA.pem")]
    certificate: PathBuf,

    /// Where the acceptance goes.
    #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
    out: PathBuf,

    /// The tenant's root key; by default the one that the profile names.
    #[arg(long, env = "STRONGROOM_ROOT", value_name = "FILE")]
    root: Option<PathBuf>,

    /// Counts what the tenant said of this CA.
    #[arg(long, env = "STRONGROOM_VERSION", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
}

/// Flags of `issuer register`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. On the tenant plane a CA serves exactly the tenants that accepted it (`issuer accept`).

Examples:
  strongroom issuer register corporate-ca.pem --plane tenant --acceptance acme.acceptance --profile operator.toml
  strongroom issuer register next-peer-ca.pem --plane peer --profile operator.toml")]
pub struct IssuerRegister {
    /// The CA's certificate: a PEM file.
    #[arg(value_name = "CA.pem")]
    certificate: PathBuf,

    /// For whom it vouches: tenant, peer or operator.
    #[arg(long, env = "STRONGROOM_PLANE", value_name = "PLANE", value_parser = plane)]
    plane: Plane,

    /// A tenant's acceptance; may be repeated.
    #[arg(long, env = "STRONGROOM_ACCEPTANCE", value_name = "FILE")]
    acceptance: Vec<PathBuf>,
}

/// Flags of `issuer retire`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. All that the CA issued is good for nothing from then on, and it is never registered again.

Example:
  strongroom issuer retire old-ca.pem --profile operator.toml")]
pub struct IssuerRetire {
    /// The CA's certificate: a PEM file.
    #[arg(value_name = "CA.pem")]
    certificate: PathBuf,
}

/// Flags of `issuer revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. The list is the CA's own (DER), with a number that is higher than that of the list before. From
then on a list must always be in force: when it ends without another, nobody of this CA gets in. Of the built-in CAs
`strongroomd ca-revoke` makes it.

Example:
  strongroom issuer revoke ca/tenant.pem --list ca/tenant/revoked-1795000000.crl --profile operator.toml")]
pub struct IssuerRevoke {
    /// The CA's certificate: a PEM file.
    #[arg(value_name = "CA.pem")]
    certificate: PathBuf,

    /// Its newest revocation list, in DER.
    #[arg(long, env = "STRONGROOM_LIST", value_name = "FILE")]
    list: PathBuf,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "issuer")]
struct Shown {
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl IssuerAccept {
    /// Signs the acceptance.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let root = keyring::root(client.profile(), self.root.as_deref())?;
        let pem = read(&self.certificate)?;
        let version = StatementVersion(self.version);
        let epoch = client.cluster_epoch();
        let acceptance = governance::accept_issuer(&root, client.tenant(), epoch, &pem, version)?;
        write_new(&[(&self.out, Readers::All, &acceptance)])?;
        context.output.item(&Shown {
            what: "accepted",
            issuer: None,
            number: None,
            file: Some(self.out.display().to_string()),
        })?;
        context
            .output
            .note("next, by an operator:  strongroom issuer register CA.pem --plane tenant --acceptance FILE");
        Ok(Exit::Done)
    }
}

impl IssuerRegister {
    /// Registers it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let acceptances = self.acceptance.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
        let pem = read(&self.certificate)?;
        let issuer = context.operator().await?.register_issuer(self.plane, &pem, acceptances).await?;
        context.output.item(&Shown {
            what: "registered",
            issuer: Some(issuer.to_string()),
            number: None,
            file: None,
        })?;
        Ok(Exit::Done)
    }
}

impl IssuerRetire {
    /// Retires it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let pem = read(&self.certificate)?;
        let issuer = context.operator().await?.retire_issuer(&pem).await?;
        context.output.item(&Shown { what: "retired", issuer: Some(issuer.to_string()), number: None, file: None })?;
        Ok(Exit::Done)
    }
}

impl IssuerRevoke {
    /// Tells the cluster.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (pem, list) = (read(&self.certificate)?, read(&self.list)?);
        let number = context.operator().await?.put_revocations(&pem, list).await?;
        context.output.item(&Shown { what: "revocations", issuer: None, number: Some(number), file: None })?;
        Ok(Exit::Done)
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        match (&self.issuer, self.number, &self.file) {
            (Some(issuer), _, _) => format!("{} CA {issuer}", self.what),
            (None, Some(number), _) => format!("revocation list {number} is in force on every node within seconds"),
            (None, None, file) => format!("wrote {}", file.as_deref().unwrap_or_default()),
        }
    }
}

fn plane(word: &str) -> Result<Plane, String> {
    let known = Plane::ALL.into_iter().find(|plane| plane.as_str() == word);
    known.ok_or_else(|| format!("`{word}` is no plane; there are tenant, peer and operator"))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|cause| Failure::broken(&format!("cannot read {}", path.display()), &cause))?;
    Ok(bytes)
}
