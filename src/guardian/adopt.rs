//! What another guardian has launched: held without being its parent.
//!
//! Its processes are somebody else's children. Their ends are seen through pidfds, their status is asked of the kernel
//! and may stay unknown, and what they leave behind never becomes ours: it is looked for among all processes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::guard::Guard;
use super::held::{Held, Launcher, Life};
use super::orders::{Orphan, Report, Ticket};
use super::record;
use crate::fault::point;
use crate::reconcile::ExitStatus;
use crate::sys::{fifo, identity, pidfd, processes, pty};

impl Guard {
    pub(super) fn adopt(&mut self, orphans: Vec<Orphan>) {
        let mut gone = Vec::new();
        let mut tickets = Vec::new();
        let mut kept = pidfds_among(&mut self.spare);
        let mut masters = masters_among(&mut self.spare);
        for orphan in orphans {
            let ticket = orphan.ticket;
            self.next_ticket = self.next_ticket.max(ticket.0 + 1);
            let kept = kept.remove(&orphan.identity.pidfd_inode);
            let mut held = self.held_of(&orphan, kept);
            held.kept.extend(masters.remove(&orphan.identity.pid));
            point!("guardian.orphan-held");
            if held.life == Life::Left {
                gone.push(ticket);
            }
            tickets.push(ticket);
            self.hold(held);
            if let Some(followed) = self.held.get(&ticket).and_then(|held| held.followed.as_ref()) {
                self.watch_followed(followed, ticket);
            }
        }
        // Whoever left something behind is among all processes, which are read once.
        if !gone.is_empty() {
            let left = self.far_kin(&gone.iter().copied().collect());
            for ticket in gone {
                if left.iter().any(|(_, owner)| *owner == ticket) || self.is_populated(ticket) {
                    self.await_emptiness(ticket);
                    self.left.push(ticket);
                    self.watch_left(&left, ticket);
                } else {
                    self.gone(ticket);
                }
            }
        }
        for ticket in tickets {
            if let Some(held) = self.held.get(&ticket) {
                let holding = Report::Held(Box::new(held.holding()));
                let kept: Vec<_> = held.kept.iter().map(AsFd::as_fd).collect();
                // A link that is at its end is noticed by whoever reads it.
                if let Err(error) = self.link.queue(&holding, &kept) {
                    self.note(&format!("a report could not be written: {error}"));
                }
            }
        }
        point!("guardian.adopted");
        self.spare.clear();
        self.report(&Report::HeldAll);
    }

    /// Nothing of it is there. How it has ended is told before it is forgotten, if anybody can say.
    fn gone(&mut self, ticket: Ticket) {
        match self.held.get_mut(&ticket) {
            Some(held) if held.ended != Some(ExitStatus::Unknown) => {
                held.life = Life::Empty;
                self.nothing_left(ticket);
            }
            _ => drop(self.forget(ticket)),
        }
    }

    /// As if its main process had left something, where that is no more. `kept`: its pidfd, if somebody has held it all
    /// the time.
    fn held_of(&self, orphan: &Orphan, kept: Option<OwnedFd>) -> Held {
        let pid = orphan.identity.pid;
        let found = pidfd::open(pid).ok();
        // Held before it is looked at: what is true of it then stays true of what is held.
        let alive = identity::is_alive(orphan.identity.clone().into());
        let session = processes::stat(pid).filter(|_| alive).map_or(pid, |stat| stat.session);
        let status = || kept.as_ref().and_then(|kept| pidfd::exit_status_of(kept.as_fd()));
        let ended = (!alive).then(|| status().unwrap_or(ExitStatus::Unknown));
        let followed = found.filter(|_| alive);
        let paths = orphan
            .fifos
            .iter()
            .map(|path| PathBuf::from(OsString::from_vec(path.clone())));
        let open = |path: PathBuf| {
            let file = fifo::open_both(&path).ok()?;
            let place = file.metadata().ok()?;
            Some((file, (place.dev(), place.ino())))
        };
        let path = PathBuf::from(OsString::from_vec(orphan.record.clone()));
        Held {
            ticket: orphan.ticket,
            label: orphan.label.clone(),
            run: orphan.run,
            uid: orphan.uid,
            leader: pid,
            // Not ours to reap.
            leader_reaped: true,
            pidfd: followed
                .as_ref()
                .and_then(|held| held.as_fd().try_clone_to_owned().ok())
                .or(kept),
            main: pid,
            identity: orphan.identity.clone(),
            life: if alive { Life::Alive } else { Life::Left },
            ended,
            signalled: None,
            kept: Vec::new(),
            channel: None,
            refusal: None,
            mark: Some(orphan.mark.clone()),
            fifos: paths.filter_map(open).collect(),
            // One that it shares with its starter is none of ours.
            sessions: Vec::from_iter((session == pid).then_some(session)),
            record: record::existing(Path::new(&path)),
            cgroup: orphan.cgroup.as_ref().and_then(|name| self.cgroups.known(name)),
            emptying: None,
            reap_tree: false,
            released: false,
            killing: None,
            adopted: true,
            watched: Vec::new(),
            launcher: Launcher {
                born_ticks: orphan.identity.start_ticks,
                pid_file: orphan.pid_file,
                ..Launcher::default()
            },
            followed,
            // Nobody passes a terminal on to what is none of our children.
            on_terminal: false,
        }
    }

    /// Whether the number of a session or a group of an adopted launch is still its own. The kernel gives away no number
    /// that a session or a group has: who has it as a pid now is of the launch, or the number has changed hands (`PR-01`).
    pub(super) fn is_its_own(&self, ticket: Ticket, number: u32) -> bool {
        let Some(launch) = self.held.get(&ticket) else {
            return false;
        };
        match pidfd::open(number) {
            Err(_) => true,
            Ok(held) if number == launch.main => identity::is_held(launch.identity.clone().into(), held.as_fd()),
            Ok(_) => self.by_itself(number) == Some(ticket),
        }
    }

    /// Those of these launches among all processes: by mark, session and FIFO, and whoever is below them.
    pub(super) fn far_kin(&mut self, tickets: &HashSet<Ticket>) -> Vec<(u32, Ticket)> {
        let mut found = Vec::new();
        let own = std::process::id();
        for stat in processes::all() {
            let pid = stat.pid;
            if stat.is_zombie() || pid <= 1 || pid == own || self.daemon == Some(pid) || self.mains.contains_key(&pid) {
                continue;
            }
            if let Some(ticket) = self
                .witness(pid, stat.session)
                .filter(|ticket| tickets.contains(ticket))
            {
                found.push((pid, ticket));
            }
        }
        found
    }

    /// Of the launches that are looked at now, those that another guardian began.
    pub(super) fn adopted_among(&self, tickets: impl Iterator<Item = Ticket>) -> HashSet<Ticket> {
        tickets
            .filter(|ticket| self.held.get(ticket).is_some_and(|held| held.adopted))
            .collect()
    }

    /// Their ends are no SIGCHLD of ours.
    pub(super) fn watch_left(&mut self, left: &[(u32, Ticket)], ticket: Ticket) {
        let pids = left.iter().filter(|(_, owner)| *owner == ticket).map(|(pid, _)| *pid);
        let watched: Vec<OwnedFd> = pids.filter_map(|pid| pidfd::open(pid).ok()).collect();
        for pidfd in &watched {
            self.watch_followed(pidfd, ticket);
        }
        if let Some(held) = self.held.get_mut(&ticket) {
            // What was watched before is closed, which epoll notices by itself.
            held.watched = watched;
        }
    }

    /// Kills one of them: held first, and killed only if what is held (still) belongs to the launch.
    pub(super) fn kill_far(&mut self, ticket: Ticket, pid: u32) {
        let Ok(held) = pidfd::open(pid) else { return };
        let Some(stat) = processes::stat(pid) else { return };
        if self.witness(pid, stat.session) == Some(ticket) {
            let _ = pidfd::signal(held.as_fd(), libc::SIGKILL);
        }
    }
}

/// The terminals among what was held, by the session that each controls.
fn masters_among(spare: &mut Vec<OwnedFd>) -> HashMap<u32, OwnedFd> {
    let masters = spare.extract_if(.., |held| pty::is_master(held.as_fd()));
    masters
        .filter_map(|held| Some((pty::session_of(held.as_fd())?, held)))
        .collect()
}

/// Takes the pidfds out of what was held for us, by their inodes.
fn pidfds_among(spare: &mut Vec<OwnedFd>) -> HashMap<u64, OwnedFd> {
    let pidfds = spare.extract_if(.., |held| identity::inode_of(held.as_fd()).is_some());
    let pidfds: Vec<OwnedFd> = pidfds.collect();
    let by_inode = pidfds
        .into_iter()
        .filter_map(|held| Some((identity::inode_of(held.as_fd())?, held)));
    by_inode.collect()
}
