//! "What follows from what", row by row, and the DP faults.

use std::time::Duration;

use crate::reconcile::action::Action;
use crate::reconcile::event::EventKind;
use crate::reconcile::fact::{ExitStatus, Outcome, ProbeKind, Request};
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, depend, events, spawns, touches};
use crate::reconcile::snapshot::StateName;
use crate::spec::{Condition, Kind, Restart, Service};

const SEC: Duration = Duration::from_secs(1);

fn db_and_web(change: impl FnOnce(&mut Service, &mut Service)) -> [Service; 2] {
    let (mut db, mut web) = (build::service("db"), build::service("web"));
    depend(&mut web, "db", Condition::Healthy);
    change(&mut db, &mut web);
    [db, web]
}

fn both_up(change: impl FnOnce(&mut Service, &mut Service)) -> Stage {
    let mut stage = Stage::up(db_and_web(change));
    stage.executed("db");
    stage.executed("web");
    stage
}

fn with_restart(_: &mut Service, web: &mut Service) {
    web.depends_on
        .values_mut()
        .for_each(|dependency| dependency.restart = true);
}

#[test]
fn not_yet_at_the_condition_is_waiting_with_the_reason() {
    for condition in [
        Condition::Started,
        Condition::Healthy,
        Condition::Completed,
        Condition::CompletedSuccessfully,
    ] {
        let mut stage = Stage::up(db_and_web(|db, web| {
            db.ready = Some(build::probe());
            db.restart = Restart::No;
            depend(web, "db", condition);
        }));
        assert_eq!(stage.state("web"), StateName::Waiting);
        assert!(stage.see("web").waiting_on[0].what.starts_with("db "));
        let executed = spawns(&stage.executed("db"));
        let ready = spawns(&stage.probed("db", ProbeKind::Ready, Outcome::Success));
        let ended = spawns(&stage.exited("db", ExitStatus::Code(0)));
        let expected = match condition {
            Condition::Started => (1, 0, 0),
            Condition::Healthy => (0, 1, 0),
            Condition::Completed | Condition::CompletedSuccessfully => (0, 0, 1),
        };
        assert_eq!((executed, ready, ended), expected, "{condition:?}");
    }
}

#[test]
fn it_is_no_rest_while_a_run_is_waited_for_that_will_end() {
    let waiting = |restart| {
        let mut stage = Stage::up(db_and_web(|db, web| {
            db.restart = restart;
            depend(web, "db", Condition::CompletedSuccessfully);
        }));
        stage.executed("db");
        assert_eq!(
            (stage.state("db"), stage.state("web")),
            (StateName::Ready, StateName::Waiting)
        );
        stage
    };
    for restart in [Restart::No, Restart::OnFailure] {
        let mut stage = waiting(restart);
        assert_eq!(stage.world.is_settled(), None, "{restart:?}");
        stage.exited("db", ExitStatus::Code(0));
        stage.executed("web");
        assert_eq!(stage.world.is_settled(), Some(true), "{restart:?}");
    }
    // Nobody waits for what never ends by itself.
    assert_eq!(waiting(Restart::Always).world.is_settled(), Some(false));
}

#[test]
fn a_condition_gates_starts_only() {
    let mut stage = both_up(|db, _| {
        db.health = Some(crate::spec::Probe {
            retries: 1,
            restart_on_failure: false,
            ..build::probe()
        });
    });
    stage.pass(10 * SEC);
    stage.probed("db", ProbeKind::Health, Outcome::Failure("refused".into()));
    assert_eq!(
        (stage.state("db"), stage.state("web")),
        (StateName::Unhealthy, StateName::Ready)
    );
}

#[test]
fn a_stop_by_hand_stops_dependents_first_and_a_start_brings_them_back() {
    let mut stage = both_up(|_, _| {});
    let stop = stage.stop("db");
    let web = stage.id("web");
    assert!(
        stop.iter()
            .any(|action| matches!(action, Action::Signal { id, .. } if *id == web))
    );
    assert_eq!(stage.state("db"), StateName::Ready, "not before web is gone");
    stage.exited("web", ExitStatus::Code(0));
    assert_eq!(stage.state("db"), StateName::Stopping);
    assert_eq!(stage.see("web").waiting_on[0].what, "db (stopped by you)");
    stage.exited("db", ExitStatus::Code(0));
    assert_eq!(spawns(&stage.pass(3600 * SEC)), 0);
    stage.start("db");
    stage.executed("db");
    stage.executed("web");
    assert_eq!(stage.state("web"), StateName::Ready);
}

#[test]
fn a_restart_takes_those_with_restart_along_once_and_leaves_the_others() {
    let mut stays = both_up(|_, _| {});
    stays.restart("db");
    stays.exited("db", ExitStatus::Code(0));
    stays.executed("db");
    assert_eq!((stays.state("web"), stays.id("web").run), (StateName::Ready, 1));
    let mut goes = both_up(with_restart);
    goes.restart("db");
    assert_eq!(
        (goes.state("web"), goes.state("db")),
        (StateName::Stopping, StateName::Ready)
    );
    goes.exited("web", ExitStatus::Code(0));
    assert_eq!(goes.state("web"), StateName::Waiting);
    goes.exited("db", ExitStatus::Code(0));
    goes.executed("db");
    goes.executed("web");
    goes.pass(60 * SEC);
    assert_eq!((goes.id("db").run, goes.id("web").run), (2, 2), "once per event");
}

#[test]
fn an_edit_that_restarts_does_the_same() {
    let mut stage = both_up(with_restart);
    let edited = db_and_web(|db, web| {
        with_restart(db, web);
        db.clear_env = true;
    });
    stage.save(edited);
    assert_eq!(
        (stage.state("web"), stage.state("db")),
        (StateName::Stopping, StateName::Ready)
    );
}

#[test]
fn dp_04_a_crash_restarts_only_those_with_restart_once_it_is_healthy_again() {
    for restart in [false, true] {
        let mut stage = both_up(|_, web| web.depends_on.values_mut().for_each(|on| on.restart = restart));
        stage.exited("db", ExitStatus::Code(1));
        assert_eq!(stage.state("web"), StateName::Ready, "not before db is back");
        stage.pass(SEC);
        let back = stage.executed("db");
        assert_eq!(touches(&back), restart);
        if restart {
            stage.exited("web", ExitStatus::Code(0));
            stage.executed("web");
        }
        stage.pass(60 * SEC);
        assert_eq!(stage.id("web").run, 1 + u32::from(restart), "once per event");
    }
}

#[test]
fn a_final_failure_fails_those_not_yet_started_unless_not_required() {
    for required in [true, false] {
        let mut stage = Stage::up(db_and_web(|db, web| {
            db.restart = Restart::No;
            db.ready = Some(build::probe());
            web.depends_on.values_mut().for_each(|on| on.required = required);
        }));
        stage.executed("db");
        let end = stage.exited("db", ExitStatus::Code(1));
        if !required {
            assert_eq!(spawns(&end), 1);
            continue;
        }
        assert_eq!(
            (stage.state("web"), stage.reason("web")),
            (StateName::Failed, Some(Reason::DependencyFailed))
        );
        stage.start("db");
        assert_eq!(stage.state("web"), StateName::Waiting);
        stage.executed("db");
        assert_eq!(
            spawns(&stage.probed("db", ProbeKind::Ready, Outcome::Success)),
            1,
            "it came after all"
        );
    }
}

#[test]
fn an_edit_of_depends_on_counts_at_the_next_start() {
    let mut stage = both_up(|_, _| {});
    let edit = stage.save(db_and_web(|_, web| web.depends_on.clear()));
    assert!(!touches(&edit) && spawns(&edit) == 0);
    assert!(
        stage
            .restart("web")
            .iter()
            .any(|action| matches!(action, Action::Signal { .. }))
    );
}

#[test]
fn dp_08_a_dependency_that_the_file_loses_goes_and_the_dependent_stays() {
    let mut stage = both_up(|_, _| {});
    let mut web = build::service("web");
    web.depends_on.clear();
    stage.save([web]);
    assert_eq!(
        (stage.state("web"), stage.state("db")),
        (StateName::Ready, StateName::Stopping)
    );
    stage.exited("db", ExitStatus::Code(0));
    assert_eq!(stage.world.snapshot().services.len(), 1);
}

#[test]
fn dp_05_starts_are_topological_and_parallel_and_stops_the_reverse() {
    // A diamond of layers: everybody depends on all of the layer before.
    let (layers, width) = (10, 20);
    let called = |layer: usize, at: usize| format!("s{layer}_{at}");
    let mut services = Vec::new();
    for layer in 0..layers {
        for at in 0..width {
            let mut service = build::service(&called(layer, at));
            for before in 0..if layer == 0 { 0 } else { width } {
                depend(&mut service, &called(layer - 1, before), Condition::Healthy);
            }
            services.push(service);
        }
    }
    let mut stage = Stage::up(services);
    assert_eq!(spawns(&stage.ordered), width);
    for layer in 0..layers {
        let started: usize = (0..width).map(|at| spawns(&stage.executed(&called(layer, at)))).sum();
        assert_eq!(started, if layer + 1 < layers { width } else { 0 });
    }
    stage.down();
    for layer in (0..layers).rev() {
        for at in 0..width {
            assert_eq!(
                stage.state(&called(layer, at)),
                StateName::Stopping,
                "the whole layer at once"
            );
            let below = layer.checked_sub(1).map(|below| stage.state(&called(below, 0)));
            assert!(below.is_none_or(|state| state == StateName::Ready));
            stage.exited(&called(layer, at), ExitStatus::Signal(crate::spec::Signal::TERM));
        }
    }
    assert!(stage.world.is_over());
}

#[test]
fn no_deps_starts_alone_and_stops_nothing_that_runs() {
    let mut alone = Stage::of(db_and_web(|_, _| {}));
    let request = || Request::Up {
        names: vec![build::name("web")],
        no_deps: true,
        profiles: Vec::new(),
    };
    assert_eq!(spawns(&alone.ask(request())), 1);
    assert_eq!(alone.state("db"), StateName::Stopped);
    let mut stage = Stage::of(db_and_web(|_, _| {}));
    stage.start("web");
    stage.executed("db");
    stage.executed("web");
    assert!(!touches(&stage.ask(request())));
    assert!(stage.see("db").wanted, "it was wanted for web only, and goes on");
}

#[test]
fn a_profile_that_is_turned_on_later_counts_for_everybody() {
    let mut tool = build::service("tool");
    tool.profiles = vec!["dev".into()];
    let mut stage = Stage::up([build::service("web"), tool]);
    assert!(!stage.see("tool").wanted);
    let names = vec![build::name("web")];
    stage.ask(Request::Up {
        names,
        no_deps: false,
        profiles: vec!["dev".into()],
    });
    assert!(stage.see("tool").wanted);
}

#[test]
fn two_services_trade_a_port_in_one_save() {
    let claim = |name: &str, number| {
        let mut service = build::service(name);
        let port = crate::spec::Port {
            number,
            protocol: crate::spec::Protocol::Tcp,
            auto: false,
            shared: false,
        };
        service.ports.insert("http".into(), port);
        service
    };
    let mut stage = Stage::up([claim("a", 1), claim("b", 2)]);
    stage.executed("a");
    stage.executed("b");
    stage.save([claim("a", 2), claim("b", 1)]);
    assert_eq!(spawns(&stage.exited("a", ExitStatus::Code(0))), 0, "b still holds it");
    assert_eq!(spawns(&stage.exited("b", ExitStatus::Code(0))), 2);
}

#[test]
fn a_stop_by_hand_survives_that_the_file_loses_the_service_for_a_while() {
    let both = || [build::service("web"), build::service("job")];
    let mut stage = Stage::up(both());
    stage.executed("job");
    stage.stop("job");
    stage.exited("job", ExitStatus::Code(0));
    stage.save([build::service("web")]);
    stage.save(both());
    assert_eq!(
        (stage.state("job"), stage.see("job").stopped_by_hand),
        (StateName::Stopped, true)
    );
}

#[test]
fn an_optional_dependency_that_waits_for_its_restart_restarts_nobody_again_and_again() {
    let mut base = build::service("base");
    base.restart = Restart::No;
    let [mut db, web] = db_and_web(|_, web| {
        web.depends_on
            .values_mut()
            .for_each(|on| (on.restart, on.required) = (true, false));
    });
    depend(&mut db, "base", Condition::Healthy);
    let mut stage = Stage::up([base, db, web]);
    for name in ["base", "db", "web"] {
        stage.executed(name);
    }
    stage.exited("db", ExitStatus::Code(0));
    stage.restart("db");
    stage.stop("base");
    stage.exited("web", ExitStatus::Code(0));
    stage.exited("base", ExitStatus::Code(0));
    stage.executed("web");
    assert!(!touches(&stage.pass(60 * SEC)));
    assert_eq!((stage.state("web"), stage.id("web").run), (StateName::Ready, 2));
}

#[test]
fn hr_10_a_renamed_service_waits_for_the_end_of_what_it_was() {
    let renamed = |name: &str| {
        let mut service = build::service(name);
        service.command.words = vec!["./work".to_owned()];
        service
    };
    let mut stage = Stage::up([renamed("old"), build::service("other")]);
    for name in ["old", "other"] {
        stage.executed(name);
    }
    let actions = stage.save([renamed("new"), build::service("another")]);
    // Only what does the same waits.
    assert_eq!((spawns(&actions), stage.state("new")), (1, StateName::Waiting));
    assert_eq!(stage.see("new").waiting_on[0].what, "old to stop first");
    let actions = stage.exited("old", ExitStatus::Code(0));
    assert_eq!((spawns(&actions), stage.state("new")), (1, StateName::Starting));
}

#[test]
fn a_dependency_turned_round_by_an_edit_leaves_no_circle_of_stops() {
    let round = |first: &str, second: &str, word: &str| {
        let (mut one, mut other) = (build::service(first), build::service(second));
        depend(&mut other, first, Condition::Healthy);
        for service in [&mut one, &mut other] {
            if service.name.as_str() == "db" {
                service.command.words.push(word.to_owned());
            }
        }
        [one, other]
    };
    let mut stage = Stage::up(round("db", "web", ""));
    stage.executed("db");
    stage.executed("web");
    stage.save(round("web", "db", "edited"));
    stage.exited("db", ExitStatus::Code(0));
    stage.executed("db");
    assert!(touches(&stage.down()), "somebody begins");
    stage.exited("db", ExitStatus::Code(0));
    stage.exited("web", ExitStatus::Code(0));
    assert!(stage.world.is_over());
}

#[test]
fn a_done_oneshot_is_not_missed_by_who_needed_it() {
    let mut stage = both_up(|db, _| (db.kind, db.restart) = (Kind::Oneshot, Restart::No));
    let _ = stage.exited("db", ExitStatus::Code(0));
    stage.executed("web");
    assert!(!touches(&stage.stop("db")));
    assert_eq!(stage.state("web"), StateName::Ready);
}

#[test]
fn a_dependent_that_was_doomed_says_it_once() {
    let mut stage = Stage::up(db_and_web(|db, _| db.restart = Restart::No));
    let first = stage.refused("db", Reason::CommandNotFound);
    let said = events(&first)
        .filter(|event| matches!(event.kind, EventKind::Failed { .. }))
        .count();
    assert_eq!(said, 2, "db and web");
    assert_eq!(events(&stage.pass(3600 * SEC)).count(), 0);
}
