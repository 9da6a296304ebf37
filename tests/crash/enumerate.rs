//! Each scenario once to count which points it hits, then once for every one of these hits with a kill there, or a panic (CR-01).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bed::Bed;
use crate::oracles;
use crate::scenario::{ADOPT, EDIT, FEW, LOG, ONLY, REBIRTH, RESTART, REVIVE, STOP, Scenario, UP, roles};

/// Points that a hundred lines hit a hundred times: a few of their hits stand for all.
const HITS: usize = 3;
/// How often it is tried again to be killed at a point that was not come to.
const AGAIN: usize = 5;

#[test]
fn cr_01_up() {
    enumerate(&UP, "", "kill");
}

#[test]
fn cr_01_restart() {
    enumerate(&RESTART, "", "kill");
}

#[test]
fn cr_01_stop() {
    enumerate(&STOP, "", "kill");
}

#[test]
fn cr_01_edit() {
    enumerate(&EDIT, "", "kill");
}

#[test]
fn cr_01_lg_07_log() {
    enumerate(&LOG, "", "kill");
}

#[test]
fn cr_01_lg_07_few() {
    enumerate(&FEW, "logs.", "kill");
}

#[test]
fn cr_01_lg_07_only() {
    enumerate(&ONLY, "logs.", "kill");
}

#[test]
fn cr_01_adopt() {
    enumerate(&ADOPT, "", "kill");
}

#[test]
fn cr_01_revive() {
    enumerate(&REVIVE, "", "kill");
}

#[test]
fn cr_01_rebirth() {
    enumerate(&REBIRTH, "", "kill");
}

/// It becomes itself anew: what it was doing is done by the next daemon, and nobody else has noticed.
#[test]
fn cr_01_a_panic_of_the_guardian() {
    for scenario in [&UP, &RESTART, &STOP, &REVIVE] {
        enumerate(scenario, "guardian.", "panic");
    }
}

/// All points whose names begin so.
fn enumerate(scenario: &Scenario, points: &str, deed: &str) {
    let name = scenario.name;
    let mut chosen = chosen(scenario, points);
    if let Ok(only) = std::env::var("RUNNER_CRASH_POINT") {
        chosen.retain(|point, _| *point == only);
    }
    println!(
        "{name}: {} points, {} times {deed}",
        chosen.len(),
        chosen.values().map(Vec::len).sum::<usize>()
    );
    let mut amiss = Vec::new();
    for (point, mut hits) in chosen {
        // How often the pump is woken is another matter each time; its first time always comes.
        if point.starts_with("logs.") && !hits.contains(&1) {
            hits.push(1);
        }
        let (mut fired, first) = (false, hits[0]);
        for hit in hits {
            // One that fails says no more than the others do: all of them are wanted.
            match catch_unwind(AssertUnwindSafe(|| is_survived(scenario, &point, hit, deed))) {
                Ok(came_to_it) => fired |= came_to_it,
                Err(panic) => {
                    fired = true;
                    amiss.push(panic.downcast_ref::<String>().cloned().unwrap_or_default());
                }
            }
        }
        // Another timing may leave out one of several, or come to it less often.
        for _ in 0..AGAIN {
            fired = fired || is_survived(scenario, &point, first, deed);
        }
        if !fired {
            amiss.push(format!("{name}: it never came to a {deed} at {point}"));
        }
    }
    assert!(amiss.is_empty(), "{} amiss:\n{}", amiss.len(), amiss.join("\n"));
}

/// Points with the numbers of those of their hits that are tried.
fn chosen(scenario: &Scenario, points: &str) -> BTreeMap<String, Vec<u64>> {
    let bed = Bed::new(scenario.keeps);
    (scenario.before)(&bed, "");
    let before = bed.points_hit().len();
    (scenario.act)(&bed, "");
    let mut hits: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (at, point) in bed.points_hit().into_iter().enumerate() {
        let count = counts.entry(point.clone()).or_default();
        *count += 1;
        if at >= before && point.starts_with(points) {
            hits.entry(point).or_default().push(*count);
        }
    }
    assert!(!hits.is_empty(), "{}: no point was hit", scenario.name);
    for hits in hits.values_mut() {
        if hits.len() > HITS {
            *hits = vec![hits[0], hits[hits.len() / 2], hits[hits.len() - 1]];
        }
    }
    bed.verb(&["down"]);
    oracles::nothing(&bed, "the run that counts");
    hits
}

/// Whether it came to the deed; that nothing is amiss afterwards is asserted.
fn is_survived(scenario: &Scenario, point: &str, hit: u64, deed: &str) -> bool {
    let what = format!("{}, {deed} at hit {hit} of {point}", scenario.name);
    let bed = Bed::new(scenario.keeps);
    let faults = format!("{point}={}*off->1*{deed}", hit - 1);
    (scenario.before)(&bed, &faults);
    let guardian = roles(&bed).first().copied();
    (scenario.act)(&bed, &faults);
    let has_fired = || bed.points_hit().iter().filter(|name| *name == point).count() as u64 >= hit;
    let fired = has_fired();
    if !fired {
        // Whoever is still going to be hit has no part in what follows.
        bed.verb(&["down"]);
    }
    bed.recover(&what);
    oracles::quiet(&bed, &what);
    if fired {
        let starts = oracles::starts(&bed);
        // A wish that was never heard starts nothing.
        let kept = std::iter::zip(starts, scenario.starts).all(|(is, may)| is <= may);
        assert!(kept, "{what}: KEPT: started {starts:?} times");
        if deed == "panic" {
            let same = guardian.is_none_or(|guardian| roles(&bed).first() == Some(&guardian));
            assert!(same, "{what}: ONE: another guardian");
        }
    }
    let down = bed.verb(&["down"]);
    assert!(down.status.success(), "{what}: down: {}", crate::common::stderr(&down));
    oracles::nothing(&bed, &what);
    fired
}
