//! Back-off, loops, giving up.

use std::time::Duration;

use crate::reconcile::event::EventKind;
use crate::reconcile::fact::ExitStatus;
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, delays_ms, events, spawns};
use crate::reconcile::snapshot::StateName;
use crate::spec::{Restart, Service};

fn crash(stage: &mut Stage, after: Duration) -> Vec<u64> {
    stage.executed("web");
    stage.pass(after);
    delays_ms(&stage.exited("web", ExitStatus::Code(1)))
}

/// Delays of so many crashes in a row, each that long after ready.
fn crashes(mut service: Service, times: usize, after: Duration) -> (Stage, Vec<u64>) {
    service.backoff.jitter = 0.0;
    let mut stage = Stage::up([service]);
    let mut delays = Vec::new();
    for _ in 0..times {
        let new = crash(&mut stage, after);
        stage.pass(Duration::from_millis(new.first().copied().unwrap_or(0)));
        delays.extend(new);
    }
    (stage, delays)
}

#[test]
fn rs_01_a_service_that_always_exits_is_tried_on_the_documented_curve_for_ever() {
    let (stage, delays) = crashes(build::service("web"), 50, Duration::ZERO);
    assert_eq!(delays[..8], [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    assert_eq!(delays.len(), 50, "no limit by default (rs_04)");
    assert_eq!(stage.see("web").restarts, 50);
}

#[test]
fn rs_02_ready_for_reset_after_forgets_and_a_moment_less_does_not() {
    let (_, short) = crashes(build::service("web"), 3, Duration::from_nanos(9_999_999_999));
    assert_eq!(short, [500, 1000, 2000]);
    let (_, long) = crashes(build::service("web"), 3, Duration::from_secs(10));
    assert_eq!(long, [500, 500, 500]);
}

#[test]
fn rs_05_jitter_spreads_restarts() {
    let mut web = build::service("web");
    web.backoff.jitter = 0.1;
    let mut other = web.clone();
    other.name = build::name("other");
    let mut stage = Stage::up([web, other]);
    stage.executed("web");
    stage.executed("other");
    let one = delays_ms(&stage.exited("web", ExitStatus::Code(1)));
    let two = delays_ms(&stage.exited("other", ExitStatus::Code(1)));
    assert_ne!(one, two);
    assert!([one[0], two[0]].iter().all(|delay| (450..=550).contains(delay)));
}

#[test]
fn rs_07_an_edit_or_a_start_ends_the_wait_and_a_stop_cancels_it() {
    let web = build::service("web");
    let (mut edited, _) = crashes(web.clone(), 3, Duration::ZERO);
    crash(&mut edited, Duration::ZERO);
    assert_eq!(
        spawns(&edited.save([Service {
            description: Some("edited".into()),
            ..web
        }])),
        1
    );
    assert_eq!(crash(&mut edited, Duration::ZERO), [500], "from zero");
    assert_eq!(spawns(&edited.start("web")), 1);
    edited.executed("web");
    edited.exited("web", ExitStatus::Code(1));
    edited.stop("web");
    assert_eq!(
        (edited.state("web"), edited.world.next_deadline()),
        (StateName::Stopped, None)
    );
}

#[test]
fn a_crash_loop_is_loud_from_the_fifth_restart_within_a_minute_once() {
    let mut web = build::service("web");
    web.backoff.max = Duration::from_secs(1);
    let (stage, _) = crashes(web, 9, Duration::ZERO);
    let warned = events(&stage.ordered)
        .filter(|event| matches!(event.kind, EventKind::Warned { .. }))
        .count();
    assert_eq!(warned, 1);
    let reasons: Vec<Option<Reason>> = events(&stage.ordered)
        .filter_map(|event| match &event.kind {
            EventKind::Restarting { failure, .. } => Some(failure.as_ref().map(|failure| failure.reason)),
            _ => None,
        })
        .collect();
    assert_eq!(
        (reasons[3], reasons[4], reasons[8]),
        (Some(Reason::ExitCode), Some(Reason::CrashLoop), Some(Reason::CrashLoop))
    );
    assert!(stage.world.snapshot().settled, "a loop counts as settled with failure");
}

#[test]
fn more_than_max_restarts_within_the_window_is_failed() {
    let mut web = build::service("web");
    web.max_restarts = Some(2);
    let (stage, delays) = crashes(web.clone(), 3, Duration::ZERO);
    assert_eq!(delays.len(), 2);
    assert_eq!(
        (stage.state("web"), stage.reason("web")),
        (StateName::Failed, Some(Reason::CrashLoop))
    );
    let (stage, delays) = crashes(web, 6, Duration::from_secs(40));
    assert_eq!(
        (stage.state("web"), delays.len()),
        (StateName::Starting, 6),
        "none when they are further apart"
    );
}

#[test]
fn the_policy_decides_by_the_code() {
    let row = |policy, status| {
        let mut web = build::service("web");
        web.restart = policy;
        let mut stage = Stage::up([web]);
        stage.executed("web");
        stage.exited("web", status);
        stage.state("web")
    };
    let (good, bad) = (ExitStatus::Code(0), ExitStatus::Code(1));
    assert_eq!(row(Restart::OnFailure, good), StateName::Completed);
    assert_eq!(row(Restart::OnFailure, bad), StateName::Backoff);
    assert_eq!(row(Restart::OnFailure, ExitStatus::Unknown), StateName::Backoff);
    assert_eq!(row(Restart::Always, good), StateName::Backoff);
    assert_eq!(row(Restart::Always, bad), StateName::Backoff);
    assert_eq!(row(Restart::No, good), StateName::Completed);
    assert_eq!(row(Restart::No, bad), StateName::Failed);
}
