//! The command line as a whole: flags of every command, and which command.

use clap::{Parser, Subcommand};

use crate::commands::audit_list::AuditList;
use crate::commands::backup::Backup;
use crate::commands::cat::Cat;
use crate::commands::clock::Clock;
use crate::commands::completions::Completions;
use crate::commands::delete::Delete;
use crate::commands::diff::Diff;
use crate::commands::doctor::Doctor;
use crate::commands::dump::Dump;
use crate::commands::enrol::Enrol;
use crate::commands::find::Find;
use crate::commands::hold::{HoldAdd, HoldRemove};
use crate::commands::identity_close::IdentityClose;
use crate::commands::identity_list::IdentityList;
use crate::commands::identity_token::IdentityToken;
use crate::commands::init_key::InitKey;
use crate::commands::issuer::{IssuerAccept, IssuerRegister, IssuerRetire, IssuerRevoke};
use crate::commands::key_check::KeyCheck;
use crate::commands::key_recover::KeyRecover;
use crate::commands::key_sheet::KeySheet;
use crate::commands::lock::{LockCancel, LockExtend, LockShow, LockWeaken};
use crate::commands::ls::Ls;
use crate::commands::man::Man;
use crate::commands::node_token::NodeToken;
use crate::commands::quota_set::{IdentityQuotaSet, TenantQuotaSet, VaultQuotaSet};
use crate::commands::receipt_get::ReceiptGet;
use crate::commands::receipt_verify::ReceiptVerify;
use crate::commands::restore::Restore;
use crate::commands::shard_create::ShardCreate;
use crate::commands::snapshots::Snapshots;
use crate::commands::status::Status;
use crate::commands::tenant_create::TenantCreate;
use crate::commands::tenant_standing::{TenantEnd, TenantStanding};
use crate::commands::ticket::{TicketAbort, TicketCommit, TicketDrop, TicketOpen, TicketShow};
use crate::commands::usage::Usage;
use crate::commands::vault_card::VaultCard;
use crate::commands::vault_create::VaultCreate;
use crate::commands::vault_delete::VaultDelete;
use crate::commands::vault_list::VaultList;
use crate::commands::vault_lock::VaultLock;
use crate::commands::vault_policy::{PolicyDryRun, PolicyGet, PolicySet};
use crate::commands::vault_show::VaultShow;
use crate::commands::verify::Verify;
use crate::context::{Context, Global};
use crate::exit::{Effect, Exit, Failure};

/// Backs up to a Strongroom cluster and restores from it.
#[derive(Debug, Parser)]
#[command(
    name = "strongroom",
    version,
    about = "Backs up to a Strongroom cluster and restores from it",
    arg_required_else_help = true,
    after_help = "\
A day with it:
  export STRONGROOM_PROFILE=/etc/strongroom/web-1.toml
  strongroom backup /srv/www --vault papers
  strongroom snapshots --vault papers
  strongroom verify latest --vault papers
  strongroom restore latest --vault papers --to /tmp/www      (with a restorer's profile)
  strongroom doctor                                           what is wrong here, and what to do

SNAPSHOT is an id, the first 8 or more digits of one, or `latest` with --vault and perhaps --name.
Every flag has an environment variable: --profile is STRONGROOM_PROFILE, --vault is STRONGROOM_VAULT, and so on.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 outcome unknown, 5 done but some entries skipped,
6 damage found, 7 unavailable (try again later), 130 interrupted.

Commands that need a node's disk (run, init, join, ca, dev, demo, inspect, a doctor of its own) are in `strongroomd`.
What --json prints is described in client/cli/JSON.md; deploy/profile.example.toml is a profile with every key explained."
)]
pub struct Arguments {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up files and directories, or what comes by a pipe, as one snapshot.
    Backup(Backup),
    /// Restore a snapshot, or paths of it.
    Restore(Restore),
    /// Read snapshots and check every byte, or a sample, without writing it anywhere.
    Verify(Verify),
    /// List snapshots.
    Snapshots(Snapshots),
    /// List what is in a snapshot.
    Ls(Ls),
    /// Find entries of a snapshot by name, kind, size and time.
    Find(Find),
    /// Show what was added, removed and changed between two snapshots.
    Diff(Diff),
    /// Write one file of a snapshot to stdout.
    Cat(Cat),
    /// Write a snapshot, or paths of it, to stdout as an archive.
    Dump(Dump),
    /// Tickets: several writers make one snapshot.
    #[command(subcommand, arg_required_else_help = true)]
    Ticket(Ticket),
    /// Delete snapshots that nothing keeps, for ever.
    Delete(Delete),
    /// Vaults: containers of snapshots with their own keys and rules.
    #[command(subcommand, arg_required_else_help = true)]
    Vault(Vault),
    /// Locks of snapshots: how long they must stay.
    #[command(subcommand, arg_required_else_help = true)]
    Lock(Lock),
    /// Legal holds: what stays whatever its lock says.
    #[command(subcommand, arg_required_else_help = true)]
    Hold(Hold),
    /// The tenant's audit log: who did what, when, and who was refused.
    #[command(subcommand, arg_required_else_help = true)]
    Audit(Audit),
    /// Receipts: proofs that a snapshot is committed.
    #[command(subcommand, arg_required_else_help = true)]
    Receipt(Receipt),
    /// Become an identity of a tenant with a token, or get a certificate with a signing key.
    Enrol(Enrol),
    /// The people and machines of the tenant.
    #[command(subcommand, arg_required_else_help = true)]
    Identity(Identity),
    /// Nodes, for operators.
    #[command(subcommand, arg_required_else_help = true)]
    Node(Node),
    /// Shards, for operators.
    #[command(subcommand, arg_required_else_help = true)]
    Shard(Shard),
    /// CAs: which may vouch for whom.
    #[command(subcommand, arg_required_else_help = true)]
    Issuer(Issuer),
    /// Tenants, for operators.
    #[command(subcommand, arg_required_else_help = true)]
    Tenant(Tenant),
    /// Show nodes, shards, blobs and the clock.
    Status(Status),
    /// Show the compliance clock, on which locks end.
    Clock(Clock),
    /// Show how much there is, and how much there may be.
    Usage(Usage),
    /// Make a key: a tenant's root key, an identity's signing key, a writer's or a restorer's.
    InitKey(InitKey),
    /// Keys that exist: look at one, put it on paper, get it back from there.
    #[command(subcommand, arg_required_else_help = true)]
    Key(Key),
    /// Look at the profile and what it names, and say what is wrong and what to do.
    Doctor(Doctor),
    /// Print what a shell needs to complete command lines.
    Completions(Completions),
    /// Print or write the manual pages.
    Man(Man),
}

/// What to do with vaults.
#[derive(Debug, Subcommand)]
pub enum Vault {
    /// Create a vault.
    Create(VaultCreate),
    /// List the tenant's vaults.
    List(VaultList),
    /// Show one vault: who can open it, who writes into it.
    Show(VaultShow),
    /// Give a writer its card in a vault that exists.
    Card(VaultCard),
    /// Delete a vault in which no snapshot is left, for ever.
    Delete(VaultDelete),
    /// What a vault promises for its snapshots.
    #[command(subcommand, arg_required_else_help = true)]
    Policy(Policy),
    /// Lock a vault: its policy only gets stricter, for ever.
    Lock(VaultLock),
    /// How much a vault may have.
    #[command(subcommand, arg_required_else_help = true)]
    Quota(VaultQuota),
}

/// What to do with a vault's policy.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Show it, and the names of which no good snapshot came in time.
    Get(PolicyGet),
    /// Put its next version in force.
    Set(PolicySet),
    /// Show what would go and what would stay under another policy, and why; changes nothing.
    DryRun(PolicyDryRun),
}

/// What to do with locks.
#[derive(Debug, Subcommand)]
pub enum Lock {
    /// Show what keeps a snapshot.
    Show(LockShow),
    /// Make a snapshot's lock longer or stricter.
    Extend(LockExtend),
    /// Ask that a governance lock be shorter, 72 hours from now.
    Weaken(LockWeaken),
    /// Cancel such a wish.
    Cancel(LockCancel),
}

/// What to do with legal holds.
#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Add a hold to a snapshot.
    Add(HoldAdd),
    /// Remove a hold from a snapshot.
    Remove(HoldRemove),
}

/// What to do with tickets.
#[derive(Debug, Subcommand)]
pub enum Ticket {
    /// Open a ticket, which writers join with `backup --join`.
    Open(TicketOpen),
    /// Show how a ticket stands, and its streams.
    Show(TicketShow),
    /// Show all of its streams as one snapshot.
    Commit(TicketCommit),
    /// Give one stream up.
    Drop(TicketDrop),
    /// Give a ticket up with all of its streams.
    Abort(TicketAbort),
}

/// What to do with a vault's quotas; `usage` shows them.
#[derive(Debug, Subcommand)]
pub enum VaultQuota {
    /// Set them.
    Set(VaultQuotaSet),
}

/// What to do with a writer's quotas; `usage` shows them.
#[derive(Debug, Subcommand)]
pub enum IdentityQuota {
    /// Set them.
    Set(IdentityQuotaSet),
}

/// What to do with a tenant's quotas and rate; its `usage` shows them.
#[derive(Debug, Subcommand)]
pub enum TenantQuota {
    /// Set them.
    Set(TenantQuotaSet),
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Say what a key file holds, who can read it, and whether a profile or vault knows it.
    Check(KeyCheck),
    /// Print a key's recovery sheet.
    Sheet(KeySheet),
    /// Get a key back from its recovery sheet.
    Recover(KeyRecover),
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List its leaves, each proved.
    List(AuditList),
}

/// What to do with receipts.
#[derive(Debug, Subcommand)]
pub enum Receipt {
    /// Fetch a snapshot's receipt.
    Get(ReceiptGet),
    /// Verify a receipt; asks no node.
    Verify(ReceiptVerify),
}

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Admit a tenant to the cluster.
    Create(TenantCreate),
    /// Stop a tenant's people; nothing is lost.
    Suspend(TenantStanding),
    /// Let a suspended tenant's people go on.
    Resume(TenantStanding),
    /// End a tenant for ever; what is locked stays.
    End(TenantEnd),
    /// How much a tenant may have, and how fast it may send.
    #[command(subcommand, arg_required_else_help = true)]
    Quota(TenantQuota),
}

/// What to do with identities.
#[derive(Debug, Subcommand)]
pub enum Identity {
    /// Issue a token with which somebody new enrols.
    Token(IdentityToken),
    /// List them.
    List(IdentityList),
    /// Close one for ever.
    Close(IdentityClose),
    /// How much a writer may have, in all vaults.
    #[command(subcommand, arg_required_else_help = true)]
    Quota(IdentityQuota),
}

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Issue a token with which a machine joins.
    Token(NodeToken),
}

/// What to do with shards.
#[derive(Debug, Subcommand)]
pub enum Shard {
    /// Create a shard on nodes that are there.
    Create(ShardCreate),
}

/// What to do with CAs.
#[derive(Debug, Subcommand)]
pub enum Issuer {
    /// Say with the tenant's root key that a CA may issue for its people.
    Accept(IssuerAccept),
    /// Register a CA for one plane.
    Register(IssuerRegister),
    /// Take a CA out of use for ever.
    Retire(IssuerRetire),
    /// Tell the cluster what a CA took back.
    Revoke(IssuerRevoke),
}

impl Command {
    /// Whether stopping it leaves a doubt.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Backup(_) => Effect::GoesOn,
            Self::Delete(_)
            | Self::Vault(
                Vault::Create(_)
                | Vault::Card(_)
                | Vault::Delete(_)
                | Vault::Lock(_)
                | Vault::Policy(Policy::Set(_))
                | Vault::Quota(_),
            )
            | Self::Lock(Lock::Extend(_) | Lock::Weaken(_) | Lock::Cancel(_))
            | Self::Hold(Hold::Add(_) | Hold::Remove(_))
            | Self::Ticket(Ticket::Open(_) | Ticket::Commit(_) | Ticket::Drop(_) | Ticket::Abort(_))
            | Self::Enrol(_)
            | Self::Identity(Identity::Token(_) | Identity::Close(_) | Identity::Quota(_))
            | Self::Node(Node::Token(_))
            | Self::Shard(Shard::Create(_))
            | Self::Issuer(Issuer::Register(_) | Issuer::Retire(_) | Issuer::Revoke(_))
            | Self::Tenant(_) => Effect::Changes,
            Self::Restore(_) => Effect::Staged,
            Self::Verify(_)
            | Self::Snapshots(_)
            | Self::Ls(_)
            | Self::Find(_)
            | Self::Diff(_)
            | Self::Cat(_)
            | Self::Dump(_)
            | Self::Audit(Audit::List(_))
            | Self::Receipt(Receipt::Get(_) | Receipt::Verify(_))
            | Self::Vault(Vault::List(_) | Vault::Show(_) | Vault::Policy(Policy::Get(_) | Policy::DryRun(_)))
            | Self::Lock(Lock::Show(_))
            | Self::Ticket(Ticket::Show(_))
            | Self::Identity(Identity::List(_))
            | Self::Issuer(Issuer::Accept(_))
            | Self::Status(_)
            | Self::Clock(_)
            | Self::Usage(_)
            | Self::InitKey(_)
            | Self::Key(Key::Check(_) | Key::Sheet(_) | Key::Recover(_))
            | Self::Doctor(_)
            | Self::Completions(_)
            | Self::Man(_) => Effect::None,
        }
    }

    /// Whether its stdout holds contents of files.
    pub fn writes_contents(&self) -> bool {
        matches!(self, Self::Cat(_) | Self::Dump(_))
    }

    /// Does it.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Backup(command) => command.run(context).await,
            Self::Restore(command) => command.run(context).await,
            Self::Verify(command) => command.run(context).await,
            Self::Snapshots(command) => command.run(context).await,
            Self::Ls(command) => command.run(context).await,
            Self::Find(command) => command.run(context).await,
            Self::Diff(command) => command.run(context).await,
            Self::Cat(command) => command.run(context).await,
            Self::Dump(command) => command.run(context).await,
            Self::Ticket(Ticket::Open(command)) => command.run(context).await,
            Self::Ticket(Ticket::Show(command)) => command.run(context).await,
            Self::Ticket(Ticket::Commit(command)) => command.run(context).await,
            Self::Ticket(Ticket::Drop(command)) => command.run(context).await,
            Self::Ticket(Ticket::Abort(command)) => command.run(context).await,
            Self::Delete(command) => command.run(context).await,
            Self::Vault(Vault::Create(command)) => command.run(context).await,
            Self::Vault(Vault::Delete(command)) => command.run(context).await,
            Self::Vault(Vault::List(command)) => command.run(context).await,
            Self::Vault(Vault::Show(command)) => command.run(context).await,
            Self::Vault(Vault::Card(command)) => command.run(context).await,
            Self::Vault(Vault::Lock(command)) => command.run(context).await,
            Self::Vault(Vault::Policy(Policy::Get(command))) => command.run(context).await,
            Self::Vault(Vault::Policy(Policy::Set(command))) => command.run(context).await,
            Self::Vault(Vault::Policy(Policy::DryRun(command))) => command.run(context).await,
            Self::Lock(Lock::Show(command)) => command.run(context).await,
            Self::Lock(Lock::Extend(command)) => command.run(context).await,
            Self::Lock(Lock::Weaken(command)) => command.run(context).await,
            Self::Lock(Lock::Cancel(command)) => command.run(context).await,
            Self::Hold(Hold::Add(command)) => command.run(context).await,
            Self::Hold(Hold::Remove(command)) => command.run(context).await,
            Self::Vault(Vault::Quota(VaultQuota::Set(command))) => command.run(context).await,
            Self::Audit(Audit::List(command)) => command.run(context).await,
            Self::Receipt(Receipt::Get(command)) => command.run(context).await,
            Self::Receipt(Receipt::Verify(command)) => command.run(context),
            Self::Tenant(Tenant::Create(command)) => command.run(context).await,
            Self::Tenant(Tenant::Suspend(command)) => command.suspend(context).await,
            Self::Tenant(Tenant::Resume(command)) => command.resume(context).await,
            Self::Tenant(Tenant::End(command)) => command.run(context).await,
            Self::Tenant(Tenant::Quota(TenantQuota::Set(command))) => command.run(context).await,
            Self::Enrol(command) => command.run(context).await,
            Self::Identity(Identity::Token(command)) => command.run(context).await,
            Self::Identity(Identity::List(command)) => command.run(context).await,
            Self::Identity(Identity::Close(command)) => command.run(context).await,
            Self::Identity(Identity::Quota(IdentityQuota::Set(command))) => command.run(context).await,
            Self::Node(Node::Token(command)) => command.run(context).await,
            Self::Shard(Shard::Create(command)) => command.run(context).await,
            Self::Issuer(Issuer::Accept(command)) => command.run(context).await,
            Self::Issuer(Issuer::Register(command)) => command.run(context).await,
            Self::Issuer(Issuer::Retire(command)) => command.run(context).await,
            Self::Issuer(Issuer::Revoke(command)) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::Clock(command) => command.run(context).await,
            Self::Usage(command) => command.run(context).await,
            Self::InitKey(command) => command.run(context).await,
            Self::Key(Key::Check(command)) => command.run(context).await,
            Self::Key(Key::Sheet(command)) => command.run(context),
            Self::Key(Key::Recover(command)) => command.run(context).await,
            Self::Doctor(command) => command.run(context).await,
            Self::Completions(command) => command.run::<Arguments>(context),
            Self::Man(command) => command.run::<Arguments>(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_own_name() {
        fn walk(command: &clap::Command) {
            for flag in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let long = flag.get_long().unwrap();
                if matches!(long, "help" | "version") {
                    continue;
                }
                let variable = flag.get_env().unwrap_or_else(|| panic!("{} --{long} has none", command.get_name()));
                let expected = format!("STRONGROOM_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(variable.to_str(), Some(expected.as_str()), "{} --{long}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_how() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
            for argument in command.get_arguments() {
                let has_help = argument.get_help().is_some() || argument.get_id() == "help";
                assert!(has_help, "{} {} has no help", command.get_name(), argument.get_id());
            }
            if command.get_subcommands().next().is_none() {
                assert!(command.get_after_help().is_some(), "{} shows no example", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }

    #[test]
    fn every_command_is_on_the_page_about_json_and_nothing_else() {
        fn walk(command: &clap::Command, above: &str, paths: &mut Vec<String>) {
            for below in command.get_subcommands() {
                let path = format!("{above} {}", below.get_name()).trim().to_owned();
                match below.get_subcommands().next() {
                    None => paths.push(path),
                    Some(_) => walk(below, &path, paths),
                }
            }
        }
        let mut paths = Vec::new();
        walk(&Arguments::command(), "", &mut paths);
        let page = include_str!("../JSON.md");
        let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        for path in &paths {
            assert!(sections.contains(&path.as_str()), "JSON.md has no section about `{path}`");
        }
        for section in sections {
            let other = ["Exit codes", "Every command", "strongroomd inspect", "strongroomd fsck"].contains(&section);
            assert!(
                other || paths.iter().any(|path| path == section),
                "JSON.md is about `{section}`, which is no command"
            );
        }
    }

    #[test]
    fn flags_of_every_command_stand_anywhere() {
        for line in [
            "strongroom --json --profile p.toml backup /srv --vault v --deadline 5s",
            "strongroom backup --json /srv --profile p.toml --vault v --deadline 5s",
            "strongroom backup --vault v --from-command a.sql -- pg_dump --all shop",
            "strongroom backup --vault v --stdin a.sql --tag host=a --tag role=b --limit-upload 5MiB",
            "strongroom backup /srv --vault v --exclude *.o --exclude !x.o --exclude-file f --one-file-system --dry-run",
            "strongroom --deadline 5s vault create v --profile p.toml --json --quiet",
            "strongroom tenant create acme --founding f --issuer ca.pem --width 3 --profile p.toml",
            "strongroom tenant create acme --founding f --profile p.toml",
            "strongroom identity token web-1 --role writer --lifetime 5m",
            "strongroom identity close web-1 --reason gone",
            "strongroom delete 01234567 89abcdef --reason gone --dry-run",
            "strongroom vault delete v --reason gone",
            "strongroom enrol - --out web-1.toml",
            "strongroom enrol --renew --profile web-1.toml",
            "strongroom node token south-1 --region south",
            "strongroom shard create a b c",
            "strongroom issuer register ca.pem --plane tenant --acceptance a --acceptance b",
            "strongroom issuer revoke ca.pem --list ca.crl",
            "strongroom restore 0123456789abcdef --to /tmp/x a/b c --into",
            "strongroom ls latest a --vault v --name web-1/nightly",
            "strongroom restore latest --vault v --to /tmp/x --path *.pdf --path /a/** --resume --limit-download 10M",
            "strongroom ls -l latest --vault v",
            "strongroom find 01234567 --name *.log --kind file --kind link --larger 4K --newer 2026-11-01",
            "strongroom diff 01234567 latest --vault v --name web-1/nightly",
            "strongroom cat 01234567 a/b --range 0-99",
            "strongroom dump 01234567 a b --format tar",
            "strongroom snapshots --writer web-1 --since 2026-11-01 --until 2026-12-01T00:00:00Z --latest 3",
            "strongroom verify 01234567 89abcdef --sample 5%",
            "strongroom verify --all --sample 0.5% --vault v",
            "strongroom verify 01234567 -q",
            "strongroom ticket open --vault v --name shop --expect rows-1=db-1 --expect rows-2=db-2",
            "strongroom ticket commit v:0123456789abcdef0123456789abcdef --json",
            "strongroom ticket drop v:0123456789abcdef0123456789abcdef rows-1",
            "strongroom backup /srv --join v:0123456789abcdef0123456789abcdef --stream rows-1 --replace",
            "strongroom restore 01234567 --stream rows-1 --to /tmp/x",
            "strongroom cat 01234567 a --stream rows-1 --range 0-9",
            "strongroom vault policy get papers",
            "strongroom vault policy set papers --lock governance:30d --max 400d --keep-daily 7 --every 1d --reason x",
            "strongroom vault policy dry-run papers --keep-last 7 --every 24h",
            "strongroom vault lock papers --reason law --cooling-off 72h --for-ever",
            "strongroom vault lock papers --reason no --withdraw",
            "strongroom lock show latest --vault v",
            "strongroom lock extend 01234567 --until-date 2030-01-01 --compliance --reason x",
            "strongroom lock extend 01234567 --length 90d",
            "strongroom lock weaken 01234567 --length 1d --reason x",
            "strongroom lock cancel 01234567 --reason x",
            "strongroom hold add 01234567 case-7 --reason x",
            "strongroom hold remove 01234567 case-7 --reason x",
            "strongroom snapshots",
            "strongroom status --json",
            "strongroom audit list --since 2026-11-01T00:00:00Z",
            "strongroom receipt verify www.receipt --voters log",
            "strongroom receipt get latest --vault v --out www.receipt",
            "strongroom init-key restorer --identity rita --out r --no-confirm",
            "strongroom key check a.root --vault v --profile p.toml",
            "strongroom key sheet a.root",
            "strongroom key recover - --out a.root",
            "strongroom key recover --out a.root",
            "strongroom doctor --profile p.toml",
            "strongroom completions zsh",
            "strongroom man --out /tmp",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "strongroom backup --vault v",
            "strongroom backup /srv",
            "strongroom backup /srv --vault Papers",
            "strongroom backup /srv --vault v --deadline soon",
            "strongroom restore latest",
            "strongroom restore 0123 --to /tmp/x",
            "strongroom restore 0123456x --to /tmp/x",
            "strongroom restore 01234567 a --path b --to /tmp/x",
            "strongroom restore 01234567 --to /tmp/x --limit-download fast",
            "strongroom find 01234567 --kind pony",
            "strongroom find 01234567 --larger big",
            "strongroom find 01234567 --newer yesterday",
            "strongroom diff 01234567",
            "strongroom cat 01234567",
            "strongroom cat 01234567 a --range 9-3",
            "strongroom dump 01234567 --format zip",
            "strongroom snapshots --since soon",
            "strongroom snapshots --latest 0",
            "strongroom snapshots --latest many",
            "strongroom verify",
            "strongroom verify 01234567 --all",
            "strongroom verify 01234567 --sample 0%",
            "strongroom verify 01234567 --sample 101%",
            "strongroom ticket open --vault v",
            "strongroom ticket open --vault v --name shop --expect rows-1",
            "strongroom ticket commit 0123456789abcdef0123456789abcdef",
            "strongroom backup /srv --join v:0123456789abcdef0123456789abcdef",
            "strongroom backup /srv --vault v --stream rows-1",
            "strongroom backup /srv --vault v --replace",
            "strongroom vault create",
            "strongroom delete --reason x",
            "strongroom delete 01234567",
            "strongroom vault delete v",
            "strongroom vault policy set papers --keep-last 7",
            "strongroom vault policy set papers --lock king:30d --reason x",
            "strongroom vault lock papers --reason x",
            "strongroom lock extend 01234567",
            "strongroom lock extend 01234567 --length 90d --until-date 2030-01-01",
            "strongroom hold add 01234567 Case --reason x",
            "strongroom tenant create acme",
            "strongroom identity token web-1",
            "strongroom identity token web-1 --role king",
            "strongroom enrol --door nowhere --out x.toml",
            "strongroom shard create",
            "strongroom key",
            "strongroom key check",
            "strongroom key recover sheet",
            "strongroom completions",
            "strongroom completions cmd.exe",
            "strongroom dev",
            "strongroom backup /srv --vault v --colour",
            "strongroom backup /srv --vault v --stdin x",
            "strongroom backup --vault v --from-command x",
            "strongroom backup --vault v --stdin x --from-command y",
            "strongroom backup --vault v --stdin x --dry-run",
            "strongroom backup --vault v --from-command x --dry-run -- true",
            "strongroom backup /srv --vault v --exclude [",
            "strongroom backup /srv --vault v --exclude a//b",
            "strongroom backup /srv --vault v --tag host",
            "strongroom backup /srv --vault v --tag =x",
            "strongroom backup /srv --vault v --limit-upload 0",
            "strongroom backup /srv --vault v --limit-upload fast",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
