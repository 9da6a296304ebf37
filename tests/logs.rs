//! `logs`, as a person types it: every filter, live and when nothing runs, and a hundred followers.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use common::{CEILING, Project, eventually, stderr, stdout};
use serde_json::Value;

/// A service that prints what is written into its FIFO `NAME.in`; `crash` ends it.
fn echo(name: &str) -> String {
    format!(
        r#"
[services.{name}]
command = "exec 3<>{name}.in; echo {name} begins; while read -r line <&3; do case $line in crash) exit 1;; open) printf 'no end';; err*) echo \"$line\" >&2;; *) echo \"$line\";; esac; done"
ready = {{ log = "begins" }}
restart = "always"
backoff = {{ initial = "10ms" }}
"#
    )
}

fn project(names: &[&str]) -> Project {
    let services: Vec<String> = names.iter().map(|name| echo(name)).collect();
    let project = Project::new(&services.concat());
    for name in names {
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&project.file(&format!("{name}.in")), mode).unwrap();
    }
    project
}

/// Writes into the service; read-write, so that it waits for nobody.
fn say(project: &Project, name: &str, text: &str) {
    let path = project.file(&format!("{name}.in"));
    let mut fifo = File::options().read(true).write(true).open(path).unwrap();
    fifo.write_all(text.as_bytes()).unwrap();
}

fn logs(project: &Project, words: &[&str]) -> String {
    let all: Vec<&str> = ["logs"].iter().chain(words).copied().collect();
    let output = project.run(&all);
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    stdout(&output)
}

fn time_of(project: &Project, line: &str) -> String {
    let all = logs(project, &["--json"]);
    let mut lines = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = lines.find(|value| value["line"] == line).unwrap();
    found["time"].as_str().unwrap().to_owned()
}

#[test]
fn every_filter_gives_the_same_live_and_after_down() {
    let project = project(&["web", "db"]);
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    say(&project, "web", "one\n");
    // The two streams have no order but that in which they are taken.
    eventually("it is taken", || logs(&project, &["web"]).contains("one"));
    say(&project, "web", "err two\ncrash\n");
    eventually("web is back", || project.service("web")["run"] == 2);
    eventually("it prints", || {
        logs(&project, &["web"]).matches("web begins").count() == 2
    });
    say(&project, "web", "three\nfour\n");
    eventually("it has printed", || logs(&project, &["web"]).contains("four"));
    let (one, three) = (time_of(&project, "one"), time_of(&project, "three"));
    assert!(one < three);

    let check = |when: &str| {
        let web = |words: &[&str]| logs(&project, &[&["web", "--no-prefix"], words].concat());
        assert_eq!(web(&["--previous"]), "web begins\none\nerr two\n", "{when}");
        assert_eq!(web(&["--run", "2"]), "web begins\nthree\nfour\n", "{when}");
        assert_eq!(web(&["--run", "7"]), "", "{when}");
        assert_eq!(web(&["--stream", "err"]), "err two\n", "{when}");
        assert_eq!(web(&["-n", "2"]), "three\nfour\n", "{when}");
        assert_eq!(web(&["-n", "1", "--grep", "^o|^f"]), "four\n", "{when}");
        assert_eq!(web(&["--grep", "^(one|err)"]), "one\nerr two\n", "{when}");
        assert_eq!(web(&["--since", &three]), "three\nfour\n", "{when}");
        assert!(web(&["--until", &one]).ends_with("one\n"), "{when}");
        assert_eq!(web(&["--since", "1h", "-n", "1"]), "four\n", "{when}");
        assert_eq!(web(&["--until", "1h"]), "", "{when}");
        assert_eq!(logs(&project, &["--grep", "db"]), "db | db begins\n", "{when}");
        let cri = web(&["--format", "cri", "--grep", "two"]);
        let words: Vec<&str> = cri.splitn(4, ' ').collect();
        assert_eq!(words[1..], ["stderr", "F", "err two\n"], "{when}");
        assert!(words[0].parse::<jiff::Timestamp>().is_ok(), "{when}: {cri}");
        let json: Value = serde_json::from_str(&web(&["--format", "json", "--grep", "three"])).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["time", "service", "run", "stream", "line"], "{when}");
        assert_eq!(json["run"], 2);
    };
    check("live");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    check("after down");
    let follow = project.run(&["logs", "-f", "-n", "1", "web"]);
    assert_eq!(
        (follow.status.code(), stdout(&follow).as_str()),
        (Some(0), "web | four\n")
    );
    assert!(stderr(&follow).contains("no runner is up"));

    // Another life counts its runs from 1 again.
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    assert_eq!(logs(&project, &["web", "--run", "1", "--no-prefix"]), "web begins\n");
    assert_eq!(
        logs(&project, &["web", "--previous", "--no-prefix"]),
        "web begins\nthree\nfour\n"
    );
    // What was taken out of the file can still be read by its name.
    project.write("services.toml", &echo("db"));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    assert_eq!(logs(&project, &["web", "-n", "1", "--grep", "four"]), "web | four\n");
    assert_eq!(project.run(&["logs", "wb"]).status.code(), Some(3));
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn what_makes_no_sense_is_2_with_words() {
    let project = project(&["web"]);
    for (words, told) in [
        (&["--since", "yesterday"][..], "neither a duration back from now"),
        (&["--until", "10"], "neither a duration back from now"),
        (&["--grep", "("], "unclosed group"),
        (&["-n", "many"], "invalid"),
        (&["--previous", "--run", "1"], "cannot be used with"),
        (&["--format", "xml"], "text, json, cri"),
    ] {
        let output = project.run(&[&["logs"], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(told), "{words:?}: {}", stderr(&output));
    }
    project.write(
        "services.toml",
        "[services.web]\ncommand = \"sleep 1000\"\nlog = false\n",
    );
    let output = project.run(&["logs", "web"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`log = false`"), "{}", stderr(&output));
}

#[test]
fn followers_are_held_to_their_filters_and_end_when_nothing_can_come() {
    let project = project(&["web"]);
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    // Nothing that was asked for can come.
    assert_eq!(logs(&project, &["-f", "--run", "9"]), "");
    assert_eq!(logs(&project, &["-f", "--previous"]), "");
    assert_eq!(logs(&project, &["-f", "--until", "1h"]), "");
    let mut run = project.follow(&["--run", "1", "--no-prefix"]);
    let mut grep = project.follow(&["--grep", "^x", "--no-prefix"]);
    let mut err = project.follow(&["--stream", "err", "--json"]);
    assert_eq!(run.line(), "web begins\n");
    // A line that an open run has not ended is one when the run is over.
    say(&project, "web", "x1\nno\nerr\n");
    let json: Value = serde_json::from_str(&err.line()).unwrap();
    assert_eq!((&json["stream"], &json["line"]), (&"err".into(), &"err".into()));
    say(&project, "web", "x2\nopen\ncrash\n");
    let seen = run.rest();
    // The two streams have no order but that in which they are taken.
    assert_eq!(seen.replace("err\n", ""), "x1\nno\nx2\nno end\n");
    assert!(seen.contains("err\n"));
    assert_eq!(grep.line(), "x1\n");
    assert_eq!(grep.line(), "x2\n");
    eventually("web is back", || project.service("web")["run"] == 2);
    say(&project, "web", "x3\n");
    assert_eq!(grep.line(), "x3\n");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    // The project has ended, so nothing can come.
    assert_eq!((grep.rest(), err.rest()), (String::new(), String::new()));
    project.assert_nothing_is_left();
}

/// A `logs -f` and what it prints.
struct Follower {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Follower {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        text
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

trait Follow {
    fn follow(&self, words: &[&str]) -> Follower;
}

impl Follow for Project {
    fn follow(&self, words: &[&str]) -> Follower {
        let mut command = self.command(&[&["logs", "-f"], words].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Follower { child, out }
    }
}

/// Bytes that the daemon of this project holds in memory.
fn resident(project: &Project) -> u64 {
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let daemon = project
        .processes()
        .into_iter()
        .find(|pid| name(*pid).trim() == "runner-daemon");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

const BURST: usize = 2_500;
const BURSTS: usize = 8;

/// Reads numbered lines up to the last; how many, and how many more were missed. `reached` is told at the end of each burst.
fn read_numbers(follower: &mut Follower, reached: impl Fn(usize)) -> (usize, usize) {
    let (mut read, mut missed) = (0, 0);
    while read + missed < BURST * BURSTS {
        let line: Value = serde_json::from_str(&follower.line()).unwrap();
        if let Some(count) = line["skipped"].as_u64() {
            missed += usize::try_from(count).unwrap();
            continue;
        }
        read += 1;
        // In order, whole, and every gap has its size.
        let number = line["line"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        assert_eq!(number, (read + missed).to_string());
        if (read + missed) % BURST == 0 {
            reached(read + missed);
        }
    }
    (read, missed)
}

#[test]
fn lg_14_a_hundred_followers_of_which_one_never_reads() {
    let pad = "x".repeat(150);
    let project = Project::new(&format!(
        r#"
[services.web]
command = "exec 3<>web.in; echo begins; n=0; while read -r go <&3; do seq -f '%.0f {pad}' $((n + 1)) $((n + {BURST})); n=$((n + {BURST})); done"
ready = {{ log = "begins" }}
"#
    ));
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&project.file("web.in"), mode).unwrap();
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    let mut followers: Vec<Follower> = (0..100).map(|_| project.follow(&["--json"])).collect();
    for follower in &mut followers {
        assert!(follower.line().contains("begins"));
    }
    let mut frozen = followers.pop().unwrap();
    let before = resident(&project);
    let (sink, reached) = channel();
    let readers: Vec<_> = followers
        .into_iter()
        .map(|mut follower| {
            let sink = sink.clone();
            thread::spawn(move || read_numbers(&mut follower, |number| sink.send(number).unwrap()))
        })
        .collect();
    // Each burst is smaller than the budget of a follower, and the next comes when 99 have read it: they miss nothing.
    for burst in 1..=BURSTS {
        say(&project, "web", "go\n");
        for _ in 0..readers.len() {
            assert_eq!(
                reached.recv_timeout(CEILING),
                Ok(burst * BURST),
                "nobody is held up by the frozen one"
            );
        }
    }
    for reader in readers {
        assert_eq!(reader.join().unwrap(), (BURST * BURSTS, 0));
    }
    let log = project.read(".runner/logs/web.log");
    assert_eq!(log.lines().count(), 1 + BURST * BURSTS);
    // What waits for a follower is 1 MiB and what a few pieces on their way need.
    let after = resident(&project);
    assert!(
        after.saturating_sub(before) < 64 << 20,
        "from {before} to {after} bytes"
    );
    // When it reads at last, it is told what it missed.
    let (read, missed) = read_numbers(&mut frozen, |_| ());
    assert!(read > 0 && missed > 0, "{read} read, {missed} missed");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert_eq!(frozen.rest(), "");
    project.assert_nothing_is_left();
}

#[test]
fn whoever_follows_or_waits_does_not_hold_up_the_end() {
    let project = project(&["web"]);
    assert!(project.run(&["up", "-d"]).status.success());
    let spawn = |words: &[&str]| {
        let mut command = project.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let (mut logs, mut events) = (spawn(&["logs", "-f"]), spawn(&["events", "-f", "--since", "0"]));
    let mut waits = spawn(&["wait", "web", "--for", "failed"]);
    let mut readers = [logs.stdout.take().unwrap(), events.stdout.take().unwrap()].map(BufReader::new);
    for reader in &mut readers {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    assert!(project.run(&["down"]).status.success());
    let [mut logs_rest, mut events_rest] = [String::new(), String::new()];
    readers[0].read_to_string(&mut logs_rest).unwrap();
    readers[1].read_to_string(&mut events_rest).unwrap();
    assert!(events_rest.contains("ended with code 0"), "{events_rest}");
    assert!(logs.wait().unwrap().success() && events.wait().unwrap().success());
    // It can't fail any more; or it came when all was over.
    assert!(matches!(waits.wait().unwrap().code(), Some(1 | 4)));
    let own = project.read(".runner/runner.log");
    assert!(!own.contains("did not read its last words"), "{own}");
}
