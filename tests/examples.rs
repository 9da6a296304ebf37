//! The worked examples, each run in a copy of its folder.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;

use common::{Project, eventually, stderr, stdout};

fn example(name: &str) -> Project {
    let project = Project::new("");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(from.join("."))
        .arg(project.path())
        .status();
    assert!(copied.unwrap().success());
    project
}

fn pids(project: &Project, names: &[&str]) -> Vec<u64> {
    let pid = |name: &&str| project.service(name)["pid"].as_u64().unwrap();
    names.iter().map(pid).collect()
}

#[test]
fn tunnels_come_and_go_with_their_servers_and_their_failures_have_names() {
    let project = example("tunnels");
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    let url = |name: &str| project.service(name)["url"].as_str().unwrap().to_owned();
    let (shop, docs) = (url("shop-tunnel"), url("docs-tunnel"));
    assert!(
        shop.starts_with("https://shop-") && docs.starts_with("https://docs-"),
        "{shop} {docs}"
    );
    let logs = stdout(&project.run(&["logs", "bot"]));
    assert!(logs.contains(&format!("webhooks go to {shop} and {docs}")), "{logs}");
    let others = pids(&project, &["docs", "docs-tunnel"]);
    let before = pids(&project, &["shop", "shop-tunnel", "bot"]);
    assert!(project.run(&["restart", "shop"]).status.success());
    eventually("the bot is told the new address", || {
        let tunnel = project.service("shop-tunnel")["url"].as_str().map(str::to_owned);
        let logs = stdout(&project.run(&["logs", "bot"]));
        tunnel.is_some_and(|url| url != shop && logs.contains(&format!("webhooks go to {url} and {docs}")))
    });
    assert_eq!(pids(&project, &["docs", "docs-tunnel"]), others);
    let after = pids(&project, &["shop", "shop-tunnel", "bot"]);
    assert!(
        before.iter().zip(&after).all(|(before, after)| before != after),
        "{before:?} {after:?}"
    );
    // Stopped before its server.
    assert!(project.run(&["stop", "shop"]).status.success());
    let events = stdout(&project.run(&["events", "--json"]));
    let last = |name: &str| {
        let wanted = format!("\"service\":\"{name}\"");
        let is_it = |line: &str| line.contains(&wanted) && line.contains("\"event\":\"stopped\"");
        let stopped = events.lines().enumerate().filter(|(_, line)| is_it(line));
        stopped.last().unwrap().0
    };
    assert!(last("shop-tunnel") < last("shop"), "{events}");
    assert!(project.run(&["start", "shop"]).status.success());
    let up = project.run(&["--profile", "broken", "up", "-d"]);
    assert_eq!(up.status.code(), Some(1), "{}", stderr(&up));
    for (name, reason) in [
        ("no-account", "exit_code"),
        ("never-connected", "start_timeout"),
        ("not-installed", "command_not_found"),
    ] {
        assert_eq!(project.service(name)["failure"]["reason"], reason, "{name}");
    }
    let why = stdout(&project.run(&["why", "no-account"]));
    assert!(why.contains("no account is logged in"), "{why}");
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

/// What `http://127.0.0.1:PORT/PATH` answers.
fn get(port: u64, path: &str) -> serde_json::Value {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port as u16)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn http_port(project: &Project, name: &str) -> u64 {
    project.service(name)["ports"]["http"].as_u64().unwrap()
}

#[cfg(feature = "source")]
#[test]
fn boxes_are_filled_and_prepared_once_and_a_new_one_touches_no_other() {
    let project = example("devbox");
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    let ada = get(http_port(&project, "editor@ada"), "/");
    assert_eq!(ada["owner"], "ada");
    assert_eq!(ada["extensions"], serde_json::json!(["rust", "toml"]));
    assert_eq!(ada["settings"]["theme"], "dark");
    assert_eq!(
        get(http_port(&project, "editor@grace"), "/")["settings"]["theme"],
        "light"
    );
    let before = pids(&project, &["editor@ada", "editor@grace"]);
    let toml = project
        .read("services.toml")
        .replace("\"grace\"]", "\"grace\", \"alan\"]");
    project.write("services.toml", &toml);
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    assert_eq!(get(http_port(&project, "editor@alan"), "/")["owner"], "alan");
    assert_eq!(pids(&project, &["editor@ada", "editor@grace"]), before);
    // Restarted, nothing is installed again; with another list, everywhere.
    assert!(project.run(&["restart", "editor@ada"]).status.success());
    assert_eq!(project.read("boxes/ada/installs"), "installed\n");
    project.write("extensions.txt", "rust\n");
    assert!(project.run(&["restart", "editor@ada"]).status.success());
    assert_eq!(project.read("boxes/ada/installs"), "installed\ninstalled\n");
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn a_file_in_the_registry_is_an_app_that_runs() {
    let project = example("dashboard");
    let mut up = project.command(&["up", "-d"]);
    let up = up.env("RUNNER", env!("CARGO_BIN_EXE_runner")).output().unwrap();
    assert!(up.status.success(), "{}", stderr(&up));
    let port = http_port(&project, "dashboard");
    let apps = || {
        let apps = get(port, "/apps");
        let app =
            |app: &serde_json::Value| format!("{} {}", app["name"].as_str().unwrap(), app["state"].as_str().unwrap());
        let mut apps: Vec<String> = apps.as_array().unwrap().iter().map(app).collect();
        apps.sort();
        apps
    };
    assert_eq!(apps(), ["blog ready", "wiki ready"]);
    let before = pids(&project, &["blog", "wiki", "dashboard"]);
    project.write(
        "apps.d/shop.toml",
        "[services.shop]\nextends = \"app\"\nworking_dir = \"..\"\n",
    );
    eventually("the third app runs", || {
        apps() == ["blog ready", "shop ready", "wiki ready"]
    });
    assert_eq!(pids(&project, &["blog", "wiki", "dashboard"]), before);
    std::fs::remove_file(project.file("apps.d/wiki.toml")).unwrap();
    eventually("what was taken away stops", || apps() == ["blog ready", "shop ready"]);
    assert_eq!(pids(&project, &["blog", "dashboard"]), [before[0], before[2]]);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}
