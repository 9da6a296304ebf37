//! Ports that others hold, numbers that runner gives: on the built binary, with real listeners.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;
#[path = "fixture/mod.rs"]
mod fixture;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::roles::{Roles, send};
use common::{Project, eventually, free_port, stderr, stdout};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A process that is not runner's and listens.
struct Stranger(Child);

impl Stranger {
    fn on(port: u16) -> Stranger {
        Stranger::by(Command::new(fixture::program()).args(["hold", &port.to_string(), "wait"]))
    }

    fn by(command: &mut Command) -> Stranger {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("port "), "{line:?}");
        Stranger(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end();
    }
}

/// A service that listens on its first port.
fn listens(name: &str, more: &str) -> String {
    let program = fixture::program();
    format!(
        "[services.{name}]\ncommand = [{program:?}, \"ledger\", \"{name}.ledger\", \"hold\", \"{{{{ port }}}}\", \"wait\"]\n{more}\n"
    )
}

fn up(project: &Project) {
    let output = project.run(&["up", "-d"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stderr(&output), events(project));
}

fn events(project: &Project) -> String {
    stdout(&project.run(&["events"]))
}

fn becomes(project: &Project, name: &str, state: &str) -> Value {
    let mut service = Value::Null;
    eventually(&format!("{name} is {state}"), || {
        service = project.service(name);
        service["state"] == state
    });
    service
}

fn failure(service: &Value) -> (String, String) {
    let word = |key: &str| service["failure"][key].as_str().unwrap_or_default().to_owned();
    (word("reason"), word("message"))
}

#[test]
fn po_01_the_owner_is_named_and_left_alone_and_its_end_starts_what_waits() {
    let port = free_port();
    let mut stranger = Stranger::on(port);
    // Longer than the test may take: only the end of the owner can start it.
    let web = listens("web", &format!("ports = [{port}]\nbackoff = {{ max = \"1h\" }}"));
    let project = Project::new(&format!(
        "{web}[services.user]\ncommand = \"exec sleep 1000\"\ndepends_on = [\"web\"]\n"
    ));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    let (reason, message) = failure(&project.service("web"));
    assert_eq!(reason, "port_in_use");
    assert!(message.contains(&format!("(pid {}, ", stranger.pid())), "{message}");
    assert_ne!(project.service("user")["state"], "ready");
    assert!(stranger.lives());
    stranger.end();
    becomes(&project, "web", "ready");
    becomes(&project, "user", "ready");
}

#[test]
fn po_02_a_leftover_of_our_own_is_stopped_and_its_kin_with_it() {
    let port = free_port();
    let project = Project::new(&listens("web", &format!("ports = [{port}]")));
    let dir = std::fs::canonicalize(project.path()).unwrap();
    let mark = format!("{}:7", runner::config::find::key_of(&dir, None));
    let mut kin = Command::new("sleep")
        .arg("1000")
        .env("RUNNER_MARK", &mark)
        .spawn()
        .unwrap();
    let text = port.to_string();
    let mut leftover = Stranger::by(
        Command::new(fixture::program())
            .args(["hold", &text, "wait"])
            .env("RUNNER_MARK", &mark),
    );
    up(&project);
    assert!(!leftover.lives());
    kin.wait().unwrap();
    let told = events(&project);
    assert!(told.contains("left over from an earlier run of this project"), "{told}");
    assert!(told.contains("ended after SIGTERM"), "{told}");
}

#[test]
fn po_02_po_07_when_all_of_runner_was_killed_the_port_is_ours_again_with_its_number() {
    let project = Project::new(&listens("web", "ports = { http = \"auto\" }"));
    up(&project);
    let before = project.service("web")["ports"]["http"].clone();
    let roles = Roles::of(&project).both();
    // At once: one that is left alone would bring the other back.
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        roles.iter().for_each(|&role| send(role, signal));
    }
    eventually("the roles are gone", || project.processes().len() == 1);
    up(&project);
    let service = becomes(&project, "web", "ready");
    assert_eq!(service["ports"]["http"], before);
    let alive: BTreeSet<u32> = project.processes().into_iter().collect();
    assert_eq!(alive.len(), 3, "guardian, daemon and one web");
    assert!(alive.contains(&(service["pid"].as_u64().unwrap() as u32)));
}

#[test]
fn next_takes_a_free_port_that_everybody_sees_and_that_is_no_change() {
    let port = free_port();
    let _stranger = Stranger::on(port);
    let web = listens(
        "web",
        &format!("ports = {{ http = {port} }}\non_port_conflict = \"next\""),
    );
    let user = "[services.user]\ncommand = \"echo $URL > url; exec sleep 1000\"\ndepends_on = [\"web\"]\n\
                env = { URL = \"http://127.0.0.1:{{ services.web.port }}\" }\n";
    let project = Project::new(&format!("{web}{user}"));
    up(&project);
    let real = project.service("web")["ports"]["http"].as_u64().unwrap();
    assert!(real > u64::from(port));
    assert!(std::net::TcpStream::connect(("127.0.0.1", real as u16)).is_ok());
    eventually("its user has written", || project.read("url").ends_with('\n'));
    assert_eq!(project.read("url"), format!("http://127.0.0.1:{real}\n"));
    let once = project.run(&["run", "user", "--", "sh", "-c", "echo $URL"]);
    assert_eq!(stdout(&once), project.read("url"));
    let told = events(&project);
    assert!(told.contains(&format!("{real} is used instead")), "{told}");
    assert!(
        told.contains(&format!("(tcp :{real})")),
        "what was asked is told: {told}"
    );
    let plan = project.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.status.code(), Some(0), "{}", stdout(&plan));
    let pid = project.service("web")["pid"].clone();
    project.write("services.toml", &format!("{web}description = \"edited\"\n{user}"));
    up(&project);
    let service = project.service("web");
    assert_eq!((&service["pid"], service["ports"]["http"].as_u64()), (&pid, Some(real)));
}

#[test]
fn a_hook_that_outlives_its_run_takes_no_port_from_the_next_one() {
    let port = free_port();
    let _stranger = Stranger::on(port);
    let project = Project::new(&format!(
        "[services.web]\ncommand = 'test -e fine || exit 3; exec {} hold $PORT wait'\nports = {{ http = {port} }}\n\
         on_port_conflict = 'next'\nrestart = 'no'\nstop_timeout = '60s'\n\
         hooks = {{ on_failure = 'while ! test -e go; do sleep 0.02; done; exit 7' }}\n",
        fixture::program().display()
    ));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    project.write("fine", "");
    up(&project);
    let real = project.service("web")["ports"]["http"].clone();
    assert!(real.as_u64() > Some(u64::from(port)));
    project.write("go", "");
    eventually("the hook has ended", || {
        events(&project).contains("on_failure exited with code 7")
    });
    assert_eq!(project.service("web")["ports"]["http"], real);
}

#[test]
fn kill_ends_a_process_of_the_same_user_and_says_so() {
    let (port, stubborn) = (free_port(), free_port());
    let mut polite = Stranger::on(port);
    let mut deaf =
        Stranger::by(Command::new(fixture::program()).args(["ignore", "TERM", "hold", &stubborn.to_string(), "wait"]));
    let keys = |port| format!("ports = [{port}]\non_port_conflict = \"kill\"\nstop_timeout = \"300ms\"");
    let project = Project::new(&(listens("web", &keys(port)) + &listens("api", &keys(stubborn))));
    up(&project);
    assert!(!polite.lives() && !deaf.lives());
    let told = events(&project);
    for (stranger, signal) in [(&polite, "SIGTERM"), (&deaf, "SIGKILL")] {
        let words = format!("(pid {}) ended after {signal}", stranger.pid());
        assert!(told.contains(&words), "{words}: {told}");
    }
}

#[test]
fn kill_leaves_alone_what_another_runner_looks_after_and_its_leftovers() {
    let port = free_port();
    let other = Project::new(&listens("mine", &format!("ports = [{port}]")));
    up(&other);
    let keys = format!("ports = [{port}]\non_port_conflict = \"kill\"");
    let project = Project::new(&listens("web", &keys));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    let (reason, message) = failure(&project.service("web"));
    assert_eq!(reason, "port_in_use");
    assert!(
        message.ends_with("it is left alone: it belongs to another runner"),
        "{message}"
    );
    assert_eq!(other.service("mine")["state"], "ready");
    project.run(&["down"]);

    let port = free_port();
    let text = port.to_string();
    let mut orphan = Stranger::by(
        Command::new(fixture::program())
            .args(["hold", &text, "wait"])
            .env("RUNNER_MARK", "0123456789abcdef:1"),
    );
    let project = Project::new(&listens(
        "web",
        &format!("ports = [{port}]\non_port_conflict = \"kill\""),
    ));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    let (_, message) = failure(&project.service("web"));
    assert!(message.ends_with("another runner has started it"), "{message}");
    assert!(orphan.lives());
}

#[test]
fn kill_leaves_alone_a_service_of_the_same_project_and_other_users() {
    let port = free_port();
    let program = fixture::program();
    let rogue = format!(
        "[services.rogue]\ncommand = [{program:?}, \"hold\", \"{port}\", \"wait\"]\nready = {{ tcp = {port} }}\n"
    );
    let keys = format!("ports = [{port}]\non_port_conflict = \"kill\"\ndepends_on = [\"rogue\"]");
    let project = Project::new(&(rogue + &listens("web", &keys)));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    let (_, message) = failure(&project.service("web"));
    assert!(message.ends_with("it belongs to `rogue` of this project"), "{message}");
    assert_eq!(project.service("rogue")["state"], "ready");

    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let port = free_port();
    let text = port.to_string();
    let program = public_program();
    let mut nobody = Stranger::by(Command::new(&program).args(["hold", &text, "wait"]).uid(65534));
    std::fs::remove_file(program).unwrap();
    let project = Project::new(&listens(
        "web",
        &format!("ports = [{port}]\non_port_conflict = \"kill\""),
    ));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    let (_, message) = failure(&project.service("web"));
    assert!(
        message.contains("it is left alone: it runs as another user"),
        "{message}"
    );
    assert!(nobody.lives());
}

/// The fixture where every user may execute it.
fn public_program() -> std::path::PathBuf {
    let public = std::env::temp_dir().join(format!("runner-ports-fixture-{}", std::process::id()));
    // Written by another process: a descriptor of ours that a child inherits would make it busy.
    let status = Command::new("install")
        .args(["-m", "755"])
        .arg(fixture::program())
        .arg(&public)
        .status()
        .unwrap();
    assert!(status.success());
    public
}

#[test]
fn po_05_a_hundred_auto_ports_at_once_are_all_different_and_stay() {
    let service = |at: usize| listens(&format!("s{at}"), "ports = [\"auto\"]");
    let file: String = (0..100).map(service).collect();
    let project = Project::new(&file);
    // Others come and go on the ports that the kernel hands out.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drop(TcpListener::bind("127.0.0.1:0"));
            }
        });
        up(&project);
        over.store(true, Ordering::Relaxed);
    });
    let numbers = |project: &Project| -> Vec<(String, u64)> {
        let ps = project.ps();
        let one = |service: &Value| {
            (
                service["name"].as_str().unwrap().to_owned(),
                service["ports"]["auto"].as_u64().unwrap(),
            )
        };
        let mut all: Vec<_> = ps["services"].as_array().unwrap().iter().map(one).collect();
        all.sort();
        all
    };
    let first = numbers(&project);
    let different: BTreeSet<u64> = first.iter().map(|(_, port)| *port).collect();
    assert_eq!(different.len(), 100);
    assert!(different.iter().all(|port| (20_000..30_000).contains(port)));
    let again: String = std::iter::once(listens("new", "ports = [\"auto\"]"))
        .chain((0..100).rev().map(service))
        .collect();
    project.write("services.toml", &again);
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    // A client that only looks sees the same, and writes nothing.
    let kept = project.read(".runner/ports.json");
    let plan = stdout(&project.run(&["plan", "--json"]));
    assert!(plan.contains("s99"), "{plan}");
    assert_eq!(project.read(".runner/ports.json"), kept);
    up(&project);
    let mut second = numbers(&project);
    second.retain(|(name, _)| name != "new");
    assert_eq!(second, first);
}

#[test]
fn po_05_an_auto_port_that_an_outsider_takes_gets_another_number() {
    let web = listens("web", "ports = [\"auto\"]");
    let user = "[services.user]\ncommand = \"echo $PEER >> peer; exec sleep 1000\"\nenv = { PEER = \"{{ services.web.port }}\" }\n";
    let project = Project::new(&format!("{web}{user}"));
    up(&project);
    let first = project.service("web")["ports"]["auto"].as_u64().unwrap() as u16;
    assert_eq!(project.run(&["stop", "web"]).status.code(), Some(0));
    let outsider = TcpListener::bind(("127.0.0.1", first)).unwrap();
    // What is in force counts, whatever stands in the file by now.
    project.write("services.toml", "nonsense");
    eventually("the file is found broken", || !project.ps()["config_error"].is_null());
    let started = project.run(&["start", "web"]);
    assert_eq!(started.status.code(), Some(0), "{}", events(&project));
    let service = becomes(&project, "web", "ready");
    let second = service["ports"]["auto"].as_u64().unwrap() as u16;
    assert_ne!(first, second);
    eventually("who names the port is restarted", || {
        project.read("peer").lines().count() == 2
    });
    assert_eq!(project.read("peer"), format!("{first}\n{second}\n"));
    let told = events(&project);
    assert!(told.contains("the `auto` port gets another number"), "{told}");
    assert!(!project.ps()["config_error"].is_null());
    // It is the number from now on.
    project.write("services.toml", &format!("{web}{user}"));
    drop(outsider);
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    up(&project);
    assert_eq!(project.service("web")["ports"]["auto"].as_u64(), Some(second.into()));
}

#[test]
fn po_05_two_projects_never_have_the_same_number() {
    let file = listens("web", "ports = [\"auto\"]");
    let (one, two) = (Project::new(&file), Project::new(&file));
    up(&one);
    let number = one.service("web")["ports"]["auto"].as_u64().unwrap();
    // As if the hashes met: the other project was given this very number when the first did not run.
    std::fs::create_dir(two.file(".runner")).unwrap();
    two.write(
        ".runner/ports.json",
        &format!("{{\"version\":1,\"ports\":{{\"web\":{{\"auto\":{number}}}}}}}"),
    );
    up(&two);
    assert_ne!(two.service("web")["ports"]["auto"].as_u64(), Some(number));
    assert_eq!(one.service("web")["state"], "ready");
}

#[test]
fn po_05_a_store_that_can_not_be_read_is_set_aside_and_told() {
    let project = Project::new(&listens("web", "ports = [\"auto\"]"));
    std::fs::create_dir(project.file(".runner")).unwrap();
    project.write(".runner/ports.json", "{\"version\":1,\"ports\":");
    up(&project);
    let names = std::fs::read_dir(project.file(".runner")).unwrap();
    let aside = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside: Vec<_> = aside.filter(|name| name.starts_with("ports.json.corrupt-")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(
        project.read(&format!(".runner/{}", aside[0])),
        "{\"version\":1,\"ports\":"
    );
    assert!(events(&project).contains("ports.json could not be read"));
}

#[test]
fn po_08_a_service_that_listens_elsewhere_is_told_where() {
    let (declared, real) = (free_port(), free_port());
    let program = fixture::program();
    let project = Project::new(&format!(
        "[services.web]\ncommand = [{program:?}, \"hold\", \"{real}\", \"wait\"]\nports = [{declared}]\n\
         ready = {{ tcp = {declared} }}\nstart_timeout = \"3s\"\nrestart = \"no\"\n"
    ));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    let (reason, message) = failure(&project.service("web"));
    assert_eq!(reason, "start_timeout");
    assert!(
        message.contains(&format!("it listens on {real}, not on {declared}")),
        "{message}"
    );
}

#[test]
fn po_10_a_port_that_only_root_may_have_is_a_matter_of_permission() {
    let project = Project::new("[services.web]\ncommand = \"exec sleep 1000\"\nports = [81]\n");
    let mut command = project.command(&["up"]);
    if nix::unistd::geteuid().is_root() {
        nix::unistd::chown(project.path(), Some(65534.into()), None).unwrap();
        nix::unistd::chown(&project.file("services.toml"), Some(65534.into()), None).unwrap();
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let text = format!("{}{}", stdout(&output), stderr(&output));
    assert!(
        text.contains("permission_denied") || text.contains("may not be bound"),
        "{text}"
    );
    assert!(!text.contains("port_in_use"), "{text}");
}
