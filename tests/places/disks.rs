//! Disks that can't be written.

use crate::bed::{Bed, STRANGER, WEB, read_only};
use crate::common::{eventually, stderr, stdout};
use crate::namespace::is_inside;

const ONLY: &str = "can't be written";
const NOWHERE: &str = "nothing can be written here";

/// One tmpfs is enough for everything, also for what is lost and taken over.
fn with_one_tmpfs(uid: u32) {
    let bed = Bed::new(uid, WEB);
    read_only(&["/tmp"]);
    bed.basic_suite();
    let up = bed.succeed(&["up", "-d"]);
    assert_eq!(stderr(&up).matches(ONLY).count(), 1, "{}", stderr(&up));
    assert_eq!(
        bed.warnings().iter().filter(|words| words.contains(ONLY)).count(),
        2,
        "once a project"
    );
    bed.outlives_its_daemon("web");
    let pid = bed.pid("web");
    bed.kill("runner-guardian");
    eventually("another guardian is there", || bed.runner(&["ps"]).status.success());
    assert_eq!(bed.pid("web"), pid);
    bed.succeed(&["down"]);
    assert!(
        stdout(&bed.succeed(&["logs", "web"])).contains("hello"),
        "the logs stay"
    );
    bed.succeed(&["clean", "--yes"]);
    assert_eq!(std::fs::read_dir("/mnt/app").unwrap().count(), 1);
}

#[test]
fn en_01_a_read_only_root_with_one_tmpfs() {
    if is_inside("disks::en_01_a_read_only_root_with_one_tmpfs") {
        with_one_tmpfs(0);
    }
}

#[test]
fn en_01_a_read_only_root_with_one_tmpfs_as_nobody_known() {
    if is_inside("disks::en_01_a_read_only_root_with_one_tmpfs_as_nobody_known") {
        with_one_tmpfs(STRANGER);
    }
}

fn nowhere(uid: u32) {
    let bed = Bed::new(uid, WEB);
    read_only(&[]);
    let said = bed.basic_suite();
    assert_eq!(said.matches(NOWHERE).count(), 1, "{said}");
    bed.succeed(&["up", "-d"]);
    // What it was started with can't be known any more: it is ended and started, and never runs twice.
    for killed in ["runner-daemon", "runner-guardian"] {
        let pid = bed.pid("web");
        bed.kill(killed);
        eventually("it is started anew", || {
            let ps = bed.runner(&["ps", "--json"]);
            let ps: serde_json::Value = serde_json::from_slice(&ps.stdout).unwrap_or_default();
            let web = &ps["services"][0];
            web["state"] == "ready" && web["pid"] != pid
        });
    }
    assert_eq!(bed.named("sleep").len(), 1, "none of the lives before");
    bed.succeed(&["down"]);
    eventually("all are gone", || {
        ["sleep", "runner-daemon", "runner-guardian"]
            .iter()
            .all(|name| bed.named(name).is_empty())
    });
}

#[test]
fn en_01_nowhere_to_write() {
    if is_inside("disks::en_01_nowhere_to_write") {
        nowhere(0);
    }
}

#[test]
fn en_01_nowhere_to_write_as_nobody_known() {
    if is_inside("disks::en_01_nowhere_to_write_as_nobody_known") {
        nowhere(STRANGER);
    }
}
