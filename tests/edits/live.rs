//! What is changed without touching the process takes effect on the process that runs.

use std::fs;
use std::io::Write;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;

use crate::common::{Project, eventually, stderr, stdout};
use crate::{Running, stays, step_of};

/// Saves, and sees that `a` goes on as the process that it was.
#[track_caller]
fn live(running: &mut Running, text: &str) {
    let before = running.picture();
    let applied = running.save(text);
    assert_eq!(step_of(&applied["steps"], "a").0, "live", "{applied}");
    assert_eq!(running.picture()["a"], before["a"], "{applied}");
}

/// `a`, which sends what is written into the FIFO `say` to its output; `crash CODE` ends it.
fn says(keys: &str) -> String {
    format!(
        "[services.a]\ncommand = \"exec 3<>say; trap 'echo asked' USR1; echo begins; while :; do read -r word code <&3; case $word in crash) exit $code;; \
         ?*) echo $word;; esac; done\"\n{keys}\n"
    )
}

fn project(services: &str) -> Project {
    let project = Project::new(services);
    let path = project.file("say");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    // What is said before the service listens must not get lost: a FIFO that nobody holds forgets. It is open until the
    // tests are over.
    std::mem::forget(fs::File::options().read(true).write(true).open(path).unwrap());
    project
}

fn say(running: &Running, text: &str) {
    let mut fifo = fs::File::options()
        .read(true)
        .write(true)
        .open(running.project.file("say"))
        .unwrap();
    writeln!(fifo, "{text}").unwrap();
}

fn signal(running: &Running, signal: Signal) {
    let pid = running.picture()["a"].0.unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

#[test]
fn a_health_probe_and_its_interval() {
    let probed = |word: &str, interval: &str| {
        stays(
            "a",
            &format!("health = {{ exec = \"echo {word} >> probes\", interval = \"{interval}\" }}"),
        )
    };
    let mut running = Running::up(&stays("a", ""));
    live(&mut running, &probed("one", "20ms"));
    let count = |running: &Running, word: &str| running.project.read("probes").matches(word).count();
    eventually("a probe that was added", || count(&running, "one") > 2);
    live(&mut running, &probed("two", "1h"));
    assert_eq!(count(&running, "two"), 0, "an hour has not passed");
    live(&mut running, &probed("two", "20ms"));
    eventually("the shorter interval", || count(&running, "two") > 3);
    live(
        &mut running,
        &stays(
            "a",
            "health = { exec = \"false\", interval = \"20ms\", on_failure = \"none\" }",
        ),
    );
    running.hear_of("a", "unhealthy");
    live(
        &mut running,
        &stays(
            "a",
            "health = { exec = \"/bin/true\", interval = \"20ms\", on_failure = \"none\" }",
        ),
    );
    running.hear_of("a", "recovered");
    live(
        &mut running,
        &stays(
            "a",
            "health = { exec = \"false\", interval = \"20ms\", on_failure = \"none\" }",
        ),
    );
    running.hear_of("a", "unhealthy");
    live(&mut running, &stays("a", ""));
    assert_eq!(running.service("a")["state"], "ready", "what nobody asks about is well");
    running.down();
}

#[test]
fn how_it_is_stopped() {
    let stubborn = |keys: &str| {
        format!(
            "[services.a]\ncommand = \"trap '' TERM; trap 'echo int >> ledger; exit 0' INT; exec 3<>say; echo begins; read line <&3\"\n\
             ready = {{ log = \"begins\" }}\n{keys}\n"
        )
    };
    let mut running = Running::of(project(&stubborn("stop_timeout = \"1h\"")), &[], &[]);
    live(&mut running, &stubborn("stop_timeout = \"10ms\""));
    running.run(&["stop", "a"]);
    assert_eq!(running.hear_of("a", "exited")["exit"]["signal"], "SIGKILL");
    running.run(&["start", "a"]);
    live(&mut running, &stubborn("stop_timeout = \"1h\"\nstop_signal = \"INT\""));
    running.run(&["stop", "a"]);
    assert_eq!(running.project.read("ledger"), "int\n");
    running.run(&["start", "a"]);
    live(
        &mut running,
        &stubborn("stop_timeout = \"1h\"\nstop_signal = \"INT\"\nstop_command = \"echo command >> ledger; false\""),
    );
    running.run(&["stop", "a"]);
    assert_eq!(running.project.read("ledger"), "int\ncommand\nint\n");
    running.down();
}

#[test]
fn what_follows_its_end() {
    let slow = "backoff = { initial = \"1h\", max = \"1h\" }";
    let mut running = Running::of(project(&says(slow)), &[], &[]);
    live(&mut running, &says("backoff = { initial = \"10ms\", jitter = 0.0 }"));
    say(&running, "crash 1");
    assert_eq!(running.hear_of("a", "restarting")["delay_s"], 0.01);
    running.hear_of("a", "ready");
    let quick = "backoff = { initial = \"10ms\" }\n";
    live(&mut running, &says(&format!("{quick}success_exit_codes = [0, 3]")));
    say(&running, "crash 3");
    running.hear_of("a", "completed");
    running.run(&["start", "a"]);
    live(
        &mut running,
        &says(&format!("{quick}success_exit_codes = [0, 3]\nrestart = \"always\"")),
    );
    say(&running, "crash 3");
    running.hear_of("a", "restarting");
    running.hear_of("a", "ready");
    live(&mut running, &says(&format!("{quick}restart = \"no\"")));
    say(&running, "crash 7");
    assert_eq!(running.hear_of("a", "failed")["failure"]["reason"], "exit_code");
    running.run(&["start", "a"]);
    live(&mut running, &says(&format!("{quick}max_restarts = 0")));
    say(&running, "crash 7");
    running.hear_of("a", "failed");
    running.run(&["start", "a"]);
    live(&mut running, &says("essential = true\nrestart = \"no\""));
    say(&running, "crash 9");
    let ended = running.hear("the end", |event| event["event"] == "ended");
    assert_eq!(ended["code"], 9, "{ended}");
}

#[test]
fn where_its_output_goes() {
    let logged = |log: &str| says(&format!("log = {log}"));
    let project = project(&logged("{ max_size = \"1MB\" }"));
    let mut up = project.up(&["--exit", "never"]);
    up.wait_for("begins");
    let mut running = Running::follow(project, &[]);
    running.comes_up();
    let line = "x".repeat(400);
    let logs = |running: &Running| {
        let names = fs::read_dir(running.project.file(".runner/logs")).unwrap().flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("a.log")).count()
    };
    say(&running, &line);
    up.wait_for(&line);
    let before = logs(&running);
    live(&mut running, &logged("{ max_size = \"2KB\", max_files = 3 }"));
    for n in 0..20 {
        say(&running, &format!("{line}{n}"));
        up.wait_for(&format!("{line}{n}"));
    }
    eventually("a new file at the new size", || logs(&running) > before);
    let size = fs::metadata(running.project.file(".runner/logs/a.log")).unwrap().len();
    assert!(size <= 2048, "{size}");
    live(&mut running, &logged("{ console = false }"));
    say(&running, "secretly");
    eventually("it is in the log", || running.run(&["logs", "a"]).contains("secretly"));
    live(&mut running, &logged("{ file = \"elsewhere.log\" }"));
    say(&running, "elsewhere");
    up.wait_for("elsewhere");
    assert!(!up.text().contains("secretly"), "{}", up.text());
    eventually("it is in the other file", || {
        running.project.read("elsewhere.log").contains("elsewhere")
    });
    running.run(&["down"]);
    up.end();
    running.is_over();
}

#[test]
fn who_is_meant_by_a_label() {
    let mut running = Running::up(&(stays("a", "labels = [\"old\"]") + &stays("b", "")));
    live(
        &mut running,
        &(stays("a", "labels = [\"new\"]") + &stays("b", "labels = [\"new\"]")),
    );
    assert_eq!(running.project.run(&["stop", "@old"]).status.code(), Some(3));
    running.run(&["stop", "@new"]);
    assert!(running.picture().values().all(|(pid, _)| pid.is_none()));
    running.down();
}

#[test]
fn when_it_is_ready() {
    let starts = |keys: &str| says(&format!("{keys}\nrestart = \"no\""));
    let waits = |running: &mut Running| {
        let output = running.project.run(&["restart", "a", "--no-wait"]);
        assert!(output.status.success(), "{}", stderr(&output));
        running.hear_of("a", "started");
    };
    let mut running = Running::of(project(&starts("")), &[], &[]);
    live(
        &mut running,
        &starts("ready = { file = \"never\" }\nstart_timeout = \"1h\""),
    );
    waits(&mut running);
    // Another kind of probe, then another pattern.
    for pattern in ["late", "later"] {
        let before = running.picture();
        running.project.write(
            "services.toml",
            &starts(&format!("ready = {{ log = \"{pattern}\" }}\nstart_timeout = \"1h\"")),
        );
        running.hear("an edit", |event| event["event"] == "config_applied");
        say(&running, pattern);
        running.hear_of("a", "ready");
        assert_eq!(running.picture(), before);
        waits(&mut running);
    }
    // One that it has printed already: the file was wrong, not the service.
    say(&running, "already");
    eventually("the line to be in the log", || {
        running.run(&["logs", "a"]).contains("already")
    });
    let before = running.picture();
    running.project.write(
        "services.toml",
        &starts("ready = { log = \"^already$\" }\nstart_timeout = \"1h\""),
    );
    running.hear_of("a", "ready");
    assert_eq!(running.picture(), before);
    waits(&mut running);
    // None at all.
    running.project.write("services.toml", &starts(""));
    running.hear_of("a", "ready");
    live(
        &mut running,
        &starts("ready = { file = \"never\" }\nstart_timeout = \"1h\""),
    );
    waits(&mut running);
    // Less time.
    running.project.write(
        "services.toml",
        &starts("ready = { file = \"never\" }\nstart_timeout = \"10ms\""),
    );
    assert_eq!(running.hear_of("a", "failed")["failure"]["reason"], "start_timeout");
    running.down();
}

#[test]
fn depends_on_counts_at_the_next_start() {
    let mut running = Running::up(&(stays("a", "") + &stays("b", "")));
    live(&mut running, &(stays("a", "depends_on = [\"b\"]") + &stays("b", "")));
    running.run(&["stop", "b"]);
    assert!(running.picture()["a"].0.is_some(), "it began without");
    running.run(&["restart", "a"]);
    let names = |running: &Running| -> Vec<Value> {
        let ready = running.heard("ready").into_iter();
        ready.map(|event| event["service"].clone()).collect()
    };
    running.hear_of("a", "ready");
    assert_eq!(names(&running), ["b", "a"], "what it needs comes first");
    running.down();
}

#[test]
fn how_it_is_reloaded() {
    let mut running = Running::of(project(&says("")), &[], &[]);
    let refused = running.project.run(&["reload", "a"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
    live(&mut running, &says("reload_signal = \"USR1\""));
    running.run(&["reload", "a"]);
    eventually("it was asked", || running.run(&["logs", "a"]).contains("asked"));
    live(&mut running, &says("reload_command = \"echo command > reloaded\""));
    running.run(&["reload", "a"]);
    assert_eq!(running.project.read("reloaded"), "command\n");
    running.down();
}

#[test]
fn an_edit_of_the_running_service_is_what_a_crash_restarts() {
    let mut running = Running::up(&stays("a", "backoff = { initial = \"10ms\" }"));
    live(
        &mut running,
        &stays(
            "a",
            "backoff = { initial = \"11ms\" }\nready = { exec = \"echo ready >> probes\" }",
        ),
    );
    signal(&running, Signal::SIGKILL);
    running.hear_of("a", "ready");
    assert_eq!(running.project.read("probes"), "ready\n");
    running.down();
}

#[test]
fn no_log_at_all_from_the_next_start_on() {
    let mut running = Running::of(project(&says("")), &[], &[]);
    say(&running, "kept");
    eventually("it is in the log", || running.run(&["logs", "a"]).contains("kept"));
    // What it writes to was decided when it was started.
    live(&mut running, &says("log = false"));
    running.run(&["restart", "a"]);
    say(&running, "unkept");
    live(&mut running, &says(""));
    running.run(&["restart", "a"]);
    say(&running, "again-kept");
    eventually("it is in the log", || {
        running.run(&["logs", "a"]).contains("again-kept")
    });
    assert!(!running.run(&["logs", "a"]).contains("unkept"));
    running.down();
}
