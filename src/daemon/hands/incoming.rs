//! What comes back to the hands: from tasks, the pump and the guardian. Each amounts to facts, which are in `known`
//! afterwards.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use tokio::time::Instant;

use super::refusals::explain;
use super::{Claim, Hands, Held, Inbox, Task, order_with};
use crate::daemon::errand::{End, Errand};
use crate::daemon::launch::Role;
use crate::daemon::recovery;
use crate::guardian::orders::{Identity, Order, Report, Stage, Stdio, Target, Ticket};
use crate::logs::LogFact;
use crate::probe::{Message, Notification};
use crate::reconcile::{ExitStatus, Fact, Incarnation};
use crate::spec::Signal;
use crate::sys;

impl Hands {
    /// What came to the loop from a task or the pump; the answer is the fact it amounts to.
    pub fn take(&mut self, item: Inbox) {
        match item {
            Inbox::Fact(fact) => {
                self.task_ended(&fact);
                self.known.push_back(fact);
            }
            Inbox::Log(fact) => self.take_log(fact),
            Inbox::Errand(errand) => self.start_errand(errand),
            Inbox::KillErrand(ticket) => {
                if self.claims.contains_key(&ticket) {
                    self.order(
                        &Order::Kill {
                            ticket,
                            target: Target::Group,
                            sweep: true,
                        },
                        &[],
                    );
                }
            }
            Inbox::MemoryIsDue => self.look_at_memory(),
            Inbox::TerminalRead(id) => self.terminal_read(id),
            Inbox::PidFile(id, lost) => self.look_at_pid_file(id, lost),
            Inbox::Notified(id, notification) => self.take_notification(id, notification),
        }
    }

    fn task_ended(&mut self, fact: &Fact) {
        match *fact {
            Fact::Probed { id, kind, .. } => self.tasks.remove(&(id, Task::Probe(kind))),
            Fact::GateProbed { id, .. } => self.tasks.remove(&(id, Task::Gate)),
            Fact::CommandEnded { id, purpose, .. } => {
                let task = self.tasks.remove(&(id, Task::Run(purpose)));
                self.command_ended(id);
                task
            }
            _ => None,
        };
    }

    fn take_log(&mut self, fact: LogFact) {
        match fact {
            LogFact::Matched {
                service,
                run,
                index,
                line,
            } => {
                if let Some(&id) = self.by_name.get(&(service, run)) {
                    self.take_match(id, index, &line);
                }
            }
            LogFact::Drained { service, run } => {
                if let Some(&id) = self.by_name.get(&(service, run)) {
                    self.tell_end(id);
                }
            }
            LogFact::Trouble {
                service,
                problem: Some(problem),
            } => {
                let words = format!("the log can't be written: {problem}; the service waits when its pipe is full");
                self.troubles.push((service, words));
            }
            LogFact::Deleted { service } => {
                let words = "its log was deleted; it goes on in a new file".to_owned();
                self.troubles.push((service, words));
            }
            LogFact::Trouble { service, problem: None } => {
                self.troubles.push((service, "the log is written again".to_owned()));
            }
        }
    }

    /// The end of a run's output is: exit known and FIFO drained.
    fn tell_end(&mut self, id: Incarnation) {
        let Some(held) = self.runs.get_mut(&id).and_then(|run| run.end.take()) else {
            return;
        };
        if let Some(terminal) = self.runs.get(&id).and_then(|run| run.terminal.as_ref()) {
            terminal.tell_end(held.status);
        }
        let killed = held.status == ExitStatus::Signal(Signal::KILL);
        let out_of_memory = killed && self.out_of_memory();
        self.known.push_back(Fact::Exited {
            id,
            status: held.status,
            left: held.left,
            out_of_memory,
        });
        if held.emptied {
            self.known.push_back(Fact::Emptied { id });
        }
    }

    /// Whether the kernel has killed something for memory since it was last asked.
    fn out_of_memory(&self) -> bool {
        let kills = sys::oom::kills();
        let before = self.oom_kills.replace(kills);
        kills.zip(before).is_some_and(|(now, before)| now > before)
    }

    fn start_errand(&mut self, errand: Errand) {
        let Errand {
            ticket,
            id,
            command,
            output,
            beside,
            done,
        } = errand;
        let Some(run) = self.runs.get(&id) else { return };
        let setting = run.setting.clone();
        let mut stdio = match &output {
            Some(_) => [Stdio::Null, Stdio::Passed, Stdio::Passed],
            None => run.output(),
        };
        if beside.stdin.is_some() {
            stdio[0] = Stdio::Passed;
        }
        let mut launch = setting.launch(ticket, &command, stdio, Role::Errand);
        if let Some(folder) = beside.folder {
            launch.working_dir = folder.into_os_string().into_vec();
        }
        launch.tell(&beside.told);
        let command = command.words[0].clone();
        self.claims.insert(
            ticket,
            Claim::Errand {
                setting,
                command,
                done,
                end: None,
            },
        );
        let order = Order::Spawn(Box::new(launch));
        let pipes = self.runs.get(&id).map_or(&[][..], |run| &run.pipes);
        let mut passed: Vec<BorrowedFd> = beside.stdin.iter().map(|stdin| stdin.as_fd()).collect();
        match &output {
            Some(output) => passed.extend([output.as_fd(), output.as_fd()]),
            None => passed.extend(pipes.iter().map(AsFd::as_fd)),
        }
        order_with(&mut self.guardian, &order, &passed);
    }

    fn take_notification(&mut self, id: Incarnation, notification: Notification) {
        let Some(run) = self.runs.get(&id) else { return };
        let Some(pid) = run.witness.pid.get() else { return };
        let address = run.setting.given("NOTIFY_SOCKET");
        if !is_of_tree(notification.sender_pid, pid) && !knows(notification.sender_pid, address) {
            tracing::warn!(service = %run.service.name, sender = notification.sender_pid, "a notification of a stranger");
            return;
        }
        let mut orders = Vec::new();
        for message in notification.messages {
            match message {
                Message::Ready => {
                    run.witness.ready.set(true);
                    run.witness.watchdog_at.set(Some(Instant::now()));
                    self.known.push_back(Fact::Nudged { id });
                }
                Message::Watchdog => {
                    run.witness.watchdog_at.set(Some(Instant::now()));
                    self.known.push_back(Fact::Nudged { id });
                }
                Message::Status(text) => self.known.push_back(Fact::StatusTold { id, text }),
                Message::MainPid(pid) => orders.push(Order::Follow {
                    ticket: run.ticket,
                    pid,
                }),
                Message::Stopping | Message::Reloading | Message::Other => {}
            }
        }
        for order in orders {
            self.order(&order, &[]);
        }
    }

    /// What the guardian reported; the facts it amounts to are in `known` afterwards.
    pub fn take_report(&mut self, report: Report) {
        recovery::hear(&mut self.finds, &report);
        match report {
            // Those belong to the greeting.
            Report::Hello { .. } | Report::Socket { .. } | Report::Held(_) | Report::HeldAll => {}
            Report::Spawned { ticket, identity } => {
                if let Some(&Claim::Service(id)) = self.claims.get(&ticket) {
                    // The guardian holds its FIFOs by now.
                    if let Some(run) = self.runs.get_mut(&id) {
                        run.held.clear();
                    }
                    self.see(id, &identity);
                    self.name_in_pid_file(id, identity.pid);
                    self.known.push_back(Fact::Spawned { id, pid: identity.pid });
                }
            }
            Report::Executed { ticket } => {
                if let Some(&Claim::Service(id)) = self.claims.get(&ticket) {
                    self.known.push_back(Fact::Executed { id });
                    self.expect_pid_file(id);
                    self.mind_memory(id);
                }
            }
            Report::SpawnFailed {
                ticket,
                stage,
                errno,
                index,
            } => self.spawn_failed(ticket, stage, errno, index),
            Report::Exited { ticket, status, left } => self.exited(ticket, status, left),
            Report::Emptied { ticket } => self.emptied(ticket),
            Report::KillFailed { ticket, leftovers } => {
                if let Some(&Claim::Service(id)) = self.claims.get(&ticket) {
                    self.known.push_back(Fact::KillFailed { id, leftovers });
                }
            }
            Report::Followed { ticket, identity } => {
                if let Some(&Claim::Service(id)) = self.claims.get(&ticket) {
                    self.see(id, &identity);
                    self.name_in_pid_file(id, identity.pid);
                    self.pid_file_believed(id, identity.pid);
                    self.known.push_back(Fact::MainPidTold { id, pid: identity.pid });
                }
            }
            Report::NotFollowed { ticket, pid, why } => {
                let about_file = match self.claims.get(&ticket) {
                    Some(&Claim::Service(id)) => self.pid_file_not_believed(id, &why),
                    _ => false,
                };
                if !about_file {
                    tracing::warn!(pid, %why, "MAINPID= was not believed");
                }
            }
            Report::TakenOver { ticket, identity } => {
                if let Some(&Claim::Service(id)) = self.claims.get(&ticket) {
                    self.taken_over(id, &identity);
                }
            }
            Report::NotTakenOver { ticket, why, .. } => {
                if let Some(&Claim::Service(id)) = self.claims.get(&ticket) {
                    self.not_taken_over(id, &why);
                }
            }
        }
    }

    pub(super) fn see(&self, id: Incarnation, main: &Identity) {
        if let Some(run) = self.runs.get(&id) {
            run.witness.see(main);
        }
    }

    fn spawn_failed(&mut self, ticket: Ticket, stage: Stage, errno: i32, index: u32) {
        match self.claims.remove(&ticket) {
            Some(Claim::Service(id)) => {
                let Some(run) = self.runs.get(&id) else { return };
                let failure = explain(&run.setting, &run.service.command.words[0], stage, errno, index);
                self.forget(id);
                self.known.push_back(Fact::SpawnFailed { id, failure });
            }
            Some(Claim::Errand {
                setting, command, done, ..
            }) => {
                let _ = done.send(End::NotStarted(explain(&setting, &command, stage, errno, index)));
            }
            None => {}
        }
    }

    pub(super) fn exited(&mut self, ticket: Ticket, status: ExitStatus, left: bool) {
        match self.claims.get_mut(&ticket) {
            Some(&mut Claim::Service(id)) => self.main_or_launcher_ended(id, status, left),
            Some(Claim::Errand { end, .. }) if left => *end = Some(status),
            Some(Claim::Errand { .. }) => self.errand_ended(ticket, status),
            None => {}
        }
    }

    pub(super) fn main_ended(&mut self, id: Incarnation, status: ExitStatus, left: bool) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.end = Some(Held {
            status,
            left,
            emptied: false,
        });
        if let Some(terminal) = &run.terminal {
            terminal.finish();
        } else if run.logged {
            self.pump.drain(&run.service.name, id.run);
        } else {
            self.tell_end(id);
        }
    }

    fn emptied(&mut self, ticket: Ticket) {
        match self.claims.get(&ticket) {
            Some(&Claim::Service(id)) => {
                let end = self.runs.get_mut(&id).and_then(|run| run.end.as_mut());
                if let Some(held) = end {
                    held.emptied = true;
                } else if !self.lost_successor(id) {
                    self.known.push_back(Fact::Emptied { id });
                }
            }
            Some(&Claim::Errand { end: Some(status), .. }) => self.errand_ended(ticket, status),
            Some(Claim::Errand { end: None, .. }) | None => {}
        }
    }

    fn errand_ended(&mut self, ticket: Ticket, status: ExitStatus) {
        if let Some(Claim::Errand { done, .. }) = self.claims.remove(&ticket) {
            let _ = done.send(End::Exited(status));
        }
        self.order(&Order::Release { ticket }, &[]);
    }
}

/// Somebody who has left the tree (a daemon, or the daemon of a runner that is the service) was started with the address of
/// this run, which nobody can know beforehand.
fn knows(pid: u32, address: Option<&[u8]>) -> bool {
    address.is_some() && sys::processes::environment_value(pid, "NOTIFY_SOCKET").as_deref() == address
}

/// The main process itself, somebody in its session, or somebody below it.
fn is_of_tree(pid: u32, main: u32) -> bool {
    pid == main
        || sys::processes::stat(pid).is_some_and(|stat| stat.session == main)
        || sys::processes::is_descendant(pid, main)
}
