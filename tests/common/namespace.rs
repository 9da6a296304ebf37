//! A PID namespace of our own, in which numbers of processes can be given as it pleases.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part of it

use std::process::{Child, Command};

const INSIDE: &str = "RUNNER_TEST_INSIDE";

/// Runs the test of this name again in a namespace; `true`: here we are. For root: nobody else may, and then nothing is run.
pub fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if nix::unistd::Uid::effective().is_root() {
        let mut again = Command::new("unshare");
        // The shell is the init of it: orphans are reaped.
        again.args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            "\"$@\"; exit $?",
            "sh",
        ]);
        again
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"]);
        assert!(
            again.env(INSIDE, "1").status().unwrap().success(),
            "inside of the namespace"
        );
    }
    false
}

/// Starts it until it has this number, which must be free.
pub fn numbered(pid: u32, mut start: impl FnMut() -> Child) -> Child {
    for _ in 0..100 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = start();
        if child.id() == pid {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("{pid} is not free");
}
