//! An environment that says nothing, a folder that is gone, little memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::{Bed, RUNNER, STRANGER, WEB, succeeds};
use crate::common::{stderr, stdout};
use crate::namespace::is_inside;

#[test]
fn en_02_an_environment_that_says_nothing() {
    if is_inside("surroundings::en_02_an_environment_that_says_nothing") {
        let bed = Bed::new(STRANGER, WEB).through(&["env", "-i"]);
        bed.basic_suite();
    }
}

#[test]
fn en_02_folders_of_the_environment_that_are_not_there() {
    if is_inside("surroundings::en_02_folders_of_the_environment_that_are_not_there") {
        let variables = [
            "HOME=/nosuch",
            "TMPDIR=/nosuch",
            "XDG_RUNTIME_DIR=/nosuch",
            "XDG_STATE_HOME=/nosuch",
        ];
        let bed = Bed::new(STRANGER, WEB).through(&["env"]).through(&variables);
        bed.basic_suite();
    }
}

#[test]
fn en_02_a_working_folder_that_is_gone() {
    if is_inside("surroundings::en_02_a_working_folder_that_is_gone") {
        let bed = Bed::new(STRANGER, WEB);
        std::fs::create_dir("/mnt/gone").unwrap();
        let script = "cd /mnt/gone && rmdir /mnt/gone && exec \"$@\"";
        let from_there = |words: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).arg(RUNNER).args(words);
            command.output().unwrap()
        };
        let lost = from_there(&["ps"]);
        assert_eq!(lost.status.code(), Some(1));
        assert!(
            stderr(&lost).contains("working folder") && stderr(&lost).contains("-C DIR"),
            "{}",
            stderr(&lost)
        );
        bed.succeed(&["up", "-d"]);
        std::fs::create_dir("/mnt/gone").unwrap();
        let checked = from_there(&["-C", "/mnt/app", "check"]);
        assert!(checked.status.success(), "{}", stderr(&checked));
        bed.succeed(&["down"]);
    }
}

#[test]
fn en_08_a_small_stack() {
    if is_inside("surroundings::en_08_a_small_stack") {
        let bed = Bed::new(STRANGER, WEB).through(&["prlimit", "--stack=1048576"]);
        bed.basic_suite();
    }
}

/// A control group of ours with so much memory; `None` where none can be made.
fn small_group(bytes: u64) -> Option<PathBuf> {
    // Numbers of processes are the same in every namespace.
    let name = format!("runner-places-{}", runner::sys::clock::wall_ns());
    for (base, limit) in [
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ] {
        let group = Path::new(base).join(&name);
        let made = std::fs::create_dir(&group).is_ok();
        // Elsewhere than in a control group there is no such file.
        if made && group.join(limit).exists() && std::fs::write(group.join(limit), bytes.to_string()).is_ok() {
            return Some(group);
        }
        let _ = std::fs::remove_dir(&group);
    }
    None
}

#[test]
fn en_08_a_hundred_services_in_64_mb() {
    if !is_inside("surroundings::en_08_a_hundred_services_in_64_mb") {
        return;
    }
    let Some(group) = small_group(64 << 20) else {
        println!("no control group for memory can be made here");
        return;
    };
    let services: String = (0..100)
        .map(|n| format!("[services.s{n}]\ncommand = [\"sleep\", \"1000\"]\n"))
        .collect();
    let join = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.display());
    let bed = Bed::new(0, &services).through(&["sh", "-c", &join, "sh"]);
    bed.succeed(&["up", "-d"]);
    let ps = stdout(&bed.succeed(&["ps", "-q"]));
    assert_eq!(ps.lines().count(), 100);
    let checks = stdout(&bed.succeed(&["doctor"]));
    assert!(checks.contains("memory limit: 67 MB"), "{checks}");
    let killed = std::fs::read_to_string(group.join("memory.oom_control")).unwrap_or_default();
    assert!(
        !killed
            .lines()
            .any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0"),
        "{killed}"
    );
    bed.succeed(&["down"]);
    succeeds(Command::new("rmdir").arg(&group));
}
