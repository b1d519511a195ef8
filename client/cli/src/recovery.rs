//! Recovery sheets as people get them: the lines of a key with what it opens and how to use it, shown to a terminal and
//! asked back once before the key exists.
//!
//! ```text
//!   show ─▶ "written down?" ─▶ clear the screen ─▶ ask line by line, each checked as it is typed ─▶ the same key? ─▶ done
//! ```
//!
//! Not here: the lines themselves (`strongroom_format::sheet`).

use std::fmt::Write as _;

use strongroom_format::any_key::AnyKey;
use strongroom_format::keys::KeyFile as _;
use strongroom_format::sheet::{self, Took, Typed};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::terminal::Terminal;

/// What a sheet of this key says, with its lines in the middle.
pub fn text(key: &AnyKey) -> Zeroizing<String> {
    let (what, opens) = about(key);
    let mut text = Zeroizing::new(String::with_capacity(8192));
    let fits = "text grows in memory";
    writeln!(text, "STRONGROOM RECOVERY SHEET\n").expect(fits);
    writeln!(text, "This is {what}.\n{opens}\nWhoever has this sheet has the key: keep it like the key.\n")
        .expect(fits);
    writeln!(text, "{}", sheet::write(key).as_str()).expect(fits);
    writeln!(text, "To get the key back, on the machine that needs it:").expect(fits);
    writeln!(text, "  strongroom key recover --out FILE     and type the lines above, one after the other")
        .expect(fits);
    writeln!(text, "  strongroom key check FILE             shows the same public half:").expect(fits);
    writeln!(text, "  {}\n", public_half(key)).expect(fits);
    writeln!(text, "Case and spaces do not matter; O is read as 0, I and L as 1. The last word of a line checks it.")
        .expect(fits);
    text
}

/// What a key is, and what is lost with it, for people.
fn about(key: &AnyKey) -> (String, String) {
    match key {
        AnyKey::Root(_) => (
            "a tenant's root key".into(),
            "It signs vaults, cards of writers and the founding record. Without it no vault is ever made or changed again; it\n\
             opens no contents."
                .into(),
        ),
        AnyKey::Signing(_) => (
            "the signing key of one identity".into(),
            "It signs what that identity asks. Lost, the identity is closed and another one enrolled.".into(),
        ),
        AnyKey::Writer(key) => (
            format!("the writer key of {}, epoch {}, of tenant {}", key.writer, key.epoch, key.tenant),
            "It names and proves what that writer backs up and opens nothing. Lost, the writer gets the next epoch and\n\
             sends everything once more."
                .into(),
        ),
        AnyKey::Restorer(key) => (
            format!("the restorer key of {}", key.identity),
            format!(
                "It opens all vaults that name {} as a recipient. With the last key of a vault's recipients, everything in\n\
                 that vault is lost for ever.",
                key.identity
            ),
        ),
    }
}

/// By what others know the key; a writer's has no half that is public.
pub fn public_half(key: &AnyKey) -> String {
    match key {
        AnyKey::Root(key) => key.public_key().to_string(),
        AnyKey::Signing(key) => key.public_key().to_string(),
        AnyKey::Writer(key) => format!("writer {} epoch {} of tenant {}", key.writer, key.epoch, key.tenant),
        AnyKey::Restorer(key) => fingerprint(&key.public_key().to_text()),
    }
}

/// A long public half in short: the first 16 bytes of BLAKE3 over its file's text.
pub fn fingerprint(public_file: &str) -> String {
    crate::text::hex(&strongroom_format::any_key::fingerprint(public_file))
}

/// Shows the sheet without asking it back.
///
/// # Errors
/// If the terminal is gone.
pub fn show(terminal: &mut Terminal, key: &AnyKey) -> Result<(), Failure> {
    terminal.show(&text(key)).map_err(gone)
}

/// Shows the sheet, and asks it back once it is on paper.
///
/// # Errors
/// If the terminal is gone.
pub fn confirm(terminal: &mut Terminal, key: &AnyKey) -> Result<(), Failure> {
    show(terminal, key)?;
    terminal
        .ask("\nWrite it down or print it. Then press Enter: the screen is cleared and you type it back once. ")
        .map_err(gone)?;
    terminal.clear().map_err(gone)?;
    let typed = ask(terminal)?;
    if *typed.to_text() != *key.to_text() {
        return Err(Failure::refused(
            "INVALID_ARGUMENT",
            "SHEET",
            "what was typed is a sheet, but of another key",
            "run it again and write down the sheet that it shows; no key was made",
        ));
    }
    terminal.clear().map_err(gone)?;
    Ok(())
}

/// Asks for the lines of a sheet, each until it fits.
///
/// # Errors
/// If the terminal is gone; refused if the lines fit each by itself but not together.
pub fn ask(terminal: &mut Terminal) -> Result<AnyKey, Failure> {
    terminal.show("Type the lines of the sheet; Ctrl-C gives up.\n").map_err(gone)?;
    let mut typed = Typed::new();
    loop {
        let label = typed.next_label();
        let line = terminal.ask(&format!("  {label:<9} ")).map_err(gone)?;
        match typed.take(&line) {
            Ok(Took::Line) => {}
            Ok(Took::Key(key)) => return Ok(*key),
            Err(fault @ (sheet::SheetError::Missing { .. } | sheet::SheetError::Mistyped { .. })) => {
                terminal.show(&format!("    {fault}; type it again\n")).map_err(gone)?;
            }
            Err(fault) => return Err(no_sheet(&fault)),
        }
    }
}

/// What typed lines are refused for.
pub fn no_sheet(fault: &sheet::SheetError) -> Failure {
    Failure::refused(
        "INVALID_ARGUMENT",
        "SHEET",
        fault.to_string(),
        "compare each line with the sheet: the last word of a line is its check",
    )
}

fn gone(cause: std::io::Error) -> Failure {
    Failure::broken("the terminal cannot be read or written; no key was made", &cause)
}

#[cfg(test)]
mod tests {
    use strongroom_format::any_key::KeyKind;

    use super::*;

    #[test]
    fn a_sheet_says_what_it_is_and_reads_back_whole() {
        let secret: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
        let tenant = "0f".repeat(16);
        for (kind, values, says) in [
            (KeyKind::Root, vec![secret.as_str()], "root key"),
            (KeyKind::Signing, vec![&secret], "signing key"),
            (KeyKind::Writer, vec![&tenant, "web-1", "1", &secret], "writer key of web-1, epoch 1"),
            (KeyKind::Restorer, vec!["rita", &secret], "restorer key of rita"),
        ] {
            let key = AnyKey::from_values(kind, &values).unwrap();
            let text = text(&key);
            assert!(
                text.contains(says) && text.contains("key recover") && text.contains(&public_half(&key)),
                "{}",
                *text
            );
            assert!(text.lines().all(|line| line.chars().count() <= 120));
            assert_eq!(*sheet::read(&text).unwrap().to_text(), *key.to_text());
        }
    }
}
