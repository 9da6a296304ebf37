//! Every state of a service against every fact, in one file that a reviewer can read: `golden/matrix.txt`.
//! `RUNNER_BLESS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::reconcile::action::Purpose;
use crate::reconcile::event::{Author, Cause};
use crate::reconcile::fact::{ExitStatus, Fact, Outcome, ProbeKind, Request};
use crate::reconcile::failure::Reason;
use crate::reconcile::machine::Life;
use crate::reconcile::ports::Holder;
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::{Stage, depend, failure, taken};
use crate::reconcile::sim::text::shown;
use crate::spec::{Argv, Check, Condition, Gate, Kind, Restart, Service, Signal};

/// A service with everything that a life can depend on.
fn web() -> Service {
    let mut web = build::service("web");
    web.ready = Some(build::probe());
    web.health = Some(build::probe());
    if let Some(health) = &mut web.health {
        (health.retries, health.restart_on_failure) = (1, false);
    }
    web.start_timeout = Some(Duration::from_secs(60));
    web
}

fn with(change: impl FnOnce(&mut Service)) -> Stage {
    let mut web = web();
    change(&mut web);
    Stage::up([web])
}

fn ready(change: impl FnOnce(&mut Service)) -> Stage {
    let mut stage = with(change);
    stage.executed("web");
    stage.probed("web", ProbeKind::Ready, Outcome::Success);
    stage
}

fn stopping(change: impl FnOnce(&mut Service)) -> Stage {
    let mut stage = ready(change);
    stage.stop("web");
    stage
}

fn then(mut stage: Stage, act: impl FnOnce(&mut Stage)) -> Stage {
    act(&mut stage);
    stage
}

fn needy() -> Stage {
    let mut web = web();
    depend(&mut web, "db", Condition::Healthy);
    let mut db = build::service("db");
    db.restart = Restart::No;
    Stage::up([db, web])
}

fn daemon(web: &mut Service) {
    web.pid_file = Some(crate::spec::PidFile {
        path: "/run/web.pid".into(),
        mode: crate::spec::PidFileMode::Follow,
    });
}

fn crash(stage: &mut Stage) {
    stage.exited("web", ExitStatus::Code(1));
}

type Lead = fn() -> Stage;

/// Every state, by what leads there.
fn states() -> Vec<(&'static str, Lead)> {
    vec![
        ("stopped", || Stage::of([web()])),
        ("waiting", needy),
        ("gated", || {
            with(|web| web.wait_for = vec![Gate::File("/srv/gate".into())])
        }),
        ("spawning", || with(|_| {})),
        ("executing", || then(with(|_| {}), |stage| drop(stage.spawned("web")))),
        ("launching a daemon", || {
            then(with(daemon), |stage| drop(stage.executed("web")))
        }),
        ("detached", || {
            then(with(daemon), |stage| {
                stage.executed("web");
                stage.left("web", ExitStatus::Code(0));
            })
        }),
        ("ready daemon", || {
            then(with(daemon), |stage| {
                stage.executed("web");
                stage.left("web", ExitStatus::Code(0));
                let id = stage.id("web");
                stage.fact(Fact::MainPidTold { id, pid: 8 });
                stage.probed("web", ProbeKind::Ready, Outcome::Success);
            })
        }),
        ("stopping daemon", || {
            then(with(daemon), |stage| {
                stage.executed("web");
                let id = stage.id("web");
                stage.fact(Fact::MainPidTold { id, pid: 8 });
                stage.stop("web");
            })
        }),
        ("starting", || then(with(|_| {}), |stage| drop(stage.executed("web")))),
        ("starting on an event", || {
            let by_log = |web: &mut Service| {
                web.ready = Some(crate::spec::Probe {
                    check: Check::Log("up".into()),
                    ..build::probe()
                })
            };
            then(with(by_log), |stage| drop(stage.executed("web")))
        }),
        ("running oneshot", || {
            then(with(|web| (web.kind, web.ready) = (Kind::Oneshot, None)), |stage| {
                drop(stage.executed("web"))
            })
        }),
        ("ready", || ready(|_| {})),
        ("ready, probed", || {
            then(ready(|_| {}), |stage| drop(stage.pass(Duration::from_secs(10))))
        }),
        ("unhealthy", || {
            then(ready(|_| {}), |stage| {
                stage.pass(Duration::from_secs(10));
                stage.probed("web", ProbeKind::Health, Outcome::Failure("refused".into()));
            })
        }),
        ("retrying", || {
            then(with(|_| {}), |stage| drop(stage.refused("web", Reason::Busy)))
        }),
        ("evicting", || {
            then(with(|_| {}), |stage| drop(stage.taken("web", Holder::Leftover)))
        }),
        ("renumbering", || {
            let auto = |web: &mut Service| web.ports = [("http".to_owned(), build::port(3000, true))].into();
            then(with(auto), |stage| drop(stage.taken("web", Holder::Stranger)))
        }),
        ("backoff", || then(ready(|_| {}), crash)),
        ("stopping, unborn", || {
            then(with(|_| {}), |stage| drop(stage.stop("web")))
        }),
        ("stopping, not executed", || {
            then(with(|_| {}), |stage| {
                stage.spawned("web");
                stage.stop("web");
            })
        }),
        ("stopping by command", || {
            stopping(|web| {
                web.stop_command = Some(Argv {
                    words: vec!["./stop".into()],
                    shell: false,
                })
            })
        }),
        ("stopping by signal", || stopping(|_| {})),
        ("stopping, leftovers", || {
            then(stopping(|_| {}), |stage| {
                drop(stage.left("web", ExitStatus::Signal(Signal::TERM)))
            })
        }),
        ("killing", || {
            then(stopping(|_| {}), |stage| drop(stage.pass(Duration::from_secs(10))))
        }),
        ("stuck", || {
            then(stopping(|_| {}), |stage| {
                stage.pass(Duration::from_secs(10));
                stage.kill_failed("web");
            })
        }),
        ("sweeping after a crash", || {
            then(ready(|_| {}), |stage| drop(stage.left("web", ExitStatus::Code(1))))
        }),
        ("completed", || {
            then(ready(|_| {}), |stage| drop(stage.exited("web", ExitStatus::Code(0))))
        }),
        ("failed", || then(ready(|web| web.restart = Restart::No), crash)),
        ("failed to start", || {
            then(with(|_| {}), |stage| {
                drop(stage.refused("web", Reason::CommandNotFound))
            })
        }),
        ("doomed", || {
            then(needy(), |stage| drop(stage.refused("db", Reason::CommandNotFound)))
        }),
    ]
}

/// Every fact, about the current run and its latest attempts.
fn facts(stage: &Stage) -> Vec<(&'static str, Fact)> {
    let id = stage.id("web");
    let attempt = stage.see("web").probe_attempts.max(1);
    let exited = |status, left| Fact::Exited {
        id,
        status,
        left,
        out_of_memory: false,
    };
    let probed = |kind, attempt, outcome| Fact::Probed {
        id,
        kind,
        attempt,
        outcome,
    };
    let refused = || Outcome::Failure("refused".to_owned());
    let asked = |request| Fact::Asked {
        request,
        cause: Cause::new(Author::User, "asked"),
    };
    let names = || vec![build::name("web")];
    let ended = |result| Fact::CommandEnded {
        id,
        purpose: Purpose::Stop,
        result,
    };
    vec![
        ("spawned", Fact::Spawned { id, pid: 7 }),
        ("executed", Fact::Executed { id }),
        (
            "adopted",
            Fact::Adopted {
                id,
                pid: 7,
                executed: true,
                signalled: None,
                ended: false,
            },
        ),
        ("vanished", Fact::Vanished { id }),
        (
            "spawn failed: command_not_found",
            Fact::SpawnFailed {
                id,
                failure: failure(Reason::CommandNotFound),
            },
        ),
        (
            "spawn failed: busy",
            Fact::SpawnFailed {
                id,
                failure: failure(Reason::Busy),
            },
        ),
        (
            "spawn failed: out_of_resources",
            Fact::SpawnFailed {
                id,
                failure: failure(Reason::OutOfResources),
            },
        ),
        (
            "port taken by a stranger",
            Fact::PortTaken {
                id,
                taken: taken(Holder::Stranger),
            },
        ),
        (
            "port taken by a leftover",
            Fact::PortTaken {
                id,
                taken: taken(Holder::Leftover),
            },
        ),
        (
            "ports moved",
            Fact::PortsMoved {
                id,
                actual: web().into(),
                words: vec!["3001 is used instead".to_owned()],
            },
        ),
        (
            "evicted",
            Fact::Evicted {
                id,
                result: Ok("port 3000 is free".to_owned()),
            },
        ),
        (
            "not evicted",
            Fact::Evicted {
                id,
                result: Err(failure(Reason::PortInUse)),
            },
        ),
        ("holder ended", Fact::HolderEnded { id }),
        ("exited 0", exited(ExitStatus::Code(0), false)),
        ("exited 1", exited(ExitStatus::Code(1), false)),
        ("exited by SIGKILL", exited(ExitStatus::Signal(Signal::KILL), false)),
        ("exited 0, leaving others", exited(ExitStatus::Code(0), true)),
        ("emptied", Fact::Emptied { id }),
        (
            "kill failed",
            Fact::KillFailed {
                id,
                leftovers: vec!["pid 7 (web)".to_owned()],
            },
        ),
        (
            "ready probe succeeded",
            probed(ProbeKind::Ready, attempt, Outcome::Success),
        ),
        ("ready probe failed", probed(ProbeKind::Ready, attempt, refused())),
        ("health probe succeeded", probed(ProbeKind::Health, 1, Outcome::Success)),
        ("health probe failed", probed(ProbeKind::Health, 1, refused())),
        (
            "health probe unknown",
            probed(ProbeKind::Health, 1, Outcome::Unknown("no descriptors".to_owned())),
        ),
        ("nudged", Fact::Nudged { id }),
        (
            "status told",
            Fact::StatusTold {
                id,
                text: "at work".to_owned(),
            },
        ),
        (
            "pid file doubted",
            Fact::PidFileDoubted {
                id,
                why: "it is empty".to_owned(),
            },
        ),
        ("main pid told", Fact::MainPidTold { id, pid: 8 }),
        (
            "gate opened",
            Fact::GateProbed {
                id,
                attempt,
                outcome: Outcome::Success,
            },
        ),
        (
            "gate closed",
            Fact::GateProbed {
                id,
                attempt,
                outcome: refused(),
            },
        ),
        ("stop command ended", ended(Ok(()))),
        ("stop command failed", ended(Err("exited with code 1".to_owned()))),
        ("time passed", Fact::TimePassed),
        (
            "asked: up",
            asked(Request::Up {
                names: Vec::new(),
                no_deps: false,
                profiles: Vec::new(),
            }),
        ),
        ("asked: start", asked(Request::Start { names: names() })),
        (
            "asked: stop",
            asked(Request::Stop {
                names: names(),
                timeout: None,
            }),
        ),
        ("asked: restart", asked(Request::Restart { names: names() })),
        ("asked: down", asked(Request::Down { timeout: None })),
        ("asked: hasten", asked(Request::Hasten)),
    ]
}

/// The name of a life, and of its parts where it has some.
fn label(stage: &Stage) -> String {
    let id = stage.world.id_of(&build::name("web"));
    let Some(machine) = id.and_then(|id| stage.world.machine_of(id)) else {
        return "gone".to_owned();
    };
    let variant = |text: String| text.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    match &machine.life {
        Life::Stopping(stopping) => {
            let (body, phase) = (
                variant(format!("{:?}", stopping.body)),
                variant(format!("{:?}", stopping.phase)),
            );
            format!("Stopping({body}, {phase})")
        }
        life => variant(format!("{life:?}")),
    }
}

fn matrix() -> String {
    let mut text = String::new();
    for (name, lead) in states() {
        let _ = writeln!(text, "== {name}: {}", label(&lead()));
        for (what, fact) in facts(&lead()) {
            let mut stage = lead();
            if matches!(fact, Fact::TimePassed) {
                stage.now += 100_000_000_000;
            }
            let before = label(&stage);
            let actions = stage.fact(fact);
            let after = label(&stage);
            if actions.is_empty() && before == after {
                let _ = writeln!(text, "{what}: -");
                continue;
            }
            let _ = writeln!(text, "{what}: {after}");
            for action in &actions {
                let _ = writeln!(text, "    {}", shown(action));
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_state_against_every_fact() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reconcile/golden/matrix.txt");
    let now = matrix();
    if std::env::var_os("RUNNER_BLESS").is_some() {
        std::fs::write(&path, &now).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (old, new)) in golden.lines().zip(now.lines()).enumerate() {
        assert_eq!(
            old,
            new,
            "line {} of {}; RUNNER_BLESS=1 writes it anew",
            at + 1,
            path.display()
        );
    }
    assert_eq!(
        golden.lines().count(),
        now.lines().count(),
        "RUNNER_BLESS=1 writes {} anew",
        path.display()
    );
}
