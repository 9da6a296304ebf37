//! The terminal of a run: what is printed there is passed on as long as the run lasts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Hands, Inbox};
use crate::api::attach::Attached;
use crate::api::wire::Refusal;
use crate::daemon::terminal::{self, Terminal};
use crate::reconcile::{ExitStatus, Failure, Incarnation, Reason};
use crate::spec::Service;
use crate::sys;

#[derive(Debug)]
pub(super) struct RunTerminal {
    terminal: Rc<Terminal>,
    relay: AbortHandle,
}

impl RunTerminal {
    pub fn begin(id: Incarnation, terminal: Rc<Terminal>, inbox: &mpsc::UnboundedSender<Inbox>) -> RunTerminal {
        let inbox = inbox.clone();
        let relay = terminal
            .clone()
            .relay(move || drop(inbox.send(Inbox::TerminalRead(id))));
        RunTerminal {
            terminal,
            relay: tokio::task::spawn_local(relay).abort_handle(),
        }
    }

    pub fn master(&self) -> &OwnedFd {
        self.terminal.master()
    }

    pub fn slave(&self) -> &OwnedFd {
        self.terminal.slave()
    }

    pub fn finish(&self) {
        self.terminal.finish();
    }

    pub fn tell_end(&self, status: ExitStatus) {
        self.terminal.tell_end(status);
    }

    /// What others of its tree have printed since goes into the log as well.
    pub fn close(&self) {
        self.relay.abort();
        self.terminal.pass_on_now();
    }
}

/// One that the guardian has held; what is printed there goes where this pipe's other end is.
pub(super) fn take_over(master: OwnedFd, pipe: BorrowedFd) -> io::Result<Rc<Terminal>> {
    let slave = sys::pty::slave_of(master.as_fd())?;
    Terminal::new(master, slave, sys::fifo::open_writer_of(pipe)?)
}

pub(super) fn terminal_refused(error: io::Error) -> Failure {
    Failure {
        reason: Reason::OutOfResources,
        message: format!("no pseudo-terminal: {error}"),
        suggestion: Some("`tty = true` needs /dev/ptmx and /dev/pts: is devpts mounted here?".to_owned()),
    }
}

impl Hands {
    /// A viewer of the run that is there now; `run_asked`: of no other.
    ///
    /// # Errors
    /// There is none that has a terminal.
    pub fn attach(&self, service: &Service, run_asked: Option<u32>) -> Result<Attached, Refusal> {
        let name = &service.name;
        let refused = |title, detail: String, suggestion: String| Refusal {
            suggestion: Some(suggestion),
            ..Refusal::new(409, title, detail)
        };
        let runs = self.runs.iter().filter(|(_, run)| run.service.name == *name);
        let Some((id, run)) = runs.max_by_key(|(id, _)| id.run) else {
            return Err(match service.tty {
                true => refused(
                    "not running",
                    format!("{name} does not run"),
                    format!("`runner start {name}`, then attach"),
                ),
                false => refused(
                    "no terminal",
                    format!("{name} has none"),
                    format!("write `tty = true` into services.{name}"),
                ),
            });
        };
        if let Some(gone) = run_asked.filter(|asked| *asked != id.run) {
            return Err(refused(
                "not running",
                format!("run {gone} of {name} has ended"),
                format!("`runner attach {name}` shows the one that runs now"),
            ));
        }
        let terminal = run.terminal.as_ref().filter(|_| run.end.is_none());
        let terminal = terminal.filter(|terminal| !terminal.terminal.has_ended());
        let place = self.pump.place(name, &run.service.log);
        match (terminal, place) {
            (Some(own), Some(place)) => Ok(terminal::attach(own.terminal.clone(), name, id.run, place, &self.pump)),
            _ if run.terminal.is_some() => Err(refused(
                "not running",
                format!("{name} is ending"),
                format!("`runner wait {name}` waits until it runs again"),
            )),
            _ if service.tty => Err(refused(
                "no terminal",
                format!("this run of {name} has none, or it was lost when runner was killed"),
                format!("`runner restart {name}` gives it one"),
            )),
            _ => Err(refused(
                "no terminal",
                format!("{name} has none"),
                format!("write `tty = true` into services.{name}; it is restarted then"),
            )),
        }
    }

    pub(super) fn terminal_read(&mut self, id: Incarnation) {
        let Some(run) = self.runs.get(&id) else { return };
        self.pump.drain(&run.service.name, id.run);
    }
}
