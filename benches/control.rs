//! What the control plane costs: `cargo bench --bench control`.
//!
//! Whole processes of verbs against a live project, and from a saved file to the signal that the changed service gets.
#![allow(clippy::unwrap_used)]

mod bench;

use std::time::Instant;

use bench::{Place, median};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const ROUNDS: usize = 30;
/// What the daemon waits for after a save (`reconcile::Quiet`).
const SETTLE_MS: f64 = 100.0;

fn main() {
    let place = Place::new();
    println!("verbs, whole process (median of {ROUNDS}); a save, beyond the settle time of {SETTLE_MS} ms");
    for count in [10, 100, 1000] {
        place.write(&services(count, 0));
        place.timed(&["up", "-d"]);
        verbs(&place, count);
        save(&place, count);
        place.timed(&["down"]);
    }
}

fn services(count: usize, edit: usize) -> String {
    let one = |n| format!("[services.s{n}]\ncommand = [\"./tiny\", \"wait\"]\nenv = {{ A = \"1\", B = \"2\" }}\n");
    let changed = format!("[services.changed]\ncommand = [\"./tiny\", \"wait\"]\nenv = {{ EDIT = \"{edit}\" }}\n");
    (1..count).map(one).chain([changed]).collect()
}

fn verbs(place: &Place, count: usize) {
    let mut line = format!("  {count:>5} services:");
    for words in [
        &["ps"][..],
        &["ps", "--json"],
        &["health"],
        &["why", "changed"],
        &["plan"],
        &["stop", "changed"],
        &["start", "changed"],
    ] {
        // A stop and a start are one after the other.
        let times = (0..ROUNDS).map(|_| {
            if words[0] == "stop" {
                place.timed(&["start", "changed"]);
            }
            place.timed(words).as_secs_f64() * 1e3
        });
        line.push_str(&format!(" {} {:.1} ms,", words.join(" "), median(times.collect())));
    }
    println!("{}", line.trim_end_matches(','));
}

/// From the last byte of the file to the death of the changed service.
fn save(place: &Place, count: usize) {
    let mut delays = Vec::new();
    for edit in 1..=ROUNDS {
        let pid = pid_of(place);
        let held = runner::sys::pidfd::open(pid).unwrap();
        let text = services(count, edit);
        let begin = Instant::now();
        place.write(&text);
        let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(&held), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::NONE).unwrap();
        delays.push(begin.elapsed().as_secs_f64() * 1e3 - SETTLE_MS);
        place.timed(&["wait", "changed"]);
    }
    let worst = delays.iter().copied().fold(0.0, f64::max);
    println!(
        "  {count:>5} services, one changed: signalled {:.1} ms beyond the settle time (worst {worst:.1} ms)",
        median(delays)
    );
}

fn pid_of(place: &Place) -> u32 {
    let output = place.runner(&["inspect", "changed", "--json"]).output().unwrap();
    let inspect: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    inspect["state"]["pid"].as_u64().unwrap() as u32
}
