//! Services that put themselves into the background and say by a PID file who they are.

use std::time::Duration;

use crate::reconcile::action::Action;
use crate::reconcile::fact::{ExitStatus, Fact, Outcome, ProbeKind};
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, events, spawns};
use crate::reconcile::snapshot::StateName;
use crate::spec::{PidFile, PidFileMode, Rung, Service, Signal, StopScope};

const FINE: ExitStatus = ExitStatus::Code(0);

fn daemon() -> Service {
    let mut web = build::service("web");
    web.pid_file = Some(PidFile {
        path: "/run/web.pid".into(),
        mode: PidFileMode::Follow,
    });
    web.stop = vec![Rung {
        signal: Signal::QUIT,
        wait: Duration::from_secs(10),
    }];
    web
}

fn launched(web: Service) -> Stage {
    let mut stage = Stage::up([web]);
    stage.executed("web");
    stage
}

fn named(stage: &mut Stage, pid: u32) -> Vec<Action> {
    stage.fact(Fact::MainPidTold {
        id: stage.id("web"),
        pid,
    })
}

fn doubted(stage: &mut Stage, why: &str) {
    stage.fact(Fact::PidFileDoubted {
        id: stage.id("web"),
        why: why.to_owned(),
    });
}

/// Ready, with 500 as its main process.
fn running() -> Stage {
    let mut stage = launched(daemon());
    stage.left("web", FINE);
    named(&mut stage, 500);
    assert_eq!(
        (stage.state("web"), stage.see("web").pid),
        (StateName::Ready, Some(500))
    );
    stage
}

#[test]
fn it_is_not_ready_before_its_file_names_it() {
    let mut stage = launched(daemon());
    assert_eq!(stage.state("web"), StateName::Starting);
    assert!(stage.see("web").pid.is_some(), "the launcher");
    stage.left("web", FINE);
    assert_eq!((stage.state("web"), stage.see("web").pid), (StateName::Starting, None));
    named(&mut stage, 500);
    assert_eq!(stage.state("web"), StateName::Ready);
    let (own, mut probed) = (ExitStatus::Code(3), daemon());
    probed.ready = Some(build::probe());
    let mut stage = launched(probed);
    named(&mut stage, 500);
    assert_eq!(stage.state("web"), StateName::Starting, "and then its readiness counts");
    stage.probed("web", ProbeKind::Ready, Outcome::Success);
    assert_eq!(stage.state("web"), StateName::Ready);
    stage.exited("web", own);
    assert_eq!(
        stage.see("web").last_end.map(|end| end.status),
        Some(own),
        "the daemon's own code"
    );
}

#[test]
fn pf_02_a_file_that_lies_later_on_is_shown_until_it_is_good_again() {
    let mut stage = running();
    doubted(&mut stage, "process 42 (sshd) was not started by this service");
    let see = stage.see("web");
    assert_eq!((see.state, see.pid), (StateName::Ready, Some(500)));
    assert_eq!(
        see.probe_message.as_deref(),
        Some("not believed: pid_file /run/web.pid (process 42 (sshd) was not started by this service)")
    );
    named(&mut stage, 500);
    assert_eq!(stage.see("web").probe_message, None);
}

#[test]
fn pf_05_a_late_file_is_waited_for_until_the_start_timeout() {
    let mut stage = launched(daemon());
    stage.left("web", FINE);
    stage.pass(Duration::from_secs(59));
    named(&mut stage, 500);
    assert_eq!(stage.state("web"), StateName::Ready);

    let mut late = daemon();
    late.start_timeout = Some(Duration::from_secs(5));
    late.stop_scope = StopScope::Process;
    let mut stage = launched(late);
    stage.left("web", FINE);
    doubted(&mut stage, "there is no process 42");
    assert_eq!(
        stage.see("web").probe_message.as_deref(),
        Some("pid_file /run/web.pid (there is no process 42)")
    );
    stage.pass(Duration::from_secs(5));
    assert_eq!(stage.state("web"), StateName::Stopping);
    let killed = stage.pass(Duration::from_secs(10));
    let tree = |action: &Action| {
        matches!(
            action,
            Action::Kill {
                scope: StopScope::Tree,
                ..
            }
        )
    };
    assert!(
        killed.iter().any(tree),
        "the daemon that was never found is among what is left"
    );
    stage.fact(Fact::Emptied { id: stage.id("web") });
    assert_eq!(
        (stage.state("web"), stage.reason("web")),
        (StateName::Backoff, Some(Reason::PidFileTimeout))
    );
    let message = stage
        .see("web")
        .failure
        .map(|failure| failure.message)
        .unwrap_or_default();
    assert_eq!(
        message,
        "it went into the background (exit code 0); /run/web.pid has named none of its processes within 5s: there is no process 42"
    );
}

#[test]
fn a_launcher_that_fails_or_leaves_nobody_is_a_failed_start() {
    for (status, left, reason) in [
        (ExitStatus::Code(1), false, Reason::ExitedEarly),
        (ExitStatus::Code(1), true, Reason::ExitedEarly),
        (FINE, false, Reason::ExitedEarly),
    ] {
        let mut stage = launched(daemon());
        match left {
            true => drop(stage.left("web", status)),
            false => drop(stage.exited("web", status)),
        }
        if left {
            assert_eq!(stage.state("web"), StateName::Stopping);
            stage.fact(Fact::Emptied { id: stage.id("web") });
        }
        assert_eq!(
            (stage.state("web"), stage.reason("web")),
            (StateName::Backoff, Some(reason))
        );
    }
    let mut stage = launched(daemon());
    stage.left("web", FINE);
    stage.fact(Fact::Emptied { id: stage.id("web") });
    assert_eq!(
        stage.state("web"),
        StateName::Backoff,
        "the daemon ended before it was found"
    );
}

#[test]
fn pf_07_a_file_that_names_the_launcher_is_corrected_in_time() {
    let mut stage = launched(daemon());
    let launcher = stage.see("web").pid.expect("it runs");
    named(&mut stage, launcher);
    assert_eq!(stage.state("web"), StateName::Ready, "so far it seems to stay in front");
    stage.left("web", FINE);
    assert_eq!((stage.state("web"), stage.see("web").pid), (StateName::Starting, None));
    named(&mut stage, 500);
    assert_eq!(
        (stage.state("web"), stage.see("web").pid),
        (StateName::Ready, Some(500))
    );
    // Nobody corrects it.
    let mut stage = launched(daemon());
    named(&mut stage, launcher);
    stage.left("web", FINE);
    stage.pass(Duration::from_secs(60));
    assert_eq!(stage.state("web"), StateName::Stopping);
}

#[test]
fn pf_08_another_main_process_is_no_restart() {
    let mut stage = running();
    let first = stage.ordered.len();
    let (run, since) = (stage.see("web").run, stage.see("web").since_ns);
    stage.now += 5_000_000_000;
    assert_eq!(named(&mut stage, 501), []);
    let web = stage.see("web");
    assert_eq!(
        (web.state, web.pid, web.run, web.since_ns),
        (StateName::Ready, Some(501), run, since)
    );
    assert_eq!(spawns(&stage.ordered[first..]), 0);
}

#[test]
fn the_stop_signal_goes_to_the_daemon_and_sigkill_to_its_tree() {
    let mut stage = running();
    let actions = stage.stop("web");
    let signal = |action: &Action| match action {
        Action::Signal { signal, scope, .. } => Some((*signal, *scope)),
        _ => None,
    };
    assert_eq!(
        actions.iter().find_map(signal),
        Some((Signal::QUIT, StopScope::Process))
    );
    let actions = stage.pass(Duration::from_secs(10));
    assert!(actions.iter().any(|action| matches!(
        action,
        Action::Kill {
            scope: StopScope::Tree,
            ..
        }
    )));
    stage.left("web", ExitStatus::Signal(Signal::KILL));
    assert_eq!(stage.state("web"), StateName::Stopping, "workers are left");
    stage.fact(Fact::Emptied { id: stage.id("web") });
    assert_eq!(stage.state("web"), StateName::Stopped);
    // One that stays in front is stopped as any other.
    let mut stage = launched(daemon());
    let launcher = stage.see("web").pid.expect("it runs");
    named(&mut stage, launcher);
    assert_eq!(
        stage.stop("web").iter().find_map(signal),
        Some((Signal::QUIT, StopScope::Tree))
    );
}

#[test]
fn a_daemon_that_is_found_while_it_is_stopped_ends_the_stop_by_its_end() {
    let mut stage = launched(daemon());
    stage.left("web", FINE);
    stage.stop("web");
    named(&mut stage, 500);
    stage.exited("web", ExitStatus::Signal(Signal::QUIT));
    assert_eq!(stage.state("web"), StateName::Stopped);
    assert!(matches!(
        stage.ordered.iter().rev().find(|a| !matches!(a, Action::Publish(_))),
        Some(Action::Release { .. })
    ));
    assert!(events(&stage.ordered).count() > 0);
}

#[test]
fn a_file_that_runner_writes_changes_nothing() {
    let mut web = daemon();
    web.pid_file = web.pid_file.map(|file| PidFile {
        mode: PidFileMode::Write,
        ..file
    });
    let mut stage = launched(web);
    assert_eq!(stage.state("web"), StateName::Ready);
    stage.exited("web", FINE);
    assert_eq!(stage.state("web"), StateName::Completed);
}
