//! The shop in the background, and a person at other terminals: edits, questions, every verb.

use std::io::{BufRead, BufReader};

use crate::*;

/// `up -d`, and that all of it is killed if the test fails.
struct Detached(Shop);

impl Detached {
    fn up(folder: &Path, words: &[&str]) -> Detached {
        let shop = Detached(Shop::copy(folder));
        shop.run(&[&["up", "-d"], words].concat());
        shop
    }

    /// Types a verb that has to succeed; what it printed.
    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let output = self.0.ask(words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {}\n{told}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[words, &["--json"]].concat())).unwrap()
    }

    /// The same, for verbs that print one object a line.
    #[track_caller]
    fn lines(&self, words: &[&str]) -> Vec<Value> {
        let text = self.run(&[words, &["--json"]].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn picture(&self) -> foretold::Picture {
        foretold::picture(&self.json(&["ps"]))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.folder.join(name)).unwrap()
    }

    /// As most editors save: beside, then over it.
    fn save(&self, name: &str, text: &str) {
        let fresh = self.0.folder.join(".edited");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.0.folder.join(name)).unwrap();
    }

    fn down(self) {
        self.run(&["down"]);
        self.0.left_nothing();
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        for process in processes(&self.0.folder) {
            let _ = kill(process, Signal::SIGKILL);
        }
    }
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is in\n{text}");
    text.replacen(from, to, 1)
}

/// What somebody does: in words, what stands in the file, what instead, and which services take which step.
type Edit<'a> = (&'a str, String, String, &'a [(&'a str, &'a str)]);

#[test]
fn ten_edits_are_foretold_and_come_true() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Detached::up(folder.path(), &["--no-reload"]);
    let (file, local) = (shop.read("services.toml"), shop.read("services.local.toml"));
    let other_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port_of = |name: &str| shop.0.ports[name].to_string();
    let all_that_stay = [("db", "live"), ("redis", "live"), ("php", "live"), ("web", "live")];
    let edits: [Edit; 10] = [
        ("a comment", file.clone() + "\n# The end.\n", local.clone(), &[]),
        (
            "an argument",
            replaced(
                &file,
                "\"--save\", \"\"",
                "\"--save\", \"\", \"--loglevel\", \"verbose\"",
            ),
            local.clone(),
            &[("redis", "restart")],
        ),
        (
            "a probe's interval",
            replaced(
                &file,
                "body = \"^ok\" }, interval = \"5s\"",
                "body = \"^ok\" }, interval = \"1s\"",
            ),
            local.clone(),
            &[("web", "live")],
        ),
        (
            "the environment",
            replaced(&file, "REDIS_PORT = ", "SHOP_NAME = \"corner\", REDIS_PORT = "),
            local.clone(),
            &[("php", "restart")],
        ),
        (
            "a default",
            replaced(&file, "stop_timeout = \"15s\"", "stop_timeout = \"16s\""),
            local.clone(),
            &all_that_stay,
        ),
        (
            "a new service",
            file.clone() + "[services.clock]\ncommand = \"exec sleep 1000\"\ndepends_on = [\"web\"]\n",
            local.clone(),
            &[("clock", "start")],
        ),
        (
            "the stop signal",
            replaced(&file, "stop_signal = \"SIGINT\"", "stop_signal = \"SIGTERM\""),
            local.clone(),
            &[("db", "live")],
        ),
        (
            "a migration",
            replaced(&file, "echo migrated", "echo migrated again"),
            local.clone(),
            &[("migrate", "start")],
        ),
        (
            "a port that nobody else uses",
            file.clone(),
            replaced(&local, &port_of("web"), &other_port.to_string()),
            &[("web", "restart")],
        ),
        (
            "a port that others are given",
            file.clone(),
            replaced(&local, &port_of("db"), &other_port.to_string()),
            &[("db", "restart"), ("migrate", "start"), ("php", "restart")],
        ),
    ];
    let follow = |what: &str| {
        let plan = shop.json(&["plan"]);
        let before = shop.picture();
        shop.run(&["up", "-d"]);
        foretold::came_true(what, &plan, &before, &shop.picture());
        plan
    };
    for (what, file, local, expected) in &edits {
        shop.save("services.toml", file);
        shop.save("services.local.toml", local);
        let plan = follow(what);
        assert_eq!(foretold::moves(&plan), *expected, "{what}");
        shop.save("services.toml", &edits[0].1);
        shop.save("services.local.toml", &edits[0].2);
        follow(&format!("{what}, taken back"));
    }
    assert!(shop.0.get("/").contains("apple: 0.40"), "it sells as before");
    shop.down();
}

#[test]
fn a_saved_edit_a_broken_one_and_one_that_nginx_reads_anew() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Detached::up(folder.path(), &[]);
    let file = shop.read("services.toml");
    let before = shop.picture();
    shop.save(
        "services.toml",
        &replaced(&file, "stop_signal = \"SIGINT\"", "stop_signl = \"SIGINT\""),
    );
    let error = until("the broken file is told", || {
        let ps = shop.json(&["ps"]);
        ps["config_error"].as_str().map(str::to_owned)
    });
    assert!(
        error.starts_with("services.toml:") && error.contains("stop_signal"),
        "{error}"
    );
    assert_eq!(shop.picture(), before);
    assert!(shop.0.get("/").contains("apple"), "everything keeps running as before");

    let cursor = shop.lines(&["events"]).last().unwrap()["cursor"].as_u64().unwrap();
    let reloading = replaced(
        &file,
        "ports = [18080]\n",
        "ports = [18080]\nreload_signal = \"SIGHUP\"\n",
    );
    shop.save("services.toml", &reloading);
    let since = cursor.to_string();
    let applied = until("the edit is applied", || {
        let mut events = shop.lines(&["events", "--since", &since]).into_iter();
        events.find(|event| event["event"] == "config_applied")
    });
    assert_eq!(
        (&applied["lives"], &applied["restarts"]),
        (&1.into(), &0.into()),
        "{applied}"
    );
    assert_eq!(shop.json(&["ps"])["config_error"], Value::Null);
    // What nginx itself reads, and what it was started with.
    let conf = shop.read("data/nginx/nginx.conf");
    shop.save(
        "data/nginx/nginx.conf",
        &replaced(
            &conf,
            "location / {",
            "location = /new { return 200 \"read anew\\n\"; }\n        location / {",
        ),
    );
    let answer = shop.json(&["reload", "web"]);
    assert_eq!(answer["services"][0]["name"], "web", "{answer}");
    until("nginx has read it", || {
        shop.0.get("/new").contains("read anew").then_some(())
    });
    assert_eq!(shop.picture(), before, "as the same processes");

    // Events of a reader that paused have no gap and nothing twice.
    let events = shop.lines(&["events", "--since", &since]);
    let cursors: Vec<u64> = events.iter().map(|event| event["cursor"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (cursor + 1..).take(cursors.len()).collect();
    assert_eq!(cursors, expected);
    assert!(events.iter().any(|event| event["event"] == "reloaded"), "{events:?}");
    shop.down();
}

#[test]
fn questions_from_another_terminal_and_every_verb_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Detached::up(folder.path(), &[]);
    let page = shop.read("public/index.php");
    shop.save(
        "public/index.php",
        "<?php error_log('an error on purpose'); echo 'broken';",
    );
    until("PHP sees the page", || shop.0.get("/").contains("broken").then_some(()));
    shop.save("public/index.php", &page);
    let errors = until("the error is in a log", || {
        let lines = shop.lines(&["logs", "--since", "1m", "--grep", "error on purpose"]);
        (!lines.is_empty()).then_some(lines)
    });
    for line in &errors {
        assert!(line["line"].as_str().unwrap().contains("error on purpose"), "{line}");
        // PHP says it itself or through nginx.
        assert!(line["service"] == "php" || line["service"] == "web", "{line}");
    }
    let text = shop.run(&["logs", "--since", "1m", "--grep", "error"]);
    assert!(text.lines().all(|line| line.contains("error")), "{text}");

    shop.run(&["stop", "db"]);
    let why = shop.json(&["why", "web"]);
    let chain = why["chain"].as_array().unwrap();
    let services: Vec<&str> = chain.iter().map(|link| link["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["web", "php", "db"], "{why}");
    assert!(
        chain[2]["because"].as_str().unwrap().contains("runner stop db"),
        "{why}"
    );
    assert!(why["suggestion"].as_str().unwrap().contains("runner start db"), "{why}");
    let text = shop.run(&["why", "web"]);
    assert!(text.contains("stopped") && text.contains("`runner start db`"), "{text}");
    shop.run(&["start", "db"]);
    shop.run(&["wait", "web"]);

    let objects: [&[&str]; 13] = [
        &["ps"],
        &["plan"],
        &["check"],
        &["ls"],
        &["graph"],
        &["doctor"],
        &["why", "php"],
        &["inspect", "php"],
        &["wait", "web"],
        &["stop", "web"],
        &["start", "web"],
        &["restart", "redis"],
        &["kill", "php", "-s", "SIGCONT"],
    ];
    for words in objects {
        let answer = shop.json(words);
        assert!(
            answer.as_object().is_some_and(|answer| !answer.is_empty()),
            "{words:?}: {answer}"
        );
    }
    for words in [&["events"][..], &["logs"], &["logs", "db", "-n", "3"]] {
        let lines = shop.lines(words);
        assert!(!lines.is_empty() && lines.iter().all(Value::is_object), "{words:?}");
    }
    let mut top = shop
        .0
        .runner(&["top", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(first.is_object(), "{first}");
    top.kill().unwrap();
    top.wait().unwrap();
    shop.down();
}
