//! The ladder, and what ends with it.

use std::time::Duration;

use crate::reconcile::action::Action;
use crate::reconcile::fact::{ExitStatus, Fact, Request};
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, depend, spawns, touches};
use crate::reconcile::snapshot::StateName;
use crate::spec::{Argv, Condition, Kind, PidFile, PidFileMode, Restart, Rung, Service, Signal, StopScope};

fn running(change: impl FnOnce(&mut Service)) -> Stage {
    let mut web = build::service("web");
    change(&mut web);
    let mut stage = Stage::up([web]);
    stage.executed("web");
    stage
}

fn kills(actions: &[Action]) -> usize {
    actions
        .iter()
        .filter(|action| matches!(action, Action::Kill { .. }))
        .count()
}

fn grace(wait: Duration) -> impl FnOnce(&mut Service) {
    move |web| {
        web.stop = vec![Rung {
            signal: Signal::TERM,
            wait,
        }]
    }
}

#[test]
fn st_01_sigkill_comes_exactly_after_the_grace_and_stopped_only_when_nothing_is_left() {
    let mut stage = running(|_| {});
    stage.stop("web");
    assert_eq!(kills(&stage.pass(Duration::from_millis(9_999))), 0);
    assert_eq!(kills(&stage.pass(Duration::from_millis(1))), 1);
    stage.left("web", ExitStatus::Signal(Signal::KILL));
    assert_eq!(stage.state("web"), StateName::Stopping);
    stage.fact(Fact::Emptied { id: stage.id("web") });
    assert_eq!(stage.state("web"), StateName::Stopped);
}

#[test]
fn st_02_a_child_that_outlives_the_leader_is_killed_after_the_grace() {
    let mut stage = running(|_| {});
    stage.stop("web");
    stage.left("web", ExitStatus::Signal(Signal::TERM));
    assert_eq!(
        (stage.state("web"), kills(&stage.pass(Duration::from_millis(9_999)))),
        (StateName::Stopping, 0)
    );
    assert_eq!(kills(&stage.pass(Duration::from_millis(1))), 1);
}

#[test]
fn st_04_a_stop_command_that_fails_or_hangs_is_followed_by_signals() {
    let commanded = || {
        running(|web| {
            web.stop_command = Some(Argv {
                words: vec!["./stop".into()],
                shell: false,
            })
        })
    };
    let mut failing = commanded();
    failing.stop("web");
    assert!(touches(&failing.command_ended("web", Err("exited with code 1".into()))));
    let mut hanging = commanded();
    hanging.stop("web");
    assert!(touches(&hanging.pass(Duration::from_secs(10))));
    let mut dying = commanded();
    dying.stop("web");
    let end = dying.exited("web", ExitStatus::Code(0));
    assert!(end.iter().any(|action| matches!(action, Action::CancelRun { .. })) && !touches(&end));
    assert_eq!(dying.state("web"), StateName::Stopped);
}

#[test]
fn st_05_the_whole_group_gets_the_stop_signal_gracefully_first() {
    // That SIGCONT follows is the hands' part; here, that a signal comes before any SIGKILL.
    let mut stage = running(|_| {});
    let first = stage.stop("web");
    assert!(
        first
            .iter()
            .any(|a| matches!(a, Action::Signal { signal, .. } if *signal == Signal::TERM))
    );
    assert_eq!(kills(&first), 0);
}

#[test]
fn st_08_a_stop_ends_probes_stop_commands_and_restart_timers_for_good() {
    let mut probed = running(|web| web.ready = Some(build::probe()));
    let stop = probed.stop("web");
    assert!(stop.iter().any(|action| matches!(action, Action::CancelProbes { .. })));
    probed.exited("web", ExitStatus::Signal(Signal::TERM));
    let mut restarting = running(|_| {});
    restarting.exited("web", ExitStatus::Code(1));
    restarting.stop("web");
    for stage in [&mut probed, &mut restarting] {
        assert_eq!(stage.world.next_deadline(), None);
        assert_eq!(spawns(&stage.pass(Duration::from_secs(3600))), 0);
    }
}

#[test]
fn st_11_a_grace_of_zero_and_of_a_day() {
    let mut none = running(grace(Duration::ZERO));
    let stop = none.stop("web");
    assert_eq!((touches(&stop), kills(&stop)), (true, 1));
    let day = Duration::from_secs(86_400);
    let mut long = running(grace(day));
    long.stop("web");
    assert_eq!(kills(&long.pass(day - Duration::from_nanos(1))), 0);
    assert_eq!(kills(&long.pass(Duration::from_nanos(1))), 1);
    let mut endless = running(grace(Duration::MAX));
    endless.stop("web");
    assert_eq!(endless.world.next_deadline(), None);
}

#[test]
fn what_survives_sigkill_is_named_tried_again_and_holds_up_nobody() {
    let mut web = build::service("web");
    depend(&mut web, "db", Condition::Healthy);
    let mut stage = Stage::up([build::service("db"), web]);
    stage.executed("db");
    stage.executed("web");
    stage.down();
    stage.pass(Duration::from_secs(10));
    let failed = stage.kill_failed("web");
    assert_eq!(
        (stage.state("web"), stage.reason("web")),
        (StateName::Failed, Some(Reason::StopFailed))
    );
    assert!(
        stage
            .see("web")
            .failure
            .is_some_and(|failure| failure.message.contains("pid 7"))
    );
    assert!(touches(&failed), "db need not wait for ever");
    assert_eq!(
        kills(&stage.pass(Duration::from_secs(30))),
        4,
        "web again, and db after 10, 20 and 30 s without an answer"
    );
    stage.exited("db", ExitStatus::Code(0));
    assert_eq!(stage.end(), None, "something is left");
    stage.exited("web", ExitStatus::Signal(Signal::KILL));
    assert!(stage.end().is_some());
}

#[test]
fn with_scope_group_who_left_the_group_does_not_hold_up_the_stop() {
    let mut stage = running(|web| web.stop_scope = StopScope::Group);
    stage.stop("web");
    stage.left("web", ExitStatus::Signal(Signal::TERM));
    stage.pass(Duration::from_secs(20));
    assert_eq!(stage.state("web"), StateName::Stopped);
}

#[test]
fn sg_02_hasten_kills_at_once_without_order() {
    let mut web = build::service("web");
    depend(&mut web, "db", Condition::Healthy);
    let mut stage = Stage::up([build::service("db"), web]);
    stage.executed("db");
    stage.executed("web");
    assert_eq!(kills(&stage.down()), 0);
    assert_eq!(kills(&stage.ask(Request::Hasten)), 2);
}

#[test]
fn who_needs_a_oneshot_that_is_done_stops_before_what_that_one_needed() {
    let (mut migrate, mut web) = (build::service("migrate"), build::service("web"));
    (migrate.kind, migrate.restart) = (Kind::Oneshot, Restart::No);
    depend(&mut migrate, "db", Condition::Healthy);
    depend(&mut web, "migrate", Condition::CompletedSuccessfully);
    let mut stage = Stage::up([build::service("db"), migrate, web]);
    stage.executed("db");
    stage.executed("migrate");
    stage.exited("migrate", ExitStatus::Code(0));
    stage.executed("web");
    stage.down();
    assert_eq!(
        (stage.state("web"), stage.state("db")),
        (StateName::Stopping, StateName::Ready)
    );
    stage.exited("web", ExitStatus::Code(0));
    assert_eq!(stage.state("db"), StateName::Stopping);
}

#[test]
fn a_wider_stop_scope_reaches_what_a_narrower_kill_has_left() {
    let scoped = |scope: StopScope| {
        let mut web = build::service("web");
        web.stop = Vec::new();
        web.stop_scope = scope;
        web
    };
    let mut stage = Stage::up([scoped(StopScope::Process)]);
    stage.executed("web");
    assert_eq!(kills(&stage.stop("web")), 1);
    let id = stage.id("web");
    for scope in [StopScope::Group, StopScope::Tree] {
        let actions = stage.save([scoped(scope)]);
        assert!(actions.contains(&Action::Kill { id, scope }), "{actions:?}");
    }
    assert_eq!(kills(&stage.save([scoped(StopScope::Group)])), 0, "it was reached");
}

#[test]
fn a_launcher_that_is_stopped_before_it_is_executed_may_leave_a_daemon() {
    let mut stage = running(|_| {});
    stage.save([build::service("web"), {
        let mut daemon = build::service("daemon");
        daemon.stop_scope = StopScope::Process;
        daemon.pid_file = Some(PidFile {
            path: "/run/daemon.pid".into(),
            mode: PidFileMode::Follow,
        });
        daemon
    }]);
    stage.start("daemon");
    stage.spawned("daemon");
    stage.stop("daemon");
    stage.fact(Fact::Executed { id: stage.id("daemon") });
    stage.left("daemon", ExitStatus::Code(0));
    assert_eq!(stage.state("daemon"), StateName::Stopping);
    let actions = stage.pass(Duration::from_secs(60));
    let id = stage.id("daemon");
    let kill = Action::Kill {
        id,
        scope: StopScope::Tree,
    };
    assert!(actions.contains(&kill), "{actions:?}");
}
