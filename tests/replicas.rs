//! `replicas`, `scale`, `rollout` and shared ports, on the built binary.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;
#[path = "fixture/mod.rs"]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use common::roles::{Roles, send};
use common::{Project, eventually, free_port, stderr, stdout};
use nix::sys::signal::Signal;
use serde_json::Value;

#[track_caller]
fn succeed(project: &Project, words: &[&str]) -> String {
    let output = project.run(words);
    assert!(
        output.status.success(),
        "{words:?}: {}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

#[track_caller]
fn refused(project: &Project, words: &[&str]) -> String {
    let output = project.run(words);
    assert!(!output.status.success(), "{words:?}: {}", stdout(&output));
    stderr(&output)
}

fn up(services_toml: &str) -> Project {
    let project = Project::new(services_toml);
    succeed(&project, &["up", "-d"]);
    project
}

/// Names and PIDs of what runs.
fn pids(project: &Project) -> BTreeMap<String, u64> {
    let ps = project.ps();
    let services = ps["services"].as_array().unwrap().iter();
    let living = services.filter_map(|service| {
        let name = service["name"].as_str()?.to_owned();
        Some((name, service["pid"].as_u64()?))
    });
    living.collect()
}

fn names(project: &Project) -> Vec<String> {
    pids(project).into_keys().collect()
}

fn events(project: &Project) -> Vec<Value> {
    let text = succeed(project, &["events", "--json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kill_both(project: &Project) {
    let roles = Roles::of(project);
    send(roles.daemon, Signal::SIGSTOP);
    let both = [roles.guardian, roles.daemon];
    let held = both.map(|pid| runner::sys::pidfd::open(pid).unwrap());
    both.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
    held.iter()
        .for_each(|held| runner::sys::pidfd::wait_for_exit(held.as_fd()));
}

#[test]
fn named_instances_have_ports_and_logs_of_their_own_and_an_edit_touches_only_the_difference() {
    let file = |instances: &str| {
        format!(
            "[services.php]\ncommand = 'echo this is {{{{ instance }}}} on {{{{ port }}}}; exec sleep 1000'\n\
             replicas = {instances}\nports = {{ fpm = 'auto' }}\nready = {{ log = 'this is' }}\n\
             [services.web]\ncommand = 'echo {{{{ services[\"php@8.2\"].port }}}}; exec sleep 1000'\ndepends_on = ['php']\n"
        )
    };
    let project = up(&file("['8.2', '8.3']"));
    let port = |name: &str| project.service(name)["ports"]["fpm"].as_u64().unwrap();
    let (first, second) = (port("php@8.2"), port("php@8.3"));
    assert_ne!(first, second);
    let before = pids(&project);
    let log = |words: &[&str]| succeed(&project, &[&["logs", "--no-prefix"], words].concat());
    assert_eq!(log(&["php@8.3"]), format!("this is 8.3 on {second}\n"));
    let all = log(&["php"]);
    assert!(
        all.contains(&format!("8.2 on {first}\n")) && all.lines().count() == 2,
        "{all}"
    );
    assert_eq!(
        project.read(".runner/logs/php@8.2.log"),
        format!("this is 8.2 on {first}\n")
    );
    assert_eq!(log(&["web"]), format!("{first}\n"));

    project.write("services.toml", &file("['8.2', '8.4']"));
    succeed(&project, &["up", "-d"]);
    let after = pids(&project);
    assert_eq!(after.keys().collect::<Vec<_>>(), ["php@8.2", "php@8.4", "web"]);
    assert_eq!((after["php@8.2"], after["web"]), (before["php@8.2"], before["web"]));
    // It comes back with the number that it had.
    project.write("services.toml", &file("['8.2', '8.3']"));
    succeed(&project, &["up", "-d"]);
    assert_eq!(
        (port("php@8.3"), pids(&project)["php@8.2"]),
        (second, before["php@8.2"])
    );

    // The name of them all, and of each.
    assert!(refused(&project, &["inspect", "php"]).contains("php@8.2"));
    assert!(refused(&project, &["wait", "php@8.5"]).contains("there are php@8.2, php@8.3"));
    assert!(refused(&project, &["scale", "php=3"]).contains("are named"));
    assert!(refused(&project, &["scale", "web=3"]).contains("has no `replicas`"));
    succeed(&project, &["stop", "php@8.3"]);
    assert_eq!(project.service("php@8.3")["state"], "stopped");
    assert_eq!(project.service("php@8.2")["state"], "ready");
    succeed(&project, &["start", "php"]);
    assert_eq!(names(&project).len(), 3);
    succeed(&project, &["run", "php", "--", "true"]);
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

fn scaled(replicas: u32, more: &str) -> String {
    format!(
        "[services.web]\ncommand = 'exec sleep 1000'\nreplicas = {replicas}\n[services.db]\ncommand = 'exec sleep 1000'\n{more}"
    )
}

const OTHER: &str = "[services.other]\ncommand = 'exec sleep 1000'\n";

#[test]
fn scale_touches_only_the_difference_and_outlives_saves_and_everything_killed() {
    let project = up(&scaled(2, ""));
    let before = pids(&project);
    let said = project.run(&["scale", "web=4"]);
    assert!(
        said.status.success() && stderr(&said).contains("web@4"),
        "{}",
        stderr(&said)
    );
    let four = pids(&project);
    let web = ["web@1", "web@2", "web@3", "web@4"];
    assert_eq!(four.keys().collect::<Vec<_>>(), [&["db"], &web[..]].concat());
    assert!(
        before.iter().all(|(name, pid)| four[name] == *pid),
        "{before:?} {four:?}"
    );
    succeed(&project, &["scale", "web=3"]);
    let three = pids(&project);
    assert_eq!(three.len(), 4);
    assert!(three.iter().all(|(name, pid)| four[name] == *pid));

    // Over a save of something else, and an `up` of something else.
    project.write("services.toml", &scaled(2, OTHER));
    succeed(&project, &["up", "-d", "other"]);
    let goes_on = |what: &str| {
        let now = pids(&project);
        assert!(
            three.iter().all(|(name, pid)| now.get(name) == Some(pid)),
            "{what}: {three:?} {now:?}"
        );
        assert!(!now.contains_key("web@4"), "{what}");
    };
    goes_on("a save");
    // The daemon is killed, then both; the next runner was told to start something else.
    let daemon = Roles::of(&project).daemon;
    send(daemon, Signal::SIGKILL);
    eventually("another daemon", || Roles::of(&project).daemon != daemon);
    goes_on("a killed daemon");
    kill_both(&project);
    succeed(&project, &["up", "-d", "other"]);
    goes_on("everything killed");
    assert!(succeed(&project, &["plan"]).contains("- web@3"), "`up` takes it back");

    // Down to none, and up again; the words of a group of none mean nobody.
    succeed(&project, &["scale", "web=0"]);
    assert_eq!(names(&project), ["db", "other"]);
    assert!(refused(&project, &["stop", "web"]).contains("has no replicas now"));
    assert_eq!(names(&project), ["db", "other"]);
    succeed(&project, &["scale", "web=1"]);
    assert_eq!(names(&project), ["db", "other", "web@1"]);

    // An edit of the key takes it back, and so does an `up` that names it.
    project.write("services.toml", &scaled(3, OTHER));
    eventually("as many as the file says", || names(&project).len() == 5);
    succeed(&project, &["scale", "web=1"]);
    succeed(&project, &["up", "-d", "web"]);
    assert_eq!(names(&project).len(), 5);
    succeed(&project, &["scale", "web=1"]);
    succeed(&project, &["down"]);
    succeed(&project, &["up", "-d"]);
    assert_eq!(names(&project).len(), 5, "`down` takes everything back");
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn what_a_file_can_not_do_with_is_refused_and_changes_nothing() {
    let project = up(
        "[services.web]\ncommand = 'exec sleep 1000'\nreplicas = 1\nports = [1]\non_port_conflict = 'fail'\nready = { file = '/' }\n\
                      [services.db]\ncommand = 'exec sleep 1000'\n",
    );
    let before = pids(&project);
    let said = refused(&project, &["scale", "web=2"]);
    assert!(said.contains("port 1 can't be had by 2 replicas"), "{said}");
    assert!(refused(&project, &["scale", "web=1001"]).contains("1000"));
    assert!(refused(&project, &["scale", "web@1=2"]).contains("runner scale web=N"));
    assert!(refused(&project, &["scale", "wbe=2"]).contains("`web`"));
    assert!(refused(&project, &["scale", "@x=2"]).contains("label"));
    // A file that broke meanwhile is not looked at.
    project.write("services.toml", "[services");
    assert!(refused(&project, &["plan"]).contains("services.toml"));
    succeed(&project, &["scale", "web=0"]);
    succeed(&project, &["scale", "web=1"]);
    let after = pids(&project);
    assert_eq!(after["db"], before["db"]);
    assert_eq!(after.len(), 2);
    succeed(&project, &["down"]);
}

/// How many of these were down at most at any time, by what was told since.
fn most_down(events: &[Value], group: &str) -> usize {
    let (mut down, mut most) = (BTreeSet::new(), 0);
    for event in events {
        let Some(name) = event["service"].as_str().filter(|name| name.starts_with(group)) else {
            continue;
        };
        match event["event"].as_str().unwrap() {
            "stopping" | "exited" | "failed" => drop(down.insert(name.to_owned())),
            "ready" => drop(down.remove(name)),
            _ => {}
        }
        most = most.max(down.len());
    }
    most
}

#[test]
fn an_edit_restarts_one_at_a_time_and_stops_at_one_that_fails_and_is_taken_back() {
    let file = |word: &str, more: &str| {
        format!(
            "[services.web]\ncommand = 'test {word} != bad && echo {word} {{{{ instance }}}} && exec sleep 1000'\nreplicas = 3\n\
             ready = {{ log = '{word}' }}\nrestart = 'no'\n{more}\
             [services.proxy]\ncommand = 'exec sleep 1000'\ndepends_on = ['web']\n"
        )
    };
    let project = up(&file("one", ""));
    let before = pids(&project);
    let began = events(&project).len();
    project.write("services.toml", &file("two", ""));
    let plan = succeed(&project, &["plan"]);
    assert!(
        plan.contains("(after web@1)") && plan.contains("(after web@2)"),
        "{plan}"
    );
    succeed(&project, &["up", "-d"]);
    let after = pids(&project);
    for name in ["web@1", "web@2", "web@3"] {
        assert_ne!(before[name], after[name], "{name}");
    }
    assert_eq!(before["proxy"], after["proxy"]);
    let told = events(&project);
    assert_eq!(most_down(&told[began..], "web@"), 1);
    let order: Vec<&str> = told[began..]
        .iter()
        .filter(|event| event["event"] == "ready")
        .filter_map(|event| event["service"].as_str())
        .collect();
    assert_eq!(order, ["web@1", "web@2", "web@3"]);

    // The same by hand.
    let began = told.len();
    succeed(&project, &["restart", "web"]);
    let by_hand = pids(&project);
    assert!(
        ["web@1", "web@2", "web@3"]
            .iter()
            .all(|name| by_hand[*name] != after[*name])
    );
    assert_eq!(most_down(&events(&project)[began..], "web@"), 1);

    // The first one fails: the others go on as they are, and it is said why.
    project.write("services.toml", &file("bad", ""));
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(1), "{}", stderr(&up));
    let now = pids(&project);
    assert_eq!(
        (now.get("web@1"), now["web@2"], now["web@3"]),
        (None, by_hand["web@2"], by_hand["web@3"])
    );
    let drift = project.service("web@2")["drift"].as_str().unwrap().to_owned();
    assert!(drift.contains("halted by web@1"), "{drift}");
    let why = succeed(&project, &["why", "web@3"]);
    assert!(why.contains("web@1 has failed"), "{why}");
    let told = events(&project);
    let halts = told.iter().filter_map(|event| event["message"].as_str());
    let halts: Vec<&str> = halts
        .filter(|message| message.contains("rollout of web is halted"))
        .collect();
    assert!(halts.len() == 1 && halts[0].contains("web@2, web@3 go on"), "{halts:?}");
    // A daemon that is killed then knows it all the same.
    let daemon = Roles::of(&project).daemon;
    send(daemon, Signal::SIGKILL);
    eventually("another daemon", || Roles::of(&project).daemon != daemon);
    assert_eq!(project.service("web@2")["pid"], by_hand["web@2"]);
    // It serves, which is what `wait` asks.
    succeed(&project, &["wait", "web@2"]);

    // Back to what the others run with: only the first one is started.
    project.write("services.toml", &file("two", ""));
    succeed(&project, &["up", "-d"]);
    let back = pids(&project);
    assert_eq!(back.len(), 4);
    assert_eq!(back["proxy"], before["proxy"]);

    // All at once, where the file says so.
    project.write("services.toml", &file("two", "rollout = 'all'\n"));
    succeed(&project, &["up", "-d"]);
    assert_eq!(pids(&project), back, "`rollout` is live");
    let began = events(&project).len();
    project.write("services.toml", &file("three", "rollout = 'all'\n"));
    succeed(&project, &["up", "-d"]);
    assert_eq!(most_down(&events(&project)[began..], "web@"), 3);
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn replicas_share_a_port_and_each_is_ready_by_itself_and_a_stranger_is_told() {
    let fixture = fixture::program().display().to_string();
    let port = free_port();
    let project = Project::new(&format!(
        "[services.web]\ncommand = ['{fixture}', 'share', '{{{{ port }}}}', 'wait']\nreplicas = 3\n\
         ports = {{ http = {{ port = {port}, shared = true }} }}\n"
    ));
    succeed(&project, &["up", "-d"]);
    for name in ["web@1", "web@2", "web@3"] {
        let service = project.service(name);
        assert_eq!(
            (service["state"].as_str(), service["ports"]["http"].as_u64()),
            (Some("ready"), Some(u64::from(port)))
        );
    }
    succeed(&project, &["scale", "web=4"]);
    let before = pids(&project);
    succeed(&project, &["restart", "web@2"]);
    let after = pids(&project);
    assert_ne!(before["web@2"], after["web@2"]);
    assert_eq!(before["web@1"], after["web@1"]);
    // A daemon after this one knows them as those that share it.
    let daemon = Roles::of(&project).daemon;
    send(daemon, Signal::SIGKILL);
    eventually("another daemon", || Roles::of(&project).daemon != daemon);
    succeed(&project, &["restart", "web@1"]);
    succeed(&project, &["stop"]);

    // Somebody else who would take part of the connections.
    let mut stranger = Command::new(&fixture)
        .args(["share", &port.to_string(), "wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stranger.stdout.take().unwrap()), &mut line).unwrap();
    let start = project.run(&["start", "web"]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(start.status.code(), Some(1), "{}", stderr(&start));
    let said = stderr(&start);
    assert!(
        said.contains("is in use") && said.contains(&stranger.id().to_string()),
        "{said}"
    );
    // They start once it is gone.
    eventually("all are ready", || project.run(&["health"]).status.success());
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn the_api_scales_and_says_what_it_can_not() {
    let project = up(&scaled(1, ""));
    let curl = |body: &str, name: &str| {
        let socket = runner::sys::lock::LockText::read(&project.file(".runner/lock"))
            .unwrap()
            .runtime_dir
            .join("api.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let request = format!(
            "POST /v1/services/{name}/scale HTTP/1.1\r\nHost: runner\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    };
    assert!(curl("{\"replicas\":2,\"wait\":true}", "web").starts_with("HTTP/1.1 200"));
    assert_eq!(names(&project), ["db", "web@1", "web@2"]);
    // What does not say how many is no request for none.
    for (body, status) in [
        ("", "400"),
        ("{}", "400"),
        ("[]", "400"),
        ("{\"replicas\":-1}", "400"),
        ("{\"replicas\":\"2\"}", "400"),
        ("{\"replicas\":1e9}", "400"),
        ("{\"replicas\":2,\"x\":1}", "400"),
        ("{\"replicas\":99999}", "400"),
    ] {
        let answer = curl(body, "web");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {answer}");
    }
    assert!(curl("{\"replicas\":2}", "nosuch").starts_with("HTTP/1.1 404"));
    assert!(curl("{\"replicas\":2}", "db").starts_with("HTTP/1.1 409"));
    assert_eq!(names(&project), ["db", "web@1", "web@2"]);
    succeed(&project, &["down"]);
}

#[test]
fn a_member_that_was_stopped_and_scaled_away_is_asked_for_by_a_scale() {
    let project = up("[services.web]\ncommand = 'exec sleep 1000'\nreplicas = 2\n");
    succeed(&project, &["stop", "web@2"]);
    succeed(&project, &["scale", "web=1"]);
    succeed(&project, &["scale", "web=2"]);
    assert_eq!(names(&project), ["web@1", "web@2"]);
    // A save is no such wish.
    succeed(&project, &["stop", "web@2"]);
    let toml = project.read("services.toml");
    project.write("services.toml", &format!("{toml}description = 'x'\n"));
    succeed(&project, &["wait", "web@1"]);
    assert_eq!(names(&project), ["web@1"]);
    succeed(&project, &["down"]);
}
