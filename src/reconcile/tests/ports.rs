//! A declared port is held by somebody else.

use std::time::Duration;

use crate::reconcile::action::Action;
use crate::reconcile::fact::{ExitStatus, Fact};
use crate::reconcile::failure::Reason;
use crate::reconcile::ports::Holder;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, failure, spawns};
use crate::reconcile::snapshot::StateName;
use crate::spec::{PortConflict, Service, Signal};

fn web(on_port_conflict: PortConflict) -> Service {
    let mut web = build::service("web");
    web.on_port_conflict = on_port_conflict;
    web.ports.insert("http".to_owned(), build::port(3000, false));
    web
}

fn evicted(stage: &mut Stage, result: Result<String, crate::reconcile::Failure>) -> Vec<Action> {
    let id = stage.id("web");
    stage.fact(Fact::Evicted { id, result })
}

fn evictions(actions: &[Action]) -> Vec<Vec<Signal>> {
    let signals = |action: &Action| match action {
        Action::Evict { ladder, .. } => Some(ladder.iter().map(|rung| rung.signal).collect()),
        _ => None,
    };
    actions.iter().filter_map(signals).collect()
}

#[test]
fn po_01_it_starts_when_the_holder_has_ended_and_not_before() {
    let mut stage = Stage::up([web(PortConflict::Fail)]);
    let actions = stage.taken("web", Holder::Stranger);
    assert!(evictions(&actions).is_empty());
    assert_eq!(stage.reason("web"), Some(Reason::PortInUse));
    assert_eq!(spawns(&stage.pass(Duration::from_secs(5))), 0);
    let id = stage.id("web");
    assert_eq!(spawns(&stage.fact(Fact::HolderEnded { id })), 1);
    // A socket may be closed by a process that lives on: the capped try finds that.
    stage.taken("web", Holder::Stranger);
    assert_eq!(spawns(&stage.pass(Duration::from_secs(31))), 1);
    stage.executed("web");
    assert_eq!(stage.state("web"), StateName::Ready);
}

#[test]
fn po_01_the_end_of_a_holder_says_nothing_about_another_failure() {
    let mut stage = Stage::up([web(PortConflict::Fail)]);
    stage.refused("web", Reason::CommandNotFound);
    let id = stage.id("web");
    assert_eq!(spawns(&stage.fact(Fact::HolderEnded { id })), 0);
}

#[test]
fn kill_ends_the_holder_with_sigterm_and_starts_then() {
    let mut stage = Stage::up([web(PortConflict::Kill)]);
    let actions = stage.taken("web", Holder::Stranger);
    assert_eq!(evictions(&actions), [[Signal::TERM]]);
    assert_eq!(
        spawns(&stage.pass(Duration::from_secs(100))),
        0,
        "the answer is waited for"
    );
    assert_eq!(stage.state("web"), StateName::Starting);
    assert_eq!(spawns(&evicted(&mut stage, Ok("gone".to_owned()))), 1);
}

#[test]
fn kill_spares_and_says_why() {
    let mut stage = Stage::up([web(PortConflict::Kill)]);
    let actions = stage.taken("web", Holder::Spared("it runs as another user (root)".to_owned()));
    assert!(evictions(&actions).is_empty());
    let message = stage.see("web").failure.expect("failed").message;
    assert!(
        message.ends_with("it is left alone: it runs as another user (root)"),
        "{message}"
    );
}

#[test]
fn a_holder_that_comes_back_is_not_ended_for_ever() {
    let mut stage = Stage::up([web(PortConflict::Kill)]);
    let mut count = 0;
    while !evictions(&stage.taken("web", Holder::Stranger)).is_empty() {
        count += 1;
        assert!(count < 10, "for ever");
        evicted(&mut stage, Ok("gone".to_owned()));
    }
    assert_eq!(count, 3);
    assert_eq!(stage.reason("web"), Some(Reason::PortInUse));
}

#[test]
fn a_holder_that_does_not_end_fails_the_start() {
    let mut stage = Stage::up([web(PortConflict::Kill)]);
    stage.taken("web", Holder::Stranger);
    evicted(&mut stage, Err(failure(Reason::PortInUse)));
    assert_eq!(stage.state("web"), StateName::Failed);
    assert_eq!(
        spawns(&stage.pass(Duration::from_secs(31))),
        1,
        "tried again at the cap"
    );
}

#[test]
fn a_stop_calls_the_eviction_off() {
    let mut stage = Stage::up([web(PortConflict::Kill)]);
    stage.taken("web", Holder::Stranger);
    let actions = stage.stop("web");
    let called_off = |action: &Action| matches!(action, Action::CancelEviction { .. });
    assert!(actions.iter().any(called_off));
    assert_eq!(stage.state("web"), StateName::Stopped);
    assert_eq!(spawns(&evicted(&mut stage, Ok("gone".to_owned()))), 0);
}

#[test]
fn po_02_a_leftover_is_stopped_as_the_service_would_be() {
    let mut web = web(PortConflict::Fail);
    web.stop[0].signal = Signal::INT;
    let mut stage = Stage::up([web]);
    assert_eq!(evictions(&stage.taken("web", Holder::Leftover)), [[Signal::INT]]);
    assert_eq!(spawns(&evicted(&mut stage, Ok("gone".to_owned()))), 1);
}

#[test]
fn next_starts_elsewhere_at_once() {
    let mut stage = Stage::up([web(PortConflict::Next)]);
    let actions = stage.taken("web", Holder::Stranger);
    let elsewhere = |action: &Action| matches!(action, Action::Spawn { elsewhere: true, .. });
    assert_eq!(actions.iter().filter(|action| elsewhere(action)).count(), 1);
    stage.executed("web");
    // The next run tries the declared port first.
    stage.exited("web", ExitStatus::Code(1));
    let actions = stage.pass(Duration::from_secs(2));
    assert_eq!((spawns(&actions), actions.iter().any(elsewhere)), (1, false));
}

#[test]
fn po_05_a_lost_auto_port_is_asked_for_anew_and_the_new_number_starts_it() {
    let mut auto = web(PortConflict::Fail);
    auto.ports.insert("http".to_owned(), build::port(20_000, true));
    let mut stage = Stage::up([auto.clone()]);
    let actions = stage.taken("web", Holder::Stranger);
    let asked = |action: &&Action| matches!(action, Action::Renumber { port, .. } if port == "http");
    assert_eq!(actions.iter().filter(asked).count(), 1);
    auto.ports.insert("http".to_owned(), build::port(20_001, true));
    assert_eq!(spawns(&stage.save([auto])), 1);
}
