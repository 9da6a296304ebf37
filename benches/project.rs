//! What a whole project costs: `cargo bench --bench project`.
//!
//! Start and stop of trivial services against a bare loop that forks and executes the same program; from the SIGKILL of
//! a service to its successor; what 1,000 idle services cost.
#![allow(clippy::unwrap_used)]

mod bench;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench::{Place, median};

fn main() {
    let place = Place::new();
    println!("start and stop, against a bare loop of fork and exec (ratio to the loop for 1,000 in brackets)");
    let (spawn, reap) = bare_loop(&place, 1000);
    println!("  bare loop, 1,000: start {spawn:.1} ms, stop {reap:.1} ms (wall)");
    for count in [1, 10, 100, 1000] {
        start_and_stop(&place, count, spawn, reap);
    }
    successor(&place);
    idle(&place, 1000);
}

/// Milliseconds to start and to stop `count` of them with nothing around.
fn bare_loop(place: &Place, count: usize) -> (f64, f64) {
    let mut starts = Vec::new();
    let mut stops = Vec::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let mut children: Vec<_> = (0..count)
            .map(|_| {
                let mut command = Command::new(&place.tiny);
                // `spawn` returns once the program was executed.
                command
                    .arg("wait")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        starts.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        for child in &children {
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        for child in &mut children {
            child.wait().unwrap();
        }
        stops.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    (median(starts), median(stops))
}

fn start_and_stop(place: &Place, count: usize, spawn: f64, reap: f64) {
    let services = (0..count).map(|n| format!("[services.s{n}]\ncommand = [\"./tiny\", \"wait\"]\n"));
    place.write(&services.collect::<String>());
    let (mut starts, mut stops, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let children = bench::cpu_of_children();
        starts.push(place.timed(&["up", "-d"]).as_secs_f64() * 1e3);
        let roles = place.roles();
        cpu.push((bench::cpu_of(&roles) + bench::cpu_of_children() - children) * 1e3);
        stops.push(place.timed(&["down"]).as_secs_f64() * 1e3);
    }
    let (start, stop, cpu) = (median(starts), median(stops), median(cpu));
    println!(
        "  runner, {count:>5}: start {start:.1} ms ({:.2}x), cpu of all roles {cpu:.0} ms; stop {stop:.1} ms ({:.2}x)",
        start / spawn,
        stop / reap
    );
}

/// From SIGKILL to the first instruction of the next process, back-off zero.
fn successor(place: &Place) {
    let fifo = place.path().join("stamps");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    place.write(
        "[services.s]\ncommand = [\"./tiny\", \"stamp\", \"stamps\"]\nrestart = \"always\"\nbackoff = { initial = \"0s\", jitter = 0.0 }\n",
    );
    let mut stamps = File::options().read(true).write(true).open(&fifo).unwrap();
    let mut next = || {
        let mut bytes = [0; 8];
        stamps.read_exact(&mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    };
    place.timed(&["up", "-d"]);
    let mut last = next();
    let mut delays = Vec::new();
    for _ in 0..200 {
        let pid = pid_of_service(place);
        let killed = runner::sys::clock::now().mono_ns;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        let started = next();
        assert!(started > last);
        last = started;
        delays.push((started - killed) as f64 / 1e6);
    }
    place.timed(&["down"]);
    let worst = delays.iter().copied().fold(0.0, f64::max);
    println!(
        "kill to successor: median {:.2} ms, worst of 200 {worst:.2} ms",
        median(delays)
    );
}

fn pid_of_service(place: &Place) -> i32 {
    let output = place.runner(&["ps", "--json"]).output().unwrap();
    let ps: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    ps["services"][0]["pid"].as_i64().expect("it runs") as i32
}

/// What is used while nothing happens.
fn idle(place: &Place, count: usize) {
    let services = (0..count).map(|n| format!("[services.s{n}]\ncommand = [\"./tiny\", \"wait\"]\n"));
    place.write(&services.collect::<String>());
    place.timed(&["up", "-d"]);
    let roles = place.roles();
    // Past what the start leaves behind (`reset_after` and the like).
    wait(Duration::from_secs(12));
    let before = (bench::cpu_ns_of(&roles), bench::wake_ups_of(&roles));
    wait(Duration::from_secs(20));
    let after = (bench::cpu_ns_of(&roles), bench::wake_ups_of(&roles));
    println!(
        "idle, {count} services: {:.2} ms CPU and {} wake-ups in 20 s, guardian and daemon {:.1} MB (PSS)",
        (after.0 - before.0) as f64 / 1e6,
        after.1 - before.1,
        bench::pss_of(&roles) as f64 / 1e6
    );
    place.timed(&["down"]);
}

/// A bench may let time pass: nothing is decided by it.
fn wait(time: Duration) {
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut polled = [nix::poll::PollFd::new(reader.as_fd(), nix::poll::PollFlags::POLLIN)];
    let _ = nix::poll::poll(
        &mut polled,
        nix::poll::PollTimeout::try_from(time.as_millis() as i32).unwrap(),
    );
}
