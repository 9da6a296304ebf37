//! Daemons: programs that leave their launcher, and with it every witness, and those that something else has started.
//!
//! A daemon makes a session of its own, redirects its streams and often writes its title over its environment: then
//! nothing tells whose it is. What is known is that we adopted it, that nobody else claims it, when it was born, and
//! that a fork keeps the name of its program. The PID file of its service then says which one it is.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::MARK;
use super::guard::Guard;
use super::held::{Held, Launcher, Life};
use super::orders::{Adoption, Identity, Report, Ticket};
use super::record;
use crate::sys::processes::{self, Stat};
use crate::sys::{identity, pidfd};

impl Guard {
    /// The one launch that such an orphan must come from: its program was started under that name, before it, and has
    /// ended well (or says by a PID file that it is a daemon) without a main process in its place.
    pub(super) fn by_launcher(&self, stat: &Stat) -> Option<Ticket> {
        let mut candidates = self.held.values().filter(|held| {
            let launcher = &held.launcher;
            let leaves_daemons = launcher.pid_file || launcher.ended_well;
            leaves_daemons && held.may_have_left(stat.start_ticks) && launcher.name == stat.name
        });
        let first = candidates.next()?.ticket;
        candidates.next().is_none().then_some(first)
    }

    /// Launches with a PID file that may have left one of these: orphans of which nothing is known but when they began.
    pub(super) fn suspected(&self, unknown: &[u64]) -> impl Iterator<Item = Ticket> {
        let may_have_left = |held: &&Held| {
            let launcher = &held.launcher;
            launcher.pid_file
                && launcher.ended_well
                && held.killing.is_none()
                && unknown.iter().any(|&born| held.may_have_left(born))
        };
        self.held.values().filter(may_have_left).map(|held| held.ticket)
    }

    /// Whether a process of which nothing tells whose it is may be the one that the PID file of a launch names: it is
    /// below us, none of those above it is another's, and it began after the launch.
    pub(super) fn may_be_daemon_of(&self, ticket: Ticket, pid: u32) -> bool {
        let born = processes::stat(pid).map(|stat| stat.start_ticks);
        let held = self.held.get(&ticket).filter(|held| held.launcher.pid_file);
        held.zip(born)
            .is_some_and(|(held, born)| born >= held.launcher.born_ticks)
    }

    /// What a daemon has left is in no group that we know: each hears for itself.
    pub(super) fn signal_rest_of_daemon(&mut self, ticket: Ticket, signal: i32, wakes: bool) {
        let held = self.held.get(&ticket);
        if !held.is_some_and(|held| held.launcher.pid_file && held.life == Life::Left) {
            return;
        }
        let strays = self.strays_now().found.into_iter();
        // Children of ours keep their numbers until we reap them.
        for (pid, _) in strays.filter(|(_, owner)| *owner == ticket) {
            let _ = pidfd::signal_child(pid, signal);
            if wakes {
                let _ = pidfd::signal_child(pid, libc::SIGCONT);
            }
        }
    }

    /// The process of a launch that has this number inside a PID namespace of its own (a container).
    pub(super) fn inner_number(&mut self, ticket: Ticket, pid: u32) -> Option<u32> {
        let tree = self.tree(ticket).0.into_iter();
        let mut with_numbers = tree.filter_map(|outer| Some((outer, processes::inner_pid(outer)?)));
        with_numbers.find(|(_, inner)| *inner == pid).map(|(outer, _)| outer)
    }

    /// Takes over what something else has started; answered by `TakenOver` or `NotTakenOver`.
    pub(super) fn take_over(&mut self, adoption: Adoption) {
        let (ticket, pid) = (adoption.ticket, adoption.pid);
        if let Err(why) = self.try_to_take_over(adoption) {
            self.report(&Report::NotTakenOver { ticket, pid, why });
        }
    }

    fn try_to_take_over(&mut self, adoption: Adoption) -> Result<(), String> {
        let Adoption {
            ticket,
            pid,
            uid,
            program,
            record,
            label,
            run,
        } = adoption;
        let gone = || format!("there is no process {pid}");
        let own = std::process::id();
        if pid <= 1 || pid == own || self.mains.contains_key(&pid) || processes::is_descendant(pid, own) {
            return Err(format!("process {pid} belongs to this project already"));
        }
        // Held before it is looked at: what is found out below is then true of what is held.
        let held_process = pidfd::open(pid).map_err(|_| gone())?;
        let stat = processes::stat(pid).filter(|stat| !stat.is_zombie()).ok_or_else(gone)?;
        let who = format!("process {pid} ({})", stat.name);
        if processes::owner(pid) != Some(uid) {
            return Err(format!("{who} does not run as the user of this service"));
        }
        let runs = std::fs::metadata(format!("/proc/{pid}/exe"));
        if runs.map(|found| (found.dev(), found.ino())).ok() != Some(program) {
            return Err(format!("{who} does not run the program of this service"));
        }
        if processes::environment_value(pid, MARK).is_some() || is_of_another_runner(pid) {
            return Err(format!("{who} belongs to another runner"));
        }
        if pidfd::signal(held_process.as_fd(), 0).is_err() {
            return Err(gone());
        }
        let found: Identity = identity::of(pid, Some(held_process.as_fd())).into();
        let written = record.map(|record| record::write(&record, &found)).transpose();
        let written = written.map_err(|error| format!("its record can't be written: {error}"))?;
        self.watch_followed(&held_process, ticket);
        let launcher = Launcher {
            born_ticks: stat.start_ticks,
            pid_file: true,
            ..Launcher::default()
        };
        let held = Held {
            pidfd: held_process.try_clone().ok(),
            followed: Some(held_process),
            leader_reaped: true,
            record: written,
            launcher,
            adopted: true,
            // A session that it shares with its starter is none of ours.
            sessions: Vec::from_iter((stat.session == pid).then_some(pid)),
            label,
            run,
            ..Held::new(ticket, found.clone(), uid)
        };
        self.hold(held);
        self.report(&Report::TakenOver {
            ticket,
            identity: found,
        });
        Ok(())
    }
}

impl Held {
    /// Whether somebody who began then may be its daemon that was not found yet.
    fn may_have_left(&self, born_ticks: u64) -> bool {
        self.life != Life::Empty && self.followed.is_none() && !self.reap_tree && born_ticks >= self.launcher.born_ticks
    }
}

fn is_of_another_runner(pid: u32) -> bool {
    let mut at = processes::stat(pid);
    for _ in 0..4096 {
        let Some(stat) = at else { return false };
        if stat.name.as_bytes() == super::NAME.to_bytes() {
            return true;
        }
        if stat.parent <= 1 {
            return false;
        }
        at = processes::stat(stat.parent);
    }
    false
}
