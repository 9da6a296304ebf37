//! One launch, from its fork to its `Release`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::orders::{End, Holding, Identity, Target, Ticket};
use super::record::Written;
use crate::reconcile::ExitStatus;
use crate::sys::cgroup::Group;
use crate::sys::pidfd;
use crate::sys::spawn::{Channel, Refusal};

#[derive(Debug)]
pub(super) struct Held {
    pub ticket: Ticket,
    pub label: String,
    pub run: u32,
    /// The user that it runs as, for the trust rule of `Follow`.
    pub uid: u32,
    /// What we forked: leads its session and its group.
    pub leader: u32,
    pub leader_reaped: bool,
    /// Of the leader; speaks for its group even after the leader was reaped.
    pub pidfd: Option<OwnedFd>,
    /// The leader, or the descendant that is followed instead.
    pub main: u32,
    /// Of `main`.
    pub identity: Identity,
    /// Set while a descendant is followed.
    pub followed: Option<OwnedFd>,
    pub life: Life,
    /// How the latest main process ended: kept until the daemon has taken it into account.
    pub ended: Option<ExitStatus>,
    /// The latest signal that was ordered.
    pub signalled: Option<i32>,
    /// For the next daemon.
    pub kept: Vec<OwnedFd>,
    /// Until it is known whether the program was executed.
    pub channel: Option<Channel>,
    pub refusal: Option<Refusal>,
    pub mark: Option<Vec<u8>>,
    pub fifos: Vec<(File, (u64, u64))>,
    /// Sessions that belong to it: its own, and those of descendants that opened one.
    pub sessions: Vec<u32>,
    pub record: Option<Written>,
    pub cgroup: Option<Group>,
    /// Its file of events, while all that is waited for is that everybody in it ends.
    pub emptying: Option<File>,
    pub reap_tree: bool,
    /// The daemon has forgotten it; it goes when nothing of it is left.
    pub released: bool,
    pub killing: Option<Killing>,
    /// Another guardian launched it: none of its processes is a child of ours.
    pub adopted: bool,
    /// What such a one has left.
    pub watched: Vec<OwnedFd>,
    pub launcher: Launcher,
    /// It has our descriptors 0-2 and stays in our session: CMD of `up -- CMD`.
    pub on_terminal: bool,
}

/// What may tell a daemon's launcher later.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Launcher {
    /// As the kernel calls a process that executed it: up to 15 bytes.
    pub name: String,
    pub born_ticks: u64,
    /// Its service says by a PID file which process it is.
    pub pid_file: bool,
    /// It has ended with 0 as the main process.
    pub ended_well: bool,
}

impl Held {
    /// A process that is alive, and of which nothing else is known.
    pub(super) fn new(ticket: Ticket, identity: Identity, uid: u32) -> Held {
        let main = identity.pid;
        Held {
            ticket,
            label: String::new(),
            run: 0,
            uid,
            leader: main,
            leader_reaped: false,
            pidfd: None,
            main,
            identity,
            followed: None,
            life: Life::Alive,
            ended: None,
            signalled: None,
            kept: Vec::new(),
            channel: None,
            refusal: None,
            mark: None,
            fifos: Vec::new(),
            sessions: Vec::new(),
            record: None,
            cgroup: None,
            emptying: None,
            reap_tree: false,
            released: false,
            killing: None,
            adopted: false,
            watched: Vec::new(),
            launcher: Launcher::default(),
            on_terminal: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Its main process lives.
    Alive,
    /// Its main process was reported as ended; others of its tree are still there.
    Left,
    Empty,
}

/// A `Kill` that is not through yet.
#[derive(Debug)]
pub(super) struct Killing {
    pub target: Target,
    pub sweep: bool,
    /// Monotonic: when to look again, and when to tell that it does not work.
    pub again_at_ns: u64,
    pub pause_ns: u64,
    pub until_ns: u64,
    /// It was told; only further ends are waited for.
    pub given_up: bool,
}

impl Held {
    /// What the next daemon has to know of it.
    pub(super) fn holding(&self) -> Holding {
        let left = self.life == Life::Left;
        Holding {
            ticket: self.ticket,
            label: self.label.clone(),
            run: self.run,
            launched: self.leader,
            main: self.identity.clone(),
            executed: self.channel.is_none() || self.ended.is_some(),
            signalled: self.signalled,
            end: match self.life {
                Life::Alive => None,
                Life::Left | Life::Empty => self.ended.map(|status| End { status, left }),
            },
            keeps: u8::try_from(self.kept.len()).unwrap_or(u8::MAX),
        }
    }

    /// Signals the main process. What is gone needs no signal.
    pub(super) fn signal_main(&self, signal: i32) {
        let _ = match (&self.followed, &self.pidfd) {
            (Some(held), _) => pidfd::signal(held.as_fd(), signal),
            (None, _) if self.leader_reaped => Ok(()),
            (None, Some(held)) => pidfd::signal(held.as_fd(), signal),
            (None, None) => pidfd::signal_child(self.leader, signal),
        };
    }

    /// Signals the group of the leader; a followed main process, too, when it has left it.
    pub(super) fn signal_group(&self, signal: i32, by_pidfd: bool) {
        let reached = self.to_group(signal, by_pidfd).is_ok();
        // Before its setsid(2) the child leads no group yet, and a daemon that is followed has made its own.
        if self.followed.is_some() || (!reached && self.life == Life::Alive) {
            self.signal_main(signal);
        }
        if !reached {
            // The leader of an adopted launch ended while nobody held it: its group can't be named any more.
            for left in &self.watched {
                let _ = pidfd::signal(left.as_fd(), signal);
            }
        }
    }

    /// Whether somebody is in the leader's group. A leader that is kept unreaped counts.
    pub(super) fn has_group(&self, by_pidfd: bool) -> bool {
        self.to_group(0, by_pidfd).is_ok()
    }

    fn to_group(&self, signal: i32, by_pidfd: bool) -> io::Result<()> {
        match &self.pidfd {
            Some(held) if by_pidfd => pidfd::signal_group(held.as_fd(), signal),
            _ if self.leader_reaped => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            _ => pidfd::signal_group_of_child(self.leader, signal),
        }
    }
}
