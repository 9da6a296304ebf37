//! What a loss costs: `cargo bench --bench recovery`.
//!
//! From kill -9 of the daemon to the next answer of `ps`, and how long the next `up` takes after both roles were killed;
//! every service must be the one that it was.
#![allow(clippy::unwrap_used)]

mod bench;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use bench::{Place, median};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runner::sys::pidfd;

const ROUNDS: usize = 3;

fn main() {
    println!(
        "goals: serving again after the daemon's death with 100 services <= 100 ms, 1000 taken over by `up` <= 1 s"
    );
    for count in [100, 1000] {
        let place = Place::new();
        let one = |n| format!("[services.s{n}]\ncommand = [\"./tiny\", \"wait\"]\n");
        place.write(&(0..count).map(one).collect::<String>());
        place.timed(&["up", "-d"]);
        let mut before = place.services();
        before.sort_unstable();
        let daemon = (0..ROUNDS).map(|_| {
            let roles = place.roles();
            let begin = Instant::now();
            end(&[daemon_of(&roles)]);
            // Its connection waits in the socket that the guardian holds.
            place.timed(&["ps", "--json"]);
            begin.elapsed().as_secs_f64() * 1e3
        });
        let daemon = median(daemon.collect());
        let guardian = (0..ROUNDS).map(|_| {
            let roles = place.roles();
            let daemon = daemon_of(&roles);
            let begin = Instant::now();
            end(&roles.into_iter().filter(|pid| *pid != daemon).collect::<Vec<_>>());
            place.timed(&["ps", "--json"]);
            begin.elapsed().as_secs_f64() * 1e3
        });
        let guardian = median(guardian.collect());
        let both = (0..ROUNDS).map(|_| {
            let roles = place.roles();
            let _ = kill(Pid::from_raw(daemon_of(&roles) as i32), Signal::SIGSTOP);
            end(&roles);
            place.timed(&["up", "-d"]).as_secs_f64() * 1e3
        });
        let both = median(both.collect());
        let mut after = place.services();
        after.sort_unstable();
        assert!(before == after, "every service is the one that it was");
        println!(
            "  {count:>5} services: daemon killed {daemon:.0} ms, guardian killed {guardian:.0} ms, both killed and `up` {both:.0} ms (medians of {ROUNDS})"
        );
        place.timed(&["down"]);
    }
}

/// The guardian has the words of its daemon behind its own.
fn daemon_of(roles: &[u32]) -> u32 {
    let words = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut daemons = roles.iter().filter(|pid| !words(**pid).contains("__guardian"));
    *daemons.next().expect("a daemon")
}

/// Kills them, and waits until they are gone.
fn end(pids: &[u32]) {
    let held: Vec<OwnedFd> = pids.iter().filter_map(|pid| pidfd::open(*pid).ok()).collect();
    for pid in pids {
        kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).unwrap();
    }
    held.iter().for_each(|held| pidfd::wait_for_exit(held.as_fd()));
}
