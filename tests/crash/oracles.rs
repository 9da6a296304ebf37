//! What must hold whoever was killed, seen from outside (`faults.md`): ONE, NONE, BYST, LOG, ST, Z.

use std::path::{Path, PathBuf};

use runner::sys::processes;

use crate::bed::{ALL, Bed, COUNTER, PROCESSES, SERVICES};
use crate::common::eventually;

/// Everything is up and nothing moves.
#[track_caller]
pub fn quiet(bed: &Bed, what: &str) {
    for name in SERVICES {
        // ST: what is said is what is. Ready may be said before its first line is in the ledger, and somebody who was
        // killed a moment ago is not known to be dead yet.
        eventually(&format!("{what}: ST: {name} is ready, lives, and started last"), || {
            let said = bed.project.service(name);
            let pid = said["pid"].as_u64().unwrap_or_default() as u32;
            let lives = processes::stat(pid).is_some_and(|stat| !stat.is_zombie());
            said["state"] == "ready" && lives && Ledger::of(bed, name).started.last() == Some(&pid)
        });
        one(bed, name, what);
    }
    // Guardian and daemon.
    eventually(
        &format!("{what}: ONE: nobody but the roles and one of each service"),
        || live(bed).len() == 2 + PROCESSES,
    );
    no_zombies(bed, what);
    assert!(bed.bystander_lives(), "{what}: BYST");
}

/// After `down`: nobody writes and rotates any more, so this is the time to read the log.
#[track_caller]
pub fn nothing(bed: &Bed, what: &str) {
    eventually(&format!("{what}: NONE: nothing is left"), || {
        bed.project.processes().is_empty()
    });
    for name in SERVICES {
        one(bed, name, what);
    }
    log(bed, what);
    assert!(bed.bystander_lives(), "{what}: BYST");
}

#[track_caller]
fn one(bed: &Bed, name: &str, what: &str) {
    let overlaps = Ledger::of(bed, name).overlaps;
    assert_eq!(overlaps, 0, "{what}: ONE: two instances of {name} at once");
}

fn live(bed: &Bed) -> Vec<u32> {
    let all = bed.project.processes().into_iter();
    all.filter(|pid| processes::stat(*pid).is_some_and(|stat| !stat.is_zombie()))
        .collect()
}

/// Whoever is ended is collected soon.
fn no_zombies(bed: &Bed, what: &str) {
    eventually(&format!("{what}: Z: no zombies"), || {
        let ours = live(bed);
        let children = ours.iter().flat_map(|pid| processes::children(*pid));
        !children
            .into_iter()
            .any(|pid| processes::stat(pid).is_some_and(|stat| stat.is_zombie()))
    });
}

/// LOG: over all files, the lines of each run are 1, 2, 3, ... each exactly once and in order, and none is missing that a
/// run knows to have written.
#[track_caller]
fn log(bed: &Bed, what: &str) {
    let ledger = Ledger::of(bed, COUNTER);
    let mut runs: Vec<u64> = Vec::new();
    let (path, mut bytes) = (bed.project.file(".runner/logs/counter.log"), Vec::new());
    for file in files(&path) {
        bytes.extend(std::fs::read(file).unwrap());
    }
    let text = String::from_utf8(bytes).unwrap();
    // The last one may be under way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let number = line.parse().ok();
        match (runs.last_mut(), number) {
            (Some(last), Some(number)) if number == *last + 1 => *last = number,
            (_, Some(1)) => runs.push(1),
            // What came before was in a file that was removed.
            (None, Some(number)) if bed.keeps < ALL => runs.push(number),
            (last, _) => panic!("{what}: LOG: {line:?} after {last:?}"),
        }
    }
    assert!(
        runs.len() <= ledger.started.len(),
        "{what}: LOG: {} runs of {:?}",
        runs.len(),
        ledger.started
    );
    if bed.keeps < ALL {
        return;
    }
    // A run that was killed at once may have printed nothing; then nobody can say which is which.
    if runs.len() == ledger.started.len() {
        for (pid, last) in ledger.started.iter().zip(&runs) {
            let counted = ledger
                .counted
                .iter()
                .find(|(of, _)| of == pid)
                .map_or(0, |(_, count)| *count);
            assert!(
                *last >= counted,
                "{what}: LOG: a run has written {counted} lines, and {last} are there"
            );
        }
    }
}

/// From the oldest to the newest.
fn files(log: &Path) -> Vec<PathBuf> {
    let numbered = (1..).map(|number| PathBuf::from(format!("{}.{number}", log.display())));
    let mut files: Vec<_> = numbered.take_while(|path| path.exists()).collect();
    files.reverse();
    // A rotation that was cut short is completed by the next one.
    files.extend(log.exists().then(|| log.to_owned()));
    files
}

/// Each service was killed once since, and runner knows by what.
#[track_caller]
pub fn killed_once(bed: &Bed, before: [usize; 2], what: &str) {
    let after = before.map(|count| count + 1);
    eventually(&format!("{what}: KEPT: both were started again"), || {
        starts(bed) >= after
    });
    assert_eq!(starts(bed), after, "{what}: KEPT: how often each was started");
    for name in SERVICES {
        let end = &bed.project.service(name)["last_exit"];
        assert_eq!(end["signal"], "SIGKILL", "{what}: CODE: of {name}: {end}");
    }
}

/// How often each service was started so far.
pub fn starts(bed: &Bed) -> [usize; 2] {
    SERVICES.map(|name| Ledger::of(bed, name).started.len())
}

struct Ledger {
    started: Vec<u32>,
    counted: Vec<(u32, u64)>,
    overlaps: usize,
}

impl Ledger {
    fn of(bed: &Bed, name: &str) -> Ledger {
        let text = bed.project.read(&format!("{name}.ledger"));
        let entries = |kind: &str| {
            let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let of_kind = lines.filter(|words| words[0] == kind);
            of_kind
                .map(|words| (words[1].parse().unwrap(), words[2].parse().unwrap()))
                .collect::<Vec<(u32, u64)>>()
        };
        Ledger {
            started: entries("start").into_iter().map(|(pid, _)| pid).collect(),
            counted: entries("counted"),
            overlaps: entries("overlap").len(),
        }
    }
}
