//! PID files: late, stale, wrong and hostile ones, and those that runner writes.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use runner::sys::processes;
use serde_json::Value;

use crate::common::{Project, eventually, stderr};
use crate::fixture;

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// A process that has nothing to do with runner.
struct Bystander(Child, u64);

impl Bystander {
    fn new() -> Bystander {
        let child = Command::new(fixture::program())
            .arg("wait")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let born = processes::stat(child.id()).unwrap().start_ticks;
        Bystander(child, born)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let still = processes::stat(self.pid()).map(|stat| (stat.is_zombie(), stat.start_ticks));
        let _ = self.0.kill();
        let _ = self.0.wait();
        if !std::thread::panicking() {
            assert_eq!(still, Some((false, self.1)), "BYST");
        }
    }
}

/// A service of the fixture: what its launcher does, and further keys.
fn service(orders: &[&str], keys: &str) -> String {
    let program = fixture::program().display().to_string();
    let words: Vec<&str> = std::iter::once(program.as_str())
        .chain(orders.iter().copied())
        .collect();
    format!("[services.web]\ncommand = {words:?}\npid_file = \"web.pid\"\n{keys}\n")
}

/// A daemon that writes its number.
const DAEMON: [&str; 12] = [
    "daemon", "{", "ledger", "ledger", "vanish", "catch", "TERM", "0", "write", "web.pid", "%", "wait",
];

fn daemon(keys: &str) -> String {
    service(&[&DAEMON[..], &["}", "exit", "0"]].concat(), keys)
}

fn number_in(project: &Project, file: &str) -> u64 {
    project.read(file).trim().parse().unwrap_or(0)
}

fn gate(project: &Project, name: &str) {
    nix::unistd::mkfifo(&project.file(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

/// Lets go on whoever awaits the gate.
fn open(project: &Project, name: &str) {
    let mut gate = std::fs::OpenOptions::new()
        .write(true)
        .open(project.file(name))
        .unwrap();
    gate.write_all(b"go").unwrap();
}

fn up(project: &Project) {
    let output = project.run(&["up", "-d"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

fn down(project: &Project) {
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
    let ledger = project.read("ledger");
    let count = |word: &str| ledger.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(count("start"), count("stop"), "{ledger}");
}

fn is(project: &Project, state: &str, pid: Option<u64>) -> bool {
    let web = project.service("web");
    web["state"] == state && web["pid"] == pid.map_or(Value::Null, Value::from)
}

/// Starts a service that is not to be believed, until it has failed; its failure in words.
fn failure(project: &Project) -> String {
    assert_ne!(project.run(&["up", "-d"]).status.code(), Some(0));
    let web = project.service("web");
    assert_eq!(
        (&web["state"], &web["failure"]["reason"]),
        (&"failed".into(), &"pid_file_timeout".into()),
        "{web}"
    );
    web["failure"]["message"].as_str().unwrap().to_owned()
}

const ONCE: &str = "restart = \"no\"\nstart_timeout = \"2s\"\nstop_timeout = \"100ms\"";

#[test]
fn pf_01_a_stale_file_is_removed_and_never_believed() {
    let project = Project::new(&daemon(""));
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    project.write("web.pid", &format!("{}\n", dead.id()));
    up(&project);
    let pid = number_in(&project, "web.pid");
    assert!(is(&project, "ready", Some(pid)), "{}", project.service("web"));
    assert_ne!(pid, u64::from(dead.id()));
    down(&project);
}

#[test]
fn pf_02_a_file_that_names_a_bystander_is_reported_and_nobody_is_signalled() {
    let bystander = Bystander::new();
    // The daemon never writes its own number.
    let project = Project::new(&service(&["daemon", "{", "wait", "}", "exit", "0"], ONCE));
    project.write("web.pid", &format!("{}\n", bystander.pid()));
    let message = failure(&project);
    let stranger = format!("process {} (fixture", bystander.pid());
    assert!(
        message.contains(&stranger) && message.contains("was not started by this service"),
        "{message}"
    );
    assert_eq!(
        number_in(&project, "web.pid"),
        u64::from(bystander.pid()),
        "another's file stays"
    );
    down(&project);
}

#[test]
fn pf_02_a_file_that_lies_once_it_is_up_is_shown_until_it_is_good_again() {
    let project = Project::new(&daemon(""));
    up(&project);
    let pid = number_in(&project, "web.pid");
    let note = || project.service("web")["note"].as_str().unwrap_or_default().to_owned();
    for (lie, words) in [
        (std::process::id().to_string(), "was not started by this service"),
        ("garbage".to_owned(), "invalid pid file"),
    ] {
        project.write("web.pid", &lie);
        eventually(&format!("{lie} is doubted"), || note().contains(words));
        assert!(is(&project, "ready", Some(pid)));
        project.write("web.pid", &pid.to_string());
        eventually("it is good again", || note().is_empty());
    }
    down(&project);
}

#[test]
fn pf_04_garbage_is_shown_and_means_nobody() {
    for (text, shown) in [
        ("-1", "-1"),
        ("0", "0"),
        ("12\n34\n", "12\\n34\\n"),
        ("42caf\u{e9}", "42caf\\xc3\\xa9"),
    ] {
        let orders = ["write", "web.pid", text, "daemon", "{", "wait", "}", "exit", "0"];
        let project = Project::new(&service(&orders, ONCE));
        let message = failure(&project);
        assert!(
            message.contains(&format!("invalid pid file, it holds \"{shown}\"")),
            "{message}"
        );
        down(&project);
    }
    let project = Project::new(&service(&["daemon", "{", "wait", "}", "exit", "0"], ONCE));
    let message = failure(&project);
    assert!(message.ends_with("within 2s: it was not written"), "{message}");
    down(&project);
}

#[test]
fn pf_05_a_late_file_is_waited_for_in_a_folder_that_comes_late_as_well() {
    let orders = [
        "daemon",
        "{",
        "ledger",
        "ledger",
        "catch",
        "TERM",
        "0",
        "vanish",
        "await",
        "gate",
        "write",
        "deep/er/web.pid",
        "%",
        "wait",
        "}",
        "exit",
        "0",
    ];
    let project = Project::new(&service(&orders, "").replace("\"web.pid\"", "\"deep/er/web.pid\""));
    gate(&project, "gate");
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    eventually("its launcher has ended", || is(&project, "starting", None));
    let why = project.run(&["why", "web"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(
        why.contains("went into the background") && why.contains("it was not written"),
        "{why}"
    );
    std::fs::create_dir_all(project.file("deep/er")).unwrap();
    open(&project, "gate");
    eventually("it is found", || {
        is(&project, "ready", Some(number_in(&project, "deep/er/web.pid")))
    });
    down(&project);
}

#[test]
fn pf_07_a_wrong_number_may_be_corrected() {
    let orders = [
        "write", "web.pid", "%", "daemon", "{", "ledger", "ledger", "catch", "TERM", "0", "await", "gate", "write",
        "web.pid", "%", "wait", "}", "await", "launch", "exit", "0",
    ];
    let project = Project::new(&service(&orders, ""));
    gate(&project, "gate");
    gate(&project, "launch");
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    eventually("the launcher seems to be it", || {
        is(&project, "ready", Some(number_in(&project, "web.pid")))
    });
    open(&project, "launch");
    eventually("it is not", || is(&project, "starting", None));
    open(&project, "gate");
    eventually("it is found", || {
        is(&project, "ready", Some(number_in(&project, "web.pid")))
    });
    assert_eq!(project.service("web")["run"], 1);
    down(&project);
}

#[test]
fn pf_08_another_number_is_another_main_process_without_a_restart() {
    // The first one starts a second, which takes over; then it ends.
    let orders = [
        "daemon", "{", "vanish", "fork", "{", "setsid", "await", "gate", "ledger", "ledger", "catch", "TERM", "0",
        "write", "web.pid", "%", "wait", "}", "write", "web.pid", "%", "await", "end", "exit", "9", "}", "exit", "0",
    ];
    let project = Project::new(&service(&orders, ""));
    gate(&project, "gate");
    gate(&project, "end");
    up(&project);
    let first = number_in(&project, "web.pid");
    assert!(is(&project, "ready", Some(first)));
    open(&project, "gate");
    eventually("the second one is it", || {
        let second = number_in(&project, "web.pid");
        second != first && is(&project, "ready", Some(second))
    });
    open(&project, "end");
    eventually("the first one is gone", || processes::stat(first as u32).is_none());
    let web = project.service("web");
    assert_eq!(
        (&web["state"], &web["run"], &web["last_exit"]),
        (&"ready".into(), &1.into(), &Value::Null),
        "{web}"
    );
    down(&project);
}

#[test]
fn pf_10_a_hostile_file_is_refused_without_blocking() {
    let orders = ["daemon", "{", "wait", "}", "exit", "0"];
    let refused = |words: &str, make: &dyn Fn(&Project)| {
        let project = Project::new(&service(&orders, ONCE));
        make(&project);
        let message = failure(&project);
        assert!(message.contains(words), "{message}");
        down(&project);
    };
    refused("it is a FIFO", &|project| gate(project, "web.pid"));
    refused("it is a folder", &|project| {
        std::fs::create_dir(project.file("web.pid")).unwrap()
    });
    refused("it is a symlink", &|project| {
        project.write("other.pid", "42\n");
        std::os::unix::fs::symlink("other.pid", project.file("web.pid")).unwrap();
    });
    if is_root() {
        refused("it belongs to nobody", &|project| {
            project.write("web.pid", "42\n");
            let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
            std::os::unix::fs::chown(project.file("web.pid"), Some(nobody.uid.as_raw()), None).unwrap();
        });
    }
}

#[test]
fn pf_11_the_file_that_runner_writes_goes_with_the_process() {
    let write = |orders: &[&str], path: &str| {
        let written = format!("{{ path = \"{path}\", write = true }}");
        service(orders, "restart = \"no\"").replace("\"web.pid\"", &written)
    };
    let project = Project::new(&write(&["wait"], "web.pid"));
    project.write("web.pid", "4194304\n");
    up(&project);
    assert!(is(&project, "ready", Some(number_in(&project, "web.pid"))));
    assert_eq!(project.run(&["stop", "web"]).status.code(), Some(0));
    assert!(!project.file("web.pid").exists());
    down(&project);

    let project = Project::new(&write(&["write", "begun", "x", "wait"], "missing/web.pid"));
    assert_ne!(project.run(&["up", "-d"]).status.code(), Some(0));
    let web = project.service("web");
    assert_eq!(web["failure"]["reason"], "output_refused", "{web}");
    assert!(
        web["failure"]["message"].as_str().unwrap().contains("missing/web.pid"),
        "{web}"
    );
    assert!(!project.file("begun").exists(), "nothing was started");
    down(&project);
}

#[test]
fn pg_04_the_end_of_a_daemon_is_seen_with_its_code_and_is_restarted() {
    let project =
        Project::new(&daemon("backoff = { initial = \"1ms\" }").replace("\"TERM\", \"0\"", "\"USR1\", \"7\""));
    up(&project);
    let pid = number_in(&project, "web.pid");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid as i32),
        nix::sys::signal::Signal::SIGUSR1,
    )
    .unwrap();
    eventually("another one", || {
        let web = project.service("web");
        web["run"] == 2 && web["state"] == "ready"
    });
    let web = project.service("web");
    assert_eq!(
        (&web["last_exit"]["code"], &web["restarts"]),
        (&7.into(), &1.into()),
        "{web}"
    );
    assert_eq!(web["pid"], number_in(&project, "web.pid"));
    assert_eq!(project.run(&["kill", "-s", "USR1", "web"]).status.code(), Some(0));
    eventually("and another", || project.service("web")["run"] == 3);
    eventually("ready", || project.service("web")["state"] == "ready");
    // It listens to no SIGTERM but the default.
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn pg_02_a_daemon_that_nobody_announced_is_stopped_with_its_service() {
    let text = daemon("restart = \"no\"\nstop_timeout = \"100ms\"").replace("pid_file = \"web.pid\"\n", "");
    let project = Project::new(&text.replace("\"exit\", \"0\"", "\"await\", \"gate\", \"exit\", \"0\""));
    gate(&project, "gate");
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    eventually("the daemon has vanished", || number_in(&project, "web.pid") > 0);
    let pid = number_in(&project, "web.pid") as u32;
    open(&project, "gate");
    eventually("it has failed", || project.service("web")["state"] == "failed");
    let web = project.service("web");
    assert!(
        web["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("put itself into the background"),
        "{web}"
    );
    assert!(processes::stat(pid).is_none(), "it is not leaked");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}
