//! Spawn failures, exits at awkward instants, oneshots.

use std::time::Duration;

use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::fact::{ExitStatus, Fact, Now, Outcome, ProbeKind};
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, events, spawns, touches};
use crate::reconcile::snapshot::StateName;
use crate::spec::{Argv, Gate, Kind};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn sp_a_permanent_failure_waits_for_an_edit_a_start_or_a_try_at_the_cap() {
    for reason in [
        Reason::CommandNotFound,
        Reason::NotExecutable,
        Reason::WorkingDirMissing,
        Reason::PortInUse,
    ] {
        let web = build::service("web");
        let mut stage = Stage::up([web.clone()]);
        stage.refused("web", reason);
        assert_eq!(
            (stage.state("web"), stage.reason("web")),
            (StateName::Failed, Some(reason))
        );
        assert_eq!(spawns(&stage.pass(Duration::from_millis(29_999))), 0, "no hot loop");
        assert_eq!(spawns(&stage.pass(Duration::from_millis(1))), 1, "a try at the cap");
        assert_eq!(stage.state("web"), StateName::Failed, "a quiet try shows what is known");
        let again = stage.refused("web", reason);
        assert_eq!(events(&again).count(), 0, "said once");
        assert_eq!(spawns(&stage.start("web")), 1, "a start does not wait");
        stage.refused("web", reason);
        let edited = crate::spec::Service {
            description: Some("edited".into()),
            ..web
        };
        assert_eq!(spawns(&stage.save([edited])), 1, "nor does an edit");
    }
}

#[test]
fn sp_07_the_try_at_the_cap_works_once_the_missing_thing_is_there() {
    let mut stage = Stage::up([build::service("web")]);
    stage.refused("web", Reason::WorkingDirMissing);
    stage.pass(Duration::from_secs(30));
    stage.executed("web");
    assert_eq!((stage.state("web"), stage.reason("web")), (StateName::Ready, None));
}

#[test]
fn sp_14_busy_is_tried_again_quietly_for_a_bounded_time_then_said_and_counts_as_no_crash() {
    let mut stage = Stage::up([build::service("web")]);
    for _ in 0..5 {
        assert_eq!(events(&stage.refused("web", Reason::Busy)).count(), 0, "quiet");
        assert_eq!(stage.state("web"), StateName::Starting);
        assert_eq!(spawns(&stage.pass(Duration::from_millis(100))), 1);
    }
    stage.refused("web", Reason::Busy);
    assert_eq!(
        (stage.state("web"), stage.reason("web")),
        (StateName::Backoff, Some(Reason::Busy))
    );
    assert_eq!(stage.see("web").restarts, 0);
}

#[test]
fn sp_13_want_of_resources_is_retried_whatever_the_restart_policy() {
    let mut web = build::service("web");
    web.restart = crate::spec::Restart::No;
    let mut stage = Stage::up([web]);
    stage.refused("web", Reason::OutOfResources);
    assert_eq!(
        (stage.state("web"), stage.reason("web")),
        (StateName::Backoff, Some(Reason::OutOfResources))
    );
    assert_eq!(spawns(&stage.pass(Duration::from_secs(1))), 1);
}

#[test]
fn sp_17_an_exec_that_hangs_is_killed_at_the_start_timeout() {
    let mut web = build::service("web");
    web.start_timeout = Some(Duration::from_secs(5));
    let mut stage = Stage::up([web]);
    stage.spawned("web");
    assert!(!touches(&stage.pass(Duration::from_millis(4_999))));
    assert!(touches(&stage.pass(Duration::from_millis(1))));
    stage.pass(Duration::from_secs(10));
    stage.exited("web", ExitStatus::Signal(crate::spec::Signal::KILL));
    assert_eq!(stage.reason("web"), Some(Reason::StartTimeout));
}

#[test]
fn ex_01_an_exit_at_once_is_seen_once_with_its_code() {
    for status in [ExitStatus::Code(0), ExitStatus::Code(1), ExitStatus::Code(42)] {
        let mut stage = Stage::up([build::service("web")]);
        stage.executed("web");
        let first = stage.exited("web", status);
        assert_eq!(stage.see("web").last_end.map(|end| end.status), Some(status));
        assert!(matches!(stage.state("web"), StateName::Completed | StateName::Backoff));
        assert!(!first.is_empty() && stage.exited("web", status).is_empty(), "once");
    }
}

#[test]
fn ex_04_an_exit_at_the_instant_of_a_stop_is_a_stop() {
    let mut stop_first = Stage::up([build::service("web")]);
    stop_first.executed("web");
    stop_first.stop("web");
    stop_first.exited("web", ExitStatus::Code(1));
    let mut exit_first = Stage::up([build::service("web")]);
    exit_first.executed("web");
    exit_first.exited("web", ExitStatus::Code(1));
    assert!(!touches(&exit_first.stop("web")), "nobody is there to be signalled");
    for mut stage in [stop_first, exit_first] {
        assert_eq!((stage.state("web"), stage.reason("web")), (StateName::Stopped, None));
        assert_eq!(spawns(&stage.pass(HOUR)), 0);
    }
}

#[test]
fn ex_05_an_exit_at_the_instant_of_the_start_timeout_has_one_result() {
    let mut web = build::service("web");
    (web.ready, web.start_timeout) = (Some(build::probe()), Some(Duration::from_secs(5)));
    let mut stage = Stage::up([web]);
    stage.executed("web");
    stage.now = 5_000_000_000;
    stage.exited("web", ExitStatus::Code(3));
    assert_eq!(stage.reason("web"), Some(Reason::ExitedEarly));
    assert!(
        !touches(&stage.pass(Duration::ZERO)),
        "the number may be somebody else's by now"
    );
}

#[test]
fn ex_07_a_start_during_a_slow_stop_waits_for_its_end() {
    let mut stage = Stage::up([build::service("web")]);
    stage.executed("web");
    stage.stop("web");
    stage.pass(Duration::from_secs(2));
    assert_eq!(spawns(&stage.start("web")), 0);
    assert_eq!(spawns(&stage.exited("web", ExitStatus::Code(0))), 1);
}

#[test]
fn ex_08_a_stop_before_ready_ends_stopped_and_nothing_starts_later() {
    let gated = || {
        let mut web = build::service("web");
        web.wait_for = vec![Gate::File("/srv/gate".into())];
        Stage::up([web])
    };
    let mut in_backoff = Stage::up([build::service("web")]);
    in_backoff.executed("web");
    in_backoff.exited("web", ExitStatus::Code(1));
    let mut retrying = Stage::up([build::service("web")]);
    retrying.refused("web", Reason::Busy);
    for mut stage in [gated(), in_backoff, retrying] {
        stage.stop("web");
        assert_eq!(stage.state("web"), StateName::Stopped);
        stage.gate_probed("web", Outcome::Success);
        assert_eq!(spawns(&stage.pass(HOUR)), 0);
    }
    let mut spawning = Stage::up([build::service("web")]);
    assert!(!touches(&spawning.stop("web")), "there is nobody to signal yet");
    assert!(touches(&spawning.spawned("web")));
    spawning.exited("web", ExitStatus::Signal(crate::spec::Signal::TERM));
    assert_eq!(spawning.state("web"), StateName::Stopped);
}

#[test]
fn a_fact_of_an_older_life_changes_nothing() {
    let mut stage = Stage::up([build::service("web")]);
    let first = stage.id("web");
    stage.executed("web");
    stage.exited("web", ExitStatus::Code(1));
    stage.pass(Duration::from_secs(1));
    stage.executed("web");
    let before = stage.see("web");
    let late = Fact::Exited {
        id: first,
        status: ExitStatus::Code(9),
        left: false,
        out_of_memory: false,
    };
    assert!(stage.fact(late).is_empty());
    assert_eq!(stage.see("web"), before);
}

fn oneshot() -> crate::spec::Service {
    let mut job = build::service("job");
    (job.kind, job.restart) = (Kind::Oneshot, crate::spec::Restart::No);
    job
}

#[test]
fn a_oneshot_runs_once_and_again_only_when_asked_or_edited() {
    let mut stage = Stage::up([oneshot()]);
    stage.executed("job");
    assert_eq!(stage.state("job"), StateName::Starting, "ready only when done");
    stage.exited("job", ExitStatus::Code(0));
    assert_eq!(stage.state("job"), StateName::Completed);
    let up = crate::reconcile::fact::Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    };
    assert_eq!(spawns(&stage.ask(up)), 0, "not for a second up");
    let live = crate::spec::Service {
        description: Some("words".into()),
        ..oneshot()
    };
    assert_eq!(spawns(&stage.save([live.clone()])), 0, "nor for an edit of an L key");
    let edited = crate::spec::Service {
        clear_env: true,
        ..live
    };
    assert_eq!(spawns(&stage.save([edited])), 1, "for an edit of an R key");
    stage.executed("job");
    stage.exited("job", ExitStatus::Code(0));
    assert_eq!(spawns(&stage.start("job")), 1, "for a start");
    stage.executed("job");
    stage.exited("job", ExitStatus::Code(0));
    assert_eq!(spawns(&stage.restart("job")), 1, "for a restart");
}

#[test]
fn a_oneshot_that_takes_longer_than_its_timeout_has_failed() {
    let mut job = oneshot();
    job.timeout = Some(Duration::from_secs(60));
    let mut stage = Stage::up([job]);
    stage.executed("job");
    assert!(!touches(&stage.pass(Duration::from_millis(59_999))));
    assert!(touches(&stage.pass(Duration::from_millis(1))));
    stage.exited("job", ExitStatus::Code(0));
    assert_eq!(
        (stage.state("job"), stage.reason("job")),
        (StateName::Failed, Some(Reason::StartTimeout))
    );
}

fn with_health() -> Stage {
    let mut web = build::service("web");
    web.health = Some(build::probe());
    let mut stage = Stage::up([web]);
    stage.executed("web");
    stage
}

fn fail_health(stage: &mut Stage, times: u32) {
    for _ in 0..times {
        stage.pass(Duration::from_secs(10));
        stage.probed("web", ProbeKind::Health, Outcome::Failure("refused".into()));
    }
}

#[test]
fn hp_13_failing_health_gives_one_restart_and_probing_begins_anew_with_it() {
    let mut stage = with_health();
    fail_health(&mut stage, 3);
    assert_eq!(stage.state("web"), StateName::Stopping);
    stage.exited("web", ExitStatus::Code(0));
    assert_eq!(
        (stage.state("web"), stage.reason("web")),
        (StateName::Backoff, Some(Reason::HealthFailed))
    );
    assert_eq!(spawns(&stage.pass(Duration::from_secs(1))), 1);
    stage.executed("web");
    let quiet = stage.pass(Duration::from_millis(9_999));
    assert!(
        !quiet
            .iter()
            .any(|action| matches!(action, crate::reconcile::Action::Probe { .. }))
    );
    fail_health(&mut stage, 2);
    assert_eq!(
        stage.state("web"),
        StateName::Ready,
        "failures of the old life do not count"
    );
}

#[test]
fn hp_14_a_stop_while_health_fails_is_no_restart() {
    let mut stage = with_health();
    fail_health(&mut stage, 3);
    stage.stop("web");
    stage.exited("web", ExitStatus::Signal(crate::spec::Signal::TERM));
    assert_eq!(stage.state("web"), StateName::Stopped);
    assert_eq!(spawns(&stage.pass(HOUR)), 0);
}

#[test]
fn hp_16_unknown_results_never_restart() {
    let mut stage = with_health();
    for _ in 0..50 {
        stage.pass(Duration::from_secs(10));
        stage.probed("web", ProbeKind::Health, Outcome::Unknown("no descriptors left".into()));
    }
    assert_eq!(stage.state("web"), StateName::Ready);
    let words = "its health is not known: no descriptors left";
    assert_eq!(stage.see("web").probe_message.as_deref(), Some(words));
    let now = Now {
        mono_ns: stage.now,
        wall_ns: 0,
    };
    let why = stage.world.why(now, &build::name("web")).expect("there is one");
    assert!(why.chain[0].because.ends_with(words), "{:?}", why.chain);
    stage.pass(Duration::from_secs(10));
    stage.probed("web", ProbeKind::Health, Outcome::Success);
    assert_eq!(stage.see("web").probe_message, None);
}

#[test]
fn who_is_ended_for_its_health_is_told_to_post_stop_with_its_end() {
    let mut web = build::service("web");
    web.health = Some(build::probe());
    web.hooks.post_stop = Some(Argv {
        words: vec!["true".to_owned()],
        shell: false,
    });
    let mut stage = Stage::up([web]);
    stage.executed("web");
    fail_health(&mut stage, 3);
    let actions = stage.exited("web", ExitStatus::Signal(crate::spec::Signal::TERM));
    let told = actions.iter().find_map(|action| match action {
        Action::Run {
            purpose: Purpose::PostStop,
            told,
            ..
        } => Some(told),
        _ => None,
    });
    let told = told.expect("the hook is run");
    let names: Vec<&str> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["RUNNER_REASON", "RUNNER_MESSAGE", "RUNNER_EXIT_SIGNAL"]);
}

#[test]
fn an_edit_to_on_failure_restart_reaches_what_is_unhealthy_already() {
    let mut web = build::service("web");
    web.health = Some(crate::spec::Probe {
        restart_on_failure: false,
        ..build::probe()
    });
    let mut stage = Stage::up([web.clone()]);
    stage.executed("web");
    fail_health(&mut stage, 3);
    assert_eq!(stage.state("web"), StateName::Unhealthy);
    web.health = Some(build::probe());
    stage.save([web]);
    fail_health(&mut stage, 1);
    assert_eq!(stage.state("web"), StateName::Stopping);
}
