//! EN-04: kernel calls that are missing or forbidden. What must hold without them is the same; only guarantees against
//! reused numbers and costs differ.

use std::path::Path;

use runner::guardian::orders::{Report, Stage};
use runner::reconcile::ExitStatus;
use runner::spec::Signal;

use crate::nest::{Nest, marked, none_left, shown};
use crate::sockets;

pub fn the_basics_hold(mut nest: Nest) {
    let before = nest.holds();
    assert_eq!(nest.run(&["exit", "42"]).0, ExitStatus::Code(42));
    assert_eq!(shown(&nest.run(&["show", "descriptors"]).1, "descriptors"), "0 1 2");
    let launch = nest.program(Path::new("/nosuch"), &["it"]);
    assert_eq!(nest.refused(launch), (Stage::Exec, libc::ENOENT, 0));

    // Few of them, and more than the shelf has places.
    sockets::are_handed_over(&mut nest, 1);
    sockets::are_handed_over(&mut nest, 6);

    // A stop that is obeyed, by one who was stopped.
    let mut run = nest.start(&["catch", "TERM", "3", "say", "ready", "raise", "STOP", "wait"]);
    run.output.line();
    nest.signal(run.ticket, libc::SIGTERM);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(3), false));
    nest.release(run.ticket);

    // One that is not, and a child that outlives its leader.
    let mut run = nest.start(&["fork", "{", "ignore", "TERM", "say", "ready", "wait", "}", "wait"]);
    run.output.line();
    nest.signal(run.ticket, libc::SIGTERM);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Signal(Signal::TERM), true));
    assert_eq!(marked(&run.mark).len(), 1);
    nest.kill(run.ticket);
    nest.emptied(run.ticket);
    none_left(&run.mark);
    nest.release(run.ticket);

    // What has left the group, and what runs away from every look.
    let mut run = nest.start(&[
        "fork", "{", "setsid", "say", "one", "fork", "{", "setsid", "say", "two", "wait", "}", "wait", "}", "wait",
    ]);
    run.output.line();
    run.output.line();
    nest.kill_to_the_end(&run);
    let mut run = nest.start(&["storm", "3", "fork", "{", "flee", "}", "say", "ready", "wait"]);
    run.output.line();
    nest.kill_to_the_end(&run);

    let tickets: Vec<_> = (0..100)
        .map(|_| {
            let launch = nest.fixture(&["exit", "1"]);
            nest.spawn(launch)
        })
        .collect();
    for ticket in tickets {
        assert_eq!(nest.exit(ticket), (ExitStatus::Code(1), false));
        nest.release(ticket);
    }
    nest.settle();
    assert_eq!(nest.holds(), before);
    assert!(
        nest.untaken()
            .iter()
            .all(|report| matches!(report, Report::Spawned { .. } | Report::Executed { .. }))
    );
}

#[test]
fn en_04_with_every_call() {
    the_basics_hold(Nest::new());
}

#[test]
fn en_04_without_clone3() {
    the_basics_hold(Nest::without(&["clone3"]));
}

#[test]
fn en_04_without_close_range() {
    the_basics_hold(Nest::without(&["close_range"]));
}

#[test]
fn en_04_without_signals_to_groups_by_pidfd() {
    the_basics_hold(Nest::without(&["groups"]));
}

#[test]
fn en_04_without_pidfds() {
    the_basics_hold(Nest::without(&["pidfd"]));
}

#[test]
fn en_04_without_anything() {
    the_basics_hold(Nest::without(&["clone3", "pidfd", "close_range", "groups", "cgroup"]));
}

#[test]
fn en_04_without_control_groups() {
    the_basics_hold(Nest::without(&["cgroup"]));
}

#[test]
fn en_04_without_killing_them_as_a_whole() {
    the_basics_hold(Nest::without(&["cgroup.kill"]));
}

#[test]
fn en_04_a_kernel_that_knows_none_of_them() {
    the_basics_hold(Nest::after(&["forbid", "ENOSYS"]));
}

#[test]
fn en_04_a_filter_that_forbids_all_of_them() {
    the_basics_hold(Nest::after(&["forbid", "EPERM"]));
}
