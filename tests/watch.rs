//! `watch`: what is saved reaches the service.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use common::roles::{Roles, send};
use common::{Project, eventually, stderr, stdout};
use nix::sys::signal::Signal;

fn pid(project: &Project, name: &str) -> u64 {
    project.service(name)["pid"].as_u64().unwrap_or_default()
}

fn up(services_toml: &str) -> Project {
    let project = Project::new(services_toml);
    std::fs::create_dir(project.file("src")).unwrap();
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    project
}

fn lines(project: &Project, file: &str) -> usize {
    std::fs::read_to_string(project.file(file))
        .unwrap_or_default()
        .lines()
        .count()
}

/// Saves until it is noticed: when the folders are watched is told by nobody.
fn save_until(project: &Project, path: &str, what: &str, mut holds: impl FnMut() -> bool) {
    let mut count = 0;
    eventually(what, || {
        if count % 100 == 0 {
            project.write(path, &format!("{count}"));
        }
        count += 1;
        holds()
    });
}

#[test]
fn a_saved_file_restarts_the_service_and_those_that_go_with_it_and_no_others() {
    let project = up(
        "[services.web]\ncommand = 'echo web >> ledger; exec sleep 1000'\nwatch = { paths = ['src/**/*.js'], debounce = '20ms' }\n\
         [services.tunnel]\ncommand = 'exec sleep 1000'\ndepends_on = { web = { condition = 'healthy', restart = true } }\n\
         [services.other]\ncommand = 'exec sleep 1000'\ndepends_on = ['web']\n",
    );
    let before = ["web", "tunnel", "other"].map(|name| pid(&project, name));
    save_until(&project, "src/app.js", "web is another process", || {
        ![0, before[0]].contains(&pid(&project, "web"))
    });
    eventually("the tunnel as well", || {
        ![0, before[1]].contains(&pid(&project, "tunnel"))
    });
    assert_eq!(pid(&project, "other"), before[2]);
    let why = stdout(&project.run(&["why", "web"]));
    assert!(why.contains("src/app.js changed"), "{why}");
    let events = stdout(&project.run(&["events", "--json"]));
    assert!(events.contains("\"by\":\"watch\""), "{events}");

    // A daemon that was killed is followed by one that watches.
    let now = pid(&project, "web");
    send(Roles::of(&project).daemon, Signal::SIGKILL);
    save_until(&project, "src/deep.js", "another daemon has seen it", || {
        ![0, now].contains(&pid(&project, "web"))
    });

    // What was stopped by hand stays so.
    assert!(project.run(&["stop", "web"]).status.success());
    let started = lines(&project, "ledger");
    project.write("src/app.js", "while it is stopped");
    // Once this service has heard of a later change of the same folder, the other one would have.
    let probe = "[services.probe]\ncommand = 'echo probe >> probed; exec sleep 1000'\nwatch = { paths = ['src'], debounce = '20ms' }\n";
    let text = project.read("services.toml");
    project.write("services.toml", &format!("{text}{probe}"));
    eventually("the probe is up", || lines(&project, "probed") == 1);
    save_until(&project, "src/app.js", "the probe has heard", || {
        lines(&project, "probed") > 1
    });
    assert_eq!(project.service("web")["state"], "stopped");
    assert_eq!(lines(&project, "ledger"), started);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn a_saved_file_reloads_or_signals_without_a_restart_and_an_edit_of_the_watch_is_live() {
    let service = "command = \"trap 'echo HUP >> told' HUP; trap 'echo USR1 >> told' USR1; sleep 1000 & echo ready; while :; do wait $!; done\"\n\
                   ready = { log = 'ready' }\nreload_signal = 'SIGHUP'\n";
    let file = |action: &str| {
        format!("[services.web]\n{service}watch = {{ paths = ['src'], action = '{action}', debounce = '20ms' }}\n")
    };
    let project = up(&file("reload"));
    let before = pid(&project, "web");
    save_until(&project, "src/a", "it was reloaded", || lines(&project, "told") > 0);
    assert!(!project.read("told").contains("USR1"));
    project.write("services.toml", &file("SIGUSR1"));
    save_until(&project, "src/a", "it was signalled", || {
        project.read("told").contains("USR1")
    });
    assert_eq!(pid(&project, "web"), before);
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn rs_08_a_service_that_writes_what_is_watched_is_restarted_only_so_often() {
    let project = up(
        "[services.web]\ncommand = 'echo run >> src/own.txt; exec sleep 1000'\nwatch = { paths = ['src'], debounce = '10ms' }\n\
         [services.other]\ncommand = 'echo heard >> heard; exec sleep 1000'\nwatch = { paths = ['src/other.txt'], debounce = '50ms' }\n",
    );
    // The first write may come before the folder is watched.
    let mut seen = 0;
    eventually("it is suspended", || {
        seen += 1;
        if seen % 100 == 0 && lines(&project, "src/own.txt") == 1 {
            project.write("src/own.txt", "run\n");
        }
        project.service("web")["note"]
            .as_str()
            .is_some_and(|note| note.contains("watch suspended"))
    });
    let note = project.service("web")["note"].clone();
    assert!(note.as_str().unwrap().contains("src/own.txt"), "{note}");
    let told = stdout(&project.run(&["events"]));
    assert!(
        told.contains("`watch` is suspended") && told.contains("watch.ignore"),
        "{told}"
    );
    // Left alone, as long as nobody asks for it: who watches the same file has heard of it.
    let (before, heard) = (pid(&project, "web"), lines(&project, "heard"));
    save_until(&project, "src/other.txt", "the other one has heard", || {
        lines(&project, "heard") > heard
    });
    assert_eq!(pid(&project, "web"), before);
    assert!(project.run(&["restart", "web"]).status.success());
    assert_ne!(pid(&project, "web"), before);
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn a_watch_that_can_not_be_meant_is_refused() {
    let project = Project::new(
        "[services.a]\ncommand = 'x'\nwatch = { paths = [] }\n\
         [services.b]\ncommand = 'x'\nwatch = { paths = ['src/[a'], action = 'explode' }\n\
         [services.c]\ncommand = 'x'\nwatch = { paths = ['src'], action = 'reload' }\n",
    );
    let check = project.run(&["check"]);
    assert_eq!(check.status.code(), Some(2));
    let said = stderr(&check);
    for words in [
        "`paths` is missing, or empty",
        "not a glob",
        "`explode` is no action",
        "neither `reload_signal` nor",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn its_own_log_and_state_are_never_seen() {
    let project = up(
        "[services.web]\ncommand = 'echo web >> /dev/stderr; exec sleep 1000'\nwatch = { paths = ['**'], debounce = '10ms' }\nlog = { file = 'src/web.log' }\n",
    );
    let before = pid(&project, "web");
    save_until(&project, "src/a", "it is watched", || {
        ![0, before].contains(&pid(&project, "web"))
    });
    eventually("it has logged", || lines(&project, "src/web.log") >= 2);
    let restarts = stdout(&project.run(&["events", "--json"]))
        .matches("\"by\":\"watch\"")
        .count();
    assert!(restarts > 0);
    let told = stdout(&project.run(&["events"]));
    assert!(!told.contains("web.log") && !told.contains(".runner"), "{told}");
    assert!(project.run(&["down"]).status.success());
}

/// `later` hears of what `web` does, after it, and of more.
const LATER: &str = "[services.later]\ncommand = 'echo later >> later; exec sleep 1000'\nwatch = { paths = ['src'], debounce = '600ms' }\n";

fn up_with_later(web: &str) -> Project {
    let project = Project::new(&format!("{web}{LATER}"));
    for folder in ["src/web", "src/other"] {
        std::fs::create_dir_all(project.file(folder)).unwrap();
    }
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    save_until(&project, "src/other/f", "it is watched", || {
        lines(&project, "later") > 1
    });
    project
}

#[test]
fn what_changed_before_the_run_began_restarts_nothing() {
    let project = up_with_later(
        "[services.web]\ncommand = 'echo web >> ledger; exec sleep 1000'\nwatch = { paths = ['src/web'], debounce = '300ms' }\n",
    );
    assert!(project.run(&["stop", "web"]).status.success());
    let later = lines(&project, "later");
    project.write("src/web/f", "while it is stopped");
    assert!(project.run(&["start", "web"]).status.success());
    eventually("it has started", || lines(&project, "ledger") == 2);
    eventually("the other one has heard", || lines(&project, "later") > later);
    assert_eq!(lines(&project, "ledger"), 2);
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn what_runner_writes_for_the_service_is_no_change() {
    let web = "[services.web]\ncommand = 'echo web >> ledger; exec sleep 1000'\nreload_command = 'echo reloaded >> reloads'\n\
               files = { 'src/web/conf' = { content = 'one', reload = true } }\nwatch = { paths = ['src/web'], debounce = '20ms' }\n";
    let project = up_with_later(web);
    let later = lines(&project, "later");
    project.write("services.toml", &format!("{}{LATER}", web.replace("'one'", "'two'")));
    eventually("it is reloaded", || lines(&project, "reloads") == 1);
    assert_eq!(project.read("src/web/conf"), "two");
    eventually("the other one has heard", || lines(&project, "later") > later);
    assert_eq!(lines(&project, "ledger"), 1);
    assert!(project.run(&["down"]).status.success());
}
