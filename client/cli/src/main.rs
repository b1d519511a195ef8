//! `strongroom`: what needs a tenant's or an operator's identity or keys, on the command line.
//!
//! ```text
//!   arguments.rs ──▶ commands/*.rs ──▶ the SDK
//!                        └──▶ output.rs (stdout)   progress.rs (stderr)   exit.rs (why and with which code)
//! ```
//!
//! Promises to scripts are in CONTRACTS: results on stdout, all else on stderr; with `--json` the last line is the
//! result or an error object; the exit code says what to do next. Not here: what needs a node's disk (`strongroomd`).

mod arguments;
mod commands;
mod content;
mod context;
mod exit;
mod interrupt;
mod lengths;
mod lock_item;
mod new_file;
mod output;
mod progress;
mod public_key;
mod quota_flags;
mod recovery;
mod terminal;
mod text;
mod usage;
mod vault_item;
mod which;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::exit::{Effect, Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Chatter, Output};

/// How long may be waited until what was left open in the cluster is ended.
const CLOSING: Duration = Duration::from_secs(2);
/// How long work that cannot be interrupted may take to end.
const SHUTDOWN: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(fault) => return usage::explain(&fault),
    };
    let output = Output::new(arguments.global.format(), arguments.global.chatter());
    let output = if arguments.command.writes_contents() { output.with_contents_on_stdout() } else { output };
    let ended = run(arguments, &output);
    let exit = match &ended {
        Ok(exit) => *exit,
        Err(failure) => failure.exit(),
    };
    if let Err(failure) = ended {
        output.failure(&failure);
    }
    exit.into()
}

fn run(arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    let warnings = match output.chatter() {
        Chatter::Normal => LevelFilter::WARN,
        Chatter::Quiet => LevelFilter::ERROR,
    };
    let filter = EnvFilter::builder().with_default_directive(warnings.into()).with_env_var("STRONGROOM_LOG");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter.from_env_lossy())
        .without_time()
        .with_target(false)
        .init();
    let runtime = Runtime::new().map_err(|cause| Failure::broken("cannot start", &cause))?;
    let context = Context::new(arguments.global, output.clone());
    let effect = arguments.command.effect();
    let mut interrupt = listen(&context, effect)?;
    let (ended, is_interrupted_again) = runtime.block_on(async {
        let ended = tokio::select! {
            ended = arguments.command.run(&context) => ended,
            () = interrupt.heard() => Err(Failure::Interrupted(effect)),
        };
        if let Err(Failure::Interrupted(_)) = &ended {
            context.output.note("interrupted: what is under way ends; interrupt again to end at once");
        }
        let is_interrupted_again = tokio::select! {
            _in_time = tokio::time::timeout(CLOSING, context.close()) => false,
            () = interrupt.heard() => true,
        };
        (ended, is_interrupted_again)
    });
    match &ended {
        _ if is_interrupted_again => runtime.shutdown_background(),
        Err(Failure::Interrupted(_)) => end_unless_interrupted(runtime, &mut interrupt),
        Ok(_) | Err(_) => {
            interrupt.ends_by_itself();
            runtime.shutdown_timeout(SHUTDOWN);
        }
    }
    interrupt.ends_by_itself();
    ended
}

/// Signals come to us from now on; one that we cannot answer ends the program as if we had.
fn listen(context: &Context, effect: Effect) -> Result<Interrupt, Failure> {
    let output = context.output.clone();
    let abandon = move || {
        let failure = Failure::Interrupted(effect);
        output.failure(&failure);
        std::process::exit(failure.exit().code().into());
    };
    Interrupt::listen(abandon).map_err(|cause| Failure::broken("cannot listen for signals", &cause))
}

/// Lets what cannot be interrupted end, for a moment: until the user asks again.
fn end_unless_interrupted(runtime: Runtime, interrupt: &mut Interrupt) {
    let Ok(waiting) = tokio::runtime::Builder::new_current_thread().build() else {
        return runtime.shutdown_timeout(SHUTDOWN);
    };
    let (tell, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        runtime.shutdown_timeout(SHUTDOWN);
        // Nobody waits any more if the user asked again.
        let _told = tell.send(());
    });
    waiting.block_on(async {
        tokio::select! {
            _ended = ended => {}
            () = interrupt.heard() => {}
        }
    });
}
