//! Exits, restarts, probes: what happens to one service.

use std::os::unix::fs::OpenOptionsExt;

use crate::common::{Project, eventually, stderr};
use crate::fixture;
use crate::roles::Roles;

#[test]
fn ex_01_rl_01_a_thousand_exits_are_each_seen_once_and_leave_nothing() {
    let project = Project::new(&format!(
        "[services.crash]\ncommand = [{:?}, \"ledger\", \"ledger\", \"exit\", \"42\"]\nrestart = \"always\"\nmax_restarts = 999\n\
         restart_window = \"1h\"\nbackoff = {{ initial = \"0s\", max = \"0s\" }}\n[services.quiet]\ncommand = \"exec sleep 1000\"\n",
        fixture::program()
    ));
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    let roles = Roles::of(&project);
    eventually("it is running", || project.read("ledger").lines().count() > 20);
    let before = roles.descriptors();
    eventually("it has given up", || project.service("crash")["state"] == "failed");
    let service = project.service("crash");
    assert_eq!(
        (&service["restarts"], &service["last_exit"]["code"]),
        (&999.into(), &42.into())
    );
    let ledger = project.read("ledger");
    let words: Vec<&str> = ledger.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words.len(), 2 * 1000);
    assert!(words.chunks(2).all(|pair| pair == ["start", "stop"]));
    // Some come and go with a run and with `ps`.
    let after = roles.descriptors();
    assert!(after <= before + 10, "{before} descriptors became {after}");
    // The two roles and the quiet service.
    assert_eq!(project.processes().len(), 3);
    let place: serde_json::Value = serde_json::from_str(&project.read(".runner/lock")).unwrap();
    let runtime = std::path::PathBuf::from(place["runtime_dir"].as_str().unwrap());
    assert!(
        entries(&runtime) < 20,
        "{} entries in the runtime folder",
        entries(&runtime)
    );
    assert!(
        entries(&project.file(".runner/logs")) <= 4,
        "one log and index a service"
    );
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert!(!runtime.exists());
    project.assert_nothing_is_left();
}

fn entries(folder: &std::path::Path) -> usize {
    let below = |entry: std::fs::DirEntry| {
        if entry.path().is_dir() {
            entries(&entry.path())
        } else {
            1
        }
    };
    std::fs::read_dir(folder).unwrap().flatten().map(below).sum()
}

#[test]
fn ex_10_a_grandchild_that_keeps_stdout_open_blocks_neither_the_exit_nor_the_restart() {
    let project = Project::new(
        "[services.parent]\ncommand = \"echo here; sleep 1000 & exit 3\"\nbackoff = { initial = \"1ms\" }\nmax_restarts = 1\nrestart_window = \"1h\"\n\
         [services.quiet]\ncommand = \"exec sleep 1001\"\n",
    );
    let mut up = project.up(&[]);
    up.wait_for("exit code 3");
    up.wait_for("exit code 3");
    eventually("the grandchildren are gone", || project.processes().len() == 4);
    up.signal("INT");
    up.end();
    assert_eq!(up.text().matches("| here").count(), 2, "{}", up.text());
    project.assert_nothing_is_left();
}

#[test]
fn ex_11_a_hundred_services_that_end_in_one_instant_are_all_seen() {
    let fixture = fixture::program();
    let one = |number| {
        format!(
            "[services.s{number}]\ntype = \"oneshot\"\ncommand = [{fixture:?}, \"say\", \"here\", \"await\", \"gate\", \"exit\", \"0\"]\n"
        )
    };
    let project = Project::new(&(0..100).map(one).collect::<String>());
    nix::unistd::mkfifo(&project.file("gate"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let gate = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(project.file("gate"))
        .unwrap();
    let mut up = project.up(&[]);
    for _ in 0..100 {
        up.wait_for("| here");
    }
    drop(gate);
    // Who had said so and not yet come to the gate finds it open again.
    eventually("all have passed", || {
        let _ = std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(project.file("gate"));
        up.child.try_wait().unwrap().is_some()
    });
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    assert_eq!(up.text().matches("| completed after").count(), 100);
    project.assert_nothing_is_left();
}

#[test]
fn hp_08_an_exec_probe_that_hangs_is_killed_as_a_tree() {
    let project = Project::new(
        "[services.web]\ncommand = \"exec sleep 1000\"\nrestart = \"no\"\nstart_timeout = \"1s\"\n\
         ready = { exec = \"trap '' TERM; echo x >> tries; sleep 4711 & setsid sleep 4712 & sleep 4713\", timeout = \"60ms\" }\n\
         [services.quiet]\ncommand = \"exec sleep 1001\"\n",
    );
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(1));
    assert!(
        stderr(&up).contains("timed out after 60ms") || crate::common::stdout(&up).contains("timed out after 60ms")
    );
    assert_eq!(project.service("web")["failure"]["reason"], "start_timeout");
    assert!(project.read("tries").lines().count() > 2, "{}", project.read("tries"));
    eventually("no probe is left", || project.processes().len() == 3);
    project.run(&["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn hp_13_a_service_that_becomes_unhealthy_is_restarted_once_and_probed_anew() {
    let project = Project::new(
        "[services.web]\ncommand = \"echo start >> ledger; touch ok; exec sleep 1000\"\nready = { file = \"ok\" }\n\
         backoff = { initial = \"1ms\" }\nhealth = { exec = \"test -e ok\", interval = \"20ms\", retries = 2 }\n",
    );
    let mut up = project.up(&[]);
    up.wait_for("ready after");
    std::fs::remove_file(project.file("ok")).unwrap();
    up.wait_for("failed 2 times in a row");
    up.wait_for("ready after");
    let web = project.service("web");
    assert_eq!((&web["state"], &web["restarts"]), (&"ready".into(), &1.into()));
    up.signal("INT");
    assert_eq!(up.end().code(), Some(0));
    assert_eq!(project.read("ledger"), "start\nstart\n");
    project.assert_nothing_is_left();
}

#[test]
fn hp_19_notify_readiness_status_and_a_watchdog_that_is_missed() {
    let notify = r#"
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"STATUS=warming up")
while not os.path.exists("go"): time.sleep(0.005)
s.send(b"READY=1\nSTATUS=fine\n" + b"X" * 20000)
s.send(b"READY=1")
for _ in range(3):
    s.send(b"WATCHDOG=1"); time.sleep(0.05)
while True: time.sleep(1000)
"#;
    let project = Project::new(
        "[services.web]\ncommand = [\"python3\", \"notify.py\"]\nready = { notify = true }\nbackoff = { initial = \"1ms\" }\n\
         health = { notify = true, interval = \"400ms\", retries = 1 }\n",
    );
    project.write("notify.py", notify);
    let mut up = project.up(&[]);
    up.wait_for("| started");
    eventually("the status is shown", || {
        project.service("web")["note"].to_string().contains("warming up")
    });
    assert_eq!(project.service("web")["state"], "starting");
    project.write("go", "");
    up.wait_for("ready after");
    up.wait_for("no WATCHDOG=1");
    up.wait_for("ready after");
    up.signal("INT");
    up.end();
    project.assert_nothing_is_left();
}
