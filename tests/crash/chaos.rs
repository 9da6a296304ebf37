//! Random kills under random load (CR-14). The seed is printed and replays the same choices.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bed::{ALL, Bed, COUNTER, PLAIN, SERVICES, waits_for_nothing};
use crate::oracles;
use crate::scenario::roles;

/// Who is killed: the first of them alone, until a lost guardian is replaced.
const VICTIMS: &[Victim] = &[Victim::Service, Victim::Daemon, Victim::Guardian, Victim::Both];
const LOSABLE: usize = 2;

/// Kills between two looks at everything, in the life of one project (whose logs must all be kept), and in the short form.
const QUIET_AFTER: u64 = 10;
const LIFE: u64 = 50;
const KILLS: u64 = 30;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Daemon,
    Guardian,
    Both,
    Service,
}

#[test]
fn cr_14_chaos() {
    let kills = number("RUNNER_CHAOS_KILLS").unwrap_or(KILLS);
    let fresh = u64::from(std::process::id()) ^ runner::sys::clock::now().mono_ns;
    let seed = number("RUNNER_CHAOS_SEED").unwrap_or(fresh);
    println!("RUNNER_CHAOS_SEED={seed} RUNNER_CHAOS_KILLS={kills}");
    let mut chance = Chance(seed);
    let victims = if waits_for_nothing() {
        VICTIMS
    } else {
        &VICTIMS[..LOSABLE]
    };
    let mut done = 0;
    while done < kills {
        let bed = Bed::new(ALL);
        bed.recover("the first up");
        let upto = kills.min(done + LIFE);
        while done < upto {
            done += 1;
            let what = format!("seed {seed}, kill {done}");
            load(&bed, &mut chance, done);
            strike(&bed, chance.of(victims), &mut chance);
            if done % QUIET_AFTER == 0 || done == upto {
                bed.recover(&what);
                oracles::quiet(&bed, &what);
            }
        }
        assert!(bed.verb(&["down"]).status.success());
        oracles::nothing(&bed, &format!("seed {seed}, after kill {done}"));
    }
}

/// Something is going on, or has just been asked for, when the kill comes.
fn load(bed: &Bed, chance: &mut Chance, number: u64) {
    let name = chance.of(&SERVICES);
    match chance.below(6) {
        0 => drop(bed.verb(&["stop", name, "--no-wait"])),
        1 => drop(bed.verb(&["start", name, "--no-wait"])),
        2 => drop(bed.verb(&["restart", COUNTER, "--no-wait"])),
        3 => bed.edit(number as u32),
        4 => drop(bed.verb(&["up", "-d", "--no-wait"])),
        _ => {}
    }
}

fn strike(bed: &Bed, victim: Victim, chance: &mut Chance) {
    let roles = roles(bed);
    let victims = match victim {
        Victim::Guardian => roles.first().copied().into_iter().collect(),
        // Alone, a guardian that has just lost its daemon would be the last.
        Victim::Daemon => roles.get(1).copied().into_iter().collect(),
        Victim::Both => roles,
        Victim::Service => {
            let name = chance.of(&[COUNTER, PLAIN]);
            let ledger = bed.project.read(&format!("{name}.ledger"));
            let last = ledger
                .lines()
                .rev()
                .find_map(|line| line.strip_prefix("start ")?.split(' ').next()?.parse().ok());
            // Its number may be somebody else's by now.
            let is_ours = |pid: &u32| bed.project.processes().contains(pid);
            last.filter(is_ours).into_iter().collect::<Vec<u32>>()
        }
    };
    for pid in victims {
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    }
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
