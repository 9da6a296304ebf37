//! Ends: each told once, with the right status.

use std::collections::HashMap;

use runner::guardian::orders::{Order, Report, Target, Ticket};
use runner::reconcile::ExitStatus;
use runner::spec::Signal;

use crate::nest::{Nest, marked, none_left};

/// Takes the ends of `count` launches, each exactly once.
fn ends(nest: &mut Nest, count: usize) -> HashMap<Ticket, ExitStatus> {
    let mut ends = HashMap::new();
    while ends.len() < count {
        let (ticket, status) = nest.wait("an end", |report| match report {
            Report::Exited { ticket, status, left } => {
                assert!(!left, "nothing was left");
                Some((*ticket, *status))
            }
            _ => None,
        });
        assert_eq!(ends.insert(ticket, status), None, "told twice");
    }
    ends
}

#[test]
fn ex_01_a_thousand_short_lives_are_told_once_each_and_rightly() {
    let mut nest = Nest::new();
    let before = nest.holds();
    let lives: [(&[&str], ExitStatus); 4] = [
        (&["exit", "0"], ExitStatus::Code(0)),
        (&["exit", "1"], ExitStatus::Code(1)),
        (&["exit", "42"], ExitStatus::Code(42)),
        (&["raise", "KILL"], ExitStatus::Signal(Signal::KILL)),
    ];
    let mut wanted = HashMap::new();
    for number in 0..1000 {
        let (orders, status) = lives[number % lives.len()];
        let launch = nest.fixture(orders);
        wanted.insert(nest.spawn(launch), status);
    }
    let ends = ends(&mut nest, 1000);
    assert_eq!(ends, wanted);
    let mut told: HashMap<Ticket, (u32, u32)> = HashMap::new();
    for report in nest.untaken() {
        match report {
            Report::Spawned { ticket, .. } => told.entry(*ticket).or_default().0 += 1,
            Report::Executed { ticket } => told.entry(*ticket).or_default().1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(told.len() == 1000 && told.values().all(|&told| told == (1, 1)));
    for ticket in ends.keys() {
        nest.release(*ticket);
    }
    nest.settle();
    assert_eq!(nest.holds(), before);
}

#[test]
fn ex_02_every_exit_code_and_every_fatal_signal() {
    let mut nest = Nest::new();
    let mut wanted = HashMap::new();
    for code in 0..=255 {
        let launch = nest.fixture(&["exit", &code.to_string()]);
        wanted.insert(nest.spawn(launch), ExitStatus::Code(code));
    }
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    // 32 and 33 are the C library's own.
    let fatal = (1..=31)
        .chain(34..=64)
        .filter(|number| ![libc::SIGURG, libc::SIGWINCH].contains(number));
    for number in fatal.filter(|number| !harmless.contains(number)) {
        let launch = nest.fixture(&["raise", &number.to_string()]);
        wanted.insert(nest.spawn(launch), ExitStatus::Signal(Signal::from_number(number)));
    }
    assert_eq!(ends(&mut nest, wanted.len()), wanted);
}

#[test]
fn ex_10_an_end_is_told_while_a_grandchild_holds_the_output() {
    let mut nest = Nest::new();
    let mut run = nest.start(&["fork", "{", "say", "mine", "wait", "}", "say", "bye", "exit", "5"]);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(5), true));
    let mut said = [run.output.line(), run.output.line()];
    said.sort();
    assert_eq!(said, ["bye", "mine"]);
    assert_eq!(marked(&run.mark).len(), 1);
    nest.kill(run.ticket);
    nest.emptied(run.ticket);
    none_left(&run.mark);
    assert_eq!(run.output.rest(), "");
}

#[test]
fn ex_10_what_was_left_ends_by_itself() {
    let mut nest = Nest::new();
    let gate = nest.file("gate");
    runner::sys::fifo::make(&gate, None).unwrap();
    let run = nest.start(&["fork", "{", "await", gate.to_str().unwrap(), "}", "exit", "0"]);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(0), true));
    drop(std::fs::OpenOptions::new().write(true).open(&gate).unwrap());
    nest.emptied(run.ticket);
    nest.release(run.ticket);
    nest.settle();
    assert_eq!(nest.holds().1, Vec::<u32>::new());
}

#[test]
fn ex_11_five_hundred_end_at_once() {
    let mut nest = Nest::new();
    let gate = nest.file("gate");
    runner::sys::fifo::make(&gate, None).unwrap();
    let before = nest.holds();
    let held = runner::sys::fifo::open_both(&gate).unwrap();
    let mut tickets = Vec::new();
    for _ in 0..500 {
        let launch = nest.fixture(&["await", gate.to_str().unwrap(), "exit", "7"]);
        tickets.push(nest.spawn(launch));
    }
    for &ticket in &tickets {
        nest.wait("an execution", |report| {
            (*report == Report::Executed { ticket }).then_some(())
        });
    }
    // Who has not opened the gate yet waits for a writer: this one stays until all are through.
    drop(held);
    let _writer = std::thread::spawn(move || {
        // Opening for writing waits for a reader; the end of the last writer ends all of them.
        while std::fs::OpenOptions::new().write(true).open(&gate).is_ok() {}
    });
    let ends = ends(&mut nest, 500);
    assert!(ends.values().all(|status| *status == ExitStatus::Code(7)));
    for &ticket in &tickets {
        nest.release(ticket);
    }
    nest.settle();
    assert_eq!(nest.holds(), before);
}

#[test]
fn rl_01_thousands_of_lives_leave_neither_descriptors_nor_processes() {
    let mut nest = Nest::new();
    let resident = |nest: &Nest| runner::sys::processes::stat(nest.pid()).unwrap().resident_bytes;
    let mut baseline = None;
    for round in 0..30 {
        let mut tickets = Vec::new();
        for _ in 0..100 {
            let launch = nest.fixture(&["exit", "0"]);
            tickets.push(nest.spawn(launch));
        }
        ends(&mut nest, 100);
        for ticket in tickets {
            nest.release(ticket);
        }
        nest.settle();
        let (descriptors, children) = nest.holds();
        assert_eq!(children, Vec::<u32>::new());
        // What is kept for later use has been taken by then.
        if round == 9 {
            baseline = Some((descriptors, resident(&nest)));
        }
    }
    let (descriptors, memory) = baseline.unwrap();
    assert_eq!(nest.holds().0, descriptors);
    let now = resident(&nest);
    assert!(
        now <= memory + (256 << 10),
        "2,000 lives took {} KiB",
        (now - memory) >> 10
    );
}

#[test]
fn ex_04_signals_to_what_has_ended_are_nothing() {
    let mut nest = Nest::new();
    let launch = nest.fixture(&["exit", "0"]);
    let ticket = nest.spawn(launch);
    nest.exit(ticket);
    for target in [Target::Process, Target::Group] {
        nest.order(
            &Order::Signal {
                ticket,
                signal: libc::SIGTERM,
                target,
                wakes: true,
            },
            &[],
        );
        nest.order(
            &Order::Kill {
                ticket,
                target,
                sweep: true,
            },
            &[],
        );
    }
    nest.settle();
    assert!(
        nest.untaken()
            .iter()
            .all(|report| !matches!(report, Report::KillFailed { .. } | Report::Exited { .. }))
    );
}

#[test]
fn an_exec_probe_takes_its_tree_with_it() {
    let mut nest = Nest::new();
    let mut launch = nest.fixture(&[
        "fork", "{", "ignore", "TERM", "wait", "}", "daemon", "{", "wait", "}", "exit", "1",
    ]);
    launch.reap_tree = true;
    let mark = launch.env[0].strip_prefix(b"RUNNER_MARK=").unwrap().to_vec();
    let ticket = nest.spawn(launch);
    assert_eq!(nest.exit(ticket), (ExitStatus::Code(1), false));
    nest.release(ticket);
    // Its remains are killed at once; the guardian's list of children is the event that says so.
    while !nest.holds().1.is_empty() {
        nest.settle();
    }
    none_left(std::str::from_utf8(&mark).unwrap());
}

#[test]
fn when_the_daemon_is_gone_what_runs_is_stopped() {
    let mut nest = Nest::new();
    let ledger = nest.path("ledger");
    let mut run = nest.start(&["ledger", &ledger, "catch", "TERM", "0", "say", "ready", "wait"]);
    assert_eq!(run.output.line(), "ready");
    assert_eq!(nest.abandon(), Some(70));
    none_left(&run.mark);
    let ledger = std::fs::read_to_string(&ledger).unwrap();
    let words: Vec<_> = ledger.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["start", "stop"], "it was asked, not killed");
}
