//! A project in a folder of its own and a `runner` that is typed into it.
//!
//! Everything waits for events: lines of output and ends of processes, each with a long ceiling that says what was waited for.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part of it

pub mod roles;
pub mod terminal;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Far beyond what any step takes on a loaded machine: reaching it is a failure, not a delay.
pub const CEILING: Duration = Duration::from_secs(60);

pub struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    pub fn new(services_toml: &str) -> Project {
        let project = Project {
            dir: tempfile::tempdir().unwrap(),
        };
        project.write("services.toml", services_toml);
        project
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(words).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Types a verb and waits for its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    pub fn ps(&self) -> serde_json::Value {
        let output = self.run(&["ps", "--json"]);
        assert!(
            output.status.success(),
            "ps: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// One service of `ps --json`.
    pub fn service(&self, name: &str) -> serde_json::Value {
        let ps = self.ps();
        let services = ps["services"].as_array().unwrap().clone();
        services
            .into_iter()
            .find(|service| service["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {ps}"))
    }

    pub fn up(&self, words: &[&str]) -> Up {
        let mut all = vec!["up"];
        all.extend(words);
        Up::start(self.command(&all))
    }

    /// Pids of processes whose working folder is the project's or that were started by its runner, by /proc.
    pub fn processes(&self) -> Vec<u32> {
        let dir = std::fs::canonicalize(self.path()).unwrap();
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let here = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&dir));
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let named = String::from_utf8_lossy(&words).contains(&*dir.to_string_lossy());
            if (here || named) && pid != std::process::id() {
                pids.push(pid);
            }
        }
        pids
    }

    pub fn assert_nothing_is_left(&self) {
        self.assert_no_process_but(&[]);
    }

    pub fn assert_no_process_but(&self, others: &[u32]) {
        let mut left = self.processes();
        left.retain(|pid| !others.contains(pid));
        let words = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(
            left.is_empty(),
            "still there: {:?}",
            left.iter().map(|pid| (pid, words(pid))).collect::<Vec<_>>()
        );
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // A failed test must not leave a project running; a passed one has nothing left.
        let _ = self.run(&["down", "-t", "0s"]);
    }
}

/// A running `runner up` and the lines it has printed so far.
pub struct Up {
    pub child: Child,
    lines: Receiver<(bool, String)>,
    pub seen: Vec<String>,
}

impl Up {
    pub fn start(mut command: Command) -> Up {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Up::start_with(command)
    }

    /// Its streams are what the command says; those that are piped are read.
    pub fn start_with(mut command: Command) -> Up {
        let mut child = command.spawn().unwrap();
        let (sink, lines) = channel();
        let read = |stream: Box<dyn Read + Send>, is_err: bool| {
            let sink = sink.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let _ = sink.send((is_err, String::from_utf8_lossy(&line).into_owned()));
                }
            });
        };
        if let Some(out) = child.stdout.take() {
            read(Box::new(out), false);
        }
        if let Some(err) = child.stderr.take() {
            read(Box::new(err), true);
        }
        Up {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Reads on until a line holds `text`; the line.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + CEILING;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok((_, line)) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("waited for {text:?}, saw:\n{}", self.seen.join("\n")),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("`up` ended before {text:?} came, saw:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end of `up` and reads the rest.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + CEILING;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok((_, line)) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("`up` did not end, saw:\n{}", self.seen.join("\n")),
            }
        }
    }

    pub fn text(&self) -> String {
        self.seen.join("\n")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits for something that can't be waited for otherwise (the end of a process that is not ours).
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + CEILING;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
