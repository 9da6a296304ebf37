//! Whose process is this? Orphans become our children; here they are traced to the launch that they come from.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use super::MARK;
use super::guard::Guard;
use super::held::Life;
use super::orders::{Identity, Report, Ticket};
use super::record;
use crate::sys::{identity, pidfd, processes};

/// A child of ours that is no main process. Its number is its own until we reap it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stray {
    pub ticket: Option<Ticket>,
    /// How often its origin was looked for in vain: right after its birth it may not show yet.
    tries: u8,
    /// When it began (clock ticks since boot).
    born_ticks: u64,
}

const TRIES: u8 = 3;
/// Readings before it is accepted that there is always somebody who has just ended.
const READINGS: u32 = 64;
/// Sessions that are remembered of one launch: a program that makes a new one with each fork must not fill our memory.
const SESSIONS: usize = 1024;

/// One reading of our children.
pub(super) struct Strays {
    /// Those that are nobody's main process, with the launch that they belong to.
    pub found: Vec<(u32, Ticket)>,
    /// When those began of whom nothing tells whose they are.
    pub unknown: Vec<u64>,
    /// Somebody of them ended after the list was made. What that one has left behind is our child by now, but not in
    /// this list.
    pub blurred: bool,
}

enum Origin {
    Of(Ticket),
    Unknown,
    Ended,
}

impl Guard {
    /// Which launches have live processes beside their main one. Reaps, until a reading is sharp. `None`: no reading was
    /// sharp, so nobody may be called empty now; the ends that blurred them come as SIGCHLD again.
    pub(super) fn tickets_with_strays(&mut self) -> Option<HashSet<Ticket>> {
        let looked_at = self
            .batch
            .iter()
            .map(|(ticket, _)| *ticket)
            .chain(self.left.iter().copied());
        let adopted = self.adopted_among(looked_at);
        let far = match adopted.is_empty() {
            true => Vec::new(),
            false => self.far_kin(&adopted),
        };
        for ticket in adopted {
            self.watch_left(&far, ticket);
        }
        for _ in 0..READINGS {
            let strays = self.strays_now();
            if !strays.blurred {
                let mut tickets: HashSet<Ticket> = strays.found.into_iter().map(|(_, ticket)| ticket).collect();
                tickets.extend(far.into_iter().map(|(_, ticket)| ticket));
                tickets.extend(self.suspected(&strays.unknown));
                return Some(tickets);
            }
            self.reap();
        }
        None
    }

    pub(super) fn strays_now(&mut self) -> Strays {
        let mut strays = Strays {
            found: Vec::new(),
            unknown: Vec::new(),
            blurred: false,
        };
        let mut list = std::mem::take(&mut self.list);
        self.children.read(&mut list);
        for &pid in &list {
            if self.mains.contains_key(&pid) || self.daemon == Some(pid) || self.is_kept_leader(pid) {
                continue;
            }
            match self.origin(pid) {
                Origin::Of(ticket) => strays.found.push((pid, ticket)),
                Origin::Unknown => strays
                    .unknown
                    .extend(self.strays.get(&pid).map(|stray| stray.born_ticks)),
                Origin::Ended => strays.blurred = true,
            }
        }
        self.list = list;
        strays
    }

    /// A leader that has ended and was told, but keeps the number of its group from others.
    fn is_kept_leader(&self, pid: u32) -> bool {
        let ticket = (!self.groups_by_pidfd).then(|| self.sessions.get(&pid)).flatten();
        ticket
            .and_then(|ticket| self.held.get(ticket))
            .is_some_and(|held| held.leader == pid)
    }

    fn origin(&mut self, pid: u32) -> Origin {
        let known = self.strays.get(&pid).copied();
        if let Some(stray) = known
            && (stray.ticket.is_some_and(|ticket| self.held.contains_key(&ticket)) || stray.tries >= TRIES)
        {
            let ticket = stray.ticket.filter(|ticket| self.held.contains_key(ticket));
            return ticket.map_or(Origin::Unknown, Origin::Of);
        }
        let Some(stat) = processes::stat(pid).filter(|stat| !stat.is_zombie()) else {
            return Origin::Ended;
        };
        let mut ticket = self.witness(pid, stat.session);
        if ticket.is_none() && processes::stat(pid).is_none_or(|stat| stat.is_zombie()) {
            // It ended while it was looked at, and the ended have neither environment nor descriptors.
            return Origin::Ended;
        }
        if ticket.is_none() {
            ticket = self.by_launcher(&stat);
            ticket
                .into_iter()
                .for_each(|ticket| self.remember(stat.session, ticket));
        }
        let stray = Stray {
            ticket,
            tries: known.map_or(0, |stray| stray.tries) + 1,
            born_ticks: stat.start_ticks,
        };
        self.strays.insert(pid, stray);
        ticket.map_or(Origin::Unknown, Origin::Of)
    }

    /// By the mark in its environment, by its session, by the FIFO that it holds as 0, 1 or 2, by its control group. The mark comes first: the
    /// number of a session that has died may be another's by now. A session that a marked process made is remembered:
    /// its own children may have neither mark nor FIFO.
    pub(super) fn witness(&mut self, pid: u32, session: u32) -> Option<Ticket> {
        let is_own = |ticket: &Ticket| {
            let is_adopted = self.held.get(ticket).is_some_and(|held| held.adopted);
            !is_adopted || self.is_its_own(*ticket, session)
        };
        let by_session = || self.sessions.get(&session).copied().filter(is_own);
        let ticket = self.by_mark(pid).or_else(by_session).or_else(|| self.by_hold(pid))?;
        self.remember(session, ticket);
        Some(ticket)
    }

    fn remember(&mut self, session: u32, ticket: Ticket) {
        if session > 1
            && session != self.own_session
            && !self.sessions.contains_key(&session)
            && let Some(held) = self.held.get_mut(&ticket)
            && held.sessions.len() < SESSIONS
        {
            self.sessions.insert(session, ticket);
            held.sessions.push(session);
        }
    }

    /// What a process shows of itself, whatever its session.
    pub(super) fn by_itself(&self, pid: u32) -> Option<Ticket> {
        self.by_mark(pid).or_else(|| self.by_hold(pid))
    }

    fn by_mark(&self, pid: u32) -> Option<Ticket> {
        let mark = processes::environment_value(pid, MARK)?;
        self.marks.get(&mark).copied()
    }

    fn by_hold(&self, pid: u32) -> Option<Ticket> {
        let by_fifo = (0..3).find_map(|number| self.fifos.of(processes::descriptor(pid, number)?));
        by_fifo.or_else(|| self.by_cgroup(pid))
    }

    /// `Follow`: the trust rule of `faults.md` (PF).
    pub(super) fn follow(&mut self, ticket: Ticket, pid: u32) {
        match self.trust(ticket, pid) {
            Ok(held_process) => {
                let identity: Identity = identity::of(pid, Some(std::os::fd::AsFd::as_fd(&held_process))).into();
                self.switch_main(ticket, identity.clone(), held_process);
                let written = self.held.get_mut(&ticket).and_then(|held| held.record.as_mut());
                let renamed = written.map_or(Ok(()), |written| record::rename(written, &identity));
                if let Err(error) = renamed {
                    self.note(&format!("the record of process {pid} could not be written: {error}"));
                }
                self.report(&Report::Followed { ticket, identity });
            }
            Err(why) => self.report(&Report::NotFollowed { ticket, pid, why }),
        }
    }

    fn trust(&mut self, ticket: Ticket, pid: u32) -> Result<OwnedFd, String> {
        let Some((uid, life)) = self.held.get(&ticket).map(|held| (held.uid, held.life)) else {
            return Err("its launch is over".into());
        };
        if life == Life::Empty {
            return Err("nothing of its launch is left".into());
        }
        if pid <= 1 || pid == std::process::id() || self.daemon == Some(pid) {
            return Err(format!("{pid} can't be a service"));
        }
        if self.mains.get(&pid).is_some_and(|owner| *owner != ticket) {
            return Err(format!("process {pid} belongs to another service"));
        }
        // Held before it is looked at: what is found out below is then true of what is held.
        let held_process = match pidfd::open(pid).map_err(|error| error.raw_os_error()) {
            Ok(held_process) => held_process,
            Err(Some(libc::ENOSYS | libc::EPERM)) => {
                return Err(format!("process {pid} can't be held: this kernel allows no pidfds"));
            }
            Err(_) => return Err(self.no_such_process(ticket, pid)),
        };
        let Some(stat) = processes::stat(pid).filter(|stat| !stat.is_zombie()) else {
            return Err(self.no_such_process(ticket, pid));
        };
        if !self.belongs(ticket, pid) {
            let stranger = format!("process {pid} ({}) was not started by this service", stat.name);
            return Err(self.with_hint(ticket, pid, stranger));
        }
        if processes::owner(pid) != Some(uid) {
            return Err(format!(
                "process {pid} ({}) does not run as the user of this service",
                stat.name
            ));
        }
        if pidfd::signal(std::os::fd::AsFd::as_fd(&held_process), 0).is_err() {
            return Err(format!("there is no process {pid}"));
        }
        Ok(held_process)
    }

    fn no_such_process(&mut self, ticket: Ticket, pid: u32) -> String {
        self.with_hint(ticket, pid, format!("there is no process {pid}"))
    }

    /// A number that means somebody inside a container is said to (PF-14).
    fn with_hint(&mut self, ticket: Ticket, pid: u32, why: String) -> String {
        match self.inner_number(ticket, pid) {
            Some(outer) => format!("{why}; inside its own PID namespace process {outer} has this number"),
            None => why,
        }
    }

    /// Whether a process is in the tree of a launch: it is below us, and somebody on the way up is the launch's. Of whom
    /// nothing tells whose it is, it may be the daemon that the PID file of the launch announces.
    fn belongs(&mut self, ticket: Ticket, pid: u32) -> bool {
        let own = std::process::id();
        let (mut ours, mut others) = (false, false);
        let mut at = pid;
        for _ in 0..4096 {
            let Some(stat) = processes::stat(at) else { return false };
            let main = self.mains.get(&at).copied();
            let found = main
                .or_else(|| self.witness(at, stat.session))
                .or_else(|| self.strays.get(&at)?.ticket);
            ours |= found == Some(ticket);
            others |= found.is_some_and(|found| found != ticket);
            if stat.parent == own {
                return ours || !others && self.may_be_daemon_of(ticket, pid);
            }
            if stat.parent <= 1 {
                // Who outlived another guardian is not below us.
                let adopted = self.held.get(&ticket).is_some_and(|held| held.adopted);
                return adopted && ours && !others;
            }
            at = stat.parent;
        }
        false
    }

    fn switch_main(&mut self, ticket: Ticket, identity: Identity, held_process: OwnedFd) {
        let pid = identity.pid;
        let Some(held) = self.held.get_mut(&ticket) else { return };
        if held.main == pid && held.life == Life::Alive {
            return;
        }
        // Reaped in this round and not told yet: it has a successor, so that was no end.
        self.batch.retain(|(ended, _)| *ended != ticket);
        if held.life == Life::Alive && self.mains.remove(&held.main).is_some() {
            let stray = Stray {
                ticket: Some(ticket),
                tries: 0,
                born_ticks: 0,
            };
            self.strays.insert(held.main, stray);
        }
        if held.life == Life::Left {
            self.left.retain(|left| *left != ticket);
        }
        if let Some(before) = held.followed.take() {
            let _ = self.epoll.delete(&before);
        }
        held.life = Life::Alive;
        held.main = pid;
        held.identity = identity;
        self.strays.remove(&pid);
        self.mains.insert(pid, ticket);
        // Its children have no other witness once it has ended.
        if let Some(stat) = processes::stat(pid) {
            self.remember(stat.session, ticket);
        }
        self.watch_followed(&held_process, ticket);
        if let Some(held) = self.held.get_mut(&ticket) {
            held.followed = Some(held_process);
        }
    }
}
