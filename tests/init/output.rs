//! What a container's log gets, and what `logs` shows without a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Project, eventually, stderr, stdout};
use crate::{Init, as_init, children, is_root, name};

fn json(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

const ONE: &str = "[services.web]\ncommand = 'printf \"one\\n\\377\\nno end\"; echo two >&2; exit 3'\nrestart = \"no\"\nessential = true\n";

#[test]
fn json_is_an_object_a_line_and_the_last_word_is_an_event() {
    // As PID 1 and as a client it is the same.
    for in_place in [false, true] {
        if in_place && !is_root() {
            continue;
        }
        let project = Project::new(ONE);
        let words = ["up", "--log-format", "json"];
        let output = match in_place {
            true => as_init(&project, &words).output().unwrap(),
            false => project.run(&words),
        };
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let lines = json(&stdout(&output));
        let of = |stream: &str| -> Vec<&Value> { lines.iter().filter(|line| line["stream"] == stream).collect() };
        let out = of("out");
        assert_eq!(
            (&out[0]["line"], &out[1]["line_base64"]),
            (&"one".into(), &"/w==".into())
        );
        assert_eq!(out[2]["line"], "no end");
        assert_eq!((of("err")[0]["line"].as_str(), lines.len()), (Some("two"), 4));
        for line in &lines {
            let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys[..4], ["time", "service", "run", "stream"]);
            assert_eq!((&line["service"], &line["run"]), (&"web".into(), &1.into()));
        }
        let events = json(&stderr(&output));
        assert!(
            events
                .iter()
                .any(|event| event["event"] == "exited" && event["service"] == "web")
        );
        let last = events.last().unwrap();
        assert_eq!((&last["event"], &last["code"]), (&"ended".into(), &3.into()));
        assert!(last["because"].as_str().unwrap().contains("exit code 3"), "{last}");
    }
}

#[test]
fn co_02_a_reader_that_takes_its_time_misses_nothing() {
    if !is_root() {
        return;
    }
    const LINES: usize = 300_000;
    let project = Project::new(&format!(
        "[services.web]\ntype = \"oneshot\"\ncommand = \"seq -f 'line %.0f' 1 {LINES}; echo last words\"\n"
    ));
    let mut command = as_init(&project, &["up"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = BufReader::with_capacity(512, child.stdout.take().unwrap());
    let mut next = 1;
    let (mut last, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).unwrap() > 0 {
        if let Some(number) = line.strip_prefix("web    | line ") {
            assert_eq!(number.trim_end().parse(), Ok(next));
            next += 1;
        } else if !last.contains("completed") {
            last.clone_from(&line);
        }
        if line.contains("last words") {
            assert_eq!(next, LINES + 1);
        }
        line.clear();
    }
    assert_eq!(next, LINES + 1);
    // The word of its end comes behind its own last one.
    assert!(last.starts_with("web    | completed"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_stdout_that_is_closed_or_gone_or_stuck_ends_nothing_and_holds_up_no_end() {
    if !is_root() {
        return;
    }
    let service = "[services.web]\ntype = \"oneshot\"\ncommand = \"seq 1 200000 | tee copy; echo done >> ledger\"\n";
    // Closed before we begin.
    let project = Project::new(service);
    let words = format!("exec {} up >&-", env!("CARGO_BIN_EXE_runner"));
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &words]);
    let output = command
        .current_dir(project.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(project.read("ledger"), "done\n");
    // The reader goes after a few lines.
    let project = Project::new(service);
    let mut child = as_init(&project, &["up"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut few = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut few).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(project.read("ledger"), "done\n");
    // It stays and reads nothing: the service waits, and is stopped all the same.
    let project = Project::new(service);
    let mut command = as_init(&project, &["up"]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer).stderr(Stdio::piped());
    let mut init = Init {
        up: crate::common::Up::start_with(command),
    };
    eventually("it has begun", || project.file("copy").exists());
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
    assert_eq!(init.last(), "runner  ended: SIGTERM");
    drop(reader);
}

#[test]
fn logs_are_in_memory_and_every_verb_reads_them() {
    if !is_root() {
        return;
    }
    let project = Project::new(
        "[services.web]\ncommand = \"echo begins; read -r go < go; echo dies >&2; exit 1\"\nbackoff = { initial = \"10ms\" }\nready = { log = \"begins\" }\n\
         [services.kept]\ncommand = \"echo kept; exec sleep 1000\"\nlog = { file = \"kept.log\" }\nready = { log = \"kept\" }\n",
    );
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&project.file("go"), mode).unwrap();
    let mut init = Init::start(&project, &["up"]);
    init.up.wait_for("web    | ready");
    eventually("kept is ready", || project.service("kept")["state"] == "ready");
    // From the host it is the same project, by the same socket.
    let logs = |words: &[&str]| {
        let output = project.run(&[&["logs", "--no-prefix", "web"], words].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    assert_eq!(logs(&[]), "begins\n");
    let mut follower = project
        .command(&["logs", "-f", "--no-prefix", "web"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut followed = BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    followed.read_line(&mut line).unwrap();
    assert_eq!(line, "begins\n");
    let mut go = File::options().read(true).write(true).open(project.file("go")).unwrap();
    std::io::Write::write_all(&mut go, b"go\n").unwrap();
    line.clear();
    followed.read_line(&mut line).unwrap();
    assert_eq!(line, "dies\n");
    eventually("web is back", || project.service("web")["run"] == 2);
    eventually("it prints", || logs(&[]).matches("begins").count() == 2);
    assert_eq!(logs(&["--previous"]), "begins\ndies\n");
    assert_eq!(logs(&["--run", "2"]), "begins\n");
    let why = project.run(&["why", "web"]);
    assert!(
        stdout(&why).contains("dies") || stdout(&why).contains("begins"),
        "{}",
        stdout(&why)
    );
    assert!(!project.file(".runner/logs").exists());
    assert_eq!(project.read("kept.log"), "kept\n");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0));
    let mut rest = String::new();
    followed.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "begins\n");
    follower.wait().unwrap();
}

#[test]
fn lg_13_a_service_of_another_user_reopens_its_stdout() {
    if !is_root() {
        return;
    }
    let project = Project::new(
        "[services.web]\ntype = \"oneshot\"\nworking_dir = \"/\"\nuser = \"nobody\"\ncommand = \"echo one > /dev/stdout; echo two >> /proc/self/fd/1; echo three > /dev/stderr\"\n",
    );
    let output = as_init(&project, &["up"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for line in ["web    | one\n", "web    | two\n", "web    | three\n"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn lg_07_a_daemon_that_is_killed_leaves_no_line_out() {
    if !is_root() {
        return;
    }
    const LINES: usize = 300_000;
    let project = Project::new(&format!(
        "[services.web]\ntype = \"oneshot\"\ncommand = \"seq -f 'line %.0f' 1 {LINES}\"\n"
    ));
    let mut command = as_init(&project, &["up"]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer).stderr(Stdio::null());
    let init = Init {
        up: crate::common::Up::start_with(command),
    };
    let mut reader = BufReader::with_capacity(4096, reader);
    let (mut next, mut kills) = (1, 0);
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        let number = line
            .rsplit_once("line ")
            .and_then(|(_, number)| number.trim_end().parse::<usize>().ok());
        if number == Some(next) {
            next += 1;
            if next % 50_000 == 0 {
                let daemon = children(init.pid())
                    .into_iter()
                    .find(|pid| name(*pid).starts_with("runner-daemon"));
                if let Some(pid) = daemon {
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGKILL);
                    kills += 1;
                }
            }
        }
        line.clear();
    }
    assert_eq!(next, LINES + 1, "after {kills} kills");
    assert!(kills > 1, "{kills} kills");
}
