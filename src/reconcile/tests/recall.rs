//! What outlived its runner.

use crate::reconcile::action::Action;
use crate::reconcile::event::Author;
use crate::reconcile::fact::{ExitStatus, Fact};
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, spawns, touches};
use crate::reconcile::snapshot::StateName;
use crate::reconcile::world::{Recalled, Recollection};
use crate::spec::{Service, Signal, SupervisorExit};

fn two() -> [Service; 2] {
    let mut ends = build::service("ends");
    ends.on_supervisor_exit = SupervisorExit::Stop;
    [ends, build::service("keeps")]
}

/// Both run; then another World recalls them, and its hands find them running.
fn recalled(cold: bool, ends: bool) -> (Stage, Vec<Action>) {
    let mut stage = Stage::up(two());
    stage.executed("ends");
    stage.executed("keeps");
    let services = stage.world.remember_all().into_iter().filter_map(|remembered| {
        let service = build::service(remembered.service.as_str());
        Some(Recalled {
            memory: remembered.memory?.0,
            started_with: Some(service.fingerprint("salt")),
            remnant: Some(service.remnant()),
        })
    });
    let ending =
        ends.then(|| crate::reconcile::Ends::asked(&crate::reconcile::Cause::new(Author::User, "runner down")));
    let recollection = Recollection {
        generation: 1,
        ending,
        cold,
        services: services.collect(),
    };
    stage.begin_anew(recollection);
    let mut actions = stage.save(two());
    for name in ["ends", "keeps"] {
        actions.extend(stage.fact(Fact::Adopted {
            id: stage.id(name),
            pid: 101,
            executed: true,
            signalled: None,
            ended: false,
        }));
    }
    (stage, actions)
}

#[test]
fn a_service_that_is_to_end_with_runner_is_started_anew_only_when_nobody_was_left() {
    let (stage, actions) = recalled(false, false);
    assert!(!touches(&actions));
    assert_eq!(stage.state("ends"), StateName::Ready);

    let (mut stage, actions) = recalled(true, false);
    assert!(touches(&actions));
    assert_eq!(
        (stage.state("ends"), stage.state("keeps")),
        (StateName::Stopping, StateName::Ready)
    );
    assert_eq!(stage.see("ends").cause.by, Author::Runner);
    let actions = stage.exited("ends", ExitStatus::Signal(Signal::TERM));
    assert_eq!((spawns(&actions), stage.see("ends").run), (1, 2));
    stage.executed("ends");
    assert_eq!(stage.state("ends"), StateName::Ready);
}

#[test]
fn what_is_taken_over_to_be_ended_is_stopped_and_nothing_starts() {
    let (mut stage, mut actions) = recalled(true, true);
    for name in ["ends", "keeps"] {
        assert_eq!(stage.state(name), StateName::Stopping);
        actions.extend(stage.exited(name, ExitStatus::Signal(Signal::TERM)));
    }
    assert_eq!(spawns(&actions), 0);
    assert_eq!(stage.end().map(|end| end.code), Some(0));
}
