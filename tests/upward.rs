//! What whoever has started runner hears by sd_notify(3): from a socket of the test, and from another runner.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::roles::{Roles, send};
use common::{CEILING, Project, eventually, stderr};
use nix::sys::signal::Signal;

/// Ready once the file `go` is there.
const GATED: &str = "[services.web]\ncommand = \"sleep 1000\"\nready = { file = \"go\" }\n";

struct Ears(UnixDatagram);

impl Ears {
    fn at(project: &Project) -> (Ears, String) {
        let path = project.file("notify");
        let ears = Ears(UnixDatagram::bind(&path).unwrap());
        ears.0.set_read_timeout(Some(CEILING)).unwrap();
        (ears, path.to_str().unwrap().to_owned())
    }

    fn hear(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        let count = self.0.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..count].to_vec()).unwrap())
    }

    fn wait_for(&self, text: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let Some(one) = self.hear() else {
                panic!("waited for {text:?}, heard {heard:?}")
            };
            if one.contains(text) {
                return one;
            }
            heard.push(one);
        }
    }
}

fn told_to(project: &Project, address: &str, words: &[&str]) -> Command {
    let mut command = project.command(words);
    command.env("NOTIFY_SOCKET", address);
    command
}

#[test]
fn it_hears_of_ready_of_an_edit_of_failures_and_of_the_end() {
    let project = Project::new(GATED);
    let (ears, address) = Ears::at(&project);
    let mut command = told_to(&project, &address, &["up"]);
    let mut up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it starts", || {
        let ps = project.run(&["ps", "--json"]);
        String::from_utf8_lossy(&ps.stdout).contains("\"starting\"")
    });
    ears.0.set_nonblocking(true).unwrap();
    assert_eq!(ears.hear(), None, "nothing is ready yet");
    ears.0.set_nonblocking(false).unwrap();
    project.write("go", "");
    assert_eq!(ears.hear().unwrap(), "READY=1\nSTATUS=1 ready");
    // No process of the project has the address.
    let web = project.service("web")["pid"].as_u64().unwrap();
    let environment = std::fs::read_to_string(format!("/proc/{web}/environ")).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    project.write(
        "services.toml",
        &format!("{GATED}\n[services.bad]\ncommand = \"false\"\nrestart = \"no\"\n"),
    );
    let begun = ears.hear().unwrap();
    assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
    ears.wait_for("READY=1");
    // Ready as soon as it was executed, and gone right after.
    assert_eq!(ears.wait_for("failed"), "STATUS=1 ready, 1 failed (bad)");
    let guardian = Roles::of(&project).guardian;
    send(up.id(), Signal::SIGINT);
    let last = ears.wait_for("STOPPING=1");
    assert_eq!(last, "STOPPING=1\nSTATUS=stopping: Ctrl-C");
    up.wait().unwrap();
    eventually("the guardian is gone", || {
        !std::path::Path::new(&format!("/proc/{guardian}")).exists()
    });
}

#[test]
fn a_failure_is_in_the_status() {
    let project =
        Project::new("[services.bad]\ncommand = \"/nosuch/program\"\n[services.web]\ncommand = \"sleep 1000\"\n");
    let (ears, address) = Ears::at(&project);
    let up = told_to(&project, &address, &["up", "-d"]).output().unwrap();
    assert_eq!(up.status.code(), Some(1));
    assert!(
        ears.wait_for("failed (bad)").starts_with("STATUS="),
        "and it is not ready"
    );
    assert!(project.run(&["down"]).status.success());
    let mut rest = String::new();
    while !rest.contains("STOPPING=1") {
        rest.push_str(&ears.hear().unwrap());
    }
    assert!(!rest.contains("READY=1"), "{rest}");
}

#[test]
fn up_d_names_the_guardian_before_it_ends() {
    let project = Project::new("[services.web]\ncommand = \"sleep 1000\"\n");
    let name = format!("runner-test-{}", std::process::id());
    let ears = Ears(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    let up = told_to(&project, &format!("@{name}"), &["up", "-d"]).output().unwrap();
    assert!(up.status.success(), "{}", stderr(&up));
    // It is there already: nothing is waited for.
    ears.0.set_nonblocking(true).unwrap();
    let guardian = Roles::of(&project).guardian;
    assert_eq!(
        ears.hear().unwrap(),
        format!("READY=1\nMAINPID={guardian}\nSTATUS=1 ready")
    );
}

#[test]
fn in_place_it_is_the_process_that_was_started() {
    let project = Project::new("[services.web]\ncommand = \"sleep 1000\"\n");
    let (ears, address) = Ears::at(&project);
    let mut command = told_to(&project, &address, &["up", "--", "sleep", "1000"]);
    command.env("WATCHDOG_USEC", "100000");
    let mut up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ready = ears.wait_for("READY=1");
    assert_eq!(ready, "READY=1\nSTATUS=2 ready");
    assert_eq!(Roles::of(&project).guardian, up.id());
    ears.wait_for("WATCHDOG=1");
    send(up.id(), Signal::SIGTERM);
    ears.wait_for("STOPPING=1");
    up.wait().unwrap();
    project.assert_nothing_is_left();
}

#[test]
fn a_sign_of_life_comes_from_the_loop_alone() {
    let project = Project::new("[services.web]\ncommand = \"sleep 1000\"\n");
    let (ears, address) = Ears::at(&project);
    let up = |pid: &str| {
        let words = format!("WATCHDOG_PID={pid} exec \"$0\" up -d");
        let mut command = Command::new("sh");
        command
            .args(["-c", &words, env!("CARGO_BIN_EXE_runner")])
            .current_dir(project.path());
        command
            .env("NOTIFY_SOCKET", &address)
            .env("WATCHDOG_USEC", "100000")
            .stdin(Stdio::null());
        assert!(command.output().unwrap().status.success());
    };
    up("$$");
    ears.wait_for("WATCHDOG=1");
    ears.wait_for("WATCHDOG=1");
    let daemon = Roles::of(&project).daemon;
    send(daemon, Signal::SIGSTOP);
    eventually("it stands still", || {
        std::fs::read_to_string(format!("/proc/{daemon}/stat"))
            .unwrap()
            .contains(") T ")
    });
    ears.0.set_nonblocking(true).unwrap();
    while ears.hear().is_some() {}
    ears.0.set_nonblocking(false).unwrap();
    // Five of its periods.
    ears.0.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    assert_eq!(ears.hear(), None, "it hangs");
    ears.0.set_read_timeout(Some(CEILING)).unwrap();
    send(daemon, Signal::SIGCONT);
    ears.wait_for("WATCHDOG=1");
    // Its successor goes on.
    send(daemon, Signal::SIGKILL);
    eventually("another daemon", || Roles::of(&project).daemon != daemon);
    ears.wait_for("READY=1");
    ears.wait_for("WATCHDOG=1");
    assert!(project.run(&["down"]).status.success());
    ears.wait_for("STOPPING=1");
    ears.0.set_nonblocking(true).unwrap();
    while ears.hear().is_some() {}
    // It is another process that the watchdog is for.
    up("1");
    let mut heard = Vec::new();
    while let Some(one) = ears.hear() {
        heard.push(one);
    }
    assert!(heard.iter().any(|one| one.contains("READY=1")), "{heard:?}");
    assert!(!heard.iter().any(|one| one.contains("WATCHDOG")), "{heard:?}");
}

#[test]
fn nobody_at_the_socket_is_told_once_and_changes_nothing() {
    let project = Project::new("[services.web]\ncommand = \"sleep 1000\"\n");
    let up = told_to(&project, "/nosuch/socket", &["up", "-d"]).output().unwrap();
    assert!(up.status.success(), "{}", stderr(&up));
    assert!(project.run(&["restart", "web"]).status.success());
    let events = project.run(&["events", "--json"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert_eq!(events.matches("NOTIFY_SOCKET=/nosuch/socket").count(), 1, "{events}");
}

#[test]
fn a_runner_below_a_runner_is_ready_when_all_of_it_is() {
    let runner = env!("CARGO_BIN_EXE_runner");
    let project = Project::new(&format!(
        "[services.inner]\ncommand = [{runner:?}, \"up\"]\nworking_dir = \"inner\"\nready = {{ notify = true }}\n\
         health = {{ notify = true, interval = \"5s\", retries = 1 }}\nenv = {{ WATCHDOG_USEC = \"200000\" }}\n"
    ));
    std::fs::create_dir(project.file("inner")).unwrap();
    project.write("inner/services.toml", GATED);
    let mut up = project.up(&[]);
    up.wait_for("| started");
    eventually("the one below starts its service", || {
        let inner = project
            .command(&["ps", "--json"])
            .current_dir(project.file("inner"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&inner.stdout).contains("\"starting\"")
    });
    assert_eq!(project.service("inner")["state"], "starting");
    project.write("inner/go", "");
    up.wait_for("ready after");
    eventually("its status is shown", || {
        project.service("inner")["note"].to_string().contains("1 ready")
    });
    up.signal("INT");
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    eventually("both are gone", || project.processes().is_empty());
}
