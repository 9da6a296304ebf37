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

/// Of each figure the median counts.
const ROUNDS: usize = 5;

fn main() {
    let place = Place::new();
    println!("start and stop, against a bare loop of fork and exec (ratio to the loop for 1,000 in brackets)");
    let bare = bare_loop(&place, 1000);
    println!(
        "  bare loop, 1,000: start {:.1} ms, stop {:.1} ms, CPU of both {:.0} ms",
        bare.start, bare.stop, bare.cpu
    );
    for count in [1, 10, 100, 1000] {
        start_and_stop(&place, count, &bare);
    }
    successor(&place);
    idle(&place, 1000);
}

/// Milliseconds.
struct Bare {
    start: f64,
    stop: f64,
    /// Of the loop and of its children, from fork to end.
    cpu: f64,
}

/// Starts and stops `count` of them with nothing around.
fn bare_loop(place: &Place, count: usize) -> Bare {
    let (mut starts, mut stops, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let used = bench::cpu_of_children() + bench::cpu_of_us();
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
        cpu.push((bench::cpu_of_children() + bench::cpu_of_us() - used) * 1e3);
    }
    Bare {
        start: median(starts),
        stop: median(stops),
        cpu: median(cpu),
    }
}

fn start_and_stop(place: &Place, count: usize, bare: &Bare) {
    let services = (0..count).map(|n| format!("[services.s{n}]\ncommand = [\"./tiny\", \"wait\"]\n"));
    place.write(&services.collect::<String>());
    let (mut starts, mut stops, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let client = bench::cpu_of_children();
        starts.push(place.timed(&["up", "-d"]).as_secs_f64() * 1e3);
        let client = bench::cpu_of_children() - client;
        // The roles, and what each service used on its way from fork to its first wait.
        let used = bench::cpu_ns_of(&place.roles()) + bench::cpu_ns_of(&place.services());
        cpu.push(client * 1e3 + used as f64 / 1e6);
        stops.push(place.timed(&["down"]).as_secs_f64() * 1e3);
    }
    let (start, stop, cpu) = (median(starts), median(stops), median(cpu));
    println!(
        "  runner, {count:>5}: start {start:.1} ms ({:.2}x), CPU of all to there {cpu:.0} ms ({:.2}x); stop {stop:.1} ms ({:.2}x)",
        start / bare.start,
        cpu / bare.cpu,
        stop / bare.stop
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
        let pid = place.services()[0] as i32;
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
