//! What runner costs as a container's first process, beside tini and dumb-init: `cargo bench --bench init`, as root.
//!
//! `RUNNER_STATIC=target/x86_64-unknown-linux-gnu/image/runner`, from the repository's root, measures that program instead of this
//! profile's. Everything runs in a PID namespace of its own, made by unshare(1); what that costs by itself is measured and taken off.
#![allow(clippy::unwrap_used)]

mod bench;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench::{Place, median, pss_of};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runner::sys::clock;

const ROUNDS: usize = 100;
const ORPHANS: usize = 100_000;

/// COUNT orphans, which end at once; then we, with 7.
const STORM: &str = r#"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **words) {
    for (long left = atol(words[1]); left > 0; left--) {
        pid_t child = fork();
        if (child < 0) return 1;
        if (child == 0) {
            if (fork() < 0) _exit(1);
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status) return 2;
    }
    return 7;
}
"#;

/// Which runner is measured.
static RUNNER: LazyLock<String> = LazyLock::new(|| match std::env::var("RUNNER_STATIC") {
    Ok(given) => fs::canonicalize(given).unwrap().to_str().unwrap().to_owned(),
    Err(_) => bench::RUNNER.to_owned(),
});

/// One that starts a command as its only child.
struct Init {
    name: &'static str,
    words: Vec<&'static str>,
}

fn main() {
    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: only root may make a PID namespace");
        return;
    }
    let place = Place::new();
    let bare = Init {
        name: "nobody",
        words: vec![],
    };
    let mut inits = vec![Init {
        name: "runner",
        words: vec![&RUNNER, "up", "--"],
    }];
    for (name, words) in [("tini", vec!["tini", "--"]), ("dumb-init", vec!["dumb-init"])] {
        match Command::new(name).arg("--version").output() {
            Ok(_) => inits.push(Init { name, words }),
            Err(_) => println!("{name} is not installed: left out"),
        }
    }
    start_and_end(&place, &bare, &inits);
    forwarded(&place, &inits);
    orphans(&place, &inits);
    memory(&place);
}

/// In a namespace of its own; the folder of the place has no services.toml unless one was written.
fn inside<S: AsRef<OsStr>>(place: &Place, words: &[S]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(words);
    command.current_dir(place.path()).stdin(Stdio::null());
    command
}

fn timed(place: &Place, init: &Init) -> f64 {
    let words = [&init.words[..], &["/bin/true"]].concat();
    let begin = Instant::now();
    let output = inside(place, &words).output().unwrap();
    let took = begin.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", init.name);
    took.as_secs_f64() * 1e3
}

fn start_and_end(place: &Place, bare: &Init, inits: &[Init]) {
    println!("`-- true`, whole process as PID 1 (median of {ROUNDS}, without what unshare costs); goal: <= 3x tini");
    // They take turns, so that whatever else happens on the machine happens to all.
    let mut taken: Vec<Vec<f64>> = vec![Vec::new(); inits.len() + 1];
    for _ in 0..ROUNDS {
        for (times, init) in taken.iter_mut().zip([bare].into_iter().chain(inits)) {
            times.push(timed(place, init));
        }
    }
    let mut medians = taken.into_iter().map(median);
    let nothing = medians.next().expect("the first of them");
    let cost: Vec<f64> = medians.map(|with| with - nothing).collect();
    let tini = inits.iter().position(|init| init.name == "tini").map(|at| cost[at]);
    for (init, cost) in inits.iter().zip(&cost) {
        let ratio = tini.map_or(String::new(), |tini| format!(" ({:.1}x tini)", cost / tini));
        println!("  {:<10} {cost:.2} ms{ratio}", init.name);
    }
}

/// The first process of the namespace, by its number outside.
fn first_process(unshare: &Child) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    loop {
        let text = fs::read_to_string(&children).unwrap();
        if let Some(pid) = text.split_whitespace().next() {
            return Pid::from_raw(pid.parse().unwrap());
        }
        std::thread::yield_now();
    }
}

fn stamp(fifo: &mut File) -> u64 {
    let mut bytes = [0; 8];
    fifo.read_exact(&mut bytes).unwrap();
    u64::from_ne_bytes(bytes)
}

/// From the kill to the first instruction of the service behind its sigwait; ms.
fn delay(place: &Place, words: &[&str]) -> f64 {
    let path = place.path().join("fifo");
    let mut command = inside(place, words);
    let mut unshare = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut fifo = File::open(path).unwrap();
    stamp(&mut fifo);
    let first = first_process(&unshare);
    let begin = clock::mono_ns();
    kill(first, Signal::SIGTERM).unwrap();
    let heard = stamp(&mut fifo);
    unshare.wait().unwrap();
    (heard - begin) as f64 / 1e6
}

fn forwarded(place: &Place, inits: &[Init]) {
    println!("SIGTERM to PID 1 until the service has it (median of {ROUNDS}); goal: <= 2 ms");
    nix::unistd::mkfifo(&place.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let say = |name: &str, words: &[&str]| {
        let delays: Vec<f64> = (0..ROUNDS).map(|_| delay(place, words)).collect();
        let worst = delays.iter().copied().fold(0.0, f64::max);
        println!("  {name:<22} {:.2} ms, worst {worst:.2} ms", median(delays));
    };
    for init in inits {
        let words = [&init.words[..], &["./tiny", "term", "fifo"]].concat();
        say(init.name, &words);
    }
    place.write("[services.one]\ncommand = [\"./tiny\", \"term\", \"fifo\"]\n");
    say("runner, of a file", &[&RUNNER, "up"]);
    fs::remove_file(place.path().join("services.toml")).unwrap();
}

/// Looks at the children of a process until it is told that it is over; the age of the oldest zombie, in seconds.
fn oldest_zombie(init: Pid, is_over: &AtomicBool) -> f64 {
    let mut first_seen: HashMap<u32, Instant> = HashMap::new();
    let mut oldest = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let mut zombies = HashMap::new();
        let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')) {
                let since = *first_seen.get(&pid).unwrap_or(&Instant::now());
                oldest = oldest.max(since.elapsed());
                zombies.insert(pid, since);
            }
        }
        first_seen = zombies;
    }
    oldest.as_secs_f64()
}

fn orphans(place: &Place, inits: &[Init]) {
    println!("{ORPHANS} orphans, and the code of the command; goal: none older than 1 s");
    let source = place.path().join("storm.c");
    fs::write(&source, STORM).unwrap();
    let compiled = Command::new("cc")
        .args(["-O1", "-static", "-o"])
        .args([Path::new("storm"), &source])
        .current_dir(place.path())
        .status();
    assert!(compiled.unwrap().success());
    let count = ORPHANS.to_string();
    for init in inits {
        let words = [&init.words[..], &["./storm", &count]].concat();
        let begin = Instant::now();
        let mut unshare = inside(place, &words).spawn().unwrap();
        let first = first_process(&unshare);
        let is_over = AtomicBool::new(false);
        let (status, oldest) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| oldest_zombie(first, &is_over));
            let status = unshare.wait().unwrap();
            is_over.store(true, Ordering::Relaxed);
            (status, watcher.join().unwrap())
        });
        assert_eq!(status.code(), Some(7), "{}", init.name);
        let took = begin.elapsed().as_secs_f64();
        println!(
            "  {:<10} {took:.1} s, the oldest zombie {:.1} ms",
            init.name,
            oldest * 1e3
        );
    }
}

fn memory(place: &Place) {
    println!("memory of guardian and daemon as PID 1, one service (PSS); goal: <= 6 MB");
    place.write("[services.one]\ncommand = [\"./tiny\", \"wait\"]\n");
    let mut unshare = inside(place, &[RUNNER.as_str(), "up"])
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(unshare.stdout.take().unwrap()).lines();
    let is_up = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("| started"));
    assert!(lines.any(is_up), "it has started");
    let roles = place.roles();
    let each: Vec<String> = roles
        .iter()
        .map(|&pid| format!("{:.1}", pss_of(&[pid]) as f64 / 1e6))
        .collect();
    println!("  {:.1} MB ({})", pss_of(&roles) as f64 / 1e6, each.join(" + "));
    kill(first_process(&unshare), Signal::SIGTERM).unwrap();
    drop(lines);
    unshare.wait().unwrap();
}
