//! Who has started a process: this project, another runner, or neither. By the chain of its parents and the mark in its
//! environment; nothing is asked here.

use crate::guardian;
use crate::sys::processes::Stat;

pub(super) struct Seen<'a> {
    /// The process and those above it, nearest first.
    pub lineage: &'a [Stat],
    /// What it carries in `RUNNER_MARK`.
    pub mark: Option<&'a str>,
    pub us: &'a Us,
}

/// This runner.
pub(super) struct Us {
    pub guardian: u32,
    /// The guardian and those above it: an outer runner may be among them.
    pub above: Vec<u32>,
    /// What the marks of this project begin with.
    pub instance: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is below our guardian, so that it may live as it should.
    Ours,
    /// An earlier runner of this project has started it.
    Earlier,
    /// Below another runner.
    Other,
    /// Marked by another runner, which does not look after it any more.
    LeftByOther,
    Unknown,
}

pub(super) fn origin(seen: &Seen<'_>) -> Origin {
    let Us {
        guardian,
        above,
        instance,
    } = seen.us;
    let is_below = seen.lineage.iter().any(|stat| stat.pid == *guardian);
    let runners: Vec<u32> = seen
        .lineage
        .iter()
        .take_while(|stat| stat.pid != *guardian)
        .filter(|stat| is_runner(stat))
        .map(|stat| stat.pid)
        .collect();
    let marked_by = seen.mark.map(|mark| mark.split_once(':').map_or(mark, |(of, _)| of));
    if runners.iter().any(|runner| !above.contains(runner)) {
        return Origin::Other;
    }
    if marked_by == Some(instance) {
        return if is_below { Origin::Ours } else { Origin::Earlier };
    }
    // Process 1 is above every orphan, whoever has started it.
    if is_below && *guardian != 1 {
        return Origin::Ours;
    }
    match marked_by {
        _ if !runners.is_empty() => Origin::Other,
        Some(_) => Origin::LeftByOther,
        None => Origin::Unknown,
    }
}

fn is_runner(stat: &Stat) -> bool {
    let names = [guardian::NAME, guardian::DAEMON_NAME];
    names.iter().any(|name| name.to_bytes() == stat.name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pid name`, nearest first.
    fn lineage(words: &str) -> Vec<Stat> {
        let one = |word: &str| {
            let (pid, name) = word.trim().split_once(' ').expect("pid and name");
            Stat {
                pid: pid.parse().expect("a number"),
                name: name.to_owned(),
                state: 'S',
                parent: 0,
                group: 0,
                session: 0,
                cpu_ticks: 0,
                start_ticks: 0,
                resident_bytes: 0,
            }
        };
        words.split(',').map(one).collect()
    }

    fn of(chain: &str, mark: Option<&str>, us: &Us) -> Origin {
        let lineage = lineage(chain);
        origin(&Seen {
            lineage: &lineage,
            mark,
            us,
        })
    }

    #[test]
    fn po_02_what_is_ours_and_what_is_not() {
        let us = Us {
            guardian: 50,
            above: vec![50, 1],
            instance: "aa".to_owned(),
        };
        for (chain, mark, expected) in [
            ("90 node, 1 init", None, Origin::Unknown),
            ("90 node, 60 sh, 50 runner-guardian, 1 init", None, Origin::Ours),
            ("90 node, 50 runner-guardian, 1 init", Some("aa:3"), Origin::Ours),
            ("90 node, 1 init", Some("aa:3"), Origin::Earlier),
            ("90 node, 1 init", Some("bb:3"), Origin::LeftByOther),
            ("90 node, 70 runner-guardian, 1 init", Some("bb:3"), Origin::Other),
            ("90 node, 70 runner-guardian, 1 init", None, Origin::Other),
            // Of one folder, with another state folder: the marks are alike.
            ("90 node, 70 runner-guardian, 1 init", Some("aa:3"), Origin::Other),
            ("70 runner-guardian, 1 init", None, Origin::Other),
            ("71 runner-daemon, 70 runner-guardian, 1 init", None, Origin::Other),
            // A runner inside a service of ours.
            (
                "90 node, 70 runner-guardian, 50 runner-guardian, 1 init",
                Some("bb:1"),
                Origin::Other,
            ),
        ] {
            assert_eq!(of(chain, mark, &us), expected, "{chain} {mark:?}");
        }
    }

    #[test]
    fn po_02_inside_of_an_outer_runner_and_as_process_1() {
        let inside = Us {
            guardian: 50,
            above: vec![50, 40, 1],
            instance: "aa".to_owned(),
        };
        let orphan = "90 node, 40 runner-guardian, 1 init";
        assert_eq!(of(orphan, Some("aa:1"), &inside), Origin::Earlier);
        assert_eq!(of(orphan, Some("oo:1"), &inside), Origin::Other);
        assert_eq!(of(orphan, None, &inside), Origin::Other);
        let first = Us {
            guardian: 1,
            above: vec![1],
            instance: "aa".to_owned(),
        };
        assert_eq!(of("90 node, 1 runner-guardian", Some("aa:1"), &first), Origin::Ours);
        assert_eq!(of("90 node, 1 runner-guardian", None, &first), Origin::Unknown);
        assert_eq!(of("90 node, 30 bash", None, &first), Origin::Unknown);
    }
}
