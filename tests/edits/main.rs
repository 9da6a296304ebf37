//! Edits of a running project, from outside: each way of saving, each kind of change, and what a change may never do.
//!
//! Everything waits for what `events` tells; that a save did nothing is known by what is told of the next one.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../common/foretold.rs"]
mod foretold;

mod changes;
mod included;
mod live;
mod mounts;
mod plans;
mod saves;
mod wishes;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use common::{CEILING, Project, stderr};
use foretold::Picture;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::Value;

/// A service that stays.
pub fn stays(name: &str, more: &str) -> String {
    format!("[services.{name}]\ncommand = \"exec sleep 1000\"\n{more}\n")
}

/// A project that is up, and all that it tells.
pub struct Running {
    events: Child,
    told: Receiver<Value>,
    pub seen: Vec<Value>,
    /// What is typed before each verb.
    place: &'static [&'static str],
    pub project: Project,
}

impl Running {
    pub fn up(services: &str) -> Running {
        Running::of(Project::new(services), &[], &[])
    }

    /// `runner PLACE up -d WORDS`.
    pub fn of(project: Project, place: &'static [&'static str], words: &[&str]) -> Running {
        let all: Vec<&str> = place.iter().chain(&["up", "-d"]).chain(words).copied().collect();
        let output = project.run(&all);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut running = Running::follow(project, place);
        running.comes_up();
        running.seen.clear();
        running
    }

    pub fn follow(project: Project, place: &'static [&'static str]) -> Running {
        let (events, told) = follower(&project, place);
        Running {
            events,
            told,
            seen: Vec::new(),
            place,
            project,
        }
    }

    /// Nothing is in transition any more.
    #[track_caller]
    pub fn comes_up(&mut self) {
        self.hear("all to be up", |event| event["event"] == "settled");
    }

    /// After another runner has taken over.
    pub fn follow_anew(&mut self) {
        let _ = self.events.kill();
        let _ = self.events.wait();
        (self.events, self.told) = follower(&self.project, self.place);
    }

    /// Reads on to the first event that is `wanted`.
    #[track_caller]
    pub fn hear(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + CEILING;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.told.recv_timeout(left) else {
                let seen: Vec<String> = self.seen.iter().map(Value::to_string).collect();
                panic!("waited for {what}, heard:\n{}", seen.join("\n"));
            };
            self.seen.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    #[track_caller]
    pub fn hear_of(&mut self, service: &str, word: &str) -> Value {
        self.hear(&format!("{service} {word}"), |event| {
            event["service"] == service && event["event"] == word
        })
    }

    /// An edit has come into force, and everything that follows from it has happened.
    #[track_caller]
    pub fn applied(&mut self) -> Value {
        let applied = self.hear("an edit to be applied", |event| event["event"] == "config_applied");
        // One that only takes back a broken file brings no new generation.
        if applied["steps"].as_array().is_some_and(|steps| !steps.is_empty()) {
            self.settled(&applied["generation"]);
        }
        applied
    }

    #[track_caller]
    fn settled(&mut self, generation: &Value) {
        self.hear("all to settle", |event| {
            event["event"] == "settled" && event["generation"] == *generation
        });
    }

    #[track_caller]
    pub fn rejected(&mut self) -> Value {
        self.hear("an edit to be rejected", |event| event["event"] == "config_rejected")
    }

    /// Saves, and waits until it is in force.
    #[track_caller]
    pub fn save(&mut self, text: &str) -> Value {
        self.project.write("services.toml", text);
        self.applied()
    }

    /// Saves something that has to change nothing, and proves that it was read: a broken file stood there before.
    #[track_caller]
    pub fn save_in_vain(&mut self, text: &str) {
        self.project.write("services.toml", "broken = [");
        self.rejected();
        self.project.write("services.toml", text);
        let applied = self.hear("the file to be good again", |event| event["event"] == "config_applied");
        assert_eq!(applied["steps"], Value::Array(Vec::new()), "{applied}");
    }

    pub fn picture(&self) -> Picture {
        foretold::picture(&self.ps())
    }

    /// One service of `ps`.
    #[track_caller]
    pub fn service(&self, name: &str) -> Value {
        let ps = self.ps();
        let mut services = ps["services"].as_array().unwrap().iter();
        let found = services.find(|service| service["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {ps}")).clone()
    }

    pub fn ps(&self) -> Value {
        self.json(&["ps"])
    }

    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[words, &["--json"]].concat())).unwrap()
    }

    /// Types a verb that has to succeed.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.project.run(&[self.place, words].concat());
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        common::stdout(&output)
    }

    /// The events of a kind that were heard so far.
    pub fn heard(&self, word: &str) -> Vec<&Value> {
        self.seen.iter().filter(|event| event["event"] == word).collect()
    }

    /// Ends the project and sees that nothing is left.
    #[track_caller]
    pub fn down(self) {
        self.run(&["down"]);
        self.is_over();
    }

    /// After its end, which our own follower of its events hears of as well, nothing is left.
    #[track_caller]
    pub fn is_over(mut self) {
        let _ = self.events.wait();
        self.project.assert_nothing_is_left();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.events.kill();
        let _ = self.events.wait();
        let _ = self.project.run(&[self.place, &["down", "-t", "0s"]].concat());
    }
}

/// Knows when somebody reads a file after it was written.
pub struct Reading {
    _watcher: RecommendedWatcher,
    told: Receiver<AccessKind>,
}

impl Reading {
    pub fn of(file: &Path) -> Reading {
        let (sink, told) = channel();
        let tell = move |event: notify::Result<notify::Event>| {
            if let EventKind::Access(kind) = event.unwrap().kind {
                let _ = sink.send(kind);
            }
        };
        let mut watcher = RecommendedWatcher::new(tell, notify::Config::default()).unwrap();
        watcher.watch(file, RecursiveMode::NonRecursive).unwrap();
        Reading {
            _watcher: watcher,
            told,
        }
    }

    #[track_caller]
    pub fn write(&self, file: &Path, text: &[u8]) {
        std::fs::write(file, text).unwrap();
        let wait = |wanted: AccessKind| while self.told.recv_timeout(CEILING).unwrap() != wanted {};
        wait(AccessKind::Close(AccessMode::Write));
        wait(AccessKind::Open(AccessMode::Any));
    }
}

fn follower(project: &Project, place: &[&str]) -> (Child, Receiver<Value>) {
    let mut follower = project
        .command(&[place, &["events", "-f", "--since", "0", "--json"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sink, told) = channel();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = sink.send(serde_json::from_str(&line).unwrap());
        }
    });
    (follower, told)
}

/// `step` of each service in a list of steps, with the fields that changed.
pub fn steps(list: &Value) -> BTreeMap<String, (String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = list.as_array().unwrap().iter();
    let step = |step: &Value| {
        let fields = step["fields"].as_array().unwrap().iter().map(text).collect();
        (text(&step["service"]), (text(&step["step"]), fields))
    };
    steps.map(step).collect()
}

/// What one service's step was.
pub fn step_of(list: &Value, service: &str) -> (String, Vec<String>) {
    let found = steps(list).remove(service);
    found.unwrap_or_else(|| ("keep".to_owned(), Vec::new()))
}
