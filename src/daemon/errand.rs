//! Short-lived commands beside a service (exec probes, stop commands), run through the guardian from a task.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::hands::Inbox;
use crate::guardian::orders::Ticket;
use crate::reconcile::{ExitStatus, Failure, Incarnation};
use crate::spec::Argv;

/// What a task asks of `hands`.
#[derive(Debug)]
pub struct Errand {
    pub ticket: Ticket,
    pub id: Incarnation,
    pub command: Argv,
    /// Both output streams go here; `None`: to the log of the service.
    pub output: Option<OwnedFd>,
    pub beside: Beside,
    pub done: oneshot::Sender<End>,
}

/// What differs from the other processes of the run.
#[derive(Debug, Default)]
pub struct Beside {
    /// Where it runs; `None`: where the service does.
    pub folder: Option<PathBuf>,
    /// Variables that it gets besides.
    pub told: Vec<(&'static str, String)>,
    /// What it reads from; `None`: /dev/null.
    pub stdin: Option<Arc<File>>,
}

#[derive(Debug)]
pub enum End {
    Exited(ExitStatus),
    NotStarted(Failure),
}

/// Tickets for everything that is forked, counted on from where the guardian said.
#[derive(Debug)]
pub struct Tickets(std::cell::Cell<u64>);

impl Tickets {
    pub fn from(next: u64) -> Tickets {
        Tickets(std::cell::Cell::new(next))
    }

    pub fn take(&self) -> Ticket {
        let ticket = self.0.get();
        self.0.set(ticket + 1);
        Ticket(ticket)
    }
}

/// A command under way; dropping it ends the command as a tree.
pub struct Underway {
    ticket: Ticket,
    inbox: mpsc::UnboundedSender<Inbox>,
    done: oneshot::Receiver<End>,
    ended: bool,
}

impl Underway {
    pub fn start(
        ticket: Ticket,
        id: Incarnation,
        command: &Argv,
        output: Option<OwnedFd>,
        inbox: &mpsc::UnboundedSender<Inbox>,
    ) -> Underway {
        Underway::of(ticket, id, command, output, Beside::default(), inbox)
    }

    /// One that prints into the log of the service.
    pub fn beside(
        ticket: Ticket,
        id: Incarnation,
        command: &Argv,
        beside: Beside,
        inbox: &mpsc::UnboundedSender<Inbox>,
    ) -> Underway {
        Underway::of(ticket, id, command, None, beside, inbox)
    }

    fn of(
        ticket: Ticket,
        id: Incarnation,
        command: &Argv,
        output: Option<OwnedFd>,
        beside: Beside,
        inbox: &mpsc::UnboundedSender<Inbox>,
    ) -> Underway {
        let (done, receiver) = oneshot::channel();
        // The receiving end lives as long as the loop; after it nobody reads our answer either.
        let _ = inbox.send(Inbox::Errand(Errand {
            ticket,
            id,
            command: command.clone(),
            output,
            beside,
            done,
        }));
        Underway {
            ticket,
            inbox: inbox.clone(),
            done: receiver,
            ended: false,
        }
    }

    /// The end; `None` when `deadline` came first.
    pub async fn end(&mut self, deadline: Instant) -> Option<End> {
        let end = tokio::time::timeout_at(deadline, &mut self.done).await.ok()?;
        self.ended = true;
        Some(end.unwrap_or(End::Exited(ExitStatus::Unknown)))
    }

    /// The end, whenever it comes.
    pub async fn ended(&mut self) -> End {
        let end = (&mut self.done).await;
        self.ended = true;
        end.unwrap_or(End::Exited(ExitStatus::Unknown))
    }

    /// Ends it as a tree and waits until it is gone.
    pub async fn kill(mut self) {
        let _ = self.inbox.send(Inbox::KillErrand(self.ticket));
        self.ended = true;
        let _ = (&mut self.done).await;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.inbox.send(Inbox::KillErrand(self.ticket));
        }
    }
}

/// Runs a stop command to its end or its timeout. The error fits after "the stop command ".
pub async fn run(mut underway: Underway, timeout: Duration) -> Result<(), String> {
    match underway.end(Instant::now() + timeout).await {
        Some(End::Exited(ExitStatus::Code(0))) => Ok(()),
        Some(End::Exited(status)) => Err(in_words(status)),
        Some(End::NotStarted(failure)) => Err(format!("could not be started: {}", failure.message)),
        None => {
            underway.kill().await;
            Err(format!("did not end within {timeout:?}"))
        }
    }
}

pub fn in_words(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with code {code}"),
        ExitStatus::Signal(signal) => format!("was killed by {signal}"),
        ExitStatus::Unknown => "ended in an unknown way".to_owned(),
    }
}
