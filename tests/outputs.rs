//! `outputs`: what a log tells, and who is told.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use common::roles::{Roles, send};
use common::{Project, eventually, stderr, stdout};
use nix::sys::signal::Signal;

/// A tunnel that takes its time, prints a URL with colours, another one at each run, and a second that does not count.
const TUNNEL: &str = "[services.tunnel]\ncommand = \"echo x >> runs; n=$(wc -l < runs | tr -d ' '); echo connecting; read line < gate; \
    printf 'up at \\\\033[32mhttps://t%s.example/\\\\033[0m\\\\n' $n; echo https://second.example; exec sleep 1000\"\n\
    depends_on = { web = { condition = 'healthy', restart = true } }\noutputs = { url = 'https://\\S+', run = 'https://t(\\d+)' }\n\
    [services.web]\ncommand = 'exec sleep 1000'\n";
const CONSUMER: &str = "[services.bot]\ncommand = ['sh', '-c', 'echo $1 $HOOK >> told; exec sleep 1000', 'sh', '{{ services.tunnel.outputs.run }}']\n\
    env = { HOOK = '{{ services.tunnel.outputs.url }}hook' }\nfiles = { 'bot.conf' = { content = 'url={{ services.tunnel.outputs.url }}' } }\n\
    depends_on = { tunnel = { condition = 'started', restart = true } }\n";

fn project(more: &str) -> Project {
    let project = Project::new(&format!("{TUNNEL}{more}"));
    nix::unistd::mkfifo(&project.file("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    project
}

fn let_through(project: &Project) {
    std::fs::write(project.file("gate"), "go\n").unwrap();
}

fn url(project: &Project) -> serde_json::Value {
    project.service("tunnel")["url"].clone()
}

#[test]
fn who_names_an_output_waits_for_it_and_restarts_with_its_service() {
    let project = project(CONSUMER);
    assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
    eventually("the bot waits for the tunnel's word", || {
        let ps = stdout(&project.run(&["ps"]));
        ps.contains("for tunnel to tell its output")
    });
    let early = project.run(&["run", "bot", "--", "true"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(
        stderr(&early).contains("tunnel has not told its output"),
        "{}",
        stderr(&early)
    );
    let_through(&project);
    assert!(project.run(&["wait", "bot"]).status.success());
    let once = project.run(&["run", "bot", "--", "sh", "-c", "echo $HOOK"]);
    assert_eq!(stdout(&once), "https://t1.example/hook\n");
    let tunnel = project.service("tunnel");
    assert_eq!(tunnel["url"], "https://t1.example/", "{tunnel}");
    assert_eq!(tunnel["outputs"]["run"], "1", "{tunnel}");
    assert!(stdout(&project.run(&["ps"])).contains("https://t1.example/"));
    assert_eq!(project.read("told"), "1 https://t1.example/hook\n");
    assert_eq!(project.read("bot.conf"), "url=https://t1.example/");
    // The definition names it, whatever it is.
    let inspect = stdout(&project.run(&["inspect", "bot"]));
    assert!(
        inspect.contains("outputs") && !inspect.contains("t1.example"),
        "{inspect}"
    );
    // A tunnel restarts with its service, and gets another address; who was told the old one is told the new one.
    assert!(project.run(&["restart", "--no-wait", "web"]).status.success());
    eventually("the tunnel connects again", || {
        project.read("runs").lines().count() == 2
    });
    assert_eq!(url(&project), serde_json::Value::Null);
    let_through(&project);
    eventually("the bot is told", || project.read("told").lines().count() == 2);
    assert_eq!(project.read("told").lines().last(), Some("2 https://t2.example/hook"));
    assert_eq!(project.read("bot.conf"), "url=https://t2.example/");
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn an_output_is_known_over_killed_daemons_and_restarts_nobody() {
    let project = project(CONSUMER);
    assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
    eventually("the tunnel runs", || project.service("tunnel")["state"] == "ready");
    // Nobody reads its log when it is told.
    send(Roles::of(&project).daemon, Signal::SIGKILL);
    let_through(&project);
    assert!(project.run(&["wait", "bot"]).status.success());
    let pid = project.service("bot")["pid"].clone();
    let roles = Roles::of(&project);
    for role in roles.both() {
        send(role, Signal::SIGKILL);
    }
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    assert_eq!(url(&project), "https://t1.example/");
    assert_eq!(project.service("bot")["pid"], pid);
    // Another way to look for it is an edit of nobody's process.
    let toml = project
        .read("services.toml")
        .replace(r"url = 'https://\S+'", r"url = 'https://second\S+'");
    project.write("services.toml", &toml);
    eventually("the new pattern finds an old line", || {
        url(&project) == "https://second.example"
    });
    assert_eq!(project.service("bot")["pid"], pid);
    // Taken back: it is looked for anew.
    let toml = toml.replace(r"url = 'https://second\S+'", r"url = 'https://\S+'");
    project.write("services.toml", &toml);
    eventually("the old pattern finds its line", || {
        url(&project) == "https://t1.example/"
    });
    assert!(project.run(&["down"]).status.success());
}

/// Tells its URL at once, and is told of a new one by a reload.
#[test]
fn a_file_that_is_reloaded_is_written_with_the_outputs_that_its_run_was_given() {
    let project = Project::new(
        "[services.tunnel]\ncommand = 'echo https://t1.example/; exec sleep 1000'\noutputs = { url = 'https://\\S+' }\n\
         [services.bot]\ncommand = 'exec sleep 1000'\ndepends_on = ['tunnel']\nrestart = 'no'\n\
         reload_command = 'echo reloaded >> told'\nenv = { HOOK = '{{ services.tunnel.outputs.url }}hook' }\n\
         hooks = { on_failure = 'echo $HOOK > alarm' }\n\
         files = { 'bot.conf' = { content = 'url={{ services.tunnel.outputs.url }}', reload = true } }\n",
    );
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    assert_eq!(project.read("bot.conf"), "url=https://t1.example/");
    let pid = project.service("bot")["pid"].clone();
    let toml = project.read("services.toml").replace("'url={{", "'new={{");
    project.write("services.toml", &toml);
    eventually("it is told", || project.read("told") == "reloaded\n");
    assert_eq!(project.read("bot.conf"), "new=https://t1.example/");
    // Another live edit, of something else, writes nothing else.
    project.write("services.toml", &format!("{toml}stop_timeout = '3s'\n"));
    assert!(project.run(&["wait", "bot"]).status.success());
    assert_eq!(project.service("bot")["pid"], pid);
    assert!(project.run(&["kill", "bot"]).status.success());
    eventually("the alarm knows it as well", || {
        project.read("alarm") == "https://t1.example/hook\n"
    });
    assert_eq!(project.read("bot.conf"), "new=https://t1.example/");
    assert_eq!(project.read("told"), "reloaded\n");
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn an_output_stands_only_where_it_can_be_filled_in() {
    let wrong = [
        (
            "command = 'echo {{ services.tunnel.outputs.url }}'\ndepends_on = ['tunnel']",
            "it can't stand here",
        ),
        (
            "command = 'x'\nworking_dir = '{{ services.tunnel.outputs.url }}'\ndepends_on = ['tunnel']",
            "it can't stand here",
        ),
        (
            "command = 'x'\nenv = { A = '{{ services.tunnel.outputs.url }}' }",
            "depends_on = [\"tunnel\"]",
        ),
        (
            "command = 'x'\nenv = { A = '{{ services.tunnel.outputs.uri }}' }\ndepends_on = ['tunnel']",
            "did you mean `url`?",
        ),
        (
            "command = 'x'\nenv = { A = '{{ services.tunnel.outputs.url | upper }}' }\ndepends_on = ['tunnel']",
            "nothing can be done with it",
        ),
        ("command = 'x'\noutputs = { url = '(' }", "unclosed group"),
    ];
    for (service, wanted) in wrong {
        let project = project(&format!("[services.bot]\n{service}\n"));
        let check = project.run(&["check"]);
        assert_eq!(check.status.code(), Some(2), "{service}");
        assert!(stderr(&check).contains(wanted), "{service}: {}", stderr(&check));
    }
}

#[test]
fn a_secret_in_an_output_is_not_shown() {
    let project = Project::new(
        "[services.a]\ncommand = 'echo token=$API_TOKEN; exec sleep 1000'\nenv = { API_TOKEN = 'very-secret-value' }\noutputs = { token = 'token=(.*)' }\n\
         [services.b]\ncommand = 'echo $GIVEN > given; exec sleep 1000'\nenv = { GIVEN = '{{ services.a.outputs.token }}' }\ndepends_on = ['a']\n",
    );
    assert!(project.run(&["up", "-d"]).status.success());
    eventually("it was given", || {
        std::fs::read_to_string(project.file("given")).is_ok_and(|given| given == "very-secret-value\n")
    });
    let shown = [
        &["ps", "--json"][..],
        &["events", "--json"],
        &["inspect", "b", "--json"],
    ]
    .map(|words| stdout(&project.run(words)));
    assert!(
        shown.iter().all(|text| !text.contains("very-secret-value")),
        "{shown:?}"
    );
    assert!(project.run(&["down"]).status.success());
}
