//! `enrol`: with a token, or with a founder's signing key, to a certificate and a profile.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom::enrol::{self, Door, Enrolled, Person, TlsKey, Wish, chain_pem};
use strongroom::{keyring, small_file, tenants};
use strongroom_format::enrolment::{Bearer, Token};
use strongroom_format::id::{IdentityId, PublicKey, TenantId};
use strongroom_format::keys::KeyFile as _;
use strongroom_format::role::Role;
use strongroom_format::sign::SigningKey;

use crate::commands::identity_token::role;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::new_file::{Readers, beside, write_new};
use crate::output::Item;

/// No token is longer.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// Flags of `enrol`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Three ways:
  strongroom enrol TOKEN --out web-1.toml                  somebody new; `-` reads the token from stdin
  strongroom enrol --door DOOR --founding acme.root.founding --identity anna --role admin \\
      --signing anna.signing --out anna.toml               a founder; `tenant create` says DOOR
  strongroom enrol --renew --profile web-1.toml            the next certificate, before this one ends

Beside FILE it makes a TLS key and, with a token, a signing key (for its owner's eyes only), and writes the certificate,
the CA of the nodes and the profile. Keys never leave this machine. Was the answer lost? Run it again: the same keys get
the same answer.")]
pub struct Enrol {
    /// The token's text; `-` reads it from stdin, where it shows in no list of processes.
    #[arg(value_name = "TOKEN", env = "STRONGROOM_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// The profile to be.
    #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
    out: Option<PathBuf>,

    /// Where founders enrol, as `tenant create` said.
    #[arg(long, env = "STRONGROOM_DOOR", value_name = "DOOR", requires_all = ["founding", "identity", "role", "signing"], conflicts_with = "token")]
    door: Option<Door>,

    /// The tenant's founding record.
    #[arg(long, env = "STRONGROOM_FOUNDING", value_name = "FILE")]
    founding: Option<PathBuf>,

    /// Which of its identities.
    #[arg(long, env = "STRONGROOM_IDENTITY", value_name = "ID")]
    identity: Option<IdentityId>,

    /// In which role.
    #[arg(long, env = "STRONGROOM_ROLE", value_name = "ROLE", value_parser = role)]
    role: Option<Role>,

    /// Its signing key.
    #[arg(long, env = "STRONGROOM_SIGNING", value_name = "FILE")]
    signing: Option<PathBuf>,

    /// Get the profile's next certificate, with a new TLS key.
    #[arg(long, env = "STRONGROOM_RENEW", conflicts_with_all = ["token", "door", "out"], value_parser = clap::builder::FalseyValueParser::new())]
    renew: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "enrolled")]
struct Shown {
    identity: String,
    tenant: String,
    roles: Vec<&'static str>,
    profiles: Vec<String>,
    next: Vec<String>,
}

/// The tenant, as the profile pins it.
struct Pinned {
    name: String,
    id: TenantId,
    root: PublicKey,
}

impl Enrol {
    /// Enrols.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.renew {
            return renew(context).await;
        }
        let out =
            self.out.clone().ok_or_else(|| Failure::usage("no profile is named", "say where it goes: --out FILE"))?;
        match (&self.token, &self.door) {
            (Some(token), None) => with_token(context, token, &out).await,
            (None, Some(door)) => self.as_founder(context, door, &out).await,
            (None, None) | (Some(_), Some(_)) => Err(Failure::usage(
                "a token is missing",
                "name a token, or --door with a founder's --founding, --identity, --role and --signing",
            )),
        }
    }

    async fn as_founder(&self, context: &Context, door: &Door, out: &Path) -> Result<Exit, Failure> {
        let missing = || Failure::usage("a founder's flags are missing", "see `strongroom enrol --help`");
        let founding = self.founding.as_ref().ok_or_else(missing)?;
        let record = small_file::read(founding, tenants::FOUNDING_FILE_BYTES_MAX)
            .map_err(|cause| Failure::broken(&format!("cannot read {}", founding.display()), &cause))?;
        let record = tenants::read_founding(&record)?;
        let signing_file = self.signing.as_ref().ok_or_else(missing)?;
        let signing: SigningKey = keyring::read_key(signing_file)?;
        let person = Person { tenant: record.name.clone(), identity: self.identity.clone().ok_or_else(missing)? };
        let files = Files::beside(out)?;
        let tls = files.tls_key()?;
        let wish = Wish { tenant: record.tenant, person: person.clone(), role: self.role.ok_or_else(missing)? };
        let enrolled = enrol::certify(door, &wish, &signing, &tls, context.deadline()).await?;
        let pinned = Pinned { name: record.name.to_string(), id: record.tenant, root: record.root };
        let signing_file = std::path::absolute(signing_file)
            .map_err(|cause| Failure::broken(&format!("cannot find {}", signing_file.display()), &cause))?;
        show(context, &files, &door.cluster.to_string(), &pinned, &person, &signing_file, &enrolled)
    }
}

async fn with_token(context: &Context, text: &str, out: &Path) -> Result<Exit, Failure> {
    let token = read_token(text)?;
    let Bearer::Identity { tenant, identity, .. } = token.bearer() else {
        return Err(Failure::refused(
            "INVALID_ARGUMENT",
            "TOKEN_KIND",
            "this token is for a node",
            "use it on the node's machine: strongroomd join TOKEN --data DIR --address HOST",
        ));
    };
    let person = Person { tenant: tenant.name.clone(), identity: identity.clone() };
    let files = Files::beside(out)?;
    let (signing, tls) = (files.signing_key()?, files.tls_key()?);
    let enrolled = enrol::enrol(&token, &signing, &tls, &person, context.deadline()).await?;
    let pinned = Pinned { name: tenant.name.to_string(), id: tenant.id, root: tenant.root };
    let signing_file = files.signing.clone();
    show(context, &files, &token.cluster().to_string(), &pinned, &person, &signing_file, &enrolled)
}

fn read_token(text: &str) -> Result<Token, Failure> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            std::io::stdin()
                .take(TOKEN_BYTES_MAX)
                .read_to_string(&mut read)
                .map_err(|cause| Failure::broken("cannot read the token from stdin", &cause))?;
            &read
        }
        text => text,
    };
    Token::parse(text).map_err(|why| {
        Failure::refused("INVALID_ARGUMENT", "TOKEN_TEXT", why.to_string(), "copy all of the token, in one piece")
    })
}

/// The files of a profile, all beside it.
struct Files {
    out: PathBuf,
    stem: PathBuf,
    signing: PathBuf,
    key: PathBuf,
}

impl Files {
    fn beside(out: &Path) -> Result<Self, Failure> {
        let out = std::path::absolute(out)
            .map_err(|cause| Failure::broken(&format!("cannot find {}", out.display()), &cause))?;
        if out.exists() {
            return Err(Failure::refused(
                "ALREADY_EXISTS",
                "EXISTS",
                format!("{} exists already; nothing is written over", out.display()),
                "name another file, or renew its certificate: strongroom enrol --renew --profile FILE",
            ));
        }
        let stem = out.with_extension("");
        Ok(Self { signing: beside(&stem, ".signing"), key: beside(&stem, ".key"), stem, out })
    }

    /// The one of an attempt before this, or a new one.
    fn signing_key(&self) -> Result<SigningKey, Failure> {
        if self.signing.exists() {
            return Ok(keyring::read_key(&self.signing)?);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|cause| Failure::broken("the system gives no random bytes", &cause))?;
        let key = SigningKey::from_secret(secret)
            .map_err(|fault| Failure::broken("the system's random bytes make no key", &fault))?;
        // Whoever makes its cards gets the public half from here, not from a node.
        let public = format!("{}\n", key.public_key());
        write_new(&[
            (&self.signing, Readers::Owner, key.to_text().as_bytes()),
            (&beside(&self.signing, ".pub"), Readers::All, public.as_bytes()),
        ])?;
        Ok(key)
    }

    fn tls_key(&self) -> Result<TlsKey, Failure> {
        if self.key.exists() {
            return Ok(TlsKey::from_pem(&keyring::read_secret(&self.key)?)?);
        }
        let key = TlsKey::generate()?;
        write_new(&[(&self.key, Readers::Owner, key.to_pem().as_bytes())])?;
        Ok(key)
    }
}

/// Writes what came and says what to do next. The first role's profile is the one that was named.
fn show(
    context: &Context,
    files: &Files,
    cluster: &str,
    pinned: &Pinned,
    person: &Person,
    signing: &Path,
    enrolled: &Enrolled,
) -> Result<Exit, Failure> {
    let roots = beside(&files.stem, ".roots.pem");
    overwrite(&roots, &chain_pem(&enrolled.roots))?;
    let (mut profiles, mut next, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    for (at, one) in enrolled.certificates.iter().enumerate() {
        let suffix = if at == 0 { String::new() } else { format!(".{}", one.role) };
        let certificate = beside(&files.stem, &format!("{suffix}.pem"));
        overwrite(&certificate, &chain_pem(&one.chain))?;
        let profile = if at == 0 { files.out.clone() } else { beside(&files.stem, &format!("{suffix}.toml")) };
        let text = profile_text(files, cluster, pinned, signing, &certificate, &roots, one.role, &enrolled.endpoints);
        write_new(&[(&profile, Readers::All, text.as_bytes())])?;
        profiles.push(profile.display().to_string());
        roles.push(one.role.as_str());
        next.extend(steps(files, pinned, person, one.role));
    }
    context.output.item(&Shown {
        identity: person.identity.to_string(),
        tenant: person.tenant.to_string(),
        roles,
        profiles,
        next,
    })?;
    Ok(Exit::Done)
}

#[expect(clippy::too_many_arguments, reason = "each is a line of the profile")]
fn profile_text(
    files: &Files,
    cluster: &str,
    pinned: &Pinned,
    signing: &Path,
    certificate: &Path,
    roots: &Path,
    role: Role,
    endpoints: &[String],
) -> String {
    let Pinned { name, id, root } = pinned;
    let path = |path: &Path| format!("{:?}", path.display().to_string());
    let stem = files.stem.display();
    let keys = match role {
        Role::Writer => format!("\n[keys]\nwriter = \"{stem}.writer\"\n"),
        Role::Restorer => format!("\n[keys]\nrestorer = \"{stem}.restorer\"\n"),
        Role::Admin => "\n# [keys]\n# root = \"…\"         # the tenant's root key, where vaults are made\n".to_owned(),
        Role::Auditor | Role::KeyCustodian | Role::Legal | Role::Approver | Role::Gateway => String::new(),
    };
    format!(
        "[cluster]\nname = \"{cluster}\"\nendpoints = {endpoints:?}\nroots = {}\n\n\
         [tenant]\nname = \"{name}\"\nid = \"{id}\"\nroot = \"{root}\"\nstate = \"{stem}.state\"\n\n\
         [identity]\ncertificate = {}\nkey = {}\nsigning = {}\n{keys}",
        path(roots),
        path(certificate),
        path(&files.key),
        path(signing),
    )
}

/// What a role still needs.
fn steps(files: &Files, pinned: &Pinned, person: &Person, role: Role) -> Vec<String> {
    let (stem, out, id) = (files.stem.display(), files.out.display(), &person.identity);
    match role {
        Role::Writer => vec![
            format!(
                "where the root key is:  strongroom init-key writer --tenant-id {} --writer {id} --out {id}.writer",
                pinned.id
            ),
            format!("bring there from here:  {stem}.signing.pub"),
            format!(
                "there, as an admin:     strongroom vault card VAULT --writer-key {id}.writer --signing {id}.signing.pub"
            ),
            format!("(from here it takes:    {stem}.signing.pub)"),
            format!("bring the key here:     {stem}.writer, with mode 0600"),
            format!("then:                   strongroom backup PATH --vault VAULT --profile {out}"),
        ],
        Role::Restorer => vec![
            format!("here:                   strongroom init-key restorer --identity {id} --out {stem}.restorer"),
            format!("give the admin:         {stem}.restorer.pub, for `vault create --recipient`"),
        ],
        Role::Admin => vec![
            format!("then:                   strongroom identity token ID --role writer --profile {out}"),
            format!("and:                    strongroom vault create NAME --profile {out}   (with the root key)"),
        ],
        Role::Auditor | Role::KeyCustodian | Role::Legal | Role::Approver | Role::Gateway => {
            vec![format!("then:                   strongroom status --profile {out}")]
        }
    }
}

/// The next certificate for the profile, with a new TLS key.
async fn renew(context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let profile = client.profile().clone();
    let tenant = profile.tenant()?.clone();
    let signing: SigningKey = keyring::read_key(&profile.identity.signing)?;
    let tls = TlsKey::generate()?;
    let person = Person { tenant: tenant.name.clone(), identity: client.identity().clone() };
    let wish = Wish { tenant: client.tenant(), person: person.clone(), role: client.role() };
    let door = client.enrolment_door()?;
    let enrolled = enrol::certify(&door, &wish, &signing, &tls, context.deadline()).await?;
    let chain = enrolled.certificates.first().map(|one| chain_pem(&one.chain)).unwrap_or_default();
    let (new_key, new_chain) = (beside(&profile.identity.key, ".new"), beside(&profile.identity.certificate, ".new"));
    for half in [&new_key, &new_chain] {
        if half.exists() {
            std::fs::remove_file(half)
                .map_err(|cause| Failure::broken(&format!("cannot remove {}", half.display()), &cause))?;
        }
    }
    write_new(&[(&new_key, Readers::Owner, tls.to_pem().as_bytes()), (&new_chain, Readers::All, chain.as_bytes())])?;
    for (from, to) in [(&new_key, &profile.identity.key), (&new_chain, &profile.identity.certificate)] {
        std::fs::rename(from, to).map_err(|cause| {
            Failure::broken(&format!("cannot put {} in its place; do it by hand", from.display()), &cause)
        })?;
    }
    context.output.item(&Shown {
        identity: person.identity.to_string(),
        tenant: person.tenant.to_string(),
        roles: vec![client.role().as_str()],
        profiles: Vec::new(),
        next: Vec::new(),
    })?;
    Ok(Exit::Done)
}

/// Certificates are no secret, and those of an attempt before may be replaced.
fn overwrite(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|cause| Failure::broken(&format!("cannot write {}", path.display()), &cause))
}

impl Item for Shown {
    fn text(&self) -> String {
        let mut lines =
            vec![format!("{} of {} has its certificate ({})", self.identity, self.tenant, self.roles.join(", "))];
        lines.extend(self.profiles.iter().map(|profile| format!("profile {profile}")));
        lines.extend(self.next.iter().cloned());
        lines.join("\n")
    }
}
