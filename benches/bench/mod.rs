//! What the benches have in common: a tiny static program, a project in a folder of its own, and what processes used.
#![allow(dead_code, clippy::unwrap_used)] // each bench uses its part of it

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const RUNNER: &str = env!("CARGO_BIN_EXE_runner");

/// A folder with the compiled `tiny` in it.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub tiny: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let tiny = compile("tiny", dir.path());
        Place { dir, tiny }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, services: &str) {
        fs::write(self.path().join("services.toml"), services).unwrap();
    }

    pub fn runner<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(RUNNER);
        command.args(words).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Types a verb, which must succeed; how long it took.
    pub fn timed(&self, words: &[&str]) -> Duration {
        let begin = Instant::now();
        let output = self.runner(words).output().unwrap();
        let took = begin.elapsed();
        assert!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        took
    }

    /// The main processes of its services.
    pub fn services(&self) -> Vec<u32> {
        let output = self.runner(&["ps", "--json"]).output().unwrap();
        let ps: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let services = ps["services"].as_array().unwrap().iter();
        services
            .filter_map(|service| service["pid"].as_u64())
            .map(|pid| pid as u32)
            .collect()
    }

    /// Guardian and daemon of this project.
    pub fn roles(&self) -> Vec<u32> {
        let dir = fs::canonicalize(self.path()).unwrap();
        let mut roles = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            if words.contains("__daemon") && words.contains(&*dir.to_string_lossy()) {
                roles.push(pid);
            }
        }
        roles
    }
}

/// One of the programs beside this file, in a folder.
pub fn compile(name: &str, folder: &Path) -> PathBuf {
    let program = folder.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/bench/{name}.c"));
    let compiled = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    assert!(
        compiled.expect("cc is there").success(),
        "cc could not compile {}",
        source.display()
    );
    program
}

/// CPU seconds that these processes have used so far themselves, to 10 ms (proc(5)).
pub fn cpu_of(pids: &[u32]) -> f64 {
    let ticks = pids.iter().map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        [11, 12]
            .iter()
            .filter_map(|&at| fields.get(at)?.parse::<u64>().ok())
            .sum::<u64>()
    });
    ticks.sum::<u64>() as f64 / 100.0
}

/// Nanoseconds on a processor of all threads so far: finer than ticks (schedstat, where the kernel has it).
pub fn cpu_ns_of(pids: &[u32]) -> u64 {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += text
                .split_whitespace()
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    sum
}

/// How often the threads of these processes gave up a processor to wait for something.
pub fn wake_ups_of(pids: &[u32]) -> u64 {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += line.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}

/// Proportional set size, in bytes.
pub fn pss_of(pids: &[u32]) -> u64 {
    let kilobytes = pids.iter().map(|pid| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .unwrap_or_default();
        line.split_whitespace()
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    });
    kilobytes.sum::<u64>() * 1024
}

/// CPU seconds of children that have ended and were waited for.
pub fn cpu_of_children() -> f64 {
    cpu_by(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)
}

pub fn cpu_of_us() -> f64 {
    cpu_by(nix::sys::resource::UsageWho::RUSAGE_SELF)
}

fn cpu_by(who: nix::sys::resource::UsageWho) -> f64 {
    let usage = nix::sys::resource::getrusage(who).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The most that was resident at any time, in bytes.
pub fn peak_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|word| word.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
