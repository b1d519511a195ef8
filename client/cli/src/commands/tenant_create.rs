//! `tenant create`: an operator admits a tenant with the founding record that the tenant made.

use std::path::PathBuf;

use serde::Serialize;
use strongroom::enrol::chain_pem;
use strongroom::governance::Enrolment;
use strongroom::tenants::{self, NewTenant};
use strongroom_format::id::TenantName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;

/// No founding record or certificate file is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Flags of `tenant create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. The tenant makes its founding record itself, where its root key is (`strongroom init-key
root --help`), and hands over the record; no key leaves the tenant. Without --issuer its people get their certificates
from the cluster's own CA (`strongroom enrol`); with it, from their own. Doing it again with the same files is harmless: it
answers what it answered first.

Examples:
  strongroom tenant create acme --founding acme.root.founding --profile operator.toml
  strongroom tenant create acme --founding acme.root.founding --issuer acme-ca.pem --width 3 --profile operator.toml")]
pub struct TenantCreate {
    /// The tenant's name, as in its founding record; never given again.
    #[arg(value_name = "NAME")]
    tenant: TenantName,

    /// The founding record, as `init-key root` wrote it.
    #[arg(long, env = "STRONGROOM_FOUNDING", value_name = "FILE")]
    founding: PathBuf,

    /// The authorities that may issue this tenant's certificates: a PEM file. Without it: the cluster's own CA.
    #[arg(long, env = "STRONGROOM_ISSUER", value_name = "CA.pem")]
    issuer: Option<PathBuf>,

    /// Over how many shards its data is spread; more restore faster.
    #[arg(long, env = "STRONGROOM_WIDTH", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    width: u16,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "tenant")]
struct Admitted {
    id: String,
    name: String,
    home: u32,
    shards: Vec<u32>,
    set_version: u32,
    /// Where founders enrol, if the cluster's own CA issues for the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<String>,
}

impl TenantCreate {
    /// Admits the tenant.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (issuers_pem, door) = match &self.issuer {
            Some(file) => (pem(file)?, None),
            None => {
                let Enrolment { door, authority } = context.operator().await?.enrolment().await?;
                (chain_pem(&[authority.into()]), Some(door))
            }
        };
        let new =
            NewTenant { name: self.tenant.clone(), founding: read(&self.founding)?, issuers_pem, width: self.width };
        let admitted = tenants::admit(&context.profile()?, new, context.deadline()).await?;
        if let Some(door) = &door {
            context.output.note(&format!(
                "next, for each founder, where its signing key is:\n  strongroom enrol --door {door} \\\n    --founding {} --identity ID --role ROLE --signing FILE --out PROFILE.toml",
                self.founding.display()
            ));
        }
        context.output.item(&Admitted {
            id: admitted.tenant.to_string(),
            name: self.tenant.to_string(),
            home: admitted.home.0,
            shards: admitted.groups.iter().map(|group| group.0).collect(),
            set_version: admitted.set_version.0,
            door: door.map(|door| door.to_string()),
        })?;
        Ok(Exit::Done)
    }
}

impl Item for Admitted {
    fn text(&self) -> String {
        let shards: Vec<String> = self.shards.iter().map(u32::to_string).collect();
        format!("tenant {} ({}) lives in shard {}, its data in {}", self.name, self.id, self.home, shards.join(", "))
    }
}

fn pem(path: &std::path::Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?).map_err(|_| {
        Failure::refused(
            "INVALID_ARGUMENT",
            "ISSUER",
            format!("{} is no PEM file", path.display()),
            "name a PEM file with the certificates of the tenant's own authorities",
        )
    })
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|cause| Failure::broken(&format!("cannot read {}", path.display()), &cause))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_names_the_tenant_and_its_shards() {
        let admitted = Admitted {
            id: "0f".repeat(16),
            name: "acme".into(),
            home: 1,
            shards: vec![1, 2, 3],
            set_version: 1,
            door: None,
        };
        let json = serde_json::to_string(&admitted).unwrap();
        assert!(json.starts_with(r#"{"type":"tenant","id":"0f0f"#), "{json}");
        assert!(json.ends_with(r#""name":"acme","home":1,"shards":[1,2,3],"set_version":1}"#), "{json}");
    }
}
