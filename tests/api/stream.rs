//! Answers that go on: events and waiting.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use serde_json::Value;

use crate::common::{Project, eventually, stdout};
use crate::raw::{Running, answers, half_close};

/// Ends and is restarted whenever something is written to its FIFO.
const RESTLESS: &str = r#"
[services.web]
command = "test -p in || mkfifo in; read line < in; exit 1"
restart = "always"
max_restarts = 100000
backoff = { initial = "0s", max = "0s" }

[services.quiet]
command = "exec sleep 1000"
"#;

/// Follows the events from the socket on, as a browser would.
struct Follower {
    lines: BufReader<UnixStream>,
}

impl Follower {
    fn begin(running: &Running, last: Option<u64>) -> Follower {
        let mut stream = running.connect();
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        // The URL stays as it was at first; the header wins.
        let request = format!("GET /v1/events?since=0 HTTP/1.1\r\nAccept: text/event-stream\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Follower {
            lines: BufReader::new(stream),
        }
    }

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(json) = line.strip_prefix("data: ") {
                return serde_json::from_str(json).ok();
            }
        }
    }

    fn cursors(&mut self, until: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| *last < until) {
            let event = self
                .next()
                .unwrap_or_else(|| panic!("the stream ended after {:?}", seen.last()));
            seen.push(event["cursor"].as_u64().unwrap());
        }
        seen
    }
}

/// Restarts it, by its end or by hand, until so many events are there.
fn stir(running: &Running, until: u64) -> u64 {
    let last = || {
        let text = running.get("/v1/events?since=0&follow=0").text();
        let mut ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.next_back().map_or(0, |id| id.parse::<u64>().unwrap())
    };
    while last() < until {
        let asked = running.ask("POST", "/v1/restart", "{\"names\":[\"quiet\"],\"wait\":true}");
        assert_eq!(asked.status, 200, "{asked:?}");
        // Nobody may be reading just now.
        let path = running.project.file("in");
        drop(
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
                .write(b"\n"),
        );
    }
    last()
}

#[test]
fn events_are_resumed_without_loss_or_doubles_while_services_restart() {
    let running = Running::of(RESTLESS);
    eventually("it waits", || running.project.file("in").exists());
    const ENOUGH: u64 = 400;
    let mut seen = vec![0];
    thread::scope(|scope| {
        scope.spawn(|| stir(&running, ENOUGH));
        // Again and again cut off, and taken up where the last whole event was.
        for piece in 0.. {
            let last = *seen.last().unwrap();
            if last >= ENOUGH {
                break;
            }
            let mut follower = Follower::begin(&running, Some(last));
            for _ in last..ENOUGH.min(last + 1 + piece % 7) {
                seen.push(follower.next().unwrap()["cursor"].as_u64().unwrap());
            }
        }
    });
    assert_eq!(seen, (0..=ENOUGH).collect::<Vec<_>>());
    for wrong in ["", "x", "-1", "1 2", "18446744073709551616"] {
        let header = format!("Last-Event-ID: {wrong}\r\n");
        assert_eq!(
            running.ask_with("GET", "/v1/events", &header, "").status,
            400,
            "{wrong:?}"
        );
    }
    running.end();
}

#[test]
fn one_follower_that_never_reads_is_beside_fifty_that_do() {
    let running = Running::of(RESTLESS);
    eventually("it waits", || running.project.file("in").exists());
    let mut deaf = Follower::begin(&running, None);
    let mut readers: Vec<_> = (0..50).map(|_| Follower::begin(&running, None)).collect();
    let before = running.memory_kib();
    thread::scope(|scope| {
        let reading: Vec<_> = readers
            .iter_mut()
            .map(|reader| scope.spawn(|| reader.cursors(2000)))
            .collect();
        stir(&running, 2000);
        for reader in reading {
            let seen = reader.join().unwrap();
            assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]) && seen[0] == 1);
        }
    });
    let after = running.memory_kib();
    assert!(after < before + 24 * 1024, "{before} KiB became {after}");
    // What it has not read is still there for it.
    let seen = deaf.cursors(2000);
    assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]) && seen[0] == 1);
    running.end();
}

#[test]
fn a_cursor_goes_on_over_down_and_up() {
    let project = Project::new(RESTLESS);
    let events = |since: &str| -> Vec<u64> {
        let output = project.run(&["events", "--json", "--since", since]);
        assert!(output.status.success());
        let cursor = |line: &str| serde_json::from_str::<Value>(line).unwrap()["cursor"].as_u64().unwrap();
        stdout(&output).lines().map(cursor).collect()
    };
    let mut last = 0;
    for _ in 0..3 {
        assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
        let up = events(&last.to_string());
        assert!(up.first() == Some(&(last + 1)), "{last}: {up:?}");
        last = *up.last().unwrap();
        assert_eq!(project.run(&["down"]).status.code(), Some(0));
        // The end is told too, to whoever asks when nothing runs.
        let down = events(&last.to_string());
        assert!(down.first() == Some(&(last + 1)), "{last}: {down:?}");
        last = *down.last().unwrap();
    }
    // A number that was never given: another history than the one it is of, all of which is news.
    assert_eq!(events("18446744073709551615").len() as u64, last);
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    assert_eq!(events("18446744073709551615").first(), Some(&1));
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn a_wait_that_runs_out_is_124_and_one_that_can_not_come_true_is_1() {
    let project = Project::new(
        "[services.web]\ncommand = \"exec sleep 1000\"\n[services.once]\ntype = \"oneshot\"\ncommand = \"true\"\n\
         [services.late]\ncommand = \"exec sleep 1000\"\nready = { file = \"never\" }\nautostart = false\n",
    );
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    for (words, code) in [
        (&["wait", "web"][..], 0),
        (&["wait", "once", "--for", "completed"], 0),
        (&["wait", "web", "--for", "stopped", "--timeout", "50ms"], 124),
        (&["wait", "--for", "failed", "--timeout", "0s"], 124),
        (&["wait", "nosuch"], 3),
        (&["wait", "web", "--for", "ever"], 2),
        (&["start", "late", "--wait-timeout", "50ms"], 124),
        (&["stop", "late"], 0),
    ] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    }
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn whoever_waits_is_answered_when_runner_ends() {
    let running = Running::of(RESTLESS);
    let mut waiting = running.connect();
    waiting
        .write_all(b"GET /v1/wait?for=failed&service=quiet HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut following = Follower::begin(&running, None);
    following.next().unwrap();
    assert_eq!(running.project.run(&["down"]).status.code(), Some(0));
    let mut bytes = Vec::new();
    waiting.read_to_end(&mut bytes).unwrap();
    assert_eq!(answers(&bytes).len(), 1, "{}", String::from_utf8_lossy(&bytes));
    let mut last = None;
    while let Some(event) = following.next() {
        last = Some(event["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(last.as_deref(), Some("ended"));
    running.project.assert_nothing_is_left();
}

#[test]
fn ps_w_goes_on_after_the_server_has_closed_what_was_idle() {
    let running = Running::of(RESTLESS);
    let mut watch = running.project.command(&["ps", "-w", "--json"]);
    let mut watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    // One that is as idle as that of `ps -w`, and younger.
    let mut idle = running.connect();
    idle.write_all(b"GET /v1/health HTTP/1.1\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    idle.read_to_end(&mut bytes).unwrap();
    assert_eq!(answers(&bytes)[0].status, 200);
    assert_eq!(running.project.run(&["stop", "quiet"]).status.code(), Some(0));
    let is_stopped = |line: &String| {
        let ps: Value = serde_json::from_str(line).unwrap();
        let mut services = ps["services"].as_array().unwrap().iter();
        services.any(|service| service["name"] == "quiet" && service["state"] == "stopped")
    };
    assert!(
        lines.map_while(Result::ok).any(|line| is_stopped(&line)),
        "`ps -w` ended"
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
    running.end();
}

#[test]
fn a_client_that_says_it_is_done_still_gets_what_it_asked_for_or_nothing() {
    let running = Running::of(RESTLESS);
    for _ in 0..50 {
        let mut stream = running.connect();
        stream
            .write_all(b"GET /v1/services HTTP/1.1\r\nConnection: close\r\n\r\n")
            .unwrap();
        half_close(&stream);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert!(bytes.is_empty() || answers(&bytes)[0].json()["services"].is_array());
    }
    running.assert_well("half-closed connections");
    running.end();
}
