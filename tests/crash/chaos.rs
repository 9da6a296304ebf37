//! Random kills under random load (CR-14). The seed is printed and replays the same choices.

use std::time::{Duration, Instant};

use crate::bed::{ALL, Bed, COUNTER, PLAIN, SERVICES};
use crate::common::eventually;
use crate::oracles;
use crate::scenario::{kill_all, roles};

/// Kills between two looks at everything, in the life of one project (whose logs must all be kept), and in the short form.
const QUIET_AFTER: u64 = 10;
const LIFE: u64 = 50;
const KILLS: u64 = 200;
/// A kill comes at some moment of what the one before it has set off.
const PAUSE_US: u64 = 40_000;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Daemon,
    Guardian,
    Both,
    Service,
}

/// What happens between two looks.
#[derive(Clone, Copy, Debug)]
enum Storm {
    /// Whoever, whatever is going on.
    Wild,
    /// Runner alone, and nobody asks for anything: no service may notice.
    OfRunner,
    /// Services die together with the daemon, and the guardian lives: it tells how.
    OfServices,
}

const STORMS: &[Storm] = &[Storm::Wild, Storm::Wild, Storm::OfRunner, Storm::OfServices];
const ANYBODY: &[Victim] = &[Victim::Service, Victim::Daemon, Victim::Guardian, Victim::Both];
const RUNNER: &[Victim] = &[Victim::Daemon, Victim::Guardian, Victim::Both];

#[test]
fn cr_14_chaos() {
    let kills = number("RUNNER_CHAOS_KILLS").unwrap_or(KILLS);
    let fresh = u64::from(std::process::id()) ^ runner::sys::clock::now().mono_ns;
    let seed = number("RUNNER_CHAOS_SEED").unwrap_or(fresh);
    println!("RUNNER_CHAOS_SEED={seed} RUNNER_CHAOS_KILLS={kills}");
    let began = Instant::now();
    let mut chance = Chance(seed);
    let mut done = 0;
    while done < kills {
        let bed = Bed::new(ALL);
        bed.recover("the first up");
        oracles::quiet(&bed, "the first up");
        let upto = kills.min(done + LIFE);
        while done < upto {
            let storm = chance.of(STORMS);
            let until = upto.min(done + QUIET_AFTER);
            let what = format!("seed {seed}, kills {} to {until}, {storm:?}", done + 1);
            let before = oracles::starts(&bed);
            match storm {
                Storm::Wild => (done..until).for_each(|number| {
                    load(&bed, &mut chance, number);
                    let victim = chance.of(ANYBODY);
                    strike(&bed, victim, &mut chance);
                }),
                Storm::OfRunner => (done..until).for_each(|_| {
                    let victim = chance.of(RUNNER);
                    strike(&bed, victim, &mut chance);
                }),
                Storm::OfServices => kill_all(
                    roles(&bed)
                        .get(1)
                        .into_iter()
                        .chain(&SERVICES.map(|name| last(&bed, name).unwrap())),
                ),
            }
            if !matches!(storm, Storm::OfRunner) {
                // Killed so often in a minute, a service waits ever longer, and rightly so: here it is started by hand.
                bed.verb(&["up", "-d", "--no-wait"]);
                eventually(&format!("{what}: all were started by hand"), || {
                    bed.verb(&["start"]).status.success()
                });
            }
            bed.recover(&what);
            if matches!(storm, Storm::OfServices) {
                oracles::killed_once(&bed, before, &what);
            }
            oracles::quiet(&bed, &what);
            if matches!(storm, Storm::OfRunner) {
                assert_eq!(
                    oracles::starts(&bed),
                    before,
                    "{what}: KEPT: how often each was started"
                );
            }
            done = match storm {
                Storm::OfServices => done + 3,
                Storm::Wild | Storm::OfRunner => until,
            };
        }
        assert!(bed.verb(&["down"]).status.success());
        oracles::nothing(&bed, &format!("seed {seed}, after kill {done}"));
        let seconds = began.elapsed().as_secs_f64();
        println!("{done} kills in {seconds:.0} s, {:.1} a second", done as f64 / seconds);
    }
}

/// Something is going on, or has just been asked for, when the kill comes.
fn load(bed: &Bed, chance: &mut Chance, number: u64) {
    let name = chance.of(&SERVICES);
    match chance.below(6) {
        0 => drop(bed.verb(&["stop", name, "--no-wait"])),
        1 => drop(bed.verb(&["start", name, "--no-wait"])),
        2 => drop(bed.verb(&["restart", COUNTER, "--no-wait"])),
        3 => bed.edit(number as u32 + 1),
        4 => drop(bed.verb(&["up", "-d", "--no-wait"])),
        _ => {}
    }
}

fn strike(bed: &Bed, victim: Victim, chance: &mut Chance) {
    std::thread::park_timeout(Duration::from_micros(chance.below(PAUSE_US)));
    let mut found = roles(bed);
    if found.is_empty() {
        // The next verb takes over, as people are promised.
        bed.verb(&["up", "-d", "--no-wait"]);
        found = roles(bed);
    }
    match victim {
        Victim::Guardian => kill_all(found.first()),
        // Alone, a guardian that has just lost its daemon would be the last.
        Victim::Daemon => kill_all(found.get(1)),
        Victim::Both => kill_all(&found),
        Victim::Service => kill_all(&last(bed, chance.of(&[COUNTER, PLAIN]))),
    }
}

/// The latest process of a service, if it is there.
fn last(bed: &Bed, name: &str) -> Option<u32> {
    let ledger = bed.project.read(&format!("{name}.ledger"));
    let last = ledger
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("start ")?.split(' ').next()?.parse().ok());
    // Its number may be somebody else's by now.
    last.filter(|pid| bed.project.processes().contains(pid))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// splitmix64, by its published definition.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
