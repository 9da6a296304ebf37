//! What a probe may ask: its view of one run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::census::Census;
use super::errand::{End, Tickets, Underway, in_words};
use super::hands::Inbox;
use crate::guardian::orders::Identity;
use crate::probe::{Executed, Surroundings};
use crate::reconcile::{ExitStatus, Incarnation, Outcome, ProbeKind};
use crate::spec::{Argv, Protocol, Service};
use crate::sys;
use crate::sys::ports::Listening;

/// What event-driven checks have seen of one run.
#[derive(Debug, Default)]
pub struct Witness {
    pub pid: Cell<Option<u32>>,
    /// Its main process, held: how it has ended, the next guardian learns by it where this one did not live to tell.
    pub process: RefCell<Option<OwnedFd>>,
    pub matched: RefCell<BTreeSet<String>>,
    pub ready: Cell<bool>,
    pub watchdog_at: Cell<Option<Instant>>,
    /// Where it listens while it is not ready, if that is not where it should: `; it listens on 8080, not on 3000`.
    pub elsewhere: RefCell<String>,
}

impl Witness {
    /// This is its main process from now on.
    pub fn see(&self, main: &Identity) {
        self.pid.set(Some(main.pid));
        let is_it = |held: &OwnedFd| sys::identity::is_held(main.clone().into(), held.as_fd());
        *self.process.borrow_mut() = sys::pidfd::open(main.pid).ok().filter(is_it);
    }
}

/// Output of an exec probe beyond this is read and dropped.
const OUTPUT_CAP: usize = 4096;

pub struct RunSurroundings {
    pub id: Incarnation,
    pub witness: Rc<Witness>,
    pub tickets: Rc<Tickets>,
    pub census: Rc<Census>,
    pub inbox: mpsc::UnboundedSender<Inbox>,
}

impl Surroundings for RunSurroundings {
    fn exec<'a>(&'a self, command: &'a Argv, timeout: Duration) -> Pin<Box<dyn Future<Output = Executed> + 'a>> {
        Box::pin(self.execute(command, timeout))
    }

    fn log_matched(&self, pattern: &str) -> bool {
        self.witness.matched.borrow().contains(pattern)
    }

    fn notified(&self, kind: ProbeKind, within: Duration) -> bool {
        match kind {
            ProbeKind::Ready => self.witness.ready.get(),
            ProbeKind::Health => self.witness.watchdog_at.get().is_some_and(|at| at.elapsed() <= within),
        }
    }

    fn pid(&self) -> Option<u32> {
        self.witness.pid.get()
    }

    fn listens(&self, port: Option<u16>) -> Pin<Box<dyn Future<Output = Outcome> + '_>> {
        Box::pin(async move {
            let Some(found) = self.listening().await else {
                return Outcome::Unknown("the process is not known".to_owned());
            };
            match port {
                None if found.any() => Outcome::Success,
                None => Outcome::Failure("no process of the service listens on a socket".to_owned()),
                Some(port) if found.tcp_ports.contains(&port) => Outcome::Success,
                Some(port) => Outcome::Failure(format!("no process of the service listens on port {port}")),
            }
        })
    }
}

impl RunSurroundings {
    /// `PO-08`: what to say beside a failed readiness probe. All descriptors of the tree are looked at, so it is done at the 4th,
    /// 8th, 16th ... attempt only.
    pub async fn elsewhere(&self, service: &Service, attempt: u32) -> String {
        if attempt >= 4
            && attempt.is_power_of_two()
            && let Some(found) = self.listening().await
        {
            self.witness.elsewhere.replace(instead(service, &found.tcp_ports));
        }
        self.witness.elsewhere.borrow().clone()
    }

    /// Where the run listens; `None`: its process is not known.
    async fn listening(&self) -> Option<Listening> {
        let pid = self.witness.pid.get()?;
        let all = self.census.take().await;
        let read = move || sys::ports::listening_sockets_of(&sys::usage::members(&all, pid));
        tokio::task::spawn_blocking(read).await.ok()
    }

    async fn execute(&self, command: &Argv, timeout: Duration) -> Executed {
        let deadline = Instant::now() + timeout;
        let (reader, writer) = match std::io::pipe() {
            Ok(ends) => ends,
            Err(error) => return Executed::Unknown(format!("no pipe for its output: {error}")),
        };
        let mut reader = match pipe::Receiver::from_owned_fd(reader.into()) {
            Ok(reader) => reader,
            Err(error) => return Executed::Unknown(format!("no pipe for its output: {error}")),
        };
        let mut underway = Underway::start(self.tickets.take(), self.id, command, Some(writer.into()), &self.inbox);
        let mut output = Vec::new();
        let end = {
            let mut end = std::pin::pin!(underway.end(deadline));
            loop {
                tokio::select! {
                    biased;
                    read = keep_reading(&mut reader, &mut output) => if read.is_err() { break end.await },
                    ended = &mut end => break ended,
                }
            }
        };
        match end {
            None => {
                underway.kill().await;
                Executed::TimedOut { output }
            }
            Some(End::Exited(ExitStatus::Code(0))) => Executed::Success,
            Some(End::Exited(status)) => Executed::Failed {
                how: in_words(status),
                output,
            },
            Some(End::NotStarted(failure)) => Executed::Unknown(failure.message),
        }
    }
}

/// Nothing, unless it listens on other ports and on none of the declared ones.
fn instead(service: &Service, found: &[u16]) -> String {
    let tcp = service.ports.values().filter(|port| port.protocol == Protocol::Tcp);
    let declared: Vec<u16> = tcp.map(|port| port.number).collect();
    if declared.is_empty() || found.is_empty() || found.iter().any(|port| declared.contains(port)) {
        return String::new();
    }
    let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    format!("; it listens on {}, not on {}", list(found), list(&declared))
}

/// One read. An error means that nothing more will come.
async fn keep_reading(reader: &mut pipe::Receiver, output: &mut Vec<u8>) -> Result<(), ()> {
    let mut chunk = [0; 4096];
    match reader.read(&mut chunk).await {
        Ok(0) | Err(_) => Err(()),
        Ok(count) => {
            let room = OUTPUT_CAP.saturating_sub(output.len());
            output.extend_from_slice(&chunk[..count.min(room)]);
            Ok(())
        }
    }
}
