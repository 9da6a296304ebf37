//! `schedule`: oneshots that run by the clock, on the built binary.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use common::roles::{Roles, send};
use common::{Project, eventually, stderr, stdout};
use nix::sys::signal::Signal;

fn runs(project: &Project, file: &str) -> usize {
    std::fs::read_to_string(project.file(file))
        .unwrap_or_default()
        .lines()
        .count()
}

fn up(services_toml: &str) -> Project {
    let project = Project::new(services_toml);
    let up = project.run(&["up", "-d", "--no-wait"]);
    assert!(up.status.success(), "{}", stderr(&up));
    project
}

#[test]
fn a_period_runs_again_and_again_and_goes_on_over_a_killed_daemon_and_a_stop_by_hand_ends_it() {
    let project = up(
        "[services.tick]\ntype = 'oneshot'\ncommand = 'echo tick >> ledger'\nschedule = 'every 1s'\n\
                      [services.web]\ncommand = 'exec sleep 1000'\n",
    );
    assert_eq!(runs(&project, "ledger"), 0, "not at `up`");
    eventually("it has run twice", || runs(&project, "ledger") >= 2);
    send(Roles::of(&project).daemon, Signal::SIGKILL);
    let before = runs(&project, "ledger");
    eventually("the next daemon goes on", || runs(&project, "ledger") >= before + 2);
    let events = stdout(&project.run(&["events", "--json"]));
    assert!(events.contains("\"by\":\"schedule\""), "{events}");
    assert!(project.run(&["stop", "tick"]).status.success());
    let stopped = runs(&project, "ledger");
    // Another one of the same period has had its turns meanwhile.
    let text = project.read("services.toml");
    project.write(
        "services.toml",
        &format!("{text}[services.other]\ntype = 'oneshot'\ncommand = 'echo other >> others'\nschedule = 'every 1s'\n"),
    );
    eventually("the other has run", || runs(&project, "others") >= 2);
    assert_eq!(runs(&project, "ledger"), stopped);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn a_run_that_is_still_going_is_not_doubled_and_a_failed_one_comes_again() {
    let project = up(
        "[services.long]\ntype = 'oneshot'\ncommand = 'echo long >> long; exec sleep 1000'\nschedule = 'every 1s'\nrun_at_start = true\n\
                      [services.fails]\ntype = 'oneshot'\ncommand = 'echo fails >> fails; exit 3'\nschedule = 'every 1s'\nrun_at_start = true\n",
    );
    eventually("the failing one has run again", || runs(&project, "fails") >= 3);
    assert_eq!(runs(&project, "long"), 1);
    // The line in the ledger comes before the end of the run that writes it.
    let mut fails = project.service("fails");
    eventually("it is told as failed", || {
        fails = project.service("fails");
        fails["state"] == "failed"
    });
    assert_eq!(fails["failure"]["reason"], "exit_code", "{fails}");
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn a_time_to_come_is_shown_and_start_runs_it_now() {
    let project = up(
        "[services.nightly]\ntype = 'oneshot'\ncommand = 'echo night >> ledger'\nschedule = { cron = '30 2 * * *', tz = 'UTC' }\n\
                      [services.web]\ncommand = 'exec sleep 1000'\n",
    );
    assert!(project.run(&["wait", "web"]).status.success());
    let ps = stdout(&project.run(&["ps"]));
    assert!(ps.contains("next in") && ps.contains("02:30"), "{ps}");
    let why = stdout(&project.run(&["why", "nightly"]));
    assert!(why.contains("next run") && why.contains("02:30"), "{why}");
    assert!(project.run(&["start", "nightly"]).status.success());
    assert_eq!(project.read("ledger"), "night\n");
    assert!(project.run(&["down"]).status.success());
}
