//! Speaking to a network that is up in another process: change links, read counters, take it down.
//!
//! One JSON object in, JSON Lines out, over a socket in the network's directory. Root only, as the directory is.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::network::plan::{MachinePlan, dir_of};
use crate::switch::Switch;
use crate::switch::fabric::Direction;
use crate::switch::link::Link;

/// Whoever connects says what they want in this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Links from one place to another behave so from now on; a place is a machine or a region.
    Set {
        /// Where frames come from.
        from: String,
        /// Where they go.
        to: String,
        /// How.
        link: Link,
    },
    /// All machines, all links and what happened on them.
    Show,
    /// Take it down.
    Down,
}

/// Listens for requests to the network of this name.
pub fn listen(network: &str) -> anyhow::Result<UnixListener> {
    let path = socket(network);
    UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
}

/// Answers requests until one asks to take it down.
///
/// # Errors
/// The listener itself failed.
pub fn serve(listener: &UnixListener, switch: &Switch, machines: &[MachinePlan]) -> anyhow::Result<()> {
    loop {
        let (stream, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause).context("cannot listen any more"),
        };
        // Whoever goes away before they hear the answer did not want it.
        if converse(stream, switch, machines).is_ok_and(|request| request == Request::Down) {
            return Ok(());
        }
    }
}

/// Asks the network of this name.
///
/// # Errors
/// No such network is up, or it says no.
pub fn ask(network: &str, request: &Request) -> anyhow::Result<Vec<Value>> {
    let path = socket(network);
    let mut stream = UnixStream::connect(&path).with_context(|| format!("no network `{network}` is up here"))?;
    stream.set_read_timeout(Some(PATIENCE)).context("cannot set a deadline")?;
    writeln!(stream, "{}", serde_json::to_string(request)?).context("it does not listen")?;
    let lines = BufReader::new(stream).lines();
    let answers: Vec<Value> =
        lines.map(|line| anyhow::Ok(serde_json::from_str(&line?)?)).collect::<Result<_, _>>().context("no answer")?;
    let error = answers.iter().find_map(|answer| answer["error"].as_str());
    error.map_or(Ok(()), |error| Err(anyhow::anyhow!("{error}")))?;
    Ok(answers)
}

/// A link as one object.
pub fn line(direction: &Direction) -> Value {
    let Direction { from, to, link, counted } = direction;
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    json!({
        "type": "link", "from": from.machine, "to": to.machine, "from_region": from.region, "to_region": to.region,
        "delay_ms": ms(link.delay), "jitter_ms": ms(link.jitter), "loss": link.loss, "duplicate": link.duplicate,
        "reorder": link.reorder, "cut": link.cut, "counted": counted, "held_ms": counted.held_ms(),
    })
}

fn socket(network: &str) -> PathBuf {
    dir_of(network).join("control")
}

fn converse(stream: UnixStream, switch: &Switch, machines: &[MachinePlan]) -> anyhow::Result<Request> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut asked = String::new();
    BufReader::new(&stream).read_line(&mut asked)?;
    let mut stream = &stream;
    let request: Request = match serde_json::from_str(&asked) {
        Ok(request) => request,
        Err(why) => {
            writeln!(stream, "{}", json!({ "error": format!("this is no request: {why}") }))?;
            return Err(why.into());
        }
    };
    match &request {
        Request::Set { from, to, link } => match switch.set(from, to, |_| *link) {
            0 => writeln!(stream, "{}", json!({ "error": format!("no link leads from `{from}` to `{to}`") }))?,
            links => writeln!(stream, "{}", json!({ "type": "set", "links": links }))?,
        },
        Request::Show => {
            for MachinePlan { name, region, address } in machines {
                let machine = json!({ "type": "machine", "name": name, "region": region, "address": address });
                writeln!(stream, "{machine}")?;
            }
            for direction in switch.directions() {
                writeln!(stream, "{}", line(&direction))?;
            }
            writeln!(stream, "{}", json!({ "type": "end", "strayed": switch.strayed() }))?;
        }
        Request::Down => writeln!(stream, "{}", json!({ "type": "down" }))?,
    }
    Ok(request)
}
