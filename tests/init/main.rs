//! `up` as PID 1 of a namespace of its own, and in place beside a command: what a container is.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixture/mod.rs"]
mod fixture;

mod alone;
mod output;
mod project;
mod storms;
mod terminal;

use std::process::Command;

use common::{Project, Up, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Only root may make a namespace; for others these tests say nothing.
fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// `runner WORDS` as PID 1. Should the test end early, all of it ends.
fn as_init(project: &Project, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            env!("CARGO_BIN_EXE_runner"),
        ])
        .args(words)
        .current_dir(project.path())
        .stdin(std::process::Stdio::null());
    command
}

/// A running init, seen from outside of its namespace.
struct Init {
    up: Up,
}

impl Init {
    fn start(project: &Project, words: &[&str]) -> Init {
        Init {
            up: Up::start(as_init(project, words)),
        }
    }

    /// Its number here.
    fn pid(&self) -> u32 {
        let mut found = Vec::new();
        eventually("the init has begun", || {
            found = children(self.up.child.id());
            // Before that it is still unshare(1).
            found.first().is_some_and(|pid| name(*pid).starts_with("runner"))
        });
        found[0]
    }

    /// Sends what has an effect on it: until its program is loaded and runs, the kernel drops every signal but SIGKILL.
    fn signal(&self, signal: Signal) {
        let pid = self.pid();
        eventually("the init can be met", || hears(pid, signal));
        kill(Pid::from_raw(pid as i32), signal).unwrap();
    }

    /// The exit code, once all of it is over.
    fn code(&mut self) -> Option<i32> {
        self.up.end().code()
    }

    /// What was said last, and not by a service.
    fn last(&self) -> &str {
        let own = self.up.seen.iter().rfind(|line| line.starts_with("runner  "));
        own.map_or("", String::as_str)
    }
}

fn children(pid: u32) -> Vec<u32> {
    let words = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    words.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}

/// Whether a process holds a signal back or has a handler for it.
fn hears(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let sets = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigBlk:").or_else(|| line.strip_prefix("SigCgt:")));
    sets.map(|set| u64::from_str_radix(set.trim(), 16).unwrap())
        .any(|set| set >> (signal as i32 - 1) & 1 == 1)
}

/// Those children that have ended and were not reaped.
fn zombies(pid: u32) -> usize {
    let states = children(pid).into_iter().filter_map(runner::sys::processes::stat);
    states.filter(runner::sys::processes::Stat::is_zombie).count()
}
