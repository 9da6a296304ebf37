//! `Kill`: SIGKILL to process or group, and rounds over what has left the group, until nothing new is found.
//!
//! Where the service has a control group, that ends everybody who was born in it at once. The rounds are for the rest,
//! and for where there is none.
//!
//! A program that forks, makes a session and exits in a loop is a race that a single look through /proc loses. Here
//! each of its lives becomes our child, so reading our own children (one file) finds it; the rounds are short and come
//! back with each SIGCHLD that the fleeing program itself causes, so the race is run until it is won.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use super::guard::Guard;
use super::held::{Killing, Life};
use super::orders::{Report, Target, Ticket};
use crate::fault::point;
use crate::sys::{clock, pidfd, processes};

/// Looks of one round, and how many of them in a row must find nobody new.
const LOOKS: u32 = 64;
const CLEAN: u32 = 2;
/// From the order until it is told that it does not work, and the first and longest pause between rounds on a timer.
const PATIENCE_NS: u64 = 2_000_000_000;
const FIRST_PAUSE_NS: u64 = 5_000_000;
const LONGEST_PAUSE_NS: u64 = 250_000_000;

impl Guard {
    pub(super) fn kill(&mut self, ticket: Ticket, target: Target, sweep: bool) {
        let Some(held) = self.held.get_mut(&ticket).filter(|held| held.life != Life::Empty) else {
            return;
        };
        let now = clock::mono_ns();
        let fresh = Killing {
            target,
            sweep,
            again_at_ns: now + FIRST_PAUSE_NS,
            pause_ns: FIRST_PAUSE_NS,
            until_ns: now + PATIENCE_NS,
            given_up: false,
        };
        if held.killing.replace(fresh).is_none() {
            self.killing.push(ticket);
        }
        point!("guardian.kill-begun");
        // Who is only suspected to be left counts no more.
        self.reaped = true;
        self.kill_round(ticket);
        point!("guardian.killed");
    }

    /// Called after every batch of ends and at every deadline.
    pub(super) fn go_on_killing(&mut self) {
        if self.killing.is_empty() {
            return;
        }
        let now = clock::mono_ns();
        for ticket in self.killing.clone() {
            let Some(held) = self.held.get(&ticket) else { continue };
            let Some(kill) = &held.killing else { continue };
            let (done, due, hopeless) = (
                self.is_killed(ticket),
                kill.again_at_ns <= now,
                kill.until_ns <= now && !kill.given_up,
            );
            let fleeing = kill.sweep && held.life == Life::Left;
            if done {
                self.stop_killing(ticket);
            } else if hopeless {
                self.give_up(ticket);
            } else if due || fleeing {
                self.kill_round(ticket);
                self.put_off(ticket, now, due);
            }
        }
        // What a round has reaped is told before we sleep.
        self.settle();
    }

    fn put_off(&mut self, ticket: Ticket, now: u64, due: bool) {
        if let Some(kill) = self.held.get_mut(&ticket).and_then(|held| held.killing.as_mut())
            && due
        {
            kill.pause_ns = (kill.pause_ns * 2).min(LONGEST_PAUSE_NS);
            kill.again_at_ns = now + kill.pause_ns;
        }
    }

    /// Whether that which the order named is gone.
    fn is_killed(&self, ticket: Ticket) -> bool {
        let Some(held) = self.held.get(&ticket) else {
            return true;
        };
        match held.killing.as_ref().map(|kill| (kill.sweep, kill.target)) {
            None => true,
            Some((true, _)) => held.life == Life::Empty,
            Some((false, Target::Process)) => held.life != Life::Alive,
            Some((false, Target::Group)) => held.life != Life::Alive && !self.has_group(ticket),
        }
    }

    fn stop_killing(&mut self, ticket: Ticket) {
        if let Some(held) = self.held.get_mut(&ticket) {
            held.killing = None;
        }
        self.killing.retain(|killed| *killed != ticket);
    }

    /// Tells who is still there. A later end of theirs is still noticed (and swept after), but not waited for.
    fn give_up(&mut self, ticket: Ticket) {
        let mut still: Vec<u32> = Vec::new();
        if let Some(held) = self.held.get_mut(&ticket) {
            if let Some(kill) = held.killing.as_mut() {
                kill.given_up = true;
                kill.again_at_ns = u64::MAX;
            }
            if held.life == Life::Alive {
                still.push(held.main);
            }
        }
        still.extend(self.tree(ticket).0);
        still.extend(self.members(ticket));
        still.sort_unstable();
        still.dedup();
        let leftovers: Vec<_> = still
            .into_iter()
            .filter_map(processes::stat)
            .map(|stat| stat.describe())
            .collect();
        self.note(&format!(
            "SIGKILL did not end ticket {}: {}",
            ticket.0,
            leftovers.join(", ")
        ));
        self.report(&Report::KillFailed { ticket, leftovers });
    }

    fn kill_round(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get(&ticket) else { return };
        let Some(kill) = &held.killing else { return };
        let sweep = kill.sweep;
        // Those below who is no child of ours are nobody's once it has ended: they are held first.
        let below = match sweep && held.adopted && held.life == Life::Alive {
            true => held_descendants(held.main),
            false => Vec::new(),
        };
        match kill.target {
            Target::Process => held.signal_main(libc::SIGKILL),
            Target::Group => held.signal_group(libc::SIGKILL, self.groups_by_pidfd),
        }
        for process in below {
            let _ = pidfd::signal(process.as_fd(), libc::SIGKILL);
        }
        if !sweep {
            return;
        }
        self.kill_cgroup(ticket);
        let mut seen = HashSet::new();
        let mut clean = 0;
        for _ in 0..LOOKS {
            let (tree, mut fresh) = self.tree(ticket);
            for pid in tree {
                if seen.insert(pid) {
                    fresh = true;
                    self.kill_kin(ticket, pid);
                }
            }
            self.reap();
            clean = if fresh { 0 } else { clean + 1 };
            if clean == CLEAN {
                break;
            }
        }
    }

    /// Everybody of the tree except its main process and who is in the group: orphans and all that is below them, and
    /// what is below the main process. And whether somebody may be missing, who was born while we read.
    pub(super) fn tree(&mut self, ticket: Ticket) -> (Vec<u32>, bool) {
        let mut found = Vec::new();
        if let Some(held) = self.held.get(&ticket).filter(|held| held.life == Life::Alive) {
            found.extend(processes::descendants(held.main));
        }
        let strays = self.strays_now();
        for (pid, owner) in strays.found {
            if owner == ticket {
                found.push(pid);
                found.extend(processes::descendants(pid));
            }
        }
        let adopted = self.adopted_among(std::iter::once(ticket));
        if !adopted.is_empty() {
            let far = self.far_kin(&adopted).into_iter().map(|(pid, _)| pid);
            found.extend(far);
            found.sort_unstable();
            found.dedup();
        }
        (found, strays.blurred)
    }

    /// A child of ours keeps its number until we reap it. Anybody else is held first, and killed only if the held one
    /// is (still) below somebody of this tree.
    fn kill_kin(&mut self, ticket: Ticket, pid: u32) {
        if self.strays.contains_key(&pid) {
            let _ = pidfd::signal_child(pid, libc::SIGKILL);
            return;
        }
        if self.mains.contains_key(&pid) || self.daemon == Some(pid) || pid == std::process::id() {
            return;
        }
        if self.held.get(&ticket).is_some_and(|held| held.adopted) {
            self.kill_far(ticket, pid);
        }
        let Ok(held) = pidfd::open(pid) else { return };
        let roots = self
            .strays
            .iter()
            .filter(|(_, stray)| stray.ticket == Some(ticket))
            .map(|(root, _)| *root);
        let main = self
            .held
            .get(&ticket)
            .filter(|held| held.life == Life::Alive)
            .map(|held| held.main);
        if roots.chain(main).any(|root| processes::is_descendant(pid, root)) {
            let _ = pidfd::signal(held.as_fd(), libc::SIGKILL);
        }
    }
}

/// All that are below a process, held: a number that was another's meanwhile is not below it any more.
fn held_descendants(main: u32) -> Vec<OwnedFd> {
    let below = processes::descendants(main).into_iter();
    below
        .filter_map(|pid| Some((pid, pidfd::open(pid).ok()?)))
        .filter(|(pid, _)| processes::is_descendant(*pid, main))
        .map(|(_, held)| held)
        .collect()
}
