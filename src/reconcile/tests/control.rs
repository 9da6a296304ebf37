//! What the control plane asks: goals, wishes that outlive us, plans, and why.

use std::time::Duration;

use crate::reconcile::Reason;
use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::{ExitStatus, Fact, Now, Outcome, ProbeKind, Request};
use crate::reconcile::plan::Intent;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, depend, events, spawns, touches};
use crate::reconcile::snapshot::StateName;
use crate::reconcile::world::{Goal, Progress, World};
use crate::spec::{Argv, Condition, Kind, Restart, Service, Signal};

const SEC: Duration = Duration::from_secs(1);

fn progress(stage: &Stage, name: &str, goal: Goal) -> Progress {
    stage.world.progress(&build::name(name), goal)
}

fn why(stage: &Stage, name: &str) -> (Vec<String>, Option<String>) {
    let now = Now {
        mono_ns: stage.now,
        wall_ns: 0,
    };
    let why = stage.world.why(now, &build::name(name)).expect("there is one");
    let sentence = |link: &crate::reconcile::Link| format!("{}: {}", link.what, link.because);
    (why.chain.iter().map(sentence).collect(), why.suggestion)
}

/// `web` needs `db`; both are up.
fn pair() -> Vec<Service> {
    let (db, mut web) = (build::service("db"), build::service("web"));
    depend(&mut web, "db", Condition::Healthy);
    vec![db, web]
}

fn both_up() -> Stage {
    let mut stage = Stage::up(pair());
    stage.pass(SEC);
    stage.executed("db");
    stage.executed("web");
    stage.pass(SEC);
    stage
}

#[test]
fn a_start_is_reached_when_it_is_up_and_missed_when_it_has_come_to_rest_elsewhere() {
    let mut once = build::service("once");
    (once.kind, once.restart) = (Kind::Oneshot, Restart::No);
    let mut stage = Stage::up([build::service("web"), once]);
    assert_eq!(progress(&stage, "web", Goal::Up), Progress::Pending);
    stage.executed("web");
    stage.executed("once");
    assert_eq!(progress(&stage, "web", Goal::Up), Progress::Reached);
    assert_eq!(progress(&stage, "once", Goal::Up), Progress::Pending, "it is not done");
    stage.exited("once", ExitStatus::Code(0));
    for goal in [Goal::Up, Goal::Ready, Goal::Completed, Goal::Stopped] {
        assert_eq!(progress(&stage, "once", goal), Progress::Reached, "{goal:?}");
    }
    assert_eq!(progress(&stage, "web", Goal::Stopped), Progress::Pending);
    assert_eq!(progress(&stage, "nobody", Goal::Up), Progress::Missed);
    assert_eq!(progress(&stage, "nobody", Goal::Stopped), Progress::Reached);
}

#[test]
fn a_restart_is_not_reached_by_the_run_before_it() {
    let mut stage = both_up();
    stage.restart("web");
    assert_eq!(progress(&stage, "web", Goal::Up), Progress::Pending);
    stage.exited("web", ExitStatus::Signal(Signal::TERM));
    assert_eq!(progress(&stage, "web", Goal::Up), Progress::Pending);
    stage.executed("web");
    assert_eq!(progress(&stage, "web", Goal::Up), Progress::Reached);
}

#[test]
fn a_failure_for_good_ends_every_patience_and_a_crash_loop_only_that_of_a_start() {
    let mut bad = build::service("bad");
    bad.restart = Restart::No;
    let mut stage = Stage::up([bad, build::service("loops")]);
    stage.refused("bad", Reason::CommandNotFound);
    for (goal, wanted) in [
        (Goal::Up, Progress::Missed),
        (Goal::Ready, Progress::Missed),
        (Goal::Completed, Progress::Missed),
        (Goal::Failed, Progress::Reached),
    ] {
        assert_eq!(progress(&stage, "bad", goal), wanted, "{goal:?}");
    }
    for _ in 0..6 {
        stage.executed("loops");
        stage.exited("loops", ExitStatus::Code(1));
        stage.pass(20 * SEC / 2);
    }
    stage.executed("loops");
    stage.exited("loops", ExitStatus::Code(1));
    assert_eq!(stage.state("loops"), StateName::Backoff);
    assert_eq!(progress(&stage, "loops", Goal::Up), Progress::Missed);
    assert_eq!(progress(&stage, "loops", Goal::Ready), Progress::Pending);
}

#[test]
fn a_stop_is_reached_when_nothing_is_left_also_for_who_is_held_with_it() {
    let mut stage = both_up();
    stage.stop("db");
    assert_eq!(progress(&stage, "db", Goal::Stopped), Progress::Pending);
    stage.exited("web", ExitStatus::Code(0));
    assert_eq!(progress(&stage, "web", Goal::Stopped), Progress::Reached);
    stage.exited("db", ExitStatus::Code(0));
    assert_eq!(progress(&stage, "db", Goal::Stopped), Progress::Reached);
    assert_eq!(
        progress(&stage, "web", Goal::Up),
        Progress::Missed,
        "nothing brings it up"
    );
}

#[test]
fn wishes_by_hand_outlive_the_world_that_was_asked() {
    let mut stage = both_up();
    stage.stop("db");
    let wishes = stage.world.wishes();
    assert!(wishes.all && wishes.services[&build::name("db")].stopped);
    assert_eq!(wishes.services.len(), 1, "what nobody asked for by name is not kept");

    let mut later = Stage::of([]);
    later.world = World::new(1);
    later.world.restore(wishes.clone());
    later.save(pair());
    later.ask(Request::Up {
        names: vec![build::name("web")],
        no_deps: true,
        profiles: Vec::new(),
    });
    assert_eq!(later.state("db"), StateName::Stopped, "stopped by hand stays so");
    later.ask(Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    });
    assert_ne!(later.state("db"), StateName::Stopped);
    assert!(!later.world.wishes().services[&build::name("db")].stopped);
}

#[test]
fn a_restart_of_what_is_up_is_no_wish_that_lasts() {
    let mut stage = both_up();
    stage.restart("db");
    assert!(stage.world.wishes().services.is_empty());
}

#[test]
fn a_reload_goes_by_signal_or_command_and_a_signal_by_hand_is_told() {
    let mut by_signal = build::service("signal");
    by_signal.reload_signal = Some(Signal::INT);
    let mut by_command = build::service("command");
    by_command.reload_command = Some(Argv {
        words: vec!["./reload".into()],
        shell: false,
    });
    let mut stage = Stage::up([by_signal, by_command, build::service("neither")]);
    for name in ["signal", "command", "neither"] {
        stage.executed(name);
    }
    let actions = stage.ask(Request::Reload { names: Vec::new() });
    let (id, other) = (stage.id("signal"), stage.id("command"));
    let delivered =
        |action: &Action| matches!(action, Action::Deliver { id: to, signal } if *to == id && *signal == Signal::INT);
    let run = |action: &Action| matches!(action, Action::Run { id: of, purpose: Purpose::Reload, .. } if *of == other);
    assert!(actions.iter().any(delivered) && actions.iter().any(run));
    assert!(!touches(
        &actions.into_iter().filter(|action| !run(action)).collect::<Vec<_>>()
    ));
    let actions = stage.fact(Fact::CommandEnded {
        id: other,
        purpose: Purpose::Reload,
        result: Err("exited with code 3".into()),
    });
    let told: Vec<&EventKind> = events(&actions).map(|event| &event.kind).collect();
    assert!(matches!(told[..], [EventKind::ReloadFailed { .. }]), "{told:?}");
    // Who asked is told with the end.
    let name = build::name("command");
    let asked = Cause::new(Author::Watch, "src/a changed");
    stage.fact(Fact::Asked {
        request: Request::Watched {
            service: name,
            action: crate::spec::WatchAction::Reload,
        },
        cause: asked.clone(),
    });
    let actions = stage.fact(Fact::CommandEnded {
        id: other,
        purpose: Purpose::Reload,
        result: Ok(()),
    });
    let told: Vec<_> = events(&actions).map(|event| (&event.kind, &event.cause)).collect();
    assert_eq!(told, [(&EventKind::Reloaded, &asked)]);
    assert_eq!(stage.state("command"), StateName::Ready, "a failed reload ends nothing");
    let actions = stage.ask(Request::Signal {
        names: vec![build::name("neither")],
        signal: Signal::KILL,
    });
    assert!(matches!(actions[0], Action::Deliver { signal, .. } if signal == Signal::KILL));
}

#[test]
fn the_steps_are_told_before_anything_is_done() {
    let mut stage = both_up();
    let mut services = pair();
    services[0].command.words.push("--verbose".into());
    let actions = stage.save(services);
    let first = events(&actions[..1]).next().map(|event| event.kind.clone());
    let Some(EventKind::ConfigApplied { steps, unchanged, .. }) = first else {
        panic!("{actions:?}")
    };
    assert_eq!((steps.len(), unchanged), (1, 1));
    assert_eq!(
        (steps[0].intent, steps[0].changes[0].field.as_str()),
        (Intent::Restart, "command")
    );
    assert!(touches(&actions[1..]));
}

#[test]
fn a_plan_changes_nothing_and_says_why() {
    let mut stage = both_up();
    stage.stop("db");
    stage.exited("web", ExitStatus::Code(0));
    stage.exited("db", ExitStatus::Code(0));
    let before = stage.world.snapshot();
    let mut services = pair();
    services.push(build::service("new"));
    let (now, cause) = (
        Now {
            mono_ns: stage.now,
            wall_ns: 0,
        },
        Cause::new(Author::User, "runner up"),
    );
    let up = Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    };
    let plan = stage
        .world
        .plan(now, &build::project(services.clone()), Some(up), &cause);
    let steps: Vec<(&str, Intent, &str)> = plan
        .steps
        .iter()
        .map(|step| (step.service.as_str(), step.intent, step.because.as_str()))
        .collect();
    let wanted = [
        ("db", Intent::Start, "was stopped by you"),
        ("web", Intent::Start, ""),
        ("new", Intent::Start, ""),
    ];
    assert_eq!(steps, wanted);
    // Saving alone leaves alone what was stopped by hand.
    let plan = stage.world.plan(now, &build::project(services), None, &cause);
    let intents: Vec<Intent> = plan.steps.iter().map(|step| step.intent).collect();
    assert_eq!(intents, [Intent::Keep, Intent::Keep, Intent::Start]);
    assert_eq!(plan.steps[0].because, "stopped by you");
    assert_eq!(stage.world.snapshot(), before);
}

#[test]
fn why_leads_from_what_waits_over_what_crashes_to_what_was_done() {
    let mut services = pair();
    let mut mail = build::service("mail");
    depend(&mut mail, "web", Condition::Healthy);
    services.push(mail.clone());
    services[1].ready = Some(build::probe());
    let mut stage = Stage::up(services.clone());
    stage.pass(SEC);
    services[1].command.words.push("--new".into());
    stage.save(services);
    stage.executed("db");
    stage.executed("web");
    stage.pass(2 * SEC);
    stage.exited("web", ExitStatus::Code(1));
    stage.pass(SEC / 10);
    let (chain, suggestion) = why(&stage, "mail");
    let wanted = [
        "mail is waiting: it needs web to be ready (depends_on)",
        "web is in back-off: its 1st run ended 100ms ago with exit code 1, 2s after it was started",
        "web was started: services.toml was saved (command changed) 2s ago",
    ];
    assert_eq!(chain, wanted);
    let suggestion = suggestion.expect("what to do");
    assert!(
        suggestion.contains("tried again in 400ms, or now with `runner start web`"),
        "{suggestion}"
    );
}

#[test]
fn what_begins_again_in_a_crash_loop_is_told_by_the_run_that_failed_before() {
    let mut web = build::service("web");
    web.ready = Some(build::probe());
    let mut stage = Stage::up([web]);
    let wrote = |stage: &Stage| {
        let now = Now {
            mono_ns: stage.now,
            wall_ns: 0,
        };
        let why = stage.world.why(now, &build::name("web")).expect("there is one");
        (why.wrote.map(|(_, run)| run), why.wrote_before)
    };
    stage.executed("web");
    assert_eq!(wrote(&stage), (Some(1), None));
    stage.exited("web", ExitStatus::Code(1));
    assert_eq!(wrote(&stage), (Some(1), None));
    stage.pass(SEC);
    stage.executed("web");
    assert_eq!(stage.state("web"), StateName::Starting);
    assert_eq!(wrote(&stage), (Some(2), Some(1)));
    stage.probed("web", ProbeKind::Ready, Outcome::Success);
    assert_eq!(wrote(&stage), (None, None));
}

#[test]
fn why_counts_restarts_and_names_what_runner_ended_it_for_and_who_sent_the_signal() {
    let mut services = pair();
    let mut probe = build::probe();
    probe.retries = 1;
    services[1].health = Some(probe);
    let mut stage = Stage::of(services);
    stage.pass(SEC);
    stage.start("web");
    stage.executed("db");
    stage.executed("web");
    stage.pass(30 * SEC);
    stage.probed("web", ProbeKind::Health, Outcome::Failure("no answer".into()));
    stage.exited("web", ExitStatus::Signal(Signal::TERM));
    let (chain, _) = why(&stage, "web");
    assert!(
        chain[0].contains("(no answer); its 1st run was killed by SIGTERM"),
        "{chain:?}"
    );
    assert!(
        !chain[1].contains("restarted"),
        "the one to come is none yet: {chain:?}"
    );
    stage.pass(SEC);
    stage.executed("web");
    let (chain, _) = why(&stage, "web");
    assert!(
        chain[1].contains("it was restarted once since: ")
            && chain[1].contains("(no answer); its 1st run was killed by SIGTERM"),
        "{chain:?}"
    );
    let names = vec![build::name("web")];
    stage.ask(Request::Signal {
        names,
        signal: Signal::KILL,
    });
    stage.exited("web", ExitStatus::Signal(Signal::KILL));
    let (chain, _) = why(&stage, "web");
    assert!(
        chain[0].contains("its 2nd run was killed by SIGKILL 0s ago (asked)"),
        "{chain:?}"
    );
    assert!(chain[1].ends_with("and it was restarted once since"), "{chain:?}");
}

#[test]
fn why_names_who_stopped_the_database_and_what_failed_for_good() {
    let mut stage = both_up();
    stage.stop("db");
    stage.exited("web", ExitStatus::Code(0));
    stage.exited("db", ExitStatus::Code(0));
    let (chain, suggestion) = why(&stage, "web");
    assert_eq!(
        chain[0],
        "web is waiting: it needs db (depends_on), which was stopped by you"
    );
    assert!(
        chain[1].starts_with("db is stopped: somebody typed `asked`"),
        "{}",
        chain[1]
    );
    assert_eq!(suggestion.as_deref(), Some("`runner start db`"));

    let mut services = pair();
    services[0].restart = Restart::No;
    let mut stage = Stage::up(services);
    stage.refused("db", Reason::CommandNotFound);
    let (chain, _) = why(&stage, "web");
    assert_eq!(
        chain[0],
        "web has failed: it needs db to be ready (depends_on), and that has failed"
    );
    assert_eq!(chain[1], "db has failed: command_not_found");
}

#[test]
fn an_edit_of_what_was_stopped_by_hand_is_not_why_it_is_stopped() {
    let mut stage = both_up();
    stage.stop("web");
    stage.exited("web", ExitStatus::Code(0));
    let because = |stage: &Stage| why(stage, "web").0[0].clone();
    let before = because(&stage);
    assert!(before.contains("somebody typed `asked`"), "{before}");
    let mut services = pair();
    services[1].command.words.push("--verbose".into());
    stage.save(services.clone());
    assert_eq!(because(&stage), before);
    stage.save([services[0].clone()]);
    stage.save(services.clone());
    assert_eq!(because(&stage), before);

    let mut later = Stage::of([]);
    later.pass(SEC);
    later.world = World::new(1);
    later.world.restore(stage.world.wishes());
    later.save(services);
    assert_eq!(
        because(&later),
        "web is stopped: it was stopped by you, before this runner was started"
    );
}

#[test]
fn why_of_a_service_that_goes_with_another_names_it() {
    let mut services = pair();
    services[1].depends_on.values_mut().for_each(|on| on.restart = true);
    let mut stage = Stage::up(services);
    stage.pass(SEC);
    stage.executed("db");
    stage.executed("web");
    stage.restart("db");
    stage.exited("web", ExitStatus::Code(0));
    stage.exited("db", ExitStatus::Code(0));
    assert_eq!(spawns(&stage.executed("db")), 1);
    stage.executed("web");
    let (chain, _) = why(&stage, "web");
    assert!(chain[1].starts_with("web was restarted: db was restarted"), "{chain:?}");
    assert_eq!(stage.probed("web", ProbeKind::Ready, Outcome::Success).len(), 0);
}
