//! Exit policies and exit codes, as `cli.md` says them.

use crate::reconcile::fact::{ExitStatus, Request};
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, depend, spawns};
use crate::spec::{Condition, ExitPolicy, Restart, Service, Signal};

fn once(name: &str) -> Service {
    Service {
        restart: Restart::No,
        ..build::service(name)
    }
}

fn running(exit: ExitPolicy, from: Option<&str>, services: &[Service]) -> Stage {
    let mut stage = Stage::ending(exit, from, services.to_vec());
    stage.ask(Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    });
    for service in services {
        stage.executed(service.name.as_str());
    }
    stage
}

/// The code once everything else has stopped of our signal.
fn code(mut stage: Stage) -> Option<u8> {
    for name in ["a", "b"] {
        if stage.world.is_ending() && !stage.world.is_over() {
            stage.exited(name, ExitStatus::Signal(Signal::TERM));
        }
    }
    stage.end().map(|ending| ending.code)
}

#[test]
fn all_ends_when_every_service_has_with_one_if_something_failed() {
    for (first, second, expected) in [(0, 0, 0), (1, 0, 1), (0, 7, 1)] {
        let mut stage = running(ExitPolicy::All, None, &[once("a"), once("b")]);
        stage.exited("a", ExitStatus::Code(first));
        assert!(!stage.world.is_ending());
        stage.exited("b", ExitStatus::Code(second));
        assert_eq!(code(stage), Some(expected));
    }
}

#[test]
fn any_failure_and_never() {
    let ends = |exit, status| {
        let mut stage = running(exit, None, &[once("a"), once("b")]);
        stage.exited("a", ExitStatus::Code(status));
        code(stage)
    };
    assert_eq!((ends(ExitPolicy::Any, 0), ends(ExitPolicy::Any, 3)), (Some(0), Some(1)));
    assert_eq!(
        (ends(ExitPolicy::Failure, 0), ends(ExitPolicy::Failure, 3)),
        (None, Some(1))
    );
    assert_eq!((ends(ExitPolicy::Never, 0), ends(ExitPolicy::Never, 3)), (None, None));
}

#[test]
fn the_code_of_an_essential_service_and_of_exit_code_from_is_ours() {
    let statuses = [
        (ExitStatus::Code(0), 0),
        (ExitStatus::Code(3), 3),
        (ExitStatus::Signal(Signal::KILL), 137),
        (ExitStatus::Unknown, 1),
    ];
    for (status, expected) in statuses {
        let essential = Service {
            essential: true,
            ..once("a")
        };
        let mut stage = running(ExitPolicy::Never, None, &[essential, once("b")]);
        stage.exited("a", status);
        assert_eq!(code(stage), Some(expected));
        let mut stage = running(ExitPolicy::Never, Some("a"), &[once("a"), once("b")]);
        stage.exited("a", status);
        assert_eq!(code(stage), Some(expected));
    }
}

#[test]
fn ex_02_every_code_and_signal_is_mapped() {
    for number in 0..=255 {
        let mut stage = running(ExitPolicy::Never, Some("a"), &[once("a")]);
        stage.exited("a", ExitStatus::Code(number));
        assert_eq!(stage.end().map(|ending| i32::from(ending.code)), Some(number));
    }
    for number in 1..=64 {
        let mut stage = running(ExitPolicy::Never, Some("a"), &[once("a")]);
        stage.exited("a", ExitStatus::Signal(Signal::from_number(number)));
        assert_eq!(stage.end().map(|ending| i32::from(ending.code)), Some(128 + number));
    }
}

#[test]
fn an_essential_service_that_is_restarted_ends_nothing() {
    let essential = Service {
        essential: true,
        ..build::service("a")
    };
    let mut stage = running(ExitPolicy::Never, None, &[essential]);
    stage.exited("a", ExitStatus::Code(3));
    assert!(!stage.world.is_ending());
}

#[test]
fn stops_by_hand_and_edits_end_nothing() {
    let mut stage = running(ExitPolicy::All, None, &[once("a"), once("b")]);
    stage.exited("a", ExitStatus::Code(0));
    stage.stop("b");
    stage.exited("b", ExitStatus::Code(0));
    assert!(!stage.world.is_ending());
    stage.save([once("a")]);
    assert!(!stage.world.is_ending());
}

#[test]
fn a_clean_stop_is_zero_even_if_services_die_of_our_signal_and_nothing_starts_after_it() {
    let mut stage = running(ExitPolicy::All, None, &[build::service("a"), build::service("b")]);
    stage.exited("b", ExitStatus::Code(1));
    stage.down();
    assert_eq!(spawns(&stage.start("b")), 0);
    assert_eq!(stage.save([build::service("c")]).len(), 0);
    stage.exited("a", ExitStatus::Signal(Signal::TERM));
    assert_eq!(stage.end().map(|ending| ending.code), Some(0));
    assert!(stage.fact(crate::reconcile::fact::Fact::TimePassed).is_empty());
}

#[test]
fn nothing_starts_in_the_step_that_ends_the_project() {
    let main = Service {
        essential: true,
        ..once("a")
    };
    let mut after = once("b");
    depend(&mut after, "a", Condition::Completed);
    let mut stage = Stage::up([main, after]);
    stage.executed("a");
    assert_eq!(spawns(&stage.exited("a", ExitStatus::Code(0))), 0);
    assert!(stage.world.is_over());
}

#[test]
fn a_program_that_is_missing_fails_up_with_one() {
    let mut stage = Stage::ending(ExitPolicy::All, None, [build::service("a")]);
    stage.ask(Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    });
    stage.refused("a", Reason::CommandNotFound);
    assert_eq!(stage.end().map(|ending| ending.code), Some(1));
}
