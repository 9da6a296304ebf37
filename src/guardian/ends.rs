//! Exits: reaped at once, and for each batch one look at what the ended left behind.

use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::AsFd;

use super::guard::Guard;
use super::held::{Held, Life};
use super::orders::{Report, Target, Ticket};
use super::record;
use crate::fault::point;
use crate::reconcile::ExitStatus;
use crate::sys::reap::{self, Child};
use crate::sys::spawn::Progress;
use crate::sys::{pidfd, processes};

impl Guard {
    /// Takes every child that has ended (SIGCHLD coalesces: one signal may mean many).
    pub(super) fn reap(&mut self) {
        if !self.groups_by_pidfd {
            return self.reap_but_leaders();
        }
        while let Some((pid, status)) = reap::any() {
            self.ended(pid, status);
        }
    }

    /// Where a group can only be signalled by number, its leader stays unreaped until the group is empty: so long the
    /// number is nobody else's.
    fn reap_but_leaders(&mut self) {
        let mut list = std::mem::take(&mut self.list);
        self.children.read(&mut list);
        if list.is_empty() {
            // Without /proc nobody lists our children; these are known.
            list.extend(self.mains.keys().chain(self.sessions.keys()).chain(&self.daemon));
        }
        for &pid in &list {
            let Child::Ended(status) = reap::look(pid) else {
                continue;
            };
            let leads = self
                .sessions
                .get(&pid)
                .filter(|ticket| self.held.get(ticket).is_some_and(|held| held.leader == pid));
            match leads.copied() {
                Some(ticket) if !group_is_empty(pid) => {
                    if self.mains.get(&pid) == Some(&ticket) {
                        self.ended(pid, status);
                        // `ended` takes it for reaped, which it is not yet.
                        if let Some(held) = self.held.get_mut(&ticket) {
                            held.leader_reaped = false;
                        }
                    }
                }
                _ => {
                    reap::one(pid);
                    self.ended(pid, status);
                }
            }
        }
        self.list = list;
    }

    pub(super) fn ended(&mut self, pid: u32, status: ExitStatus) {
        self.reaped = true;
        if self.daemon == Some(pid) {
            self.daemon_ended = Some(status);
            return;
        }
        if let Some(held) = self.sessions.get(&pid).and_then(|ticket| self.held.get_mut(ticket))
            && held.leader == pid
        {
            held.leader_reaped = true;
        }
        match self.mains.remove(&pid) {
            Some(ticket) => self.main_ended(ticket, status),
            None => {
                self.strays.remove(&pid);
            }
        }
    }

    fn main_ended(&mut self, ticket: Ticket, status: ExitStatus) {
        // First of all: the kernel does not tell it twice.
        self.batch.push_back((ticket, status));
        point!("guardian.exit-seen");
        if let Some(channel) = self.held.get_mut(&ticket).and_then(|held| held.channel.take()) {
            let _ = self.epoll.delete(&channel);
            match channel.progress() {
                Progress::Refused(refusal) => {
                    if let Some(held) = self.held.get_mut(&ticket) {
                        held.refusal = Some(refusal);
                    }
                }
                Progress::Executed | Progress::Underway => self.report(&Report::Executed { ticket }),
            }
        }
        let Some(held) = self.held.get_mut(&ticket) else { return };
        if held.on_terminal {
            // What is typed from now on is meant for us.
            crate::sys::tty::take_back(held.main);
        }
        if let Some(refusal) = held.refusal {
            return self.launch_failed(ticket, refusal);
        }
        held.launcher.ended_well = held.followed.is_none() && status == ExitStatus::Code(0);
        if let Some(followed) = held.followed.take() {
            let _ = self.epoll.delete(&followed);
        }
    }

    /// The pidfd of a followed process says that it has ended. If it was no child of ours, the kernel may know how.
    pub(super) fn followed_ended(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get_mut(&ticket) else { return };
        if !held.watched.is_empty() {
            // Who is left is looked for anew.
            held.watched.clear();
            self.reaped = true;
        }
        let Some(followed) = &held.followed else { return };
        let pid = held.main;
        match reap::one(pid) {
            Child::Running => {}
            Child::Ended(status) => self.ended(pid, status),
            Child::NotOurs if !pidfd::has_exited(followed.as_fd()) => {}
            Child::NotOurs => {
                let status = pidfd::exit_status_of(followed.as_fd());
                self.ended(pid, status.unwrap_or(ExitStatus::Unknown));
            }
        }
    }

    /// After a round: who ended, did they leave something, and is what was left gone now? The children are read once
    /// for all of them, and not at all when nobody asks.
    pub(super) fn settle(&mut self) {
        if self.batch.is_empty() && (self.left.is_empty() || !self.reaped) {
            self.reaped = false;
            return;
        }
        self.reaped = false;
        let strays = self.tickets_with_strays();
        let kept = |ticket: &Ticket| strays.as_ref().is_none_or(|strays| strays.contains(ticket));
        // Those that come meanwhile were not looked at; each stays until it was told.
        for _ in 0..self.batch.len() {
            if let Some((ticket, status)) = self.batch.front().copied() {
                self.tell_end(ticket, status, kept(&ticket));
            }
            self.batch.pop_front();
        }
        for ticket in self.left.clone() {
            if !kept(&ticket) && !self.has_group(ticket) && !self.is_populated(ticket) {
                self.emptied(ticket);
            }
        }
    }

    fn tell_end(&mut self, ticket: Ticket, status: ExitStatus, strays: bool) {
        let left = strays || self.has_group(ticket) || self.is_populated(ticket);
        if left {
            self.await_emptiness(ticket);
        }
        let Some(held) = self.held.get_mut(&ticket) else { return };
        let quiet = held.reap_tree;
        held.ended = Some(status);
        held.life = if left { Life::Left } else { Life::Empty };
        let released = held.released;
        if left {
            self.left.push(ticket);
        } else {
            self.nothing_left(ticket);
        }
        self.report(&Report::Exited {
            ticket,
            status,
            left: left && !quiet,
        });
        point!("guardian.exit-reported");
        if quiet && left {
            self.kill(ticket, Target::Group, true);
        } else if quiet && released {
            self.forget(ticket);
        }
    }

    fn emptied(&mut self, ticket: Ticket) {
        self.left.retain(|left| *left != ticket);
        let Some(held) = self.held.get_mut(&ticket) else { return };
        held.life = Life::Empty;
        held.emptying = None;
        let (quiet, released) = (held.reap_tree, held.released);
        self.nothing_left(ticket);
        point!("guardian.verified-empty");
        if !quiet {
            self.report(&Report::Emptied { ticket });
        } else if released {
            self.forget(ticket);
        }
    }

    /// The numbers of its sessions are free for others now, and there is nothing to kill.
    pub(super) fn nothing_left(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get_mut(&ticket) else { return };
        if !held.leader_reaped {
            // It was kept for the sake of its group's number.
            held.leader_reaped = true;
            reap::one(held.leader);
        }
        for session in held.sessions.drain(..) {
            let_go(&mut self.sessions, &session, ticket);
        }
        if held.killing.take().is_some() {
            self.killing.retain(|killed| *killed != ticket);
        }
    }

    pub(super) fn has_group(&self, ticket: Ticket) -> bool {
        let Some(held) = self.held.get(&ticket) else {
            return false;
        };
        if held.adopted {
            // A group in the session of somebody else can't be named where the kernel takes no pidfd for it.
            let reaches = self.groups_by_pidfd || held.sessions.contains(&held.leader);
            // Its ended leader waits for a parent that may never look.
            return reaches && self.is_its_own(ticket, held.leader) && !group_is_empty(held.leader);
        }
        if self.groups_by_pidfd {
            return held.has_group(true);
        }
        !held.leader_reaped && !group_is_empty(held.leader)
    }

    /// Nothing of a ticket stays with us, except what still runs of a tree that was left on purpose.
    pub(super) fn forget(&mut self, ticket: Ticket) -> Option<Held> {
        let mut held = self.held.remove(&ticket)?;
        let_go(&mut self.mains, &held.main, ticket);
        for session in &held.sessions {
            let_go(&mut self.sessions, session, ticket);
        }
        if let Some(mark) = &held.mark {
            let_go(&mut self.marks, mark, ticket);
        }
        for (_, place) in &held.fifos {
            self.fifos.remove(*place, ticket);
        }
        if let Some(channel) = &held.channel {
            let _ = self.epoll.delete(channel);
        }
        if let Some(followed) = &held.followed {
            let _ = self.epoll.delete(followed);
        }
        if let Some(written) = &held.record {
            record::remove(written);
            point!("guardian.record-removed");
        }
        if held.life == Life::Left {
            self.left.retain(|left| *left != ticket);
        }
        if held.killing.is_some() {
            self.killing.retain(|killed| *killed != ticket);
        }
        if let Some(cgroup) = held.cgroup.take() {
            self.cgroups.let_go(cgroup);
        }
        Some(held)
    }
}

/// What is another's by now stays.
fn let_go<K: Hash + Eq>(owners: &mut HashMap<K, Ticket>, key: &K, ticket: Ticket) {
    if owners.get(key) == Some(&ticket) {
        owners.remove(key);
    }
}

/// Whether nobody but its ended leader is in a group. Only where the kernel can't be asked.
fn group_is_empty(leader: u32) -> bool {
    !processes::all()
        .iter()
        .any(|stat| stat.group == leader && stat.pid != leader && !stat.is_zombie())
}
