//! Hooks, steps and probe commands of a guardian that was killed: nobody waits for them any more, and no record names them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::MARK;
use super::orders::Ticket;
use super::records;
use crate::sys::pidfd;
use crate::sys::processes::{self, Stat};

/// What a service does not carry at the end of its mark.
const ERRAND: &str = ":errand";
/// Whoever begins another one while it is looked at is found by the next look.
const LOOKS: u32 = 16;
/// SIGKILL may have to wait for a disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// What every process of an errand carries in [`MARK`].
pub fn mark(instance: &str, ticket: Ticket) -> String {
    format!("{}{ERRAND}", records::mark(instance, ticket))
}

/// Ends those of a project, with all that is in their sessions: for who knows that no guardian of it lives, or is the only one and has
/// none under way. The answer: how many processes were met.
pub fn end_left(instance: &str) -> usize {
    let mut met = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..LOOKS {
        let all = processes::all();
        let living = || all.iter().filter(|stat| stat.pid > 1 && !stat.is_zombie());
        let marked: BTreeSet<u32> = living()
            .filter(|stat| is_errand(stat.pid, instance))
            .map(|stat| stat.pid)
            .collect();
        // What it has started may have cleared its environment. A session is an errand's own: its leader is, or has ended.
        let leads = |session: u32| {
            let leader = all.iter().find(|stat| stat.pid == session);
            leader.is_none_or(|leader| marked.contains(&leader.pid) || leader.is_zombie())
        };
        let sessions: BTreeSet<u32> = living()
            .filter(|stat| marked.contains(&stat.pid) && leads(stat.session))
            .map(|stat| stat.session)
            .collect();
        let is_part = |stat: &&Stat| marked.contains(&stat.pid) || sessions.contains(&stat.session);
        let killed: Vec<OwnedFd> = living().filter(is_part).filter_map(kill).collect();
        if killed.is_empty() {
            break;
        }
        met.extend(living().filter(is_part).map(|stat| stat.pid));
        for held in killed {
            pidfd::wait_for_exit_until(held.as_fd(), deadline);
        }
    }
    met.len()
}

fn is_errand(pid: u32, instance: &str) -> bool {
    let mark = processes::environment_value(pid, MARK).and_then(|mark| String::from_utf8(mark).ok());
    mark.is_some_and(|mark| {
        let rest = mark.strip_prefix(instance).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| rest.ends_with(ERRAND))
    })
}

/// Held first, and killed only if it is still the one that was looked at (`PR-01`).
fn kill(stat: &Stat) -> Option<OwnedFd> {
    let held = pidfd::open(stat.pid).ok()?;
    let is_it = processes::stat(stat.pid).is_some_and(|now| now.start_ticks == stat.start_ticks);
    (is_it && pidfd::signal(held.as_fd(), libc::SIGKILL).is_ok()).then_some(held)
}
