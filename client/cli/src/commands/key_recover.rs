//! `key recover`: a key file from the lines of its recovery sheet.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom::small_file;
use strongroom_format::any_key::AnyKey;
use strongroom_format::keys::KeyFile as _;
use strongroom_format::sheet;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::new_file::{Readers, beside, nothing_at, write_new};
use crate::output::Item;
use crate::recovery::{self, no_sheet, public_half};
use crate::terminal::Terminal;
use crate::text::FileName;

/// No sheet, and no public half of a key, is larger.
const SHEET_BYTES_MAX: u64 = 64 << 10;

/// Flags of `key recover`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
At a terminal it asks for the lines of the sheet one after the other and says which one is mistyped. Elsewhere SHEET is a
file with them, or `-` for stdin. FILE is made as `init-key` made it, with FILE.pub where the key has a public half;
nothing is written over.

Examples:
  strongroom key recover --out acme.root
  strongroom key recover sheet.txt --out rita.restorer && shred -u sheet.txt")]
pub struct KeyRecover {
    /// A file with the sheet; `-` reads it from stdin.
    #[arg(value_name = "SHEET")]
    sheet: Option<PathBuf>,

    /// Where the key goes.
    #[arg(long, env = "STRONGROOM_OUT", value_name = "FILE")]
    out: PathBuf,
}

/// What was made.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "key_recovered")]
struct Recovered {
    kind: &'static str,
    files: Vec<FileName>,
    public: String,
}

impl KeyRecover {
    /// Asks or reads, and writes the key.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        // Before anybody types in vain.
        nothing_at(&[&self.out])?;
        let key = match self.sheet {
            Some(path) => sheet::read(&read(&path)?).map_err(|fault| no_sheet(&fault))?,
            None => {
                let mut terminal = Terminal::of_a_person().ok_or_else(|| {
                    Failure::usage("no sheet is named", "name a file, `-` for stdin, or run it at a terminal")
                })?;
                // Of a thread of its own, so that Ctrl-C is heard.
                let asked = tokio::task::spawn_blocking(move || recovery::ask(&mut terminal)).await;
                asked.map_err(|panic| Failure::broken("asking broke", &panic))??
            }
        };
        let files = write(&key, &self.out)?;
        context.output.item(&Recovered {
            kind: key.kind().as_str(),
            files: files.iter().map(|file| FileName::of(file)).collect(),
            public: public_half(&key),
        })?;
        Ok(Exit::Done)
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let cannot = |cause: std::io::Error| Failure::broken(&format!("cannot read the sheet {}", path.display()), &cause);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(SHEET_BYTES_MAX).expect("64 KiB")));
    match path.as_os_str() == "-" {
        true => std::io::stdin().take(SHEET_BYTES_MAX).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|file| file.take(SHEET_BYTES_MAX).read_to_end(&mut bytes)),
    }
    .map_err(cannot)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| no_sheet(&sheet::SheetError::NotASheet))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Writes the key, and its public half unless that lies there already.
fn write(key: &AnyKey, out: &Path) -> Result<Vec<PathBuf>, Failure> {
    let public = match key {
        AnyKey::Root(key) => Some(format!("{}\n", key.public_key())),
        AnyKey::Signing(key) => Some(format!("{}\n", key.public_key())),
        AnyKey::Writer(_) => None,
        AnyKey::Restorer(key) => Some(key.public_key().to_text().to_string()),
    };
    let public_file = beside(out, ".pub");
    let text = key.to_text();
    let secret = (out, Readers::Owner, text.as_bytes());
    match (public, small_file::read(&public_file, SHEET_BYTES_MAX)) {
        (Some(public), Ok(there)) if there != public.as_bytes() => Err(Failure::refused(
            "ALREADY_EXISTS",
            "OTHER_KEY",
            format!("{} is the public half of another key", public_file.display()),
            "name another file with --out, or find out whose sheet this is",
        )),
        (Some(public), Err(_)) => {
            write_new(&[secret, (&public_file, Readers::All, public.as_bytes())])?;
            Ok(vec![out.to_owned(), public_file])
        }
        (Some(_), Ok(_)) | (None, _) => {
            write_new(&[secret])?;
            Ok(vec![out.to_owned()])
        }
    }
}

impl Item for Recovered {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self.files.iter().map(|file| format!("wrote {file}")).collect();
        lines.push(format!("{} key, public half {}", self.kind, self.public));
        lines.join("\n")
    }
}
