//! What every command has: the flags that are everywhere, and what follows from them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::builder::FalseyValueParser;
use strongroom::client::Client;
use strongroom::operator::Operator;
use strongroom::profile::Profile;

use crate::exit::Failure;
use crate::output::{Chatter, Format, Output};
use crate::text::parse_duration;

/// Flags that are understood anywhere on the command line.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Flags of every command")]
pub struct Global {
    /// Which cluster, who we are, which keys we have: a TOML file.
    #[arg(long, global = true, env = "STRONGROOM_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,

    /// One JSON object a line on stdout, the last one the result or an error.
    #[arg(long, global = true, env = "STRONGROOM_JSON", hide_env_values = true, value_parser = FalseyValueParser::new())]
    json: bool,

    /// How long nodes that do not answer, and elections, are waited for.
    #[arg(long, global = true, env = "STRONGROOM_DEADLINE", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    deadline: Duration,

    /// No progress and no notes on stderr; errors still.
    #[arg(long, short, global = true, env = "STRONGROOM_QUIET", hide_env_values = true, value_parser = FalseyValueParser::new())]
    quiet: bool,
}

impl Global {
    /// For whom results are.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::People }
    }

    /// How much is told beside results.
    pub fn chatter(&self) -> Chatter {
        if self.quiet { Chatter::Quiet } else { Chatter::Normal }
    }
}

/// What every command has.
pub struct Context {
    global: Global,
    /// Where results go.
    pub output: Output,
    /// To be closed at the end, however it comes.
    connected: Mutex<Vec<Client>>,
}

impl Context {
    /// From the flags.
    pub fn new(global: Global, output: Output) -> Self {
        Self { global, output, connected: Mutex::default() }
    }

    /// How long nodes are waited for.
    pub fn deadline(&self) -> Duration {
        self.global.deadline
    }

    /// Whether a profile was named.
    pub fn has_profile(&self) -> bool {
        self.global.profile.is_some()
    }

    /// Where the profile is that was named.
    ///
    /// # Errors
    /// Usage if none was.
    pub fn profile_path(&self) -> Result<&Path, Failure> {
        self.global.profile.as_deref().ok_or_else(|| {
            Failure::usage("no profile is named", "name one with --profile FILE or in STRONGROOM_PROFILE")
        })
    }

    /// The profile that was named.
    ///
    /// # Errors
    /// Usage if none was; what the SDK says if it is no good.
    pub fn profile(&self) -> Result<Profile, Failure> {
        Ok(Profile::read(self.profile_path()?)?)
    }

    /// The tenant's identity of the profile, connected.
    ///
    /// # Errors
    /// As [`Context::profile`], and what the SDK says.
    pub async fn client(&self) -> Result<Client, Failure> {
        let client = Client::connect_once(self.profile()?, self.deadline()).await?;
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).push(client.clone());
        Ok(client)
    }

    /// Ends what clients left open in the cluster: what was interrupted could not wait for that itself.
    pub async fn close(&self) {
        let clients = std::mem::take(&mut *self.connected.lock().unwrap_or_else(PoisonError::into_inner));
        for client in clients {
            client.close().await;
        }
    }

    /// The operator of the profile, connected.
    ///
    /// # Errors
    /// As [`Context::client`].
    pub async fn operator(&self) -> Result<Operator, Failure> {
        Ok(Operator::connect(&self.profile()?, self.deadline()).await?)
    }
}
