//! Recovery sheets: what is written is typed back, in any case and spacing; every typing error is found and named.

use strongroom_format::any_key::{AnyKey, KeyKind};
use strongroom_format::keys::KeyFileError;
use strongroom_format::secret::WeakKey;
use strongroom_format::sheet::{SheetError, Took, Typed, read, write};

use crate::golden;
use crate::sample::Tenant;

fn keys() -> [AnyKey; 4] {
    let acme = Tenant::new("acme");
    [
        AnyKey::Root(acme.root.clone()),
        AnyKey::Signing(acme.signing.clone()),
        AnyKey::Writer(acme.writer.clone()),
        AnyKey::Restorer(acme.restorer.clone()),
    ]
}

#[test]
fn sheets_keep_their_text_and_are_read_back() {
    for key in keys() {
        let sheet = write(&key);
        golden::text(&format!("sheet-{}-1.txt", key.kind().as_str()), &sheet);
        assert_eq!(read(&sheet).unwrap().to_text(), key.to_text());
    }
}

#[test]
fn case_spaces_hyphens_and_digits_that_look_alike_do_not_matter() {
    for key in keys() {
        let sheet = write(&key);
        assert_eq!(read(&sheet.to_lowercase()).unwrap().to_text(), key.to_text());
        let around = format!("Keep this safe.\n\n# {}\n{}\nhow to use it …", "x", sheet.as_str());
        assert_eq!(read(&around).unwrap().to_text(), key.to_text());
        let mut typed = Typed::new();
        let mut lines = sheet.lines().skip(1);
        let key_again = loop {
            let line = lines.next().unwrap();
            let label = typed.next_label();
            assert!(line.starts_with(label));
            // Without its label, with other spaces; the secret with letters for digits.
            let bare = line[label.len()..].trim();
            let line = match label.parse::<u8>() {
                Ok(_) => bare.replace(' ', "  ").replace('0', "o").replace('1', "l"),
                Err(_) => bare.to_owned(),
            };
            if let Took::Key(key) = typed.take(&line).unwrap() {
                break key;
            }
        };
        assert_eq!(key_again.to_text(), key.to_text());
    }
}

/// Whether two characters are read as the same digit.
fn alike(a: char, b: char) -> bool {
    let read = |c: char| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    read(a) == read(b)
}

#[test]
fn every_wrong_character_is_found_in_its_line() {
    for key in keys() {
        let sheet = write(&key);
        let lines: Vec<&str> = sheet.lines().collect();
        for (number, line) in lines.iter().enumerate().skip(1) {
            let label = line.split_whitespace().next().unwrap();
            for (at, right) in line.char_indices().filter(|(at, c)| label.len() <= *at && *c != ' ') {
                for wrong in ['2', 'K', '7'].into_iter().filter(|wrong| !alike(*wrong, right)) {
                    let mistyped = format!("{}{wrong}{}", &line[..at], &line[at + 1..]);
                    let mut text = lines.clone();
                    text[number] = &mistyped;
                    let fault = read(&text.join("\n")).unwrap_err();
                    match (&fault, label) {
                        (SheetError::Mixed, "whole") => {}
                        (SheetError::Mistyped { label: named }, label) if *named == label => {}
                        (_, _) => panic!("{line} as {mistyped}: {fault:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn lines_that_are_missing_misplaced_or_of_another_sheet_make_no_key() {
    let [root, signing, writer, restorer] = keys().map(|key| write(&key).to_string());
    let lines: Vec<&str> = root.lines().collect();
    for left_out in 1..lines.len() {
        let text: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, line)| *line).collect();
        let fault = read(&text.join("\n")).unwrap_err();
        assert!(matches!(fault, SheetError::Missing { .. } | SheetError::Mistyped { .. }), "{left_out}: {fault:?}");
    }
    let swapped = [lines[0], lines[1], lines[3], lines[2], lines[4], lines[5], lines[6]].join("\n");
    assert_eq!(read(&swapped).unwrap_err(), SheetError::Mistyped { label: "1" });
    let other: Vec<&str> = signing.lines().collect();
    let mixed = [lines[0], lines[1], other[2], lines[3], lines[4], lines[5], lines[6]].join("\n");
    assert_eq!(read(&mixed).unwrap_err(), SheetError::Mixed);
    assert_eq!(read("").unwrap_err(), SheetError::NotASheet);
    assert_eq!(read(&writer.replace("sheet-1", "sheet-2")).unwrap_err(), SheetError::OtherVersion);
    assert_eq!(read(&restorer.replace("restorer ", "king     ")).unwrap_err(), SheetError::Mistyped { label: "kind" });
    assert_eq!(Typed::new().take(&"x ".repeat(10_000)).unwrap_err(), SheetError::Mistyped { label: "kind" });
    assert_eq!(Typed::new().take("").unwrap_err(), SheetError::Missing { label: "kind" });
    assert_eq!(Typed::new().take("größe schön").unwrap_err(), SheetError::Mistyped { label: "kind" });
}

#[test]
fn n49_a_weak_key_is_refused_on_paper_too() {
    let weak = AnyKey::from_values(KeyKind::Root, &[&"00".repeat(32)]).unwrap_err();
    assert_eq!(weak, KeyFileError::Weak(WeakKey::Uniform));
}
