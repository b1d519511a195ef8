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

    several_tenants_share_tables(home.path(), &vault);
    // What an application makes, without a file, and some of it back.
    let (ok, said) = example("back_up_stream", &[text(&writer), &vault, "200000"]);
    let all: String = (0..200_000_u64).map(|order| format!("order {order}, {} pieces\n", order % 7 + 1)).collect();
    assert!(ok && said.contains(&format!("has {} bytes in orders.txt", all.len())), "{said}");
    let (ok, said) = example("read_range", &[text(&restorer), &vault, "orders.txt", "3000000", "3000099"]);
    assert!(ok && said.ends_with(&format!("100 of {} bytes: {}\n", all.len(), &all[3_000_000..3_000_100])), "{said}");
    let (ok, said) = example("read_range", &[text(&restorer), &vault, "orders.txt", "99999999", "99999999"]);
    assert!(!ok && said.contains("OUT_OF_RANGE"), "{said}");

    // An error says what its reader knows, and what to do.
    let (ok, said) = example("watch_progress", &[text(&restorer), &vault, text(&top)]);
    assert!(!ok && said.contains("refused, and will be again") && said.contains("next: "), "{said}");
    let all = ["back_up_stream", "cancel", "list", "read_range", "restore_some", "shared_tables", "watch_progress"];
    for name in all {
        let (ok, said) = example(name, &[]);
        assert!(!ok && said.contains("usage: "), "{name}: {said}");
    }
}

/// Two tenants' rows in the same tables of a store: each is backed up by processes of its own, damaged, and restored; the
/// other's rows stay as they are, and neither tenant's people find the other's snapshot.
fn several_tenants_share_tables(home: &Path, vault: &str) {
    let cluster = cluster();
    cluster.run("globex-admin", ["vault", "create", vault]).done();
    let store = home.join("store");
    fs::create_dir(&store).unwrap();
    let row = |tenant: &str, table: u32, key: u32| format!("{tenant}\tkey-{key}\tvalue {key} in {table}\n");
    for table in 0..3 {
        let rows: String = (0..40).map(|key| row(["acme", "globex"][(key % 2) as usize], table, key)).collect();
        fs::write(store.join(format!("table-{table}")), rows).unwrap();
    }
    let rows_of = |tenant: &str| {
        let mut rows: Vec<String> = Vec::new();
        for table in 0..3 {
            let all = fs::read_to_string(store.join(format!("table-{table}"))).unwrap();
            rows.extend(all.lines().filter(|row| row.starts_with(&format!("{tenant}\t"))).map(str::to_owned));
        }
        rows
    };
    let before = [rows_of("acme"), rows_of("globex")];
    let mut wholes = Vec::new();
    for tenant in ["acme", "globex"] {
        let writer = cluster.profile(&format!("{tenant}-writer"));
        let (ok, said) = example("shared_tables", &["backup", text(&store), vault, text(&writer)]);
        assert!(ok && said.contains("has all tables"), "{said}");
        let whole = said.lines().find(|line| line.ends_with("has all tables")).unwrap();
        wholes.push(whole.split(' ').nth(1).unwrap().to_owned());
    }
    // Rows of one are lost, one of the other's changes, and rows come that are in no backup.
    for table in 0..3 {
        let path = store.join(format!("table-{table}"));
        let left: String = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .filter(|row| row.starts_with("globex"))
            .map(|row| format!("{row}\n"))
            .collect();
        fs::write(path, left.replace("value 1 in", "value one in") + "acme\tlater\tnot in the backup\n").unwrap();
    }
    let changed = rows_of("globex");
    assert_ne!(changed, before[1]);
    let restorer = cluster.profile("acme-restorer");
    let (ok, said) = example("shared_tables", &["restore", text(&store), text(&restorer), &wholes[0]]);
    assert!(ok && said.contains("table-2: 20 rows of acme"), "{said}");
    assert_eq!([rows_of("acme"), rows_of("globex")], [before[0].clone(), changed], "acme as it was, globex as it is");
    // Another tenant's whole is as if it was not there, and nothing is written.
    let (ok, said) = example("shared_tables", &["restore", text(&store), text(&restorer), &wholes[1]]);
    assert!(!ok && said.contains("NOT_FOUND") || said.contains("no such"), "{said}");
    let restorer = cluster.profile("globex-restorer");
    let (ok, said) = example("shared_tables", &["restore", text(&store), text(&restorer), &wholes[1]]);
    assert!(ok, "{said}");
    assert_eq!([rows_of("acme"), rows_of("globex")], before);
}
