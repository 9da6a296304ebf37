//! Scheduled oneshots: when they run, and when they do not.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, EventKind};
use crate::reconcile::fact::{ExitStatus, Fact, Request};
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, depend, events, spawns};
use crate::reconcile::snapshot::StateName;
use crate::reconcile::world::{Goal, Progress, Recalled, Recollection};
use crate::spec::{Condition, ExitPolicy, Kind, Schedule, Service};

const MINUTE: Duration = Duration::from_secs(60);
const OK: ExitStatus = ExitStatus::Code(0);

fn oneshot(schedule: Schedule) -> Service {
    let mut service = build::service("job");
    service.kind = Kind::Oneshot;
    service.restart = crate::spec::Restart::No;
    service.schedule = Some(schedule);
    service
}

fn every(minutes: u64) -> Service {
    oneshot(Schedule::every(
        &format!("every {minutes}m"),
        MINUTE * minutes as u32,
        TimeZone::UTC,
    ))
}

/// At each full hour of a wall clock that begins at 1970.
fn hourly() -> Service {
    let line = "0 * * * *";
    oneshot(Schedule::cron(
        line,
        line.parse().expect("a cron line"),
        None,
        TimeZone::UTC,
    ))
}

fn ran(stage: &mut Stage, status: ExitStatus) {
    stage.executed("job");
    stage.exited("job", status);
}

#[test]
fn it_rests_until_its_time_and_runs_at_each() {
    for (job, period) in [(every(60), MINUTE * 60), (hourly(), MINUTE * 60)] {
        let mut stage = Stage::up([job]);
        assert_eq!(stage.state("job"), StateName::Waiting);
        assert!(
            stage.world.is_settled() == Some(true),
            "rest is no transition and no trouble"
        );
        assert_eq!(stage.world.progress(&build::name("job"), Goal::Up), Progress::Reached);
        assert_eq!(spawns(&stage.pass(period - MINUTE)), 0);
        let began = stage.pass(MINUTE);
        assert_eq!(spawns(&began), 1);
        stage.executed("job");
        let cause = stage.see("job").cause;
        assert_eq!(cause.by, Author::Schedule);
        stage.exited("job", OK);
        assert_eq!(stage.state("job"), StateName::Completed);
        assert_eq!(spawns(&stage.pass(period - MINUTE)), 0);
        assert_eq!(spawns(&stage.pass(MINUTE)), 1);
        ran(&mut stage, ExitStatus::Code(3));
        assert_eq!(
            (stage.state("job"), stage.reason("job")),
            (StateName::Failed, Some(Reason::ExitCode))
        );
        assert_eq!(spawns(&stage.pass(period)), 1, "a failed run is followed by the next");
    }
}

#[test]
fn a_run_that_is_going_is_not_doubled_and_said_once() {
    let mut stage = Stage::up([every(10)]);
    stage.pass(MINUTE * 10);
    stage.executed("job");
    let passed = stage.pass(MINUTE * 35);
    assert_eq!(spawns(&passed), 0);
    let warned = |event: &&crate::reconcile::event::Event| matches!(event.kind, EventKind::Warned { .. });
    assert_eq!(events(&passed).filter(warned).count(), 1);
    stage.exited("job", OK);
    assert_eq!(spawns(&stage.pass(MINUTE * 4)), 0, "what was missed is not made up for");
    assert_eq!(spawns(&stage.pass(MINUTE)), 1, "the beat goes on: 10, 20, 30, 40, 50");
}

#[test]
fn missed_times_are_one_run() {
    for job in [every(60), hourly()] {
        let mut stage = Stage::up([job]);
        // Nobody looked for a day.
        stage.now += 86_400_000_000_000;
        assert_eq!(spawns(&stage.fact(Fact::TimePassed)), 1);
        ran(&mut stage, OK);
        assert_eq!(spawns(&stage.pass(MINUTE * 59)), 0);
        assert_eq!(spawns(&stage.pass(MINUTE)), 1);
    }
}

#[test]
fn a_clock_that_is_set_neither_doubles_nor_loses_a_run() {
    const HOUR: i64 = 3_600_000_000_000;
    let mut stage = Stage::up([hourly()]);
    assert_eq!(spawns(&stage.pass(MINUTE * 60)), 1);
    ran(&mut stage, OK);
    // Back by an hour: the same time comes again, and is not taken again.
    stage.ahead -= HOUR;
    assert_eq!(spawns(&stage.fact(Fact::TimePassed)), 0);
    assert_eq!(spawns(&stage.pass(MINUTE * 60)), 0);
    assert_eq!(spawns(&stage.pass(MINUTE * 60)), 1);
    ran(&mut stage, OK);
    // Ahead by five hours: those are one run.
    stage.ahead += 5 * HOUR;
    assert_eq!(spawns(&stage.fact(Fact::TimePassed)), 1);
    ran(&mut stage, OK);
    assert_eq!(spawns(&stage.pass(MINUTE * 59)), 0);
    assert_eq!(spawns(&stage.pass(MINUTE)), 1);
    ran(&mut stage, OK);
    // It was a year ahead by mistake.
    stage.ahead += 365 * 24 * HOUR;
    assert_eq!(spawns(&stage.fact(Fact::TimePassed)), 1);
    ran(&mut stage, OK);
    stage.ahead -= 365 * 24 * HOUR;
    assert_eq!(spawns(&stage.fact(Fact::TimePassed)), 0);
    assert_eq!(
        spawns(&stage.pass(MINUTE * 60)),
        1,
        "the next full hour, not one in a year"
    );
    // A period does not care.
    let mut stage = Stage::up([every(10)]);
    stage.ahead += 24 * HOUR;
    assert_eq!(spawns(&stage.fact(Fact::TimePassed)), 0);
    assert_eq!(spawns(&stage.pass(MINUTE * 10)), 1);
}

#[test]
fn it_runs_at_up_only_if_told_so() {
    let mut job = every(10);
    job.run_at_start = true;
    let mut stage = Stage::of([job.clone()]);
    let up = Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    };
    assert_eq!(spawns(&stage.ask(up.clone())), 1);
    ran(&mut stage, OK);
    assert_eq!(spawns(&stage.ask(up)), 0, "a second `up` does nothing");
    assert_eq!(spawns(&stage.pass(MINUTE * 10)), 1);
}

#[test]
fn by_hand_it_runs_now_and_rests_for_good() {
    let mut stage = Stage::up([every(10)]);
    assert_eq!(spawns(&stage.start("job")), 1);
    ran(&mut stage, OK);
    assert_eq!(spawns(&stage.start("job")), 1, "and again");
    ran(&mut stage, OK);
    assert_eq!(spawns(&stage.restart("job")), 1);
    ran(&mut stage, OK);
    stage.stop("job");
    assert_eq!(stage.state("job"), StateName::Stopped);
    assert_eq!(stage.see("job").next_run, None);
    assert_eq!(spawns(&stage.pass(MINUTE * 100)), 0);
    assert_eq!(spawns(&stage.start("job")), 1);
    ran(&mut stage, OK);
    assert_eq!(spawns(&stage.pass(MINUTE * 10)), 1, "counted from the start on");
}

#[test]
fn an_edit_moves_the_next_time_and_starts_nothing() {
    let mut stage = Stage::up([every(10)]);
    stage.pass(MINUTE * 9);
    assert_eq!(spawns(&stage.save([every(2)])), 0);
    assert_eq!(spawns(&stage.pass(MINUTE)), 0, "counted from the edit on");
    assert_eq!(spawns(&stage.pass(MINUTE)), 1);
    stage.executed("job");
    let mut edited = every(3);
    let actions = stage.save([edited.clone()]);
    assert!(
        !actions.iter().any(|action| matches!(action, Action::Signal { .. })),
        "a run goes on"
    );
    stage.exited("job", OK);
    edited.command.words.push("--more".to_owned());
    assert_eq!(
        spawns(&stage.save([edited])),
        0,
        "the next run is by the new definition"
    );
    assert_eq!(spawns(&stage.pass(MINUTE * 3)), 1);
    ran(&mut stage, OK);
    // Without a schedule it is done: it has run in this life.
    let mut plain = every(3);
    plain.schedule = None;
    stage.save([plain]);
    assert_eq!(spawns(&stage.pass(MINUTE * 30)), 0);
}

#[test]
fn an_unscheduled_one_decides_when_all_have_ended() {
    let web = build::service("web");
    let mut stage = Stage::ending(ExitPolicy::All, None, [web, every(10)]);
    stage.ask(Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    });
    stage.executed("web");
    stage.pass(MINUTE * 10);
    ran(&mut stage, ExitStatus::Code(1));
    assert!(stage.end().is_none());
    stage.exited("web", OK);
    assert!(stage.end().is_some(), "what is scheduled does not count");
}

#[test]
fn it_waits_for_what_it_needs_and_what_needs_it_waits_for_its_first_run() {
    let mut job = every(10);
    depend(&mut job, "db", Condition::Healthy);
    let mut web = build::service("web");
    depend(&mut web, "job", Condition::CompletedSuccessfully);
    let mut stage = Stage::up([build::service("db"), job, web]);
    stage.stop("db");
    assert_eq!(spawns(&stage.pass(MINUTE * 10)), 0);
    assert_eq!(stage.state("job"), StateName::Waiting);
    stage.pass(MINUTE * 30);
    stage.fact(Fact::SpawnFailed {
        id: stage.id("db"),
        failure: crate::reconcile::sim::stage::failure(Reason::Busy),
    });
    stage.start("db");
    stage.executed("db");
    assert_eq!(stage.id("job").run, 1, "all that was due is one run");
    assert_eq!(stage.state("web"), StateName::Waiting);
    ran(&mut stage, OK);
    stage.executed("web");
    let later = stage.pass(MINUTE * 10);
    assert_eq!(spawns(&later), 1);
    ran(&mut stage, OK);
    assert_eq!(
        (stage.state("web"), stage.id("web").run),
        (StateName::Ready, 1),
        "untouched by a further run"
    );
}

/// Another daemon takes over after `away`.
fn taken_over(job: &Service, stage: &mut Stage, away: Duration, cold: bool) -> Vec<Action> {
    let services = stage.world.remember_all().into_iter().filter_map(|remembered| {
        let text = serde_json::to_string(&remembered.memory?.0).expect("it can be written");
        Some(Recalled {
            memory: serde_json::from_str(&text).expect("it can be read"),
            started_with: Some(job.fingerprint("salt")),
            remnant: Some(job.remnant()),
        })
    });
    let recollection = Recollection {
        generation: 1,
        ending: None,
        cold,
        services: services.collect(),
    };
    stage.begin_anew(recollection);
    stage.now += away.as_nanos() as u64;
    stage.save([job.clone()])
}

#[test]
fn a_lost_daemon_neither_doubles_nor_loses_a_run() {
    for (mut job, cold) in [(every(60), false), (hourly(), false), (hourly(), true)] {
        job.run_at_start = true;
        let mut stage = Stage::up([job.clone()]);
        ran(&mut stage, OK);
        assert_eq!(spawns(&stage.pass(MINUTE * 60)), 1);
        ran(&mut stage, OK);
        assert_eq!(spawns(&taken_over(&job, &mut stage, MINUTE * 20, cold)), 0);
        assert_eq!(stage.id("job").run, 2);
        assert_eq!(spawns(&stage.pass(MINUTE * 40)), 1, "the beat is kept");
        ran(&mut stage, OK);
        assert_eq!(
            spawns(&taken_over(&job, &mut stage, MINUTE * 200, cold)),
            1,
            "what was missed is one run"
        );
        ran(&mut stage, OK);
        assert_eq!(spawns(&stage.pass(MINUTE * 39)), 0);
        assert_eq!(spawns(&stage.pass(MINUTE)), 1);
    }
}

#[test]
fn why_tells_the_next_run() {
    let mut stage = Stage::up([hourly()]);
    stage.pass(MINUTE * 35);
    let now = crate::reconcile::fact::Now {
        mono_ns: stage.now,
        wall_ns: stage.now as i64,
    };
    let why = stage.world.why(now, &build::name("job")).expect("it is there");
    assert_eq!(why.chain[0].what, "job is waiting");
    assert_eq!(why.chain[0].because, "its next run is in 25m, at 01:00 (0 * * * *)");
    assert_eq!(why.suggestion.as_deref(), Some("`runner start job` runs it now"));
}
