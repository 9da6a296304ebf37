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
