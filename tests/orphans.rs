//! A runner that was killed, guardian and daemon both: what of it still runs is seen, taken over, ended.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use common::{Project, eventually, stderr, stdout};

const TWO: &str = "[services.db]\ncommand = 'echo db >> ledger; echo here; exec sleep 1000'\nready = { log = 'here' }\n\
                   [services.web]\ncommand = 'echo web >> ledger; echo here; exec sleep 1000'\nready = { log = 'here' }\ndepends_on = ['db']\n";

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// Guardian and daemon, by the words that they were started with.
fn roles(project: &Project) -> Vec<u32> {
    let words = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut all = project.processes();
    all.retain(|pid| words(pid).contains("__daemon"));
    all
}

fn pid(service: &Value) -> u32 {
    service["pid"].as_u64().unwrap() as u32
}

fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[track_caller]
fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
}

/// A project that is up, whose two roles are then killed before either can do anything about it. Its services' pids.
fn lost(services_toml: &str) -> (Project, Vec<u32>) {
    let project = Project::new(services_toml);
    succeeds(&project.run(&["up", "-d"]));
    let pids = lose(&project);
    (project, pids)
}

fn lose(project: &Project) -> Vec<u32> {
    let services = project.ps()["services"].as_array().unwrap().clone();
    let pids = services
        .iter()
        .filter(|service| service["pid"].is_u64())
        .map(pid)
        .collect();
    eventually("there are two roles", || roles(project).len() == 2);
    let roles = roles(project);
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        roles.iter().for_each(|&role| send(role, signal));
    }
    eventually("the roles are gone", || nobody_listens(project.path()));
    pids
}

/// The last thread of the daemon has let go of the socket.
fn nobody_listens(project: &Path) -> bool {
    let connects = |folder: &PathBuf| UnixStream::connect(folder.join("api.sock")).is_ok();
    !runtime_dirs(project).iter().any(connects)
}

/// By what a client writes there.
fn runtime_dirs(project: &Path) -> Vec<PathBuf> {
    let dir = serde_json::json!(project.canonicalize().unwrap_or_else(|_| project.to_owned())).to_string();
    let bases = [
        "/run/runner".to_owned(),
        "/dev/shm/runner".to_owned(),
        format!("/tmp/runner-{}", nix::unistd::geteuid()),
    ];
    let entries = bases
        .iter()
        .filter_map(|base| std::fs::read_dir(base).ok())
        .flatten()
        .flatten();
    let is_its =
        |path: &PathBuf| std::fs::read_to_string(path.join("place.json")).is_ok_and(|text| text.contains(&dir));
    entries.map(|entry| entry.path()).filter(is_its).collect()
}

#[test]
fn orphans_are_shown_and_every_verb_says_what_to_do() {
    let (project, pids) = lost(TWO);
    let ps = project.run(&["ps"]);
    succeeds(&ps);
    assert!(stdout(&ps).contains("orphaned"), "{}", stdout(&ps));
    assert!(
        stderr(&ps).contains("`runner up`") && stderr(&ps).contains("`runner down`"),
        "{}",
        stderr(&ps)
    );
    for (name, pid) in [("db", pids[0]), ("web", pids[1])] {
        let service = project.service(name);
        assert_eq!(
            (&service["state"], service["pid"].as_u64()),
            (&"orphaned".into(), Some(pid.into()))
        );
        assert_eq!(service["run"], 1);
        assert!(service["uptime_s"].as_f64().unwrap() > 0.0 && service["memory_bytes"].as_u64().unwrap() > 0);
    }
    assert_eq!(stdout(&project.run(&["ps", "-q"])), "db\nweb\n");
    let why = project.run(&["why", "web"]);
    succeeds(&why);
    assert!(
        stdout(&why).contains("orphaned") || stdout(&why).contains("runs on alone"),
        "{}",
        stdout(&why)
    );
    for words in [
        &["start", "web"][..],
        &["restart"],
        &["reload"],
        &["kill", "web"],
        &["wait", "web"],
        &["inspect", "web"],
        &["ps", "-w"],
        &["top"],
        &["why", "nosuch"],
        &["events", "-f"],
        &["run", "web"],
    ] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(4), "{words:?}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(
            said.contains(&format!("web (pid {})", pids[1])) && said.contains("`runner up -d`"),
            "{words:?}: {said}"
        );
    }
    let health = project.run(&["health"]);
    assert_eq!((health.status.code(), stderr(&health).as_str()), (Some(1), ""));
    let ls = project.run(&["ls", "--json"]);
    let ls: Value = serde_json::from_slice(&ls.stdout).unwrap();
    let folder = project.path().canonicalize().unwrap().display().to_string();
    let mine = ls["projects"]
        .as_array()
        .unwrap()
        .iter()
        .find(|known| known["folder"] == *folder)
        .unwrap()
        .clone();
    assert_eq!((&mine["state"], &mine["services"]), (&"orphaned".into(), &2.into()));
    assert!(pids.iter().all(|&pid| lives(pid)), "nobody has touched them");

    send(pids[0], Signal::SIGKILL);
    send(pids[1], Signal::SIGKILL);
    eventually("they are gone", || !pids.iter().any(|&pid| lives(pid)));
    assert_eq!(project.run(&["ps"]).status.code(), Some(4));
    succeeds(&project.run(&["down"]));
    assert_eq!(runtime_dirs(project.path()), Vec::<PathBuf>::new());
}

#[test]
fn up_goes_on_with_orphans() {
    let (project, pids) = lost(TWO);
    succeeds(&project.run(&["up", "-d"]));
    for (name, pid) in [("db", pids[0]), ("web", pids[1])] {
        let service = project.service(name);
        assert_eq!(
            (&service["state"], service["pid"].as_u64()),
            (&"ready".into(), Some(pid.into()))
        );
        assert_eq!(service["adopted"], true);
    }
    assert_eq!(project.read("ledger"), "db\nweb\n");
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
}

#[test]
fn down_ends_orphans_in_order_and_starts_nothing() {
    let one = |name: &str, rest: &str| {
        format!(
            "[services.{name}]\ncommand = '''trap 'echo end {name} >> ledger; exit' TERM; echo start {name} >> ledger; touch {name}; while :; do sleep 1000 & wait $!; done'''\n\
             ready = {{ file = '{name}' }}\n{rest}"
        )
    };
    let file = one("db", "") + &one("web", "depends_on = ['db']\n") + &one("gone", "");
    let (project, pids) = lost(&file);
    // It is wanted, and `up` would start it.
    send(pids[2], Signal::SIGKILL);
    eventually("it is gone", || !lives(pids[2]));
    let started = project.read("ledger");
    assert_eq!(started.lines().count(), 3, "{started}");
    let down = project.run(&["down"]);
    succeeds(&down);
    assert_eq!(project.read("ledger").strip_prefix(&started), Some("end web\nend db\n"));
    project.assert_nothing_is_left();
    assert_eq!(runtime_dirs(project.path()), Vec::<PathBuf>::new());
    assert_eq!(project.run(&["ps"]).status.code(), Some(4));
    succeeds(&project.run(&["down"]));
}

#[test]
fn orphans_end_without_a_file_that_tells_of_them() {
    for (verb, break_file) in [("down", true), ("down", false), ("stop", true), ("stop", false)] {
        // Whoever ignores SIGTERM, and who has left the process group, ends all the same.
        let (project, pids) = lost(
            "[services.deaf]\ncommand = '''trap \"\" TERM; setsid sh -c 'echo $$ > child; exec sleep 1000' & echo up; while :; do sleep 1000; done'''\n\
             stop_timeout = '200ms'\nready = { log = 'up' }\n\
             [services.web]\ncommand = 'echo hello; exec sleep 1000'\n",
        );
        eventually("the child is there", || project.read("child").ends_with('\n'));
        let child: u32 = project.read("child").trim().parse().unwrap();
        match break_file {
            true => project.write("services.toml", "[services.web\n"),
            false => std::fs::remove_file(project.file("services.toml")).unwrap(),
        }
        assert_eq!(project.service("deaf")["state"], "orphaned");
        assert_eq!(stdout(&project.run(&["logs", "--no-prefix", "web"])), "hello\n");
        if break_file && verb == "stop" {
            let named = project.run(&["stop", "web"]);
            assert_eq!(named.status.code(), Some(2));
            assert!(stderr(&named).contains("runner down"), "{}", stderr(&named));
            assert!(lives(pids[1]));
        }
        succeeds(&project.run(&[verb]));
        assert!(!lives(child) && !pids.iter().any(|&pid| lives(pid)), "{verb}");
        project.assert_nothing_is_left();
    }
}

#[test]
fn stop_by_name_takes_everything_over_and_stops_what_is_named() {
    let (project, pids) = lost(TWO);
    assert_eq!(project.run(&["stop", "nosuch"]).status.code(), Some(3));
    succeeds(&project.run(&["stop", "web"]));
    assert!(lives(pids[0]) && !lives(pids[1]));
    let (db, web) = (project.service("db"), project.service("web"));
    assert_eq!(
        (&db["state"], db["pid"].as_u64()),
        (&"ready".into(), Some(pids[0].into()))
    );
    assert_eq!(web["state"], "stopped");
    assert_eq!(project.read("ledger"), "db\nweb\n");
    // By hand, and durably.
    lose(&project);
    succeeds(&project.run(&["stop", "db"]));
    assert_eq!(project.service("web")["state"], "stopped");
    assert_eq!(project.read("ledger"), "db\nweb\n");
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
}

/// Of a killed runner the socket may be gone before its lock is free.
#[test]
fn who_meets_a_runner_that_is_on_its_way_out_waits_for_its_end() {
    let (project, pids) = lost(TWO);
    let lock = std::fs::File::open(project.path().join(".runner/lock")).unwrap();
    lock.lock().unwrap();
    let mut stop = project.command(&["stop", "web"]).spawn().unwrap();
    eventually("it waits for the lock", || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        locks
            .lines()
            .map(words)
            .any(|words| words[1] == "->" && words.contains(&stop.id().to_string()))
            || stop.try_wait().unwrap().is_some()
    });
    drop(lock);
    assert_eq!(stop.wait().unwrap().code(), Some(0));
    assert!(lives(pids[0]) && !lives(pids[1]));
    succeeds(&project.run(&["down"]));
}

#[test]
fn a_service_that_is_to_end_with_runner_is_started_anew_and_others_live_on() {
    let file = "[services.keeps]\ncommand = 'echo keeps >> ledger; exec sleep 1000'\n\
                [services.ends]\ncommand = 'echo ends >> ledger; exec sleep 1000'\non_supervisor_exit = 'stop'\n";
    let (project, pids) = lost(file);
    let plan = project.run(&["plan"]);
    succeeds(&plan);
    let plan = stdout(&plan);
    assert!(plan.contains("= keeps") && plan.contains("~ ends"), "{plan}");
    succeeds(&project.run(&["up", "-d"]));
    assert_eq!(pid(&project.service("keeps")), pids[0]);
    assert_ne!(pid(&project.service("ends")), pids[1]);
    assert!(!lives(pids[1]));
    let mut ledger: Vec<String> = project.read("ledger").lines().map(str::to_owned).collect();
    ledger.sort();
    assert_eq!(ledger, ["ends", "ends", "keeps"]);
    // Only where both are gone.
    let (before, daemon) = (pid(&project.service("ends")), daemon(&project));
    send(daemon, Signal::SIGKILL);
    eventually("there is another daemon", || {
        roles(&project).len() == 2 && !roles(&project).contains(&daemon)
    });
    assert_eq!(pid(&project.service("ends")), before);
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
}

fn daemon(project: &Project) -> u32 {
    let is_guardian = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .unwrap_or_default()
            .contains("__guardian")
    };
    roles(project).into_iter().find(|pid| !is_guardian(pid)).unwrap()
}

#[test]
fn clean_refuses_while_a_runner_is_up() {
    let project = Project::new(TWO);
    succeeds(&project.run(&["up", "-d"]));
    let clean = project.run(&["clean", "--yes"]);
    assert_eq!(clean.status.code(), Some(1));
    assert!(stderr(&clean).contains("runner down"), "{}", stderr(&clean));
    assert_eq!(project.service("web")["state"], "ready");
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
}

#[test]
fn clean_ends_orphans_and_deletes_what_runner_keeps() {
    let (project, pids) = lost(TWO);
    project.write(".runner/mine", "");
    succeeds(&project.run(&["clean"]));
    assert!(!pids.iter().any(|&pid| lives(pid)));
    assert_eq!(runtime_dirs(project.path()), Vec::<PathBuf>::new());
    let left: Vec<_> = std::fs::read_dir(project.file(".runner"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        left.iter().all(|name| name == "mine" || name == ".gitignore"),
        "{left:?}"
    );
    std::fs::remove_file(project.file(".runner/mine")).unwrap();
    succeeds(&project.run(&["clean"]));
    assert!(!project.file(".runner").exists());
    succeeds(&project.run(&["clean"]));
    assert!(!project.file(".runner").exists());
    project.assert_nothing_is_left();
}

/// Somebody who has no project but those of this test: `clean --all` ends whatever is lost.
struct Somebody {
    uid: u32,
    home: tempfile::TempDir,
}

impl Somebody {
    fn new() -> Somebody {
        let uid = 1_000_000_000 + std::process::id();
        let home = tempfile::tempdir().unwrap();
        let somebody = Somebody { uid, home };
        somebody.owns(somebody.home.path());
        somebody
    }

    fn owns(&self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.uid)).unwrap();
    }

    fn project(&self, name: &str) -> PathBuf {
        let folder = self.home.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("services.toml");
        std::fs::write(
            &file,
            "[services.web]\ncommand = 'while :; do echo x; sleep 0.05; done'\n",
        )
        .unwrap();
        self.owns(&folder);
        self.owns(&file);
        folder
    }

    fn run(&self, folder: &Path, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(["-C", folder.to_str().unwrap()]).args(words);
        command
            .uid(self.uid)
            .gid(self.uid)
            .current_dir("/")
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    fn web(&self, folder: &Path) -> u32 {
        let ps: Value = serde_json::from_slice(&self.run(folder, &["ps", "--json"]).stdout).unwrap();
        pid(&ps["services"][0])
    }

    fn base(&self) -> PathBuf {
        format!("/tmp/runner-{}", self.uid).into()
    }

    /// Kills both roles; the service's pid.
    fn lose(&self, folder: &Path) -> u32 {
        let web = self.web(folder);
        let guardian = ppid(web);
        let lock: Value = serde_json::from_slice(&std::fs::read(folder.join(".runner/lock")).unwrap()).unwrap();
        assert_eq!(lock["guardian"], guardian);
        let roles = [guardian, child_named(guardian, "runner-daemon")];
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            roles.iter().for_each(|&role| send(role, signal));
        }
        let runtime_dir = PathBuf::from(lock["runtime_dir"].as_str().unwrap());
        eventually("the roles are gone", || {
            UnixStream::connect(runtime_dir.join("api.sock")).is_err()
        });
        web
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.base());
    }
}

#[test]
fn orphans_of_a_deleted_folder_are_found_by_its_path_and_by_all() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let somebody = Somebody::new();
    let (up, lost) = (
        somebody.project("up"),
        ["a", "b", "c"].map(|name| somebody.project(name)),
    );
    for folder in lost.iter().chain([&up]) {
        succeeds(&somebody.run(folder, &["up", "-d"]));
    }
    let webs = lost.each_ref().map(|folder| somebody.lose(folder));
    for folder in &lost[..2] {
        std::fs::remove_dir_all(folder).unwrap();
        let ps = somebody.run(folder, &["ps"]);
        assert!(stdout(&ps).contains("orphaned"), "{}", stderr(&ps));
    }
    succeeds(&somebody.run(&lost[0], &["clean"]));
    assert_eq!(webs.map(lives), [false, true, true]);
    let all = somebody.run(Path::new("/"), &["clean", "--all"]);
    succeeds(&all);
    assert!(stderr(&all).contains(lost[1].to_str().unwrap()), "{}", stderr(&all));
    assert_eq!(webs.map(lives), [false, false, false]);
    assert!(!lost[0].exists() && !lost[1].exists(), "nothing is made again");
    assert!(lost[2].join(".runner/logs/web.log").exists(), "logs stay");
    assert_eq!(
        std::fs::read_dir(somebody.base()).unwrap().count(),
        1,
        "the one that is up"
    );
    assert!(lives(somebody.web(&up)));
    succeeds(&somebody.run(&up, &["down"]));
}

fn stat(pid: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = (text.split_once('(')?.1.rsplit_once(')')?.0, text.rsplit_once(") ")?.1);
    Some((name.to_owned(), rest.split(' ').nth(1)?.parse().ok()?))
}

fn ppid(pid: u32) -> u32 {
    stat(pid).unwrap().1
}

fn child_named(parent: u32, name: &str) -> u32 {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|&pid| stat(pid).is_some_and(|found| found == (name.to_owned(), parent)))
        .unwrap()
}

/// What a hook, a step and a probe run: a shell and what it waits for, with a line in the ledger.
fn under_way(key: &str) -> String {
    let command = "echo begun >> ledger; sleep 1000; true";
    let errand = match key {
        "prepare" => format!("prepare = [{{ run = '{command}' }}]"),
        "hook" => format!("hooks = {{ pre_start = '{command}' }}"),
        "probe" => format!("ready = {{ exec = '{command}', timeout = '1h' }}"),
        other => panic!("{other}"),
    };
    format!("[services.web]\ncommand = 'exec sleep 1000'\n{errand}\n")
}

#[test]
fn none_hooks_steps_and_probes_of_a_lost_runner_are_ended_by_down_clean_and_the_next_up() {
    for key in ["prepare", "hook", "probe"] {
        let project = Project::new(&under_way(key));
        let begun = |count: usize| {
            eventually(&format!("{key} number {count}"), || {
                project.read("ledger").lines().count() == count
            });
        };
        succeeds(&project.run(&["up", "-d", "--no-wait"]));
        begun(1);
        lose(&project);
        assert!(!project.processes().is_empty(), "{key} goes on");
        succeeds(&project.run(&["down"]));
        project.assert_nothing_is_left();
        // By the next one.
        succeeds(&project.run(&["up", "-d", "--no-wait"]));
        begun(2);
        lose(&project);
        succeeds(&project.run(&["up", "-d", "--no-wait"]));
        begun(3);
        let is_sleep =
            |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default() == "sleep\n";
        let services = usize::from(key == "probe");
        eventually("only one of them is under way", || {
            project.processes().iter().filter(|pid| is_sleep(pid)).count() == 1 + services
        });
        lose(&project);
        succeeds(&project.run(&["clean", "--yes"]));
        project.assert_nothing_is_left();
    }
}
