//! Several replicas of one service: who is restarted when.

use crate::reconcile::event::EventKind;
use crate::reconcile::fact::{ExitStatus, Outcome, ProbeKind, Request};
use crate::reconcile::plan::Intent;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, depend, events};
use crate::reconcile::snapshot::StateName;
use crate::reconcile::world::{Goal, Progress};
use crate::reconcile::{Author, Cause, Now};
use crate::spec::{Condition, Restart, Rollout, Service};

const WEB: [&str; 3] = ["web@1", "web@2", "web@3"];

fn members(version: &str, count: usize) -> Vec<Service> {
    let one = |name: &&str| {
        let mut service = build::service(name);
        service.command.words = vec!["./web".to_owned(), version.to_owned()];
        service.ready = Some(build::probe());
        service
    };
    WEB.iter().take(count).map(one).collect()
}

fn all_up() -> Stage {
    let mut stage = Stage::up(members("1", 3));
    for name in WEB {
        stage.executed(name);
        stage.probed(name, ProbeKind::Ready, Outcome::Success);
    }
    stage
}

fn states(stage: &Stage) -> [StateName; 3] {
    WEB.map(|name| stage.state(name))
}

/// One that is stopping ends, and comes back.
fn comes_back(stage: &mut Stage, name: &str) {
    assert_eq!(stage.state(name), StateName::Stopping, "{name}");
    stage.exited(name, ExitStatus::Code(0));
    stage.executed(name);
    stage.probed(name, ProbeKind::Ready, Outcome::Success);
}

use StateName::{Failed, Ready, Starting, Stopping};

#[test]
fn an_edit_restarts_one_at_a_time_in_the_files_order() {
    let mut stage = all_up();
    stage.save(members("2", 3));
    for (at, name) in WEB.into_iter().enumerate() {
        let mut wanted = [Ready; 3];
        wanted[at] = Stopping;
        assert_eq!(states(&stage), wanted);
        stage.exited(name, ExitStatus::Code(0));
        stage.executed(name);
        wanted[at] = Starting;
        assert_eq!(states(&stage), wanted, "the next after ready, not before");
        stage.probed(name, ProbeKind::Ready, Outcome::Success);
    }
    assert_eq!(states(&stage), [Ready; 3]);
    assert_eq!(WEB.map(|name| stage.see(name).run), [2; 3]);
}

#[test]
fn the_plan_says_the_order_and_rollout_all_has_none() {
    let stage = all_up();
    let because = |rollout: Rollout| {
        let mut edited = members("2", 3);
        edited.iter_mut().for_each(|service| service.rollout = rollout);
        let now = Now { mono_ns: 0, wall_ns: 0 };
        let plan = stage
            .world
            .plan(now, &build::project(edited), None, &Cause::new(Author::File, "saved"));
        assert!(plan.steps.iter().all(|step| step.intent == Intent::Restart));
        let because = plan.steps.into_iter().map(|step| step.because);
        because.collect::<Vec<_>>()
    };
    assert_eq!(because(Rollout::Rolling), ["", "after web@1", "after web@2"]);
    assert_eq!(because(Rollout::All), ["", "", ""]);
    let mut stage = all_up();
    let mut edited = members("2", 3);
    edited.iter_mut().for_each(|service| service.rollout = Rollout::All);
    stage.save(edited);
    assert_eq!(states(&stage), [Stopping; 3]);
}

#[test]
fn all_by_hand_is_one_at_a_time_and_one_by_its_name_is_at_once() {
    let mut stage = all_up();
    let names = WEB.map(build::name).to_vec();
    stage.ask(Request::Restart { names });
    assert_eq!(states(&stage), [Stopping, Ready, Ready]);
    stage.restart("web@3");
    assert_eq!(states(&stage), [Stopping, Ready, Stopping]);
    stage.exited("web@1", ExitStatus::Code(0));
    stage.executed("web@1");
    stage.probed("web@1", ProbeKind::Ready, Outcome::Success);
    assert_eq!(states(&stage), [Ready, Ready, Stopping], "one is down already");
    comes_back(&mut stage, "web@3");
    comes_back(&mut stage, "web@2");
    assert_eq!(states(&stage), [Ready; 3]);
}

#[test]
fn what_is_down_anyway_goes_first_and_the_others_wait_for_it() {
    let mut stage = all_up();
    stage.exited("web@2", ExitStatus::Code(1));
    assert_eq!(stage.state("web@2"), StateName::Backoff);
    stage.save(members("2", 3));
    assert_eq!(states(&stage), [Ready, Starting, Ready]);
    stage.executed("web@2");
    stage.probed("web@2", ProbeKind::Ready, Outcome::Success);
    assert_eq!(states(&stage), [Stopping, Ready, Ready]);
    // One that ends by itself meanwhile comes back with what the file says, and is waited for.
    stage.exited("web@3", ExitStatus::Code(0));
    stage.executed("web@3");
    assert_eq!((stage.state("web@3"), stage.see("web@3").run), (Starting, 2));
}

fn without_restart(version: &str) -> Vec<Service> {
    let mut services = members(version, 3);
    services.iter_mut().for_each(|service| service.restart = Restart::No);
    services
}

#[test]
fn one_that_fails_halts_the_rest_which_is_said_once_and_an_edit_goes_on() {
    let mut stage = Stage::up(without_restart("1"));
    for name in WEB {
        stage.executed(name);
        stage.probed(name, ProbeKind::Ready, Outcome::Success);
    }
    stage.save(without_restart("2"));
    stage.exited("web@1", ExitStatus::Code(0));
    stage.executed("web@1");
    let actions = stage.exited("web@1", ExitStatus::Code(3));
    assert_eq!(states(&stage), [Failed, Ready, Ready]);
    let warned: Vec<&str> = events(&actions)
        .filter_map(|event| match &event.kind {
            EventKind::Warned { message } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        warned.len() == 1 && warned[0].contains("web@2, web@3 go on as they were"),
        "{warned:?}"
    );
    assert!(events(&actions).any(|event| matches!(event.kind, EventKind::Settled { failed: true, .. })));
    assert_eq!(stage.see("web@2").deferred, Some((build::name("web@1"), true)));
    // They serve, and will not come to what was asked for by themselves.
    let progress = |goal| stage.world.progress(&build::name("web@2"), goal);
    assert_eq!(
        (progress(Goal::Ready), progress(Goal::Up)),
        (Progress::Reached, Progress::Missed)
    );
    // Another try by hand fails as well, and a better edit goes on.
    stage.start("web@1");
    stage.executed("web@1");
    stage.exited("web@1", ExitStatus::Code(3));
    assert_eq!(states(&stage), [Failed, Ready, Ready]);
    stage.save(without_restart("3"));
    stage.executed("web@1");
    stage.probed("web@1", ProbeKind::Ready, Outcome::Success);
    comes_back(&mut stage, "web@2");
    comes_back(&mut stage, "web@3");
    assert_eq!(WEB.map(|name| stage.see(name).run), [4, 2, 2]);
}

#[test]
fn an_edit_that_is_taken_back_restarts_only_what_had_got_it() {
    let mut stage = all_up();
    stage.save(members("2", 3));
    stage.exited("web@1", ExitStatus::Code(0));
    stage.executed("web@1");
    stage.save(members("1", 3));
    assert_eq!(states(&stage), [Stopping, Ready, Ready]);
    comes_back(&mut stage, "web@1");
    assert_eq!(states(&stage), [Ready; 3]);
    assert_eq!(WEB.map(|name| stage.see(name).run), [3, 1, 1]);
    // What somebody asked for by hand besides is done all the same.
    stage.save(members("2", 3));
    stage.ask(Request::Restart {
        names: WEB.map(build::name).to_vec(),
    });
    stage.save(members("1", 3));
    comes_back(&mut stage, "web@1");
    assert_eq!(states(&stage), [Ready, Stopping, Ready]);
}

#[test]
fn who_goes_with_them_goes_once() {
    let with_proxy = |version: &str| {
        let mut proxy = build::service("proxy");
        for name in WEB {
            depend(&mut proxy, name, Condition::Healthy);
        }
        let needs = proxy.depends_on.values_mut();
        needs.for_each(|dependency| dependency.restart = true);
        let mut services = members(version, 3);
        services.push(proxy);
        services
    };
    let mut stage = Stage::up(with_proxy("1"));
    for name in WEB {
        stage.executed(name);
        stage.probed(name, ProbeKind::Ready, Outcome::Success);
    }
    stage.executed("proxy");
    stage.save(with_proxy("2"));
    assert_eq!((stage.state("proxy"), states(&stage)), (Stopping, [Ready; 3]));
    stage.exited("proxy", ExitStatus::Code(0));
    for name in WEB {
        comes_back(&mut stage, name);
    }
    stage.executed("proxy");
    assert_eq!((stage.state("proxy"), stage.see("proxy").run), (Ready, 2));
}

#[test]
fn a_new_member_is_wished_for_as_the_others_are_and_one_less_is_stopped_alone() {
    let mut stage = Stage::of(members("1", 2));
    stage.start("web@1");
    stage.save(members("1", 3));
    assert_eq!(stage.state("web@3"), StateName::Stopped, "nobody asked for all of them");
    stage.save(members("1", 2));
    stage.start("web@2");
    stage.save(members("1", 3));
    assert_eq!(stage.state("web@3"), Starting);
    stage.save(members("1", 1));
    assert_eq!(stage.state("web@1"), Starting);
    // All are stopped: a new one is too.
    let mut stage = all_up();
    stage.save(members("1", 2));
    stage.exited("web@3", ExitStatus::Code(0));
    stage.ask(Request::Stop {
        names: vec![build::name("web@1"), build::name("web@2")],
        timeout: None,
    });
    stage.save(members("1", 3));
    assert_eq!(stage.state("web@3"), StateName::Stopped);
}
