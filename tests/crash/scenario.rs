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
    /// How often each service may be started in it and in the `up` behind it.
    pub starts: [usize; 2],
}

pub const UP: Scenario = Scenario {
    name: "up",
    keeps: ALL,
    before: |_, _| {},
    act: up,
    starts: [1, 1],
};

pub const RESTART: Scenario = Scenario {
    name: "restart",
    keeps: ALL,
    before: up,
    act: |bed, faults| drop(bed.verb_under(faults, &["restart", COUNTER])),
    starts: [2, 1],
};

pub const STOP: Scenario = Scenario {
    name: "stop",
    keeps: ALL,
    before: up,
    act: |bed, faults| drop(bed.verb_under(faults, &["stop"])),
    starts: [2, 2],
};

pub const EDIT: Scenario = Scenario {
    name: "edit",
    keeps: ALL,
    before: up,
    act: |bed, faults| {
        bed.edit(1);
        up(bed, faults);
    },
    starts: [2, 1],
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
    starts: [1, 1],
};

/// The oldest file has to go.
pub const FEW: Scenario = Scenario {
    name: "few",
    keeps: 3,
    before: up,
    act: |bed, _| until_hit_twice(bed, "logs.oldest-removed"),
    starts: [1, 1],
};

/// The only file begins again and again.
pub const ONLY: Scenario = Scenario {
    name: "only",
    keeps: 1,
    before: up,
    act: |bed, _| until_hit_twice(bed, "logs.emptied"),
    starts: [1, 1],
};

fn until_hit_twice(bed: &Bed, point: &str) {
    let is_hit_twice = || bed.points_hit().iter().filter(|name| *name == point).count() >= 2;
    eventually(&format!("two hits of {point}, or the end"), || {
        is_hit_twice() || roles(bed).len() < 2
    });
}

/// The daemon is killed, and the guardian starts another one.
pub const REVIVE: Scenario = Scenario {
    name: "revive",
    keeps: ALL,
    before: up,
    act: |bed, _| {
        kill_all(roles(bed).get(1));
        answered(bed);
    },
    starts: [1, 1],
};

/// The guardian is killed, and the daemon becomes another one.
pub const REBIRTH: Scenario = Scenario {
    name: "rebirth",
    keeps: ALL,
    before: up,
    act: |bed, _| {
        kill_all(roles(bed).first());
        answered(bed);
    },
    starts: [1, 1],
};

/// Both roles are killed, and the next `up` takes over.
pub const ADOPT: Scenario = Scenario {
    name: "adopt",
    keeps: ALL,
    before: |bed, faults| {
        up(bed, faults);
        kill_all(&roles(bed));
    },
    act: up,
    starts: [1, 1],
};

/// A daemon answers once it has taken over what there is.
fn answered(bed: &Bed) {
    bed.verb(&["ps"]);
}

pub fn kill_all<'a>(pids: impl IntoIterator<Item = &'a u32>) {
    for pid in pids {
        let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
    }
}

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
