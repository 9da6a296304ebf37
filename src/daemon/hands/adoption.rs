//! Taking over what an earlier daemon started: its ticket, its streams, its end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::commands::with_outputs;
use super::notify::uses_notify;
use super::patterns::Patterns;
use super::pid_files::RunFile;
use super::terminals::{self, RunTerminal};
use super::{Claim, Hands, Run};
use tokio::task::AbortHandle;

use crate::config::MovedPorts;
use crate::daemon::launch::Setting;
use crate::daemon::recovery::{Finds, Found, Inherited};
use crate::fault::point;
use crate::guardian::orders::Order;
use crate::logs::OpenRun;
use crate::probe::NotifySocket;
use crate::reconcile::{ExitStatus, Fact, Incarnation};
use crate::spec::{Given, LogTarget, Service, Signal};
use crate::sys;
use crate::sys::places::nameless;

impl Hands {
    /// What was found of earlier runs; each waits for its `Adopt`.
    pub fn inherit(&mut self, finds: Finds, moved: MovedPorts) {
        self.finds = finds;
        self.moved = moved;
    }

    /// What nobody has adopted and that is over is let go of.
    pub fn release_what_is_over(&mut self) {
        let over = |found: &Found| match found {
            Found::Held(inherited) => inherited.holding.end.is_some_and(|end| !end.left),
            Found::Gone { .. } => true,
        };
        let (over, kept) = std::mem::take(&mut self.finds)
            .into_iter()
            .partition(|(_, found)| over(found));
        self.finds = kept;
        let over: Finds = over;
        for ((service, run), found) in over {
            if let Found::Held(inherited) = found {
                let ticket = inherited.holding.ticket;
                self.order(&Order::Release { ticket }, &[]);
            }
            for stream in ["out", "err"] {
                let _ = std::fs::remove_file(self.runtime_dir.join(format!("{service}.{run}.{stream}")));
            }
        }
    }

    /// What the next guardian needs of all that runs: an end of everything that services print into (what they have
    /// printed stays there as long as it is open), and their processes.
    pub fn hold_on(&self) -> Vec<OwnedFd> {
        let paths = self.runs.values().flat_map(|run| &run.fifos);
        let fifos = paths.filter_map(|path| sys::fifo::open_both(path).ok());
        let masters = self.runs.values().filter_map(|run| run.terminal.as_ref());
        let masters = masters.filter_map(|terminal| terminal.master().try_clone().ok());
        let processes = self.runs.values().filter_map(|run| run.witness.process.take());
        fifos.map(OwnedFd::from).chain(masters).chain(processes).collect()
    }

    /// Ends at once what nobody could take over: without a place for records the next guardian finds nothing of it. `false`:
    /// something runs that is not held, so that only a number would say who it is.
    pub fn end_what_is_unrecorded(&self) -> bool {
        if !nameless::is_nowhere(&self.runtime_dir) {
            return true;
        }
        let end = |run: &Run| match &*run.witness.process.borrow() {
            Some(process) => {
                let killed = sys::pidfd::signal_group(process.as_fd(), libc::SIGKILL);
                drop(killed.or_else(|_| sys::pidfd::signal(process.as_fd(), libc::SIGKILL)));
                true
            }
            None => run.witness.pid.get().is_none(),
        };
        self.runs.values().filter(|run| !end(run)).count() == 0
    }

    pub(super) fn adopt(&mut self, id: Incarnation, service: &Arc<Service>, given: Given) {
        match self.finds.remove(&(service.name.clone(), id.run)) {
            Some(Found::Held(inherited)) => self.take_over(id, service, given, inherited),
            Some(Found::Gone { pid }) => {
                self.remove_fifos(id, service);
                // As one that is held and has ended: the word of its start may not have come through.
                self.known.push_back(Fact::Adopted {
                    id,
                    pid,
                    executed: true,
                    signalled: None,
                    ended: true,
                });
                self.known.push_back(Fact::Exited {
                    id,
                    status: ExitStatus::Unknown,
                    left: false,
                    out_of_memory: false,
                });
            }
            None => self.known.push_back(Fact::Vanished { id }),
        }
    }

    fn take_over(&mut self, id: Incarnation, declared: &Arc<Service>, given: Given, inherited: Inherited) {
        let service = &self.actual(declared).unwrap_or_else(|_| declared.clone());
        self.tell_actual(id, declared, service, Vec::new());
        let service = &with_outputs(service.clone(), &given);
        let Inherited {
            holding,
            kept,
            notify,
            mark,
        } = inherited;
        let setting = Setting::of(id, service, &self.surroundings);
        // A user that is no more: its probes and commands can't run, but it can be watched and stopped.
        let mut setting = setting.unwrap_or_else(|failure| {
            self.troubles.push((service.name.clone(), failure.message));
            let nobody = Arc::new(Service {
                user: None,
                group: None,
                ..Service::clone(service)
            });
            Setting::without_account(id, &nobody, &self.surroundings)
        });
        if let Some(address) = &notify {
            setting.give("NOTIFY_SOCKET", address.clone().into_bytes());
        }
        let mut run = Run {
            mark: mark.unwrap_or_default(),
            // They are asked for once its output is open.
            patterns: Patterns::default(),
            given,
            ..Run::new(holding.ticket, service, setting.clone())
        };
        let pids = (holding.launched, holding.main.pid);
        run.pid_file = RunFile::resumed(service, id, &setting, &self.inbox, pids);
        run.witness.see(&holding.main);
        let (masters, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|kept| sys::pty::is_master(kept.as_fd()));
        let mut kept = kept.into_iter();
        if uses_notify(service) {
            run.notify = self.listen_again(id, kept.next(), notify.as_deref());
            run.witness.watchdog_at.set(Some(tokio::time::Instant::now()));
        }
        self.adopt_sockets(service, Some(&holding.main).filter(|_| holding.end.is_none()));
        self.by_name.insert((service.name.clone(), id.run), id);
        self.claims.insert(holding.ticket, Claim::Service(id));
        self.runs.insert(id, run);
        self.mind_memory(id);
        self.reopen_output(id, service, kept.collect(), masters.into_iter().next());
        self.known.push_back(Fact::Adopted {
            id,
            pid: holding.main.pid,
            executed: holding.executed,
            signalled: holding.signalled.map(Signal::from_number),
            ended: holding.end.is_some(),
        });
        self.look_at_pid_file(id, false);
        if let Some(end) = holding.end {
            self.exited(holding.ticket, end.status, end.left);
        }
        point!("daemon.adopted");
    }

    /// At the socket that the guardian has held; else at one that is bound to the same address.
    fn listen_again(&self, id: Incarnation, held: Option<OwnedFd>, address: Option<&str>) -> Option<AbortHandle> {
        let socket = match (held, address) {
            (Some(held), _) => NotifySocket::inherited(held),
            (None, Some(address)) => NotifySocket::bind_again(address),
            (None, None) => return None,
        };
        match socket {
            Ok(socket) => Some(self.hear_notifications(id, socket)),
            Err(error) => {
                tracing::warn!(%error, "a notify socket could not be taken over");
                None
            }
        }
    }

    /// What the service has printed since waits in its FIFOs.
    fn reopen_output(&mut self, id: Incarnation, service: &Service, nameless: Vec<OwnedFd>, master: Option<OwnedFd>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let paths = ["out", "err"].map(|stream| self.runtime_dir.join(format!("{}.{}.{stream}", service.name, id.run)));
        let guardian = nix::unistd::getppid().as_raw().unsigned_abs();
        let by_name = |path: &PathBuf| {
            let found = sys::fifo::open_reader(path);
            let found = found.or_else(|_| sys::fifo::open_reader_of(guardian, path));
            found.ok().map(OwnedFd::from)
        };
        let readers = match <[OwnedFd; 2]>::try_from(nameless) {
            Ok([out, err]) => (Some(out), Some(err)),
            Err(_) => (by_name(&paths[0]), by_name(&paths[1])),
        };
        let (Some(out), Some(err)) = readers else { return };
        let terminal = master.and_then(|master| match terminals::take_over(master, out.as_fd()) {
            Ok(terminal) => Some(RunTerminal::begin(id, terminal, &self.inbox)),
            Err(error) => {
                let words = format!("its terminal can't be taken over: {error}");
                self.troubles.push((service.name.clone(), words));
                None
            }
        });
        let target = match &service.log {
            LogTarget::File(_) | LogTarget::Memory(_) => service.log.clone(),
            // It counts from the next start on.
            LogTarget::Off | LogTarget::Inherited => return,
        };
        run.fifos.extend(paths);
        let opened = OpenRun {
            service: service.name.clone(),
            run: id.run,
            adopted: true,
            out,
            err,
            target,
            matchers: Vec::new(),
        };
        match self.pump.open(opened) {
            Ok(()) => {
                run.logged = true;
                run.terminal = terminal;
                // Also what was printed before us.
                self.expect_patterns(id, service);
            }
            Err(error) => {
                let words = format!("the log can't be opened: {error}; the service waits when its pipe is full");
                self.troubles.push((service.name.clone(), words));
            }
        }
    }

    /// It is gone, and so is who held what it printed last.
    fn remove_fifos(&mut self, id: Incarnation, service: &Service) {
        for stream in ["out", "err"] {
            let path = self.runtime_dir.join(format!("{}.{}.{stream}", service.name, id.run));
            let _ = std::fs::remove_file(path);
        }
    }
}
