//! Guardian and daemon of a project, seen from outside.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Project, eventually};

/// The two processes behind a project.
pub struct Roles {
    pub guardian: u32,
    pub daemon: u32,
}

impl Roles {
    pub fn of(project: &Project) -> Roles {
        let words = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut mine = Vec::new();
        // A child of the guardian has its words until it executes its own.
        eventually("one guardian and one daemon", || {
            let all = project
                .processes()
                .into_iter()
                .map(|pid| (words(pid).contains("__guardian"), words(pid), pid));
            mine = all
                .filter(|(_, words, _)| words.contains("__daemon"))
                .map(|(first, _, pid)| (first, pid))
                .collect();
            mine.sort();
            matches!(mine[..], [(false, _), (true, _)])
        });
        let [(_, daemon), (_, guardian)] = mine[..] else {
            unreachable!("as was waited for")
        };
        Roles { guardian, daemon }
    }

    pub fn both(&self) -> [u32; 2] {
        [self.guardian, self.daemon]
    }

    pub fn descriptors(&self) -> usize {
        self.both()
            .map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
            .iter()
            .sum()
    }

    /// The most memory that the two ever had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.both().map(|pid| status_field(pid, "VmHWM:")).iter().sum()
    }
}

fn status_field(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}
