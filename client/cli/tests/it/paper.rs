//! Recovery sheets on the command line: printed, typed back at a terminal and from files, and what is wrong with them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Ran, run, run_with_input, strongroom};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn plain(home: &Path, line: &str) -> Ran {
    strongroom().current_dir(home).arg("--json").args(line.split(' ')).output().map(Ran::from).unwrap()
}

/// A tenant's keys of every kind.
fn keys(home: &Path) {
    plain(home, "init-key signing --out anna.signing").done();
    plain(home, "init-key root --tenant acme --identity anna:admin:anna.signing.pub --out acme.root").done();
    plain(home, "init-key writer --founding acme.root.founding --writer web-1 --out web-1.writer").done();
    plain(home, "init-key restorer --identity rita --out rita.restorer").done();
}

/// The secret of a key file, in hex.
fn secret(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().find_map(|line| line.strip_prefix("secret ")).unwrap().to_owned()
}

#[test]
fn every_kind_of_key_comes_back_from_its_sheet_byte_for_byte() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    keys(home);
    for (file, has_public) in
        [("anna.signing", true), ("acme.root", true), ("web-1.writer", false), ("rita.restorer", true)]
    {
        // As people print it, to a file.
        let sheet = run(["key", "sheet", text(&home.join(file))]);
        assert_eq!((sheet.code, sheet.stderr.as_str()), (0, ""), "{file}");
        let page = format!("{file}.txt");
        fs::write(home.join(&page), &sheet.stdout).unwrap();
        let again = format!("again.{file}");
        let made = plain(home, &format!("key recover {page} --out {again}")).done();
        assert_eq!(
            (&made["type"], made["files"].as_array().unwrap().len()),
            (&"key_recovered".into(), 1 + usize::from(has_public))
        );
        assert_eq!(fs::read(home.join(&again)).unwrap(), fs::read(home.join(file)).unwrap());
        assert_eq!(fs::metadata(home.join(&again)).unwrap().permissions().mode() & 0o777, 0o600);
        if has_public {
            let public = |name: &str| fs::read(home.join(format!("{name}.pub"))).unwrap();
            assert_eq!(public(&again), public(file));
        }
        // As scripts get it, by stdin.
        let sheet = plain(home, &format!("key sheet {file}")).done();
        let lines: Vec<&str> = sheet["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let out = home.join(format!("third.{file}"));
        run_with_input(["key", "recover", "-", "--out", text(&out)], &lines.join("\r\n").to_lowercase()).done();
        assert_eq!(fs::read(out).unwrap(), fs::read(home.join(file)).unwrap());
    }
}

#[test]
fn a_sheet_that_is_none_makes_no_key_and_says_which_line_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    keys(home);
    let sheet = run(["key", "sheet", text(&home.join("acme.root"))]).stdout;
    let line = sheet.lines().find(|line| line.starts_with("2 ")).unwrap();
    let wrong = match line.chars().nth(10) {
        Some('7') => format!("{}8{}", &line[..10], &line[11..]),
        _ => format!("{}7{}", &line[..10], &line[11..]),
    };
    for (name, content, says) in [
        ("mistyped", sheet.replace(line, &wrong), "line `2` is mistyped"),
        ("short", sheet.split("whole").next().unwrap().to_owned(), "line `whole` is missing"),
        ("empty", String::new(), "this is no recovery sheet"),
        ("newer", sheet.replace("strongroom-sheet-1", "strongroom-sheet-9"), "another version"),
        ("key", fs::read_to_string(home.join("acme.root")).unwrap(), "this is no recovery sheet"),
    ] {
        fs::write(home.join(name), content).unwrap();
        let error = plain(home, &format!("key recover {name} --out out")).error(3);
        assert_eq!(error["reason"], "SHEET", "{name}");
        assert!(error["message"].as_str().unwrap().contains(says), "{name}: {error}");
        assert!(!home.join("out").exists(), "{name}");
    }
    fs::write(home.join("binary"), [0xff; 100]).unwrap();
    plain(home, "key recover binary --out out").error(3);
    plain(home, "key recover absent --out out").error(1);
    plain(home, "key recover --out out").error(2);
    // Nothing is written over, and no public half of another key stays beside.
    let before = fs::read(home.join("anna.signing")).unwrap();
    fs::write(home.join("sheet"), &sheet).unwrap();
    assert_eq!(plain(home, "key recover sheet --out anna.signing").error(3)["reason"], "EXISTS");
    assert_eq!(fs::read(home.join("anna.signing")).unwrap(), before);
    fs::remove_file(home.join("anna.signing")).unwrap();
    assert_eq!(plain(home, "key recover sheet --out anna.signing").error(3)["reason"], "OTHER_KEY");
    assert!(!home.join("anna.signing").exists());
    // A sheet is asked of a secret key only.
    assert_eq!(plain(home, "key sheet acme.root.pub").error(3)["reason"], "KEY_FILE");
    fs::set_permissions(home.join("acme.root"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(plain(home, "key sheet acme.root").error(3)["reason"], "KEY_FILE");
}

#[test]
fn without_a_terminal_nothing_secret_is_printed_and_where_the_sheet_is_is_said() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for line in ["init-key restorer --identity rita --out a", "init-key restorer --identity rita --no-confirm --out b"]
    {
        let made = plain(home, line);
        made.done();
        let file = line.rsplit(' ').next().unwrap();
        assert!(made.stderr.contains(&format!("strongroom key sheet {file}")), "{}", made.stderr);
        let secret = secret(&home.join(file));
        assert!(!made.stdout.contains(&secret) && !made.stderr.contains(&secret));
        assert!(!made.stderr.contains("strongroom-sheet"), "{}", made.stderr);
    }
}

#[test]
fn key_check_says_what_a_file_is_and_what_is_wrong_with_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    keys(home);
    for (file, kind) in [
        ("anna.signing", "signing"),
        ("acme.root", "root"),
        ("web-1.writer", "writer"),
        ("rita.restorer", "restorer"),
        ("acme.root.pub", "public half of a root or signing key"),
        ("rita.restorer.pub", "public half of a restorer key"),
    ] {
        let ran = plain(home, &format!("key check {file}"));
        let checked = ran.done();
        assert_eq!(
            (&checked["type"], &checked["kind"], &checked["ok"]),
            (&"key_check".into(), &kind.into(), &true.into())
        );
        if !file.ends_with(".pub") {
            assert!(!ran.stdout.contains(&secret(&home.join(file))), "no secret");
        }
    }
    let writer = plain(home, "key check web-1.writer").done();
    assert_eq!((&writer["identity"], &writer["epoch"], &writer["mode"]), (&"web-1".into(), &1.into(), &"0600".into()));
    let halves = ["rita.restorer", "rita.restorer.pub"]
        .map(|file| plain(home, &format!("key check {file}")).done()["public"].clone());
    assert_eq!(halves[0], halves[1], "both halves have the fingerprint");

    fs::set_permissions(home.join("web-1.writer"), fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = plain(home, "key check web-1.writer");
    assert_eq!((exposed.code, &exposed.last()["ok"]), (1, &false.into()));
    assert!(exposed.last()["looks"][0]["message"].as_str().unwrap().contains("chmod 600"), "{}", exposed.stdout);

    let root = fs::read_to_string(home.join("acme.root")).unwrap();
    fs::write(home.join("damaged"), root.replacen("secret ", "secret 0", 1)).unwrap();
    fs::write(home.join("large"), vec![b'x'; 1 << 20]).unwrap();
    fs::write(home.join("binary"), [0xff, 0xfe]).unwrap();
    fs::write(home.join("empty"), "").unwrap();
    fs::create_dir(home.join("directory")).unwrap();
    for file in ["damaged", "large", "binary", "empty", "directory"] {
        let error = plain(home, &format!("key check {file}")).error(3);
        assert_eq!(error["reason"], "KEY_FILE", "{file}");
        assert!(error["next"].as_str().unwrap().contains("key recover"), "{error}");
    }
    plain(home, "key check absent").error(1);
    plain(home, "key check acme.root --vault v").error(2);
}

/// A program at a terminal of its own; what is typed and what is shown.
struct Sitting {
    child: std::process::Child,
    shown: String,
}

impl Sitting {
    /// `script` gives it the terminal.
    fn down(home: &Path, line: &str) -> Self {
        let program = format!("{} {line}", env!("CARGO_BIN_EXE_strongroom"));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &program, "/dev/null"]);
        let child = command.current_dir(home).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { child, shown: String::new() }
    }

    /// Reads until this is shown.
    fn wait_for(&mut self, text: &str) {
        let from = self.shown.len();
        let mut byte = [0];
        while !self.shown[from..].ends_with(text) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert_ne!(read, 0, "it ended before it showed {text:?}:\n{}", self.shown);
            // What is waited for is ASCII.
            self.shown.push(char::from(byte[0]));
        }
    }

    fn type_in(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn ends(mut self) -> (i32, String) {
        let mut rest = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().unwrap().code().unwrap(), self.shown)
    }
}

/// The lines of a sheet on the screen, and what comes after each one's label.
fn on_screen(shown: &str) -> Vec<String> {
    let from = shown.find("strongroom-sheet-1").unwrap_or_else(|| panic!("no sheet: {shown}"));
    let lines = shown[from..].lines().skip(1).map(str::trim).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_once(' ').unwrap().1.trim().to_owned()).collect()
}

#[test]
fn at_a_terminal_a_key_exists_only_once_its_sheet_was_typed_back() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("`script` is not installed: nobody can sit at a terminal here");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut sitting = Sitting::down(home, "init-key restorer --identity rita --out rita.restorer");
    sitting.wait_for("type it back once. ");
    let lines = on_screen(&sitting.shown);
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(!home.join("rita.restorer").exists());
    sitting.type_in("");
    for (at, line) in lines.iter().enumerate() {
        let label = ["kind", "identity", "1", "2", "3", "4", "whole"][at];
        sitting.wait_for(&format!("  {label:<9} "));
        if label == "3" {
            // A typing error costs a line, not all of them.
            sitting.type_in("AAAA AAAA AAAA A AAAA");
            sitting.wait_for("line `3` is mistyped: its check does not fit; type it again");
            sitting.wait_for(&format!("  {label:<9} "));
        }
        sitting.type_in(&line.to_lowercase());
    }
    let (code, shown) = sitting.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("wrote rita.restorer.pub"), "{shown}");
    let sheet = plain(home, "key sheet rita.restorer").done();
    let kept: Vec<String> = sheet["lines"].as_array().unwrap()[1..]
        .iter()
        .map(|line| line.as_str().unwrap().split_once(' ').unwrap().1.trim().to_owned())
        .collect();
    assert_eq!(kept, lines);

    // Back from paper, at a terminal.
    let mut sitting = Sitting::down(home, "key recover --out again");
    for (label, line) in ["kind", "identity", "1", "2", "3", "4", "whole"].into_iter().zip(&lines) {
        sitting.wait_for(&format!("  {label:<9} "));
        sitting.type_in(line);
    }
    let (code, shown) = sitting.ends();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(fs::read(home.join("again")).unwrap(), fs::read(home.join("rita.restorer")).unwrap());

    // Whoever gives up has made nothing: the sheet of another key, or Ctrl-C.
    let mut sitting = Sitting::down(home, "init-key restorer --identity rita --out other");
    sitting.wait_for("type it back once. ");
    sitting.type_in("");
    for (label, line) in ["kind", "identity", "1", "2", "3", "4", "whole"].into_iter().zip(&lines) {
        sitting.wait_for(&format!("  {label:<9} "));
        sitting.type_in(line);
    }
    let (code, shown) = sitting.ends();
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("of another key"), "{shown}");
    let mut sitting = Sitting::down(home, "init-key restorer --identity rita --out other");
    sitting.wait_for("type it back once. ");
    sitting.type_in("\x03");
    let (code, shown) = sitting.ends();
    assert_eq!(code, 130, "{shown}");
    assert!(!home.join("other").exists());

    // On request it is shown and not asked back.
    let (code, shown) = Sitting::down(home, "init-key restorer --identity rita --no-confirm --out shown").ends();
    assert_eq!((code, on_screen(&shown).len()), (0, 7), "{shown}");
}
