//! How a page is followed: on machines of its own, block by block, to the first that fails.
//!
//! `deploy/three-machines.md` itself is followed by `.ci/run`, with real nodes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Follows a page with programs that are never started.
fn follow(page: &Path, flags: &[&str]) -> Output {
    let bin = tempfile::tempdir().unwrap();
    for program in ["strongroom", "strongroomd"] {
        fs::write(bin.path().join(program), "#!/bin/false\n").unwrap();
        fs::set_permissions(bin.path().join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-jepsen"));
    command.arg("three-machines").arg("--page").arg(page).args(flags).env("STRONGROOM_BIN_DIR", bin.path());
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_page_that_leaves_something_out_is_refused_before_anything_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    fs::write(&page, "| `one` | `west` | `10.77.1.10` |\n```sh\ntrue\n```\n").unwrap();
    let output = follow(&page, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("line 2: `sh` does not say where this is typed"), "{said}");
}

#[test]
fn the_page_in_deploy_can_be_read_and_names_every_file_that_it_needs() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy");
    let text = fs::read_to_string(deploy.join("three-machines.md")).unwrap();
    for file in ["strongroomd.service", "strongroom-ca@.service"] {
        assert!(text.contains(file) && deploy.join(file).exists(), "{file}");
    }
    assert!(text.lines().filter(|line| line.starts_with("```sh ")).count() > 10);
}

// One test: pages have one network on a host.
#[test]
#[ignore = "needs root, /dev/net/tun and iproute2; .ci/run has them"]
fn a_page_is_followed_block_by_block_to_the_first_that_fails() {
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/small-page.md");
    let text = fs::read_to_string(&small).unwrap();
    let result = |flags: &[&str]| -> Value {
        let output = follow(&small, flags);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap())
            .unwrap()
    };
    let (near, far) = (result(&[]), result(&["--delay-ms", "40", "--loss", "0.01"]));
    assert_eq!((near["blocks"].as_u64(), near["timing"].as_str()), (Some(6), Some("lan")), "{near}");
    assert_eq!((far["blocks"].as_u64(), far["timing"].as_str()), (Some(8), Some("wan")), "{far}");
    assert!((80.0..120.0).contains(&far["round_trip_ms"].as_f64().unwrap()), "{far}");
    assert!(0 < far["between_regions"]["lost"].as_u64().unwrap(), "{far}");

    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    fs::write(&page, format!("{text}\n```sh two\necho \"going wrong\"\nfalse\ntouch /root/never\n```\n")).unwrap();
    let output = follow(&page, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().count() + 2;
    assert!(!output.status.success() && said.contains("going wrong"), "{said}");
    assert!(said.contains(&format!("line {line} of the page, typed on two")), "{said}");
    let kept = said.split("are kept in ").nth(1).unwrap().split([':', '\n']).next().unwrap();
    assert!(Path::new(kept).join("two/root/greeting").exists() && !Path::new(kept).join("two/root/never").exists());
    fs::remove_dir_all(kept).unwrap();
}
