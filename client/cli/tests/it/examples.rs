//! The SDK's examples, run against the cluster: what the documentation shows is what happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::cluster;

/// An example, from the same target directory.
fn example(name: &str, arguments: &[&str]) -> (bool, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_strongroom")).with_file_name("examples").join(name);
    if !program.exists() {
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        panic!("{} is not there; build it with: cargo build{release} -p strongroom --examples", program.display());
    }
    let output = Command::new(program).args(arguments).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), format!("{stdout}{stderr}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn source(home: &Path) -> PathBuf {
    let top = home.join("source");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("small"), "a few bytes").unwrap();
    // More than a first look takes, so that there is a middle to stop in.
    fs::write(top.join("large"), (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    top
}

#[test]
fn the_examples_do_what_they_say() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let (vault, top) = (cluster.vault(), source(home.path()));
    let (writer, restorer) = (cluster.profile("acme-writer"), cluster.profile("acme-restorer"));

    let (ok, said) = example("cancel", &[text(&writer), &vault, text(&top)]);
    assert!(ok && said.contains("has all of it"), "{said}");
    let (ok, said) = example("watch_progress", &[text(&writer), &vault, text(&top)]);
    assert!(ok && said.contains("read ") && said.contains("survives the loss of"), "{said}");
    let (ok, said) = example("list", &[text(&restorer), &vault]);
    assert!(ok && said.contains("/watched") && said.contains("entry large 12000000 bytes"), "{said}");
    let to = home.path().join("some");
    let (ok, said) = example("restore_some", &[text(&restorer), &vault, text(&to), "large", "small"]);
    assert!(ok && said.contains("restored 2 files"), "{said}");
    for file in ["small", "large"] {
        assert_eq!(fs::read(to.join(file)).unwrap(), fs::read(top.join(file)).unwrap(), "{file}");
    }

    // An error says what its reader knows, and what to do.
    let (ok, said) = example("watch_progress", &[text(&restorer), &vault, text(&top)]);
    assert!(!ok && said.contains("refused, and will be again") && said.contains("next: "), "{said}");
    for name in ["cancel", "watch_progress", "list", "restore_some"] {
        let (ok, said) = example(name, &[]);
        assert!(!ok && said.contains("usage: "), "{name}: {said}");
    }
}
