//! Signals, kills, and what has left its group.

use std::time::Duration;

use runner::guardian::orders::{Order, Report, Target};
use runner::reconcile::ExitStatus;
use runner::spec::Signal;

use crate::nest::{Nest, Run, marked, none_left};

const KILLED: ExitStatus = ExitStatus::Signal(Signal::KILL);

fn ready(nest: &mut Nest, orders: &[&str]) -> Run {
    let mut run = nest.start(orders);
    assert_eq!(run.output.line(), "ready");
    run
}

#[test]
fn st_01_what_ignores_term_is_killed() {
    let mut nest = Nest::new();
    let run = ready(&mut nest, &["ignore", "TERM", "say", "ready", "wait"]);
    nest.signal(run.ticket, libc::SIGTERM);
    nest.settle();
    assert_eq!(marked(&run.mark), [run.identity.pid]);
    nest.kill(run.ticket);
    assert_eq!(nest.exit(run.ticket), (KILLED, false));
    none_left(&run.mark);
}

#[test]
fn st_02_a_child_that_ignores_term_outlives_its_leader_until_the_kill() {
    let mut nest = Nest::new();
    let run = ready(
        &mut nest,
        &["fork", "{", "ignore", "TERM", "say", "ready", "wait", "}", "wait"],
    );
    nest.signal(run.ticket, libc::SIGTERM);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Signal(Signal::TERM), true));
    assert_eq!(marked(&run.mark).len(), 1);
    nest.kill(run.ticket);
    nest.emptied(run.ticket);
    none_left(&run.mark);
}

#[test]
fn st_05_a_stopped_service_ends_by_its_stop_signal() {
    let mut nest = Nest::new();
    let ledger = nest.path("ledger");
    let orders = [
        "ledger", &ledger, "catch", "TERM", "3", "say", "ready", "raise", "STOP", "wait",
    ];
    let run = ready(&mut nest, &orders);
    while runner::sys::processes::stat(run.identity.pid).unwrap().state != 'T' {
        nest.settle();
    }
    nest.signal(run.ticket, libc::SIGTERM);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(3), false));
}

#[test]
fn st_10_a_service_that_signals_its_own_group_hits_nobody_else() {
    let mut nest = Nest::new();
    let other = ready(&mut nest, &["say", "ready", "wait"]);
    let run = nest.start(&["killgroup", "TERM", "wait"]);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Signal(Signal::TERM), false));
    assert_eq!(marked(&other.mark), [other.identity.pid]);
    nest.kill_to_the_end(&other);
}

#[test]
fn st_11_a_kill_right_after_the_birth() {
    let mut nest = Nest::new();
    for _ in 0..100 {
        let launch = nest.fixture(&["fork", "{", "wait", "}", "wait"]);
        let ticket = nest.spawn(launch);
        nest.kill(ticket);
        let (status, left) = nest.exit(ticket);
        assert_eq!(status, KILLED);
        if left {
            nest.emptied(ticket);
        }
        nest.release(ticket);
    }
    nest.settle();
    assert_eq!(nest.holds().1, Vec::<u32>::new());
}

#[test]
fn pg_01_a_shell_with_children_is_stopped_with_them() {
    let mut nest = Nest::new();
    let script = "sleep 1000 & sleep 1000 & echo ready; wait";
    let mut launch = nest.program(std::path::Path::new("/bin/sh"), &["sh", "-c", script]);
    launch.env.push(b"PATH=/usr/bin:/bin".to_vec());
    let mut run = nest.start_launch(launch);
    assert_eq!(run.output.line(), "ready");
    nest.signal(run.ticket, libc::SIGTERM);
    if nest.exit(run.ticket).1 {
        nest.emptied(run.ticket);
    }
    none_left(&run.mark);
}

#[test]
fn pg_02_a_daemon_without_pid_file_is_seen_and_stopped_with_its_service() {
    let mut nest = Nest::new();
    let run = ready(
        &mut nest,
        &[
            "daemon", "{", "say", "ready", "ignore", "TERM", "wait", "}", "exit", "0",
        ],
    );
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(0), true));
    assert_eq!(marked(&run.mark).len(), 1);
    nest.kill(run.ticket);
    nest.emptied(run.ticket);
    none_left(&run.mark);
}

#[test]
fn pg_02_a_daemon_can_be_followed_and_its_end_is_known() {
    let mut nest = Nest::new();
    let file = nest.path("pid");
    let run = ready(
        &mut nest,
        &[
            "daemon", "{", "write", &file, "%", "catch", "TERM", "6", "say", "ready", "wait", "}", "exit", "0",
        ],
    );
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(0), true));
    let pid: u32 = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    nest.order(
        &Order::Follow {
            ticket: run.ticket,
            pid,
        },
        &[],
    );
    let found = nest.wait("the new main process", |report| match report {
        Report::Followed { identity, .. } => Some(identity.pid),
        Report::NotFollowed { why, .. } => panic!("{why}"),
        _ => None,
    });
    assert_eq!(found, pid);
    nest.signal(run.ticket, libc::SIGTERM);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(6), false));
    none_left(&run.mark);
}

#[test]
fn pf_02_a_bystander_is_never_followed() {
    let mut nest = Nest::new();
    let run = ready(&mut nest, &["say", "ready", "wait"]);
    let other = ready(&mut nest, &["say", "ready", "wait"]);
    let own = std::process::id();
    for pid in [0, 1, own, nest.pid(), other.identity.pid, u32::MAX] {
        nest.order(
            &Order::Follow {
                ticket: run.ticket,
                pid,
            },
            &[],
        );
        nest.wait("a refusal", |report| match report {
            Report::NotFollowed { pid: of, .. } if *of == pid => Some(()),
            Report::Followed { .. } => panic!("{report:?}"),
            _ => None,
        });
    }
    nest.kill_to_the_end(&run);
    assert_eq!(marked(&other.mark), [other.identity.pid]);
    nest.kill_to_the_end(&other);
}

#[test]
fn pg_05_a_fork_storm_ends_in_one_round() {
    let mut nest = Nest::new();
    for _ in 0..5 {
        let run = ready(&mut nest, &["storm", "4", "say", "ready", "wait"]);
        nest.kill_to_the_end(&run);
        assert_eq!(nest.holds().1, Vec::<u32>::new());
    }
}

#[test]
fn pg_05_so_does_one_that_flees_from_every_session() {
    let mut nest = Nest::new();
    for _ in 0..5 {
        let run = ready(&mut nest, &["fork", "{", "flee", "}", "say", "ready", "wait"]);
        nest.kill_to_the_end(&run);
        // A look at all processes may miss it; a child of the guardian it can't help being.
        assert_eq!(nest.holds().1, Vec::<u32>::new());
    }
}

#[test]
fn pg_08_who_moves_into_another_group_or_session_is_found() {
    let mut nest = Nest::new();
    let orders = [
        "fork", "{", "setpgid", "say", "one", "wait", "}", "fork", "{", "setsid", "say", "two", "fork", "{", "setpgid",
        "say", "three", "wait", "}", "wait", "}", "wait",
    ];
    let mut run = nest.start(&orders);
    for _ in 0..3 {
        run.output.line();
    }
    assert_eq!(marked(&run.mark).len(), 4);
    nest.kill_to_the_end(&run);
}

#[test]
fn without_a_sweep_what_left_the_group_stays() {
    let mut nest = Nest::new();
    let run = ready(&mut nest, &["fork", "{", "setsid", "say", "ready", "wait", "}", "wait"]);
    nest.order(
        &Order::Kill {
            ticket: run.ticket,
            target: Target::Group,
            sweep: false,
        },
        &[],
    );
    assert_eq!(nest.exit(run.ticket), (KILLED, true));
    assert_eq!(marked(&run.mark).len(), 1);
    nest.kill(run.ticket);
    nest.emptied(run.ticket);
}

#[test]
fn a_hundred_services_are_killed_in_moments() {
    let mut nest = Nest::new();
    let runs: Vec<_> = (0..100)
        .map(|_| ready(&mut nest, &["ignore", "TERM", "say", "ready", "wait"]))
        .collect();
    let begun = std::time::Instant::now();
    for run in &runs {
        nest.kill(run.ticket);
    }
    for run in &runs {
        assert_eq!(nest.exit(run.ticket), (KILLED, false));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
