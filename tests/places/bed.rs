//! A machine of our own inside of a namespace: which of its folders can be written, and as whom runner is typed there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::{eventually, stderr, stdout};
use crate::fixture;

/// Nobody of /etc/passwd.
pub const STRANGER: u32 = 12345;

pub const WEB: &str = "[services.web]\n\
    command = \"echo hello; while :; do sleep 1000 & wait $!; done\"\n\
    ready = { log = \"hello\" }\n";

/// The programs, below no folder that a test covers.
pub const RUNNER: &str = "/mnt/runner";
pub const FIXTURE: &str = "/mnt/fixture";

/// A project below a disk of its own, and who works on it.
pub struct Bed {
    pub dir: PathBuf,
    /// What stands before each `runner`.
    through: Vec<String>,
    /// Where processes can be seen by the test.
    pub proc: &'static str,
}

impl Bed {
    /// On a fresh tmpfs at /mnt, which nobody outside of the namespace sees.
    pub fn new(uid: u32, services_toml: &str) -> Bed {
        succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "places", "/mnt"]));
        // Wherever they were built, they are here as well.
        for (program, there) in [
            (Path::new(env!("CARGO_BIN_EXE_runner")), RUNNER),
            (&fixture::program(), FIXTURE),
        ] {
            std::fs::write(there, "").unwrap();
            succeeds(Command::new("mount").arg("--bind").arg(program).arg(there));
        }
        // Of other tests, whose projects have the same path, nothing is seen.
        for (folder, mode) in [("/run", "mode=755"), ("/tmp", "mode=1777"), ("/dev/shm", "mode=1777")] {
            succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", mode, "places", folder]));
        }
        let dir = PathBuf::from("/mnt/app");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("services.toml"), services_toml).unwrap();
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        Bed {
            dir,
            through: ["setpriv", &uid, &gid, "--clear-groups"].map(str::to_owned).to_vec(),
            proc: "/proc",
        }
    }

    /// Each `runner` is typed through another program.
    pub fn through(mut self, words: &[&str]) -> Bed {
        self.through.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.through[0]);
        command.args(&self.through[1..]).arg(RUNNER).args(words);
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    pub fn runner(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    pub fn succeed(&self, words: &[&str]) -> Output {
        let output = self.runner(words);
        assert!(
            output.status.success(),
            "{words:?}: {}{}",
            stdout(&output),
            stderr(&output)
        );
        output
    }

    #[track_caller]
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.succeed(words).stdout).unwrap()
    }

    /// One service of `ps --json`.
    #[track_caller]
    pub fn service(&self, name: &str) -> serde_json::Value {
        let ps = self.json(&["ps", "--json"]);
        let services = ps["services"].as_array().unwrap();
        services.iter().find(|service| service["name"] == name).unwrap().clone()
    }

    #[track_caller]
    pub fn pid(&self, name: &str) -> u64 {
        self.service(name)["pid"].as_u64().unwrap()
    }

    /// What `events` tells of warnings.
    pub fn warnings(&self) -> Vec<String> {
        let events = stdout(&self.succeed(&["events", "--json"]));
        let events = events
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let warned = events.filter(|event| event["event"] == "warned");
        warned
            .map(|event| event["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Starts, looks from a second process, stops: what has to go everywhere.
    #[track_caller]
    pub fn basic_suite(&self) -> String {
        let up = self.succeed(&["up", "-d"]);
        let web = self.service("web");
        assert_eq!(web["state"], "ready", "{web}");
        self.succeed(&["health"]);
        self.succeed(&["why", "web"]);
        let logs = stdout(&self.succeed(&["logs", "web"]));
        assert!(logs.contains("hello"), "{logs}");
        self.succeed(&["restart", "web"]);
        assert_ne!(self.service("web")["run"], web["run"]);
        self.succeed(&["stop", "web"]);
        assert_eq!(self.service("web")["state"], "stopped");
        self.succeed(&["start", "web"]);
        self.succeed(&["down"]);
        assert_eq!(self.runner(&["ps"]).status.code(), Some(4));
        stderr(&up)
    }

    /// Ends a process of this name that belongs to our runner: `runner-daemon`, `runner-guardian`.
    pub fn kill(&self, name: &str) {
        let found = self.named(name);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        succeeds(Command::new("kill").args(["-KILL", &found[0].to_string()]));
        eventually("it is gone", || !self.named(name).contains(&found[0]));
    }

    pub fn named(&self, name: &str) -> Vec<u32> {
        named(self.proc, name)
    }

    /// Kills the daemon: the service is taken over.
    #[track_caller]
    pub fn outlives_its_daemon(&self, service: &str) {
        let pid = self.pid(service);
        self.kill("runner-daemon");
        eventually("another daemon is there", || self.runner(&["ps"]).status.success());
        assert_eq!(self.pid(service), pid);
    }
}

/// Processes of this name that live, in our namespace.
fn named(proc: &str, name: &str) -> Vec<u32> {
    let folders = std::fs::read_dir(proc).unwrap().flatten();
    let pids = folders.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let comm = std::fs::read_to_string(format!("{proc}/{pid}/comm")).unwrap_or_default();
        let status = std::fs::read_to_string(format!("{proc}/{pid}/status")).unwrap_or_default();
        comm.trim() == name && !status.contains("State:\tZ")
    };
    pids.filter(is_it).collect()
}

/// Makes everything read-only that can be written here, but these folders.
pub fn read_only(but: &[&str]) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let is_of_the_kernel = ["/proc", "/sys"]
            .iter()
            .any(|folder| Path::new(point).starts_with(folder));
        // What is hidden below another mount is not there.
        if !but.contains(&point) && !is_of_the_kernel && Path::new(point).exists() {
            succeeds(Command::new("mount").args(["-o", "remount,bind,ro", point]));
        }
    }
    for folder in ["/tmp", "/run", "/dev/shm", "/mnt/app"] {
        let probe = Path::new(folder).join("probe");
        assert_eq!(std::fs::write(&probe, "").is_ok(), but.contains(&folder), "{folder}");
    }
}

#[track_caller]
pub fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
}
