//! What runner is doing when it is killed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bed::{ALL, Bed, COUNTER};
use crate::common::eventually;

/// Both take the script of faults; in the run that counts, it is empty.
pub struct Scenario {
    pub name: &'static str,
    /// How many log files are kept.
    pub keeps: u32,
    /// Hits from here are not enumerated.
    pub before: fn(&Bed, &str),
    pub act: fn(&Bed, &str),
}

pub const UP: Scenario = Scenario {
    name: "up",
    keeps: ALL,
    before: |_, _| {},
    act: up,
};

pub const RESTART: Scenario = Scenario {
    name: "restart",
    keeps: ALL,
    before: up,
    act: |bed, faults| drop(bed.verb_under(faults, &["restart", COUNTER])),
};

pub const STOP: Scenario = Scenario {
    name: "stop",
    keeps: ALL,
    before: up,
    act: |bed, faults| drop(bed.verb_under(faults, &["stop"])),
};

pub const EDIT: Scenario = Scenario {
    name: "edit",
    keeps: ALL,
    before: up,
    act: |bed, faults| {
        bed.edit(1);
        up(bed, faults);
    },
};

pub const LOG: Scenario = Scenario {
    name: "log",
    keeps: ALL,
    before: up,
    act: |bed, _| {
        let third = bed.project.file(".runner/logs/counter.log.3");
        // A pump that was killed turns no page any more.
        eventually("three rotations, or the end of who does them", || {
            third.exists() || roles(bed).len() < 2
        });
    },
};

/// The oldest file has to go.
pub const FEW: Scenario = Scenario {
    name: "few",
    keeps: 3,
    before: up,
    act: |bed, _| until_hit_twice(bed, "logs.oldest-removed"),
};

/// The only file begins again and again.
pub const ONLY: Scenario = Scenario {
    name: "only",
    keeps: 1,
    before: up,
    act: |bed, _| until_hit_twice(bed, "logs.emptied"),
};

fn until_hit_twice(bed: &Bed, point: &str) {
    let is_hit_twice = || bed.points_hit().iter().filter(|name| *name == point).count() >= 2;
    eventually(&format!("two hits of {point}, or the end"), || {
        is_hit_twice() || roles(bed).len() < 2
    });
}

/// Both roles are killed, and the next `up` takes over.
pub const ADOPT: Scenario = Scenario {
    name: "adopt",
    keeps: ALL,
    before: |bed, faults| {
        up(bed, faults);
        for pid in roles(bed) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    },
    act: up,
};

fn up(bed: &Bed, faults: &str) {
    bed.verb_under(faults, &["up", "-d"]);
}

/// Guardian and daemon, as far as they live; the guardian first.
pub fn roles(bed: &Bed) -> Vec<u32> {
    let words = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_role = |pid: &u32| words(pid).contains("__daemon");
    let mut found: Vec<_> = bed.project.processes().into_iter().filter(is_role).collect();
    found.sort_by_key(|pid| !words(pid).contains("__guardian"));
    found
}
