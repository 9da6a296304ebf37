//! `prepare`, `files` and `hooks` on the built binary.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::os::unix::fs::PermissionsExt;

use common::roles::{Roles, send};
use common::{Project, eventually, stderr, stdout};
use nix::sys::signal::Signal;

const SERVICE: &str = "[services.web]\ncommand = 'exec sleep 1000'\n";

fn up(services_toml: &str) -> Project {
    let project = Project::new(services_toml);
    ups(&project);
    project
}

fn ups(project: &Project) {
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
}

fn lines(project: &Project, file: &str) -> usize {
    let text = std::fs::read_to_string(project.file(file)).unwrap_or_default();
    text.lines().count()
}

fn pid(project: &Project) -> u64 {
    project.service("web")["pid"].as_u64().unwrap()
}

fn fails(project: &Project, reason: &str) -> String {
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(1), "{}", stderr(&up));
    let web = project.service("web");
    assert_eq!(web["failure"]["reason"], reason, "{web}");
    web["failure"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_step_is_run_once_until_its_inputs_change_and_its_output_is_in_the_log() {
    let project = up(&format!(
        "{SERVICE}prepare = [{{ run = 'echo installing; echo x >> runs; mkdir -p made', inputs = ['lock.*'], creates = 'made' }}]\n"
    ));
    assert_eq!(lines(&project, "runs"), 1);
    assert!(stdout(&project.run(&["logs", "web"])).contains("installing"));
    let events = stdout(&project.run(&["events", "--json"]));
    assert!(events.contains("\"event\":\"preparing\""), "{events}");
    assert!(project.run(&["restart", "web"]).status.success());
    assert_eq!(lines(&project, "runs"), 1);
    assert!(project.run(&["down"]).status.success());
    ups(&project);
    assert_eq!(lines(&project, "runs"), 1, "also over `down`");
    project.write("lock.json", "1");
    assert!(project.run(&["restart", "web"]).status.success());
    assert_eq!(lines(&project, "runs"), 2);
    std::fs::remove_dir(project.file("made")).unwrap();
    assert!(project.run(&["restart", "web"]).status.success());
    assert_eq!(lines(&project, "runs"), 3);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn a_step_that_others_followed_is_run_again_whatever_a_former_replica_did() {
    let with = |step: &str| format!("{SERVICE}replicas = 2\nprepare = [{{ run = 'echo {step} >> runs' }}]\n");
    let project = up(&with("a"));
    assert_eq!(project.read("runs"), "a\n", "once for both");
    assert!(project.run(&["scale", "web=1"]).status.success());
    project.write("services.toml", &with("b"));
    eventually("the other step is run", || project.read("runs") == "a\nb\n");
    assert!(project.run(&["wait", "web"]).status.success());
    project.write("services.toml", &with("a"));
    eventually("the first one is run again", || project.read("runs") == "a\nb\na\n");
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn a_step_that_fails_is_a_typed_reason_and_the_service_is_not_started() {
    let project = Project::new(&format!("{SERVICE}restart = 'no'\nprepare = ['first', 'second']\n"));
    let check = project.run(&["check"]);
    assert!(stderr(&check).contains("expected a table"), "{}", stderr(&check));
    project.write(
        "services.toml",
        &format!("{SERVICE}restart = 'no'\nprepare = [{{ run = 'touch one' }}, {{ run = 'echo broken >&2; exit 3' }}, {{ run = 'touch three' }}]\n"),
    );
    let message = fails(&project, "prepare_failed");
    assert_eq!(message, "`echo broken >&2; exit 3` exited with code 3");
    assert!(project.file("one").exists() && !project.file("three").exists());
    let web = project.service("web");
    assert_eq!(web["failure"]["last_lines"], serde_json::json!(["broken"]), "{web}");
    let why = stdout(&project.run(&["why", "web"]));
    assert!(why.contains("exited with code 3"), "{why}");
    // A program that is not there is said as such, and mending the file is all there is to do.
    project.write(
        "services.toml",
        &format!("{SERVICE}restart = 'no'\nprepare = [{{ run = 'no-such-program now' }}]\n"),
    );
    eventually("the edit is tried", || {
        project.service("web")["failure"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("no-such-program") && message.contains("could not be started"))
    });
    project.write("services.toml", SERVICE);
    ups(&project);
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn a_stop_ends_a_step_as_a_tree_and_nothing_is_noted() {
    let project = Project::new(&format!(
        "{SERVICE}prepare = [{{ run = 'echo x >> runs; sleep 1000 & sleep 1000; :' }}]\n"
    ));
    assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
    eventually("it is preparing", || lines(&project, "runs") == 1);
    let web = project.service("web");
    assert_eq!(web["state"], "preparing", "{web}");
    let ps = stdout(&project.run(&["ps"]));
    assert!(ps.contains("preparing") && ps.contains("sleep 1000"), "{ps}");
    let why = stdout(&project.run(&["why", "web"]));
    assert!(why.contains("before its start") && why.contains("sleep 1000"), "{why}");
    assert!(project.run(&["stop", "web"]).status.success());
    assert_eq!(project.service("web")["state"], "stopped");
    assert_eq!(project.processes().len(), 2, "guardian and daemon");
    assert!(project.run(&["start", "--no-wait", "web"]).status.success());
    eventually("it begins anew", || lines(&project, "runs") == 2);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn a_stop_ends_the_reading_of_inputs() {
    let project = Project::new(&format!(
        "{SERVICE}prepare = [{{ run = 'touch done', inputs = ['large'] }}]\n"
    ));
    let large = std::fs::File::create(project.file("large")).unwrap();
    // Nothing on the disk, and hours to read.
    large.set_len(1 << 42).unwrap();
    assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
    eventually("it is preparing", || project.service("web")["state"] == "preparing");
    assert!(project.run(&["stop", "web"]).status.success());
    assert_eq!(project.service("web")["state"], "stopped");
    assert!(project.run(&["start", "--no-wait", "web"]).status.success());
    eventually("it is preparing", || project.service("web")["state"] == "preparing");
    assert!(project.run(&["down"]).status.success());
    assert!(!project.file("done").exists());
    project.assert_nothing_is_left();
}

#[test]
fn a_killed_daemon_or_guardian_begins_the_step_anew_and_none_is_doubled() {
    let step = "echo x >> runs; while ! test -e go; do read line < gate; done; rm go";
    let project = Project::new(&format!("{SERVICE}prepare = [{{ run = '{step}' }}]\n"));
    nix::unistd::mkfifo(&project.file("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
    eventually("it is preparing", || lines(&project, "runs") == 1);
    send(Roles::of(&project).daemon, Signal::SIGKILL);
    eventually("the next daemon prepares", || lines(&project, "runs") == 2);
    send(Roles::of(&project).guardian, Signal::SIGKILL);
    eventually("it is begun anew, as nobody could say how it ends", || {
        lines(&project, "runs") == 3
    });
    let steps = || project.processes().len() - 2;
    assert_eq!(steps(), 1, "the one before was ended");
    project.write("go", "");
    std::fs::write(project.file("gate"), "go\n").unwrap();
    assert!(project.run(&["wait", "web"]).status.success());
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn files_are_rendered_and_an_edit_restarts_or_reloads() {
    let project = Project::new(
        "[vars]\nname = 'x'\n[services.web]\ncommand = \"trap 'echo reloaded >> reloads' HUP; echo up; while :; do sleep 1000 & wait $!; done\"\n\
         ports = { http = 'auto' }\nready = { log = 'up' }\nreload_signal = 'SIGHUP'\n\
         [services.web.files]\n'conf/site.conf' = { template = 'site.j2' }\n'live.conf' = { content = \"{{ vars.name }}\\n\", reload = true }\n",
    );
    project.write(
        "site.j2",
        "{% for n in [1, 2] %}listen {{ ports.http + n }};\n{% endfor %}# {# no #}{{ service }}\n",
    );
    ups(&project);
    let port = project.service("web")["ports"]["http"].as_u64().unwrap();
    let site = format!("listen {};\nlisten {};\n# web\n", port + 1, port + 2);
    assert_eq!(project.read("conf/site.conf"), site);
    assert_eq!(project.read("live.conf"), "x\n");
    let before = pid(&project);
    let toml = project.read("services.toml").replace("name = 'x'", "name = 'other'");
    let plan = {
        project.write("next.toml", &toml);
        std::fs::rename(project.file("next.toml"), project.file("services.toml")).unwrap();
        eventually("it was written and reloaded", || lines(&project, "reloads") == 1);
        stdout(&project.run(&["events", "--json"]))
    };
    assert!(plan.contains("live.conf"), "{plan}");
    assert_eq!(project.read("live.conf"), "other\n");
    assert_eq!(pid(&project), before);
    // The template is part of the definition.
    project.write("site.j2", "new\n");
    eventually("it is restarted", || {
        pid_or_none(&project).is_some_and(|pid| pid != before)
    });
    assert_eq!(project.read("conf/site.conf"), "new\n");
    // A template that is broken changes nothing and is shown with its place.
    let running = pid(&project);
    project.write("site.j2", "a\n{{ vars.nome }}\n");
    eventually("it is refused", || {
        stdout(&project.run(&["events", "--json"])).contains("config_rejected")
    });
    let check = stderr(&project.run(&["check"]));
    assert!(
        check.contains("site.j2:2:") && check.contains("did you mean `name`?"),
        "{check}"
    );
    assert_eq!(pid(&project), running);
    assert!(project.run(&["down"]).status.success());
}

fn pid_or_none(project: &Project) -> Option<u64> {
    project.service("web")["pid"].as_u64()
}

#[test]
fn files_are_written_by_the_user_of_the_service() {
    use std::os::unix::fs::MetadataExt;
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let project = Project::new(&format!(
        "{SERVICE}user = 'nobody'\nworking_dir = '/'\nrestart = 'no'\nfiles = {{ 'theirs/a.conf' = {{ content = 'x' }} }}\n"
    ));
    let folder = project.file("theirs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(project.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let message = fails(&project, "prepare_failed");
    assert!(message.contains("theirs/a.conf can't be written"), "{message}");
    // Nor are files read that they may not read.
    let toml = project.read("services.toml");
    project.write("secret", "");
    std::fs::set_permissions(project.file("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    let secret = project.file("secret").display().to_string();
    project.write(
        "services.toml",
        &toml.replace(
            "files = ",
            &format!("prepare = [{{ run = 'true', inputs = ['{secret}'] }}]\n#"),
        ),
    );
    let message = fails(&project, "prepare_failed");
    assert!(message.contains("secret: Permission denied"), "{message}");
    project.write("services.toml", &toml);
    std::os::unix::fs::chown(&folder, Some(65_534), Some(65_534)).unwrap();
    assert!(project.run(&["start", "web"]).status.success());
    assert_eq!(project.file("theirs/a.conf").metadata().unwrap().uid(), 65_534);
    // As the service would make it.
    let toml = project.read("services.toml");
    for (umask, mode) in [("", 0o644), ("umask = '077'\n", 0o600), ("umask = '002'\n", 0o664)] {
        std::fs::remove_file(project.file("theirs/a.conf")).unwrap();
        let _ = std::fs::remove_dir_all(project.file("theirs/x"));
        let toml = toml.replace("user = 'nobody'\n", &format!("user = 'nobody'\n{umask}"));
        let also = "files = { 'theirs/x/y/b.conf' = { content = 'x' }, ";
        project.write("services.toml", &toml.replace("files = { ", also));
        assert!(project.run(&["restart", "web"]).status.success());
        for folder in ["theirs/x", "theirs/x/y"] {
            let made = project.file(folder).metadata().unwrap().permissions().mode();
            assert_eq!(made & 0o777, mode | (mode & 0o444) >> 2, "{folder}, {umask}");
        }
        let made = project.file("theirs/a.conf").metadata().unwrap().permissions().mode();
        assert_eq!(made & 0o777, mode, "{umask}");
    }
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn hooks_run_at_their_turns_and_know_what_happened() {
    let hook =
        |name: &str| format!("{name} = 'echo {name} $RUNNER_REASON $RUNNER_EXIT_CODE $RUNNER_EXIT_SIGNAL >> turns'\n");
    let hooks: String = ["pre_start", "post_ready", "pre_stop", "post_stop", "on_failure"]
        .map(hook)
        .concat();
    let project = up(&format!("{SERVICE}restart = 'no'\n[services.web.hooks]\n{hooks}"));
    eventually("post_ready has run", || lines(&project, "turns") == 2);
    assert!(project.run(&["stop", "web"]).status.success());
    assert_eq!(
        project.read("turns"),
        "pre_start\npost_ready\npre_stop\npost_stop SIGTERM\n"
    );
    project.write("turns", "");
    let toml = project.read("services.toml").replace("exec sleep 1000", "exit 3");
    project.write("services.toml", &toml);
    project.run(&["start", "web"]);
    eventually("it has failed", || project.read("turns").contains("on_failure"));
    let turns = project.read("turns");
    assert!(
        turns.contains("post_stop exit_code 3\n") && turns.contains("on_failure exit_code 3\n"),
        "{turns}"
    );
    // A program that was never executed has failed as well.
    project.write("turns", "");
    let toml = project
        .read("services.toml")
        .replace("command = 'exit 3'", "command = 'no-such-program'");
    project.write("services.toml", &toml);
    project.run(&["start", "web"]);
    eventually("it is told", || {
        project.read("turns").contains("on_failure command_not_found")
    });
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn a_hook_that_fails_or_hangs_holds_nothing_up_but_a_start() {
    let project = up(&format!(
        "{SERVICE}stop_timeout = '300ms'\n[services.web.hooks]\npost_ready = 'exit 7'\npre_stop = 'exec sleep 1000'\npost_stop = 'exec sleep 1000'\n"
    ));
    eventually("it is told", || {
        stdout(&project.run(&["events", "--json"])).contains("post_ready exited with code 7")
    });
    assert_eq!(project.service("web")["state"], "ready");
    assert!(project.run(&["stop", "web"]).status.success());
    assert_eq!(project.service("web")["state"], "stopped");
    let events = stdout(&project.run(&["events", "--json"]));
    assert!(
        events.contains("hook_failed") && events.contains("post_stop did not end within"),
        "{events}"
    );
    assert_eq!(project.processes().len(), 2, "guardian and daemon");
    project.write(
        "services.toml",
        &format!("{SERVICE}restart = 'no'\nhooks = {{ pre_start = 'exit 9' }}\n"),
    );
    eventually("the file is read", || {
        stdout(&project.run(&["events", "--json"])).contains("\"generation\":2")
    });
    assert_eq!(project.run(&["start", "web"]).status.code(), Some(1));
    let web = project.service("web");
    assert_eq!(web["failure"]["reason"], "prepare_failed", "{web}");
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn a_second_ctrl_c_ends_the_hook_that_the_end_waits_for() {
    let project = Project::new(&format!(
        "{SERVICE}[services.fails]\ncommand = 'exit 3'\nrestart = 'no'\nhooks = {{ on_failure = 'echo it pages; exec sleep 1000' }}\n"
    ));
    let mut up = project.up(&[]);
    up.wait_for("it pages");
    up.signal("INT");
    up.wait_for("once more to kill");
    eventually("it is waited for", || {
        project.processes().len() == 4 && project.service("web")["state"] == "stopped"
    });
    up.signal("INT");
    up.end();
    project.assert_nothing_is_left();
}
