//! What `watch` costs: `cargo bench --bench watch`.
//!
//! From a watched file saved to the service signalled, beyond the debounce; and the daemon's memory, by the number of files watched.
#![allow(clippy::unwrap_used)]

mod bench;

use std::os::fd::AsFd;
use std::time::Instant;

use bench::{Place, median, pss_of};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const ROUNDS: usize = 30;
const DEBOUNCE_MS: f64 = 20.0;
/// Files in one folder.
const IN_ONE: usize = 100;

fn main() {
    println!(
        "a watched file saved to its service signalled, beyond the debounce of {DEBOUNCE_MS} ms (median of {ROUNDS}); goal: <= 50 ms with 10000 files"
    );
    let mut first = None;
    for count in [IN_ONE, 1_000, 10_000] {
        let place = Place::new();
        for n in 0..count / IN_ONE {
            let folder = place.path().join(format!("src/d{n}"));
            std::fs::create_dir_all(&folder).unwrap();
            (0..IN_ONE).for_each(|n| std::fs::write(folder.join(format!("f{n}.js")), "x").unwrap());
        }
        place.write(&format!(
            "[services.web]\ncommand = [\"./tiny\", \"wait\"]\nwatch = {{ paths = [\"src/**/*.js\"], debounce = \"{DEBOUNCE_MS}ms\" }}\n"
        ));
        place.timed(&["up", "-d"]);
        // The folders are watched once a change is seen.
        loop {
            let (before, _) = saved(&place, 0);
            if place.services().first() != Some(&before) {
                break;
            }
        }
        let mut delays = Vec::new();
        for round in 1..=ROUNDS {
            delays.push(saved(&place, round).1);
        }
        let worst = delays.iter().copied().fold(0.0, f64::max);
        let memory = pss_of(&place.roles());
        let first = *first.get_or_insert(memory);
        println!(
            "  {count:>6} files: {:.1} ms (worst {worst:.1}), daemon {:.2} MB (+{:.0} KB for 1000 files)",
            median(delays),
            memory as f64 / 1e6,
            memory.saturating_sub(first) as f64 / 1e3 / ((count - IN_ONE).max(1) as f64 / 1e3)
        );
        place.timed(&["down"]);
    }
}

/// The process that was there before, and ms from the save to its end beyond the debounce.
fn saved(place: &Place, round: usize) -> (u32, f64) {
    place.timed(&["wait", "web"]);
    let pid = place.services()[0];
    let held = runner::sys::pidfd::open(pid).unwrap();
    let begin = Instant::now();
    // Not one path again and again: that would be taken for a circle.
    std::fs::write(
        place.path().join(format!("src/d0/f{}.js", round % IN_ONE)),
        format!("{round}"),
    )
    .unwrap();
    let mut polled = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::from(1000u16)).unwrap();
    (pid, begin.elapsed().as_secs_f64() * 1e3 - DEBOUNCE_MS)
}
