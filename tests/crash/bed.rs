//! What every test here lies in: a project of two services, a bystander, and verbs that have an end.

use std::path::PathBuf;
use std::process::{Child, Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runner::sys::processes;

use crate::common::{Project, stderr};
use crate::fixture;

/// Prints numbered lines into small files, so that there is always a rotation.
pub const COUNTER: &str = "counter";
/// Waits; has a child that has left the process group and must be killed.
pub const PLAIN: &str = "plain";
pub const SERVICES: [&str; 2] = [COUNTER, PLAIN];
/// So many log files that none is ever removed.
pub const ALL: u32 = 500;

/// How many processes both services have.
pub const PROCESSES: usize = 3;

/// Seconds in which a verb has an answer, whoever was killed.
const PATIENCE: &str = "20";

pub struct Bed {
    pub project: Project,
    bystander: Child,
    born: u64,
    /// `max_files` of the log.
    pub keeps: u32,
}

impl Bed {
    pub fn new(keeps: u32) -> Bed {
        let bystander = Command::new("sleep").arg("1000").spawn().unwrap();
        let bed = Bed {
            project: Project::new(&file(0, keeps)),
            keeps,
            born: processes::stat(bystander.id()).unwrap().start_ticks,
            bystander,
        };
        std::fs::write(bed.hits(), "").unwrap();
        bed
    }

    /// The next edition of the file, which restarts one service.
    pub fn edit(&self, edition: u32) {
        self.project.write("services.toml", &file(edition, self.keeps));
    }

    /// Beside the project: a file in it would be one of its files.
    fn hits(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{}.hits", self.project.path().file_name().unwrap().display()))
    }

    /// Names of all points that were hit so far.
    pub fn points_hit(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.hits()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// A verb that is not to be hit by anything.
    pub fn verb(&self, words: &[&str]) -> Output {
        self.within_patience(words, None)
    }

    /// As what it starts, too, it follows this script of faults.
    pub fn verb_under(&self, faults: &str, words: &[&str]) -> Output {
        self.within_patience(words, Some(faults))
    }

    fn within_patience(&self, words: &[&str], faults: Option<&str>) -> Output {
        let mut command = Command::new("timeout");
        command
            .args(["-s", "KILL", PATIENCE, env!("CARGO_BIN_EXE_runner")])
            .args(words);
        if let Some(faults) = faults {
            command
                .env("RUNNER_FAULTS", faults)
                .env("RUNNER_FAULTS_HITS", self.hits());
        }
        command.current_dir(self.project.path()).output().unwrap()
    }

    /// Whatever has happened: one `up` brings everything back.
    #[track_caller]
    pub fn recover(&self, what: &str) {
        let output = self.verb(&["up", "-d"]);
        let log = self.project.read(".runner/runner.log");
        let log: Vec<_> = log.lines().rev().take(8).collect();
        assert!(
            output.status.success(),
            "{what}: {}\n{}",
            stderr(&output),
            log.join("\n")
        );
    }

    /// What there is to be known of a failure.
    fn tell(&self) {
        println!("{}", crate::common::stdout(&self.verb(&["ps"])));
        println!("{}", crate::common::stdout(&self.verb(&["events"])));
        for file in [".runner/runner.log", "counter.ledger", "plain.ledger"] {
            println!("{file}:\n{}", self.project.read(file));
        }
    }

    pub fn bystander_lives(&self) -> bool {
        processes::stat(self.bystander.id()).is_some_and(|stat| stat.start_ticks == self.born && !stat.is_zombie())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.bystander.kill();
        let _ = self.bystander.wait();
        let _ = std::fs::remove_file(self.hits());
        if std::thread::panicking() {
            self.tell();
        }
        // Whatever a failed test has shown: nothing of it runs on.
        let _ = self.verb(&["down", "-t", "0s"]);
        for pid in self.project.processes() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }
}

fn file(edition: u32, keeps: u32) -> String {
    let service = |name: &str, rest: &str| {
        format!(
            "[services.{name}]\ncommand = [{:?}, \"ledger\", \"{name}.ledger\", \"sole\", \"{name}.lock\", \"catch\", \"TERM\", \
             \"0\", {rest}]\n",
            fixture::program()
        )
    };
    format!(
        "[project]\nname = \"bed\"\n{}env = {{ EDITION = \"{edition}\" }}\nlog = {{ max_size = \"8KB\", max_files = {keeps} }}\n{}\
         depends_on = [\"counter\"]\nready = {{ exec = \"true\" }}\nstop_timeout = \"100ms\"\n",
        service(COUNTER, "\"count\", \"5\""),
        service(PLAIN, r#""fork", "{", "setsid", "ignore", "TERM", "wait", "}", "wait""#)
    )
}
