//! The loop: orders in, signals in, reports out.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::marker::PhantomPinned;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;

use super::cgroups::Cgroups;
use super::closing::Closing;
use super::held::{Held, Life};
use super::kin::Stray;
use super::link::GuardianLink;
use super::orders::{Before, Order, Report, Target, Ticket};
use super::revival::Revival;
use super::sockets::Sockets;
use super::terminal;
use super::writers::Writers;
use crate::fault::point;
use crate::reconcile::ExitStatus;
use crate::sys::processes::OwnChildren;
use crate::sys::signals::SignalQueue;
use crate::sys::spawn::{Calls, Forker};
use crate::sys::{clock, limits, passing, pidfd, rescue, signals, tty};

/// What an epoll event is about, in its lowest bits; a ticket is above them.
const LINK: u64 = 0;
const SIGNALS: u64 = 1;
const CHANNEL: u64 = 2;
const FOLLOWED: u64 = 3;
const EMPTYING: u64 = 4;
const KINDS: u32 = 3;

/// Orders of one round.
const ORDERS: usize = 64;

pub(super) struct Guard {
    pub link: GuardianLink,
    /// The daemon's end of the socket is gone.
    pub link_ended: bool,
    pub epoll: Epoll,
    signals: SignalQueue,
    pub forker: Forker,
    pub null: File,
    pub held: HashMap<Ticket, Held>,
    /// The launch that has our terminal.
    pub command: Option<Ticket>,
    /// Live main processes.
    pub mains: HashMap<u32, Ticket>,
    pub sessions: HashMap<u32, Ticket>,
    /// Of whoever is in ours, that says nothing.
    pub own_session: u32,
    pub marks: HashMap<Vec<u8>, Ticket>,
    pub fifos: Writers,
    /// Children of ours that are no main process: orphans of services.
    pub strays: HashMap<u32, Stray>,
    pub children: OwnChildren,
    /// The last reading of `children`.
    pub list: Vec<u32>,
    /// Main processes that were reaped and not reported yet.
    pub batch: VecDeque<(Ticket, ExitStatus)>,
    /// Tickets in `Life::Left`, and those with a `Kill` under way.
    pub left: Vec<Ticket>,
    pub killing: Vec<Ticket>,
    /// Something was reaped since the last look.
    pub reaped: bool,
    /// The kernel signals groups through pidfds; else leaders stay unreaped until their group is empty.
    pub groups_by_pidfd: bool,
    pub cgroups: Cgroups,
    pub next_ticket: u64,
    /// The program that we are to become.
    pub renewal: Option<Vec<u8>>,
    /// Descriptors that hold something for what is to be adopted.
    pub spare: Vec<OwnedFd>,
    /// Bound for services.
    pub sockets: Sockets,
    /// How daemons are started, where we have one.
    pub revival: Option<Revival>,
    pub daemon: Option<u32>,
    pub daemon_ended: Option<ExitStatus>,
    pub finished: bool,
    pub closing: Option<Closing>,
    wants_output: bool,
    /// Some may have arrived already, which epoll does not tell.
    more_orders: bool,
    pub voice: Speech,
    /// As `sys::rescue` wants it.
    _pinned: PhantomPinned,
}

/// Where our few words go, and what the daemon prints.
#[derive(Debug)]
pub(super) enum Speech {
    Silent,
    Log(File),
    /// Our own stdout and stderr.
    Console,
}

impl Guard {
    pub(super) fn new(link: GuardianLink, calls: Calls, groups_by_pidfd: bool, cgroups: Cgroups) -> io::Result<Guard> {
        let raised = limits::raise_descriptors();
        limits::make_room_for_descriptors();
        let collected = [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGWINCH,
            Signal::SIGCONT,
        ];
        let signals = SignalQueue::over(&collected)?;
        // A client that went away must not end us, and Rust ignores SIGPIPE anyway: children get the default back.
        signals::ignore(libc::SIGPIPE);
        // Ignored by who started us, the kernel would reap our children and drop how they ended.
        signals::default(libc::SIGCHLD);
        signals::become_subreaper()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(link.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, LINK))?;
        epoll.add(signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Guard {
            link,
            link_ended: false,
            epoll,
            signals,
            forker: Forker::new(calls, raised),
            null: File::options().read(true).write(true).open("/dev/null")?,
            held: HashMap::new(),
            command: None,
            mains: HashMap::new(),
            sessions: HashMap::new(),
            own_session: nix::unistd::getsid(None).map_or(0, |session| session.as_raw().unsigned_abs()),
            marks: HashMap::new(),
            fifos: Writers::default(),
            strays: HashMap::new(),
            children: OwnChildren::default(),
            list: Vec::new(),
            batch: VecDeque::new(),
            left: Vec::new(),
            killing: Vec::new(),
            reaped: false,
            groups_by_pidfd: groups_by_pidfd && calls.pidfd && pidfd::groups_supported(),
            cgroups,
            next_ticket: first_ticket(),
            renewal: None,
            spare: Vec::new(),
            sockets: Sockets::default(),
            revival: None,
            daemon: None,
            daemon_ended: None,
            finished: false,
            closing: None,
            wants_output: false,
            more_orders: false,
            voice: Speech::Silent,
            _pinned: PhantomPinned,
        })
    }

    /// First message on a new connection.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(super) fn greet(&mut self) -> io::Result<()> {
        self.report(&Report::Hello {
            next_ticket: self.next_ticket,
            pid: std::process::id(),
            sockets: self.sockets.count(),
            before: None,
        });
        self.hand_down_sockets()?;
        // The first round may wait for long.
        self.flush();
        Ok(())
    }

    /// A new daemon is at the other end of this link: it is told what we hold.
    pub(super) fn greet_anew(&mut self, link: GuardianLink, before: Before) -> io::Result<()> {
        self.epoll
            .add(link.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, LINK))?;
        self.link = link;
        self.link_ended = false;
        self.wants_output = false;
        self.more_orders = false;
        self.report(&Report::Hello {
            next_ticket: self.next_ticket,
            pid: std::process::id(),
            sockets: self.sockets.count(),
            before: Some(before),
        });
        self.hand_down_sockets()?;
        for held in self.held.values().filter(|held| !held.reap_tree) {
            let kept: Vec<_> = held.kept.iter().map(AsFd::as_fd).collect();
            self.link.queue(&Report::Held(Box::new(held.holding())), &kept)?;
        }
        self.report(&Report::HeldAll);
        self.flush();
        Ok(())
    }

    /// Runs until everything is over; the answer is our exit code. A panic of one round is not the end: we hold what
    /// nobody else can.
    pub(super) fn run(&mut self) -> i32 {
        loop {
            if let Some(Some(code)) = rescue::attempt(self, Guard::round) {
                self.leave_cgroups();
                return code;
            }
        }
    }

    fn round(&mut self) -> Option<i32> {
        let mut events = [EpollEvent::empty(); 128];
        let count = self.epoll.wait(&mut events, self.patience()).unwrap_or_default();
        // Signals first: an exit is known before anything is done by a number.
        if events[..count].iter().any(|event| event.data() == SIGNALS) {
            self.read_signals();
        }
        if self.more_orders {
            self.read_orders();
        }
        for event in &events[..count] {
            match (event.data() & ((1 << KINDS) - 1), Ticket(event.data() >> KINDS)) {
                (LINK, _) => self.read_orders(),
                (CHANNEL, ticket) => self.launch_went_on(ticket),
                (FOLLOWED, ticket) => self.followed_ended(ticket),
                (EMPTYING, ticket) => self.cgroup_changed(ticket),
                _ => {}
            }
        }
        self.settle();
        self.go_on_killing();
        self.flush();
        self.over()
    }

    fn patience(&self) -> EpollTimeout {
        if self.more_orders {
            return EpollTimeout::ZERO;
        }
        let kills = self
            .killing
            .iter()
            .filter_map(|ticket| self.held.get(ticket)?.killing.as_ref());
        let due = kills.filter(|kill| !kill.given_up).map(|kill| kill.again_at_ns);
        let revival = self.revival.iter().filter_map(Revival::due_ns);
        let Some(next) = due.chain(self.closing.iter().map(Closing::due_ns)).chain(revival).min() else {
            return EpollTimeout::NONE;
        };
        let milliseconds = next.saturating_sub(clock::mono_ns()).div_ceil(1_000_000);
        EpollTimeout::try_from(milliseconds.min(60_000)).unwrap_or(EpollTimeout::ZERO)
    }

    /// As many as can wait at once: a storm of them (`SG-01`) keeps nobody else from their turn.
    fn read_signals(&mut self) {
        for _ in 0..signals::LAST {
            let Some(signal) = self.signals.next() else { break };
            match signal {
                libc::SIGCHLD => {
                    self.reap();
                    self.on_terminal().into_iter().for_each(terminal::follow_stop);
                }
                libc::SIGCONT => self.on_terminal().into_iter().for_each(terminal::go_on),
                own if terminal::ITS_OWN.contains(&own) => {
                    self.on_terminal()
                        .into_iter()
                        .for_each(|command| drop(pidfd::signal_child(command, own)));
                }
                other => self.pass_on(other),
            }
        }
    }

    /// SIGTERM, SIGINT, SIGQUIT and SIGHUP are meant for who decides.
    fn pass_on(&mut self, signal: i32) {
        match self.daemon {
            Some(daemon) if self.daemon_ended.is_none() => {
                let _ = pidfd::signal_child(daemon, signal);
            }
            _ => {
                self.hasten_closing();
                if signal != libc::SIGHUP
                    && let Some(revival) = &mut self.revival
                {
                    revival.asked_to_end = true;
                }
            }
        }
    }

    /// Not all at once: between the thousand launches of one `up`, ends are still told.
    fn read_orders(&mut self) {
        self.more_orders = !self.link_ended;
        for _ in 0..ORDERS {
            if !self.more_orders {
                return;
            }
            match self.link.try_read() {
                Ok(Some(order)) => {
                    if let Some(revival) = &mut self.revival {
                        revival.has_obeyed = true;
                    }
                    self.obey(order);
                }
                Ok(None) => self.more_orders = false,
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        self.note(&format!("the order socket failed: {error}"));
                    }
                    let _ = self.epoll.delete(self.link.as_fd());
                    self.link_ended = true;
                    self.more_orders = false;
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Spawn(launch) => {
                self.next_ticket = self.next_ticket.max(launch.ticket.0 + 1);
                self.launch(*launch);
            }
            Order::Signal {
                ticket,
                signal,
                target,
                wakes,
            } => self.signal(ticket, signal, target, wakes),
            Order::Kill { ticket, target, sweep } => self.kill(ticket, target, sweep),
            Order::Follow { ticket, pid } => self.follow(ticket, pid),
            Order::TakeOver(adoption) => self.take_over(*adoption),
            Order::Release { ticket } => self.release(ticket),
            Order::HoldSocket => self.hold_socket(),
            Order::CloseSocket(to) => self.sockets.close(to),
            Order::Adopt(orphans) => self.adopt(orphans),
            Order::Renew { program } => self.renewal = Some(program),
            Order::Finish => self.finish(),
        }
    }

    pub(super) fn signal(&mut self, ticket: Ticket, signal: i32, target: Target, wakes: bool) {
        let Some(held) = self.held.get_mut(&ticket).filter(|held| held.life != Life::Empty) else {
            return;
        };
        held.signalled = Some(signal);
        let held = &*held;
        let send = |signal| match target {
            Target::Process => held.signal_main(signal),
            Target::Group => held.signal_group(signal, self.groups_by_pidfd),
        };
        let wakes = wakes && signal != libc::SIGKILL;
        send(signal);
        if wakes {
            send(libc::SIGCONT);
        }
        point!("guardian.signalled");
        if target == Target::Group {
            self.signal_rest_of_daemon(ticket, signal, wakes);
        }
    }

    fn release(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get_mut(&ticket) else { return };
        held.released = true;
        point!("guardian.exit-acknowledged");
        if !held.reap_tree || held.life == Life::Empty {
            self.forget(ticket);
        }
    }

    pub(super) fn watch_channel(&self, channel: &impl AsFd, ticket: Ticket) -> bool {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, ticket.0 << KINDS | CHANNEL);
        self.epoll.add(channel, event).is_ok()
    }

    pub(super) fn watch_followed(&self, pidfd: &impl AsFd, ticket: Ticket) -> bool {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, ticket.0 << KINDS | FOLLOWED);
        self.epoll.add(pidfd, event).is_ok()
    }

    pub(super) fn watch_emptying(&self, events: &impl AsFd, ticket: Ticket) {
        let event = EpollEvent::new(EpollFlags::EPOLLPRI, ticket.0 << KINDS | EMPTYING);
        let _ = self.epoll.add(events, event);
    }

    pub(super) fn report(&mut self, report: &Report) {
        if !self.link_ended
            && let Err(error) = self.link.queue(report, &[])
        {
            self.note(&format!("a report could not be written: {error}"));
        }
    }

    fn flush(&mut self) {
        if self.link_ended {
            return;
        }
        // An error means that the daemon is gone; that is learned by reading, after the last orders.
        let wants = self.link.is_waiting() && matches!(self.link.flush(), Ok(false));
        if wants != self.wants_output {
            let flags = if wants {
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
            } else {
                EpollFlags::EPOLLIN
            };
            let _ = self.epoll.modify(self.link.as_fd(), &mut EpollEvent::new(flags, LINK));
            self.wants_output = wants;
        }
    }

    /// One line to our log file or stderr: we have no other voice.
    pub(super) fn note(&mut self, text: &str) {
        use std::io::Write;
        let now = clock::wall_ns() / 1_000_000_000;
        match &mut self.voice {
            Speech::Silent => {}
            Speech::Log(log) => drop(writeln!(log, "{now} guardian[{}]: {text}", std::process::id())),
            // Who reads it may have stopped reading, and nobody else does what we do.
            Speech::Console if tty::takes_a_line(io::stderr().as_fd()) => {
                drop(writeln!(io::stderr(), "runner  guardian: {text}"));
            }
            Speech::Console => {}
        }
    }

    /// A descriptor that came beside an order.
    pub(super) fn claim(&mut self) -> Option<std::os::fd::OwnedFd> {
        self.link.take_descriptor()
    }
}

/// Above all tickets of the guardians before us in this boot: a mark carries its ticket, and what they have launched may
/// still run. (None of them gives a million in a second.)
fn first_ticket() -> u64 {
    clock::mono_ns() / 1_000
}

/// Makes sure that 0, 1 and 2 are open, so that no descriptor of ours ever stands there.
pub(super) fn occupy_standard_streams() {
    while let Ok(file) = File::options().read(true).write(true).open("/dev/null") {
        use std::os::fd::{AsRawFd, IntoRawFd};
        if file.as_raw_fd() > 2 {
            break;
        }
        let _ = file.into_raw_fd();
    }
}

/// The order socket at its agreed number.
pub(super) fn inherited_link(number: i32) -> io::Result<GuardianLink> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the order socket is not there");
    passing::inherited(number).map(GuardianLink::over).ok_or_else(missing)
}
