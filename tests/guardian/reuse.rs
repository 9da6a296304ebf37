//! The number of a service that has ended is another process's (`PR-01`, `PR-02`, `PR-07`): that one is never signalled.
//!
//! `RUNNER_REUSES`: how often (10,000 take some minutes).

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use runner::guardian::MARK;
use runner::guardian::orders::{End, Identity, Order, Orphan, Report, Target, Ticket};
use runner::reconcile::ExitStatus;
use runner::sys::{identity, pidfd};

use crate::fixture;
use crate::namespace::{is_inside, numbered};
use crate::nest::Nest;

/// A program in a session of its own that has said that it is.
fn leader(mark: Option<&str>) -> Child {
    let mut command = Command::new(fixture::program());
    command.args(["setsid", "say", "ready", "wait"]).stdout(Stdio::piped());
    command.env_clear();
    if let Some(mark) = mark {
        command.env(MARK, mark);
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn identity_of(child: &Child) -> Identity {
    let held = pidfd::open(child.id()).unwrap();
    identity::of(child.id(), Some(held.as_fd())).into()
}

impl Nest {
    /// Lets the guardian take over what is no child of it.
    fn adopt(&mut self, identity: Identity, mark: &str) -> (Ticket, Option<Option<End>>) {
        let ticket = self.ticket();
        let orphan = Orphan {
            ticket,
            label: "test".into(),
            run: 1,
            identity,
            uid: 0,
            mark: mark.as_bytes().to_vec(),
            fifos: Vec::new(),
            cgroup: None,
            record: self.path("no record").into_bytes(),
            pid_file: false,
        };
        self.order(&Order::Adopt(vec![orphan]), &[]);
        let mut held = None;
        self.wait("everything that is held", |report| match report {
            Report::Held(holding) if holding.ticket == ticket => {
                held = Some(holding.end);
                None
            }
            Report::HeldAll => Some(()),
            _ => None,
        });
        (ticket, held)
    }

    /// Everything that can be sent to it.
    fn assault(&mut self, ticket: Ticket) {
        for target in [Target::Process, Target::Group] {
            let signal = libc::SIGTERM;
            let wakes = true;
            self.order(
                &Order::Signal {
                    ticket,
                    signal,
                    target,
                    wakes,
                },
                &[],
            );
            for sweep in [false, true] {
                self.order(&Order::Kill { ticket, target, sweep }, &[]);
            }
        }
        self.settle();
    }
}

#[track_caller]
fn lives(bystander: &mut Child, what: &str) {
    assert_eq!(bystander.try_wait().unwrap(), None, "{what}: a stranger was hit");
}

/// It ended while nobody looked, and its number is a stranger's when a guardian takes over.
fn before_the_adoption(nest: &mut Nest, mark: &str) {
    let service = leader(Some(mark));
    let (identity, pid) = (identity_of(&service), service.id());
    end(service);
    let mut bystander = numbered(pid, || leader(None));
    let (ticket, held) = nest.adopt(identity, mark);
    assert_eq!(held, None, "nothing of it is there");
    nest.assault(ticket);
    lives(&mut bystander, "before the adoption");
    nest.release(ticket);
    end(bystander);
}

/// It has left somebody, who is found and killed; the stranger with its number is not.
fn before_the_adoption_of_the_rest(nest: &mut Nest, mark: &str) {
    let (service, mut rest) = (leader(Some(mark)), leader(Some(mark)));
    let (identity, pid) = (identity_of(&service), service.id());
    end(service);
    let mut bystander = numbered(pid, || leader(None));
    let (ticket, held) = nest.adopt(identity, mark);
    let status = ExitStatus::Unknown;
    assert_eq!(held, Some(Some(End { status, left: true })));
    nest.assault(ticket);
    rest.wait().unwrap();
    nest.emptied(ticket);
    lives(&mut bystander, "beside somebody who was left");
    nest.release(ticket);
    end(bystander);
}

/// It ends once it is adopted.
fn after_the_adoption(nest: &mut Nest, mark: &str) {
    let service = leader(Some(mark));
    let pid = service.id();
    let (ticket, held) = nest.adopt(identity_of(&service), mark);
    assert_eq!(held, Some(None), "it lives");
    end(service);
    let mut bystander = numbered(pid, || leader(None));
    nest.assault(ticket);
    lives(&mut bystander, "after the adoption");
    assert!(!nest.exit(ticket).1, "a stranger is nothing that it left");
    nest.assault(ticket);
    lives(&mut bystander, "after its end was told");
    nest.release(ticket);
    end(bystander);
}

/// A child of the guardian.
fn after_the_launch(nest: &mut Nest) {
    let launch = nest.fixture(&["exit", "3"]);
    let ticket = launch.ticket;
    let run = nest.start_launch(launch);
    assert_eq!(nest.exit(ticket), (ExitStatus::Code(3), false));
    let mut bystander = numbered(run.identity.pid, || leader(None));
    nest.assault(ticket);
    lives(&mut bystander, "after its end");
    nest.release(ticket);
    end(bystander);
}

#[test]
fn pr_01_pr_02_pr_07_a_stranger_with_the_number_of_a_service_is_never_signalled() {
    if !is_inside("reuse::pr_01_pr_02_pr_07_a_stranger_with_the_number_of_a_service_is_never_signalled") {
        return;
    }
    let reuses = std::env::var("RUNNER_REUSES").map_or(200, |text| text.parse().unwrap());
    let mut nest = Nest::new();
    for number in 0..reuses {
        let mark = format!("reuse:{number}");
        match number % 4 {
            0 => before_the_adoption(&mut nest, &mark),
            1 => before_the_adoption_of_the_rest(&mut nest, &mark),
            2 => after_the_adoption(&mut nest, &mark),
            _ => after_the_launch(&mut nest),
        }
    }
    println!("{reuses} reuses");
}
