//! Several runners, one after the other and side by side; and one that does not answer.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{CEILING, Project, eventually, stderr};
use crate::fixture;
use crate::roles::{Roles, send};

/// A service that tells the ledger of its starts and ends, with the instants.
fn ledgered(name: &str) -> String {
    format!(
        "[services.{name}]\ncommand = [{:?}, \"ledger\", \"{name}.ledger\", \"catch\", \"TERM\", \"0\", \"say\", \"here\", \"wait\"]\nready = {{ log = \"here\" }}\n",
        fixture::program()
    )
}

/// **ONE**: by the ledger, never two at the same time. How often it was started.
#[track_caller]
fn starts(project: &Project, name: &str) -> usize {
    let ledger = project.read(&format!("{name}.ledger"));
    let words: Vec<&str> = ledger.lines().map(|line| line.split(' ').next().unwrap()).collect();
    for pair in words.windows(2) {
        assert_ne!(pair[0], pair[1], "{name}: {ledger}");
    }
    words.iter().filter(|word| **word == "start").count()
}

fn runtime_folder(project: &Project) -> PathBuf {
    let lock: Value = serde_json::from_str(&project.read(".runner/lock")).unwrap();
    PathBuf::from(lock["runtime_dir"].as_str().unwrap())
}

fn begin(project: &Project, words: &[&str]) -> Child {
    let mut command = project.command(words);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
}

fn ls(project: &Project) -> Vec<Value> {
    let output = project.run(&["ls", "--json"]);
    succeeds(&output);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all["projects"].as_array().unwrap().clone()
}

/// What `ls` says of the projects in this folder.
fn of(all: &[Value], folder: &Path) -> Vec<Value> {
    let folder = folder.canonicalize().unwrap();
    let here = all.iter().filter(|one| one["folder"] == *folder.to_string_lossy());
    here.cloned().collect()
}

#[test]
fn tw_01_fifty_ups_at_the_same_instant_are_one_daemon_and_one_start_of_each() {
    let names = ["a", "b", "c"];
    let project = Project::new(&names.map(ledgered).concat());
    let ups: Vec<Child> = (0..50).map(|_| begin(&project, &["up", "-d"])).collect();
    let mut started = 0;
    for up in ups {
        let output = up.wait_with_output().unwrap();
        succeeds(&output);
        started += usize::from(!stderr(&output).contains("joined"));
    }
    assert_eq!(started, 1, "one has started it, and 49 have joined");
    Roles::of(&project);
    for name in names {
        assert_eq!(starts(&project, name), 1);
    }
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
}

#[test]
fn tw_02_what_a_killed_runner_leaves_behind_is_no_obstacle() {
    let project = Project::new("[services.web]\ncommand = \"exec sleep 1000\"\n");
    succeeds(&project.run(&["up", "-d"]));
    let orphan = project.service("web")["pid"].as_u64().unwrap() as u32;
    let roles = Roles::of(&project);
    // Neither sees the other's end.
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        roles.both().iter().for_each(|pid| send(*pid, signal));
    }
    eventually("they are gone", || {
        roles
            .both()
            .iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}/cmdline")).exists())
    });
    let socket = runtime_folder(&project).join("api.sock");
    assert!(
        socket.symlink_metadata().unwrap().file_type().is_socket(),
        "it is still there"
    );
    // `TW-05`: the service lives, and holds neither lock nor socket.
    assert_eq!(project.processes(), [orphan]);
    assert_eq!(project.service("web")["state"], "orphaned");
    assert_eq!(of(&ls(&project), project.path())[0]["state"], "orphaned");
    let up = project.run(&["up", "-d"]);
    succeeds(&up);
    assert!(!stderr(&up).contains("joined"), "{}", stderr(&up));
    let web = project.service("web");
    assert_eq!(
        (&web["state"], web["pid"].as_u64()),
        (&"ready".into(), Some(orphan.into()))
    );
    succeeds(&project.run(&["down"]));
    eventually("nothing is left", || project.processes().is_empty());
}

#[test]
fn tw_05_a_service_has_inherited_neither_lock_nor_socket() {
    let project = Project::new("[services.web]\ncommand = \"exec sleep 1000\"\n");
    succeeds(&project.run(&["up", "-d"]));
    let pid = project.service("web")["pid"].as_u64().unwrap();
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut held: Vec<(u32, PathBuf)> = entries
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().parse().unwrap(),
                std::fs::read_link(entry.path()).unwrap(),
            )
        })
        .collect();
    held.sort();
    let numbers: Vec<u32> = held.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2], "{held:?}");
    let is_ours = |path: &Path| path.ends_with("lock") || path.to_string_lossy().starts_with("socket:");
    assert!(!held.iter().any(|(_, path)| is_ours(path)), "{held:?}");
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
}

#[test]
fn tw_08_a_second_runner_that_can_not_start_takes_nothing_from_the_first() {
    let file = ledgered("web");
    let project = Project::new(&file);
    succeeds(&project.run(&["up", "-d", "--no-reload"]));
    let (before, roles) = (project.service("web")["pid"].clone(), Roles::of(&project));
    let folder = runtime_folder(&project);
    let entries = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let picture = || {
        (
            entries(&folder),
            entries(&project.file(".runner")),
            project.read(".runner/lock"),
        )
    };
    let was = picture();
    let limited = |limits: &str| {
        let script = format!("{limits}; exec {} up -d", env!("CARGO_BIN_EXE_runner"));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .current_dir(project.path())
            .output()
            .unwrap()
    };
    assert_ne!(limited("ulimit -n 4").status.code(), Some(0));
    assert_ne!(limited("ulimit -v 20000").status.code(), Some(0));
    assert_eq!(project.run(&["up", "-d", "nosuch"]).status.code(), Some(3));
    project.write("services.toml", "[services.web]\ncommnad = \"x\"\n");
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(2));
    project.write("services.toml", &format!("project.state_dir = \"elsewhere\"\n{file}"));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(2));
    project.write("services.toml", &file);
    assert_eq!(picture(), was);
    let now = Roles::of(&project);
    assert_eq!((now.both(), &project.service("web")["pid"]), (roles.both(), &before));
    assert_eq!(starts(&project, "web"), 1);
    succeeds(&project.run(&["down"]));
    eventually("nothing is left", || project.processes().is_empty());
}

#[test]
fn tw_10_up_races_with_down_and_the_result_is_one_of_the_two_orders() {
    let project = Project::new(&ledgered("web"));
    let mut up_was_last = 0;
    for round in 0..30 {
        let (first, second) = if round % 2 == 0 { ("up", "down") } else { ("down", "up") };
        let words = |verb| if verb == "up" { &["up", "-d"][..] } else { &["down"] };
        let racers = [first, second].map(|verb| (verb, begin(&project, words(verb))));
        for (verb, racer) in racers {
            let output = racer.wait_with_output().unwrap();
            let told = stderr(&output);
            match output.status.code() {
                Some(0) => {}
                // What it waits for does not come any more.
                Some(1) if verb == "up" && told.contains("ended: runner down") => {}
                code => panic!("round {round}, {verb}: {code:?}: {told}"),
            }
        }
        let ps = project.run(&["ps", "--json"]);
        match ps.status.code() {
            // `down` was last.
            Some(4) => project.assert_nothing_is_left(),
            Some(0) => {
                up_was_last += 1;
                assert_eq!(project.service("web")["state"], "ready", "round {round}");
                Roles::of(&project);
            }
            other => panic!("round {round}: {other:?}: {}", stderr(&ps)),
        }
        starts(&project, "web");
    }
    println!("{up_was_last} of 30 ended up");
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
    starts(&project, "web");
}

#[test]
fn tw_10_many_downs_at_the_same_instant_are_all_content() {
    let project = Project::new(&ledgered("web"));
    for round in 0..5 {
        succeeds(&project.run(&["up", "-d"]));
        let downs: Vec<Child> = (0..10).map(|_| begin(&project, &["down"])).collect();
        for down in downs {
            let output = down.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "round {round}: {}", stderr(&output));
        }
        eventually("nothing is left", || project.processes().is_empty());
    }
    assert_eq!(starts(&project, "web"), 5);
}

#[test]
fn ex_07_a_start_during_a_slow_stop_waits_and_never_are_there_two() {
    let project = Project::new(
        "[services.slow]\ncommand = \"echo start >> ledger; mkfifo go; trap 'read x < go; rm go; echo stop >> ledger; exit 0' TERM; mkfifo idle; exec 3<>idle; rm idle; echo here; read line <&3\"\n\
         ready = { log = \"here\" }\nstop_timeout = \"1h\"\n",
    );
    succeeds(&project.run(&["up", "-d"]));
    succeeds(&project.run(&["stop", "--no-wait", "slow"]));
    eventually("it is stopping", || project.service("slow")["state"] == "stopping");
    let pid = project.service("slow")["pid"].clone();
    let racers: Vec<Child> = ["start", "start", "restart"]
        .map(|verb| begin(&project, &[verb, "slow"]))
        .into();
    eventually("it is wanted again", || project.service("slow")["wanted"] == true);
    let service = project.service("slow");
    assert_eq!((&service["state"], &service["pid"]), (&"stopping".into(), &pid));
    assert_eq!(project.read("ledger"), "start\n");
    std::fs::write(project.file("go"), "\n").unwrap();
    for racer in racers {
        succeeds(&racer.wait_with_output().unwrap());
    }
    assert_eq!(project.service("slow")["state"], "ready");
    assert_eq!(project.read("ledger"), "start\nstop\nstart\n");
    succeeds(&project.run(&["down", "-t", "0s"]));
    project.assert_nothing_is_left();
}

#[test]
fn a_stopped_daemon_is_named_with_what_to_do_and_goes_on_afterwards() {
    let project = Project::new(&ledgered("web"));
    succeeds(&project.run(&["up", "-d"]));
    let roles = Roles::of(&project);
    send(roles.daemon, Signal::SIGSTOP);
    let began = Instant::now();
    // All at once: each of them waits for as long.
    let verbs: Vec<Vec<&str>> = [
        "ps",
        "why web",
        "inspect web",
        "plan",
        "health",
        "top",
        "ps -w",
        "logs web",
        "logs -f",
        "events",
        "events -f",
        "kill web -s CONT",
        "stop --no-wait web",
        "start --no-wait web",
        "down",
        "up -d --no-wait",
        "up -d",
        "run web -- true",
    ]
    .map(|words| words.split(' ').collect())
    .into();
    let asked: Vec<_> = verbs.iter().map(|words| (words, begin(&project, words))).collect();
    for (words, child) in asked {
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        if words[0] != "health" {
            let pid = roles.daemon;
            assert!(said.contains(&format!("pid {pid} is stopped")), "{words:?}: {said}");
            assert!(said.contains(&format!("kill -CONT {pid}")), "{words:?}: {said}");
        }
    }
    // The queue in front of it is full: not even a connection is to be had.
    let socket = runtime_folder(&project).join("api.sock");
    let queue = fill(&socket);
    let ps = project.run(&["ps"]);
    assert_eq!(ps.status.code(), Some(1));
    assert!(stderr(&ps).contains("kill -CONT"), "{}", stderr(&ps));
    let silent = of(&ls(&project), project.path());
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert_eq!(
        (&silent[0]["state"], &silent[0]["pid"]),
        (&"silent".into(), &roles.guardian.into())
    );
    assert!(began.elapsed() < CEILING, "{:?}", began.elapsed());
    drop(queue);
    send(roles.daemon, Signal::SIGCONT);
    // What was asked of it meanwhile it may have read, or not: nobody waited for it any more.
    eventually("it answers again", || {
        matches!(project.run(&["ps"]).status.code(), Some(0 | 4))
    });
    succeeds(&project.run(&["up", "-d"]));
    assert_eq!(project.service("web")["state"], "ready");
    starts(&project, "web");
    succeeds(&project.run(&["down"]));
    project.assert_nothing_is_left();
}

/// As many connections as the kernel queues.
fn fill(socket: &Path) -> Vec<UnixStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket as make};
    use std::os::fd::AsRawFd;
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard.min(16_384), hard).unwrap();
    let mut queue = Vec::new();
    loop {
        let one = make(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        match connect(one.as_raw_fd(), &UnixAddr::new(socket).unwrap()) {
            Ok(()) => queue.push(UnixStream::from(one)),
            Err(nix::errno::Errno::EAGAIN) => return queue,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A failed test must not leave them running.
struct Copies<'a>(&'a Project);

impl Drop for Copies<'_> {
    fn drop(&mut self) {
        for name in ["copy", "other"] {
            let _ = self.0.run(&["-p", name, "down", "-t", "0s"]);
        }
    }
}

#[test]
fn projects_side_by_side_are_each_their_own_and_all_are_listed() {
    let good = Project::new("[services.web]\ncommand = \"exec sleep 1000\"\n");
    let bad =
        Project::new("[services.web]\ncommand = \"nosuch-program\"\n[services.db]\ncommand = \"exec sleep 1000\"\n");
    let silent = Project::new("[services.web]\ncommand = \"exec sleep 1000\"\n");
    succeeds(&good.run(&["up", "-d"]));
    let _copies = Copies(&good);
    succeeds(&good.run(&["-p", "copy", "up", "-d"]));
    succeeds(&good.run(&["-p", "other", "up", "-d"]));
    assert_eq!(bad.run(&["up", "-d"]).status.code(), Some(1));
    succeeds(&silent.run(&["up", "-d"]));
    let roles = Roles::of(&silent);
    send(roles.daemon, Signal::SIGSTOP);
    let mut all = Vec::new();
    // On a machine that is busy for seconds others are silent too.
    eventually("those that can do answer", || {
        all = ls(&good);
        let answers = |one: &Value| one["state"] != "silent";
        of(&all, good.path()).iter().all(answers) && of(&all, bad.path()).iter().all(answers)
    });
    send(roles.daemon, Signal::SIGCONT);
    let state = |one: &Value| {
        (
            one["name"].as_str().unwrap().to_owned(),
            one["state"].as_str().unwrap().to_owned(),
        )
    };
    let mut copies: Vec<_> = of(&all, good.path()).iter().map(state).collect();
    let own = good.path().file_name().unwrap().to_string_lossy().into_owned();
    let mut wanted = [own.as_str(), "copy", "other"].map(|name| (name.to_owned(), "up".to_owned()));
    copies.sort();
    wanted.sort();
    assert_eq!(copies, wanted);
    let bad_one = of(&all, bad.path());
    assert_eq!(
        (&bad_one[0]["state"], &bad_one[0]["services"]),
        (&"failed".into(), &2.into())
    );
    let silent_one = of(&all, silent.path());
    assert_eq!(
        (&silent_one[0]["state"], &silent_one[0]["pid"]),
        (&"silent".into(), &roles.guardian.into())
    );

    // What is done to one is done to no other.
    let pid = |project: &[&str]| {
        let output = good.run(&[project, &["ps", "--json"]].concat());
        let ps: Value = serde_json::from_slice(&output.stdout).unwrap();
        ps["services"][0]["pid"].clone()
    };
    let before = (pid(&[]), pid(&["-p", "other"]));
    assert!(before.0 != before.1 && before.0.is_u64());
    succeeds(&good.run(&["-p", "copy", "stop"]));
    succeeds(&good.run(&["-p", "copy", "down"]));
    assert_eq!(good.run(&["-p", "copy", "ps"]).status.code(), Some(4));
    assert_eq!((pid(&[]), pid(&["-p", "other"])), before);
    let left: Vec<_> = of(&ls(&good), good.path()).iter().map(state).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    succeeds(&good.run(&["down"]));
    assert_eq!(pid(&["-p", "other"]), before.1);
    succeeds(&good.run(&["-p", "other", "down"]));
    succeeds(&bad.run(&["down"]));
    succeeds(&silent.run(&["down"]));
    for project in [&good, &bad, &silent] {
        project.assert_nothing_is_left();
        assert_eq!(of(&ls(&good), project.path()), [] as [Value; 0]);
    }
}

#[test]
fn a_project_far_down_can_be_reached_also_where_its_socket_lies_beside_it() {
    let project = Project::new("");
    let deep = project.path().join("d".repeat(90)).join("e".repeat(90));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(
        deep.join("services.toml"),
        "[services.web]\ncommand = \"exec sleep 1000\"\n",
    )
    .unwrap();
    let runner = project.file("runner");
    // By another process: one that is forked here meanwhile would hold it open for writing, and so keep it from running.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_runner"))
        .arg(&runner)
        .status();
    assert!(copied.unwrap().success());
    let mut users = vec![None];
    const STRANGER: u32 = 54_322;
    let taken = PathBuf::from(format!("/tmp/runner-{STRANGER}"));
    if nix::unistd::Uid::effective().is_root() {
        // For this one the place in /tmp is somebody else's.
        users.push(Some(STRANGER));
        std::fs::write(&taken, "").unwrap();
    }
    for user in users {
        let typed = |words: &str| {
            let mut command = Command::new(&runner);
            command.args(words.split(' ')).current_dir(&deep).stdin(Stdio::null());
            if let Some(user) = user {
                command.uid(user).gid(user);
            }
            command.output().unwrap()
        };
        if user.is_some() {
            let own = Command::new("chown")
                .args(["-R", &STRANGER.to_string()])
                .arg(project.path())
                .status();
            assert!(own.unwrap().success());
        }
        for words in ["up -d", "ps", "up -d", "logs", "restart web"] {
            succeeds(&typed(words));
        }
        if user.is_some() {
            let socket = deep.join(".runner/run/api.sock");
            assert!(
                socket.as_os_str().len() > 107 && socket.exists(),
                "{}",
                socket.display()
            );
        }
        succeeds(&typed("down"));
        assert_eq!(typed("ps").status.code(), Some(4));
        project.assert_nothing_is_left();
        std::fs::remove_dir_all(deep.join(".runner")).unwrap();
    }
    if nix::unistd::Uid::effective().is_root() {
        std::fs::remove_file(taken).unwrap();
    }
}

#[test]
fn tw_07_a_state_folder_that_another_runner_uses_is_said_to_be_in_use() {
    let shared = tempfile::tempdir().unwrap();
    let state = format!("project.state_dir = {:?}\n", shared.path());
    let one = Project::new(&(state.clone() + &ledgered("web")));
    let two = Project::new(&(state + &ledgered("web")));
    succeeds(&one.run(&["up", "-d"]));
    for words in [&["up", "-d"][..], &["down"], &["clean", "--yes"]] {
        let refused = two.run(words);
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        let told = stderr(&refused);
        let whose = format!("is in use by the runner of {}", one.path().display());
        assert!(told.contains(&whose) && told.contains("runner -C"), "{words:?}: {told}");
    }
    assert_eq!(one.service("web")["state"], "ready");
    succeeds(&one.run(&["down"]));
    succeeds(&two.run(&["up", "-d"]));
    succeeds(&two.run(&["down"]));
    one.assert_nothing_is_left();
    two.assert_nothing_is_left();
}

#[test]
fn tw_01_an_up_with_other_files_is_refused_and_not_taken_for_done() {
    let project = Project::new(&ledgered("web"));
    project.write("more.toml", &ledgered("more"));
    succeeds(&project.run(&["up", "-d"]));
    let both = ["-f", "services.toml", "-f", "more.toml"];
    for verb in [&["up", "-d"][..], &["plan"]] {
        let refused = project.run(&[&both[..], verb].concat());
        assert_eq!(refused.status.code(), Some(1), "{verb:?}: {}", stderr(&refused));
        let told = stderr(&refused);
        assert!(
            told.contains("is up with services.toml, and not with services.toml, more.toml"),
            "{told}"
        );
    }
    succeeds(&project.run(&["-f", "services.toml", "up", "-d"]));
    succeeds(&project.run(&["down"]));
    succeeds(&project.run(&[&both[..], &["up", "-d"]].concat()));
    assert_eq!(project.ps()["services"].as_array().unwrap().len(), 2);
    // Verbs that read no file find it all the same.
    succeeds(&project.run(&["down"]));
}
