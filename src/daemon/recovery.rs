//! From what is written and what is held to what the World recalls.
//!
//! Three witnesses: the book (what the daemon before us knew), the records (what was launched), and the guardian (what is
//! there). The guardian is always right about processes; the book is right about the past of a service as long as it speaks of
//! the run that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use super::book::{Known, Past};
use crate::config::MovedPorts;
use crate::guardian::orders::{End, Holding, Report};
use crate::guardian::records::Launched;
use crate::reconcile::{Memory, Recalled, Recollection};
use crate::spec::ServiceName;

/// What the guardian holds, with the descriptors that it kept.
pub struct Inherited {
    pub holding: Holding,
    pub kept: Vec<OwnedFd>,
    /// Where it sends its notifications, and what its processes carry, by its record.
    pub notify: Option<String>,
    pub mark: Option<String>,
}

/// What is there of a run that is remembered as living.
pub enum Found {
    Held(Inherited),
    /// It may have been executed and is no more; nobody can tell how it ended.
    Gone {
        pid: u32,
    },
}

pub type Finds = BTreeMap<(ServiceName, u32), Found>;

/// What is told of a run between its finding and its adoption belongs to what was found: nobody else is there to hear it.
pub fn hear(finds: &mut Finds, report: &Report) {
    let ticket = match report {
        Report::Executed { ticket } | Report::SpawnFailed { ticket, .. } | Report::Exited { ticket, .. } => *ticket,
        Report::Emptied { ticket } | Report::Followed { ticket, .. } => *ticket,
        Report::Hello { .. } | Report::Socket { .. } | Report::Held(_) | Report::HeldAll => return,
        Report::Spawned { .. } => return,
        Report::KillFailed { .. } | Report::NotFollowed { .. } => return,
        // Answers to the daemon that asked.
        Report::TakenOver { .. } | Report::NotTakenOver { .. } => return,
    };
    let is_it = |found: &Found| matches!(found, Found::Held(one) if one.holding.ticket == ticket);
    if matches!(report, Report::SpawnFailed { .. }) {
        // Its guardian has forgotten it; it is tried again, and fails where somebody hears why.
        finds.retain(|_, found| !is_it(found));
        return;
    }
    let Some(Found::Held(one)) = finds.values_mut().find(|found| is_it(found)) else {
        return;
    };
    let holding = &mut one.holding;
    match report {
        Report::Executed { .. } => holding.executed = true,
        Report::Exited { status, left, .. } => {
            holding.executed = true;
            let (status, left) = (*status, *left);
            holding.end = Some(End { status, left });
        }
        Report::Emptied { .. } => {
            if let Some(end) = &mut holding.end {
                end.left = false;
            }
        }
        Report::Followed { identity, .. } => holding.main = identity.clone(),
        _ => {}
    }
}

/// Launches that this guardian knows nothing of: another one began them. It need not be new: the daemon that was to hand
/// them over may have died first.
pub fn unheld<'a>(records: &'a [Launched], held: &[Inherited]) -> Vec<&'a Launched> {
    let runs: BTreeSet<(&str, u32)> = held
        .iter()
        .map(|one| (one.holding.label.as_str(), one.holding.run))
        .collect();
    let is_held = |launched: &&Launched| runs.contains(&(launched.remnant.service.as_str(), launched.run));
    records.iter().filter(|launched| !is_held(launched)).collect()
}

/// Puts the witnesses together.
pub fn recollect(past: &Past, records: Vec<Launched>, inherited: Vec<Inherited>) -> (Recollection, Finds, MovedPorts) {
    let mut finds = Finds::new();
    for one in inherited {
        let key = (ServiceName::new(&one.holding.label), one.holding.run);
        finds.insert(key, Found::Held(one));
    }
    let mut moved = MovedPorts::new();
    for launched in &records {
        let name = &launched.remnant.service;
        let Some(Found::Held(one)) = finds.get_mut(&(name.clone(), launched.run)) else {
            continue;
        };
        one.notify.clone_from(&launched.notify);
        one.mark = Some(launched.mark.clone());
        if let Some(ports) = &launched.moved_ports {
            moved.insert(name.clone(), ports.clone());
        }
    }
    let mut records: BTreeMap<ServiceName, Launched> = records
        .into_iter()
        .map(|launched| (launched.remnant.service.clone(), launched))
        .collect();
    let mut services = Vec::new();
    for known in past.services.values() {
        let record = records.remove(&known.memory.service);
        services.push(recalled(Some(known), record, &mut finds));
    }
    for (_, record) in records {
        services.push(recalled(None, Some(record), &mut finds));
    }
    // What is held and nowhere written (its folder was deleted, say) is known by what its guardian says.
    let known = services
        .iter()
        .map(|recalled: &Recalled| recalled.memory.service.clone());
    let known: BTreeSet<ServiceName> = known.collect();
    for ((name, run), found) in &finds {
        let Found::Held(one) = found else { continue };
        if !known.contains(name) && one.holding.end.is_none() {
            services.push(Recalled {
                memory: Memory::of_record(name.clone(), *run, one.holding.main.pid, 0, 0),
                started_with: None,
                remnant: None,
            });
        }
    }
    let session = past.session.as_ref();
    let recollection = Recollection {
        generation: session.map_or(1, |session| session.generation),
        ending: session.and_then(|session| session.ending.clone()),
        cold: false,
        services,
    };
    (recollection, finds, moved)
}

fn recalled(known: Option<&Known>, record: Option<Launched>, finds: &mut Finds) -> Recalled {
    let memory = match (known, &record) {
        (Some(known), Some(record)) if record.run > known.memory.run || !known.memory.is_living() => {
            let name = &record.remnant.service;
            let held = finds.get(&(name.clone(), record.run));
            // Its end was taken into account, or the word of it was lost.
            let is_over = record.run <= known.memory.run || held.is_none();
            match is_over {
                true => known.memory.clone(),
                false => known.memory.clone().goes_on_as(of_record(record)),
            }
        }
        (Some(known), _) => known.memory.clone(),
        (None, Some(record)) => of_record(record),
        (None, None) => unreachable!("a service is recalled for one of the two"),
    };
    let record = record.filter(|record| record.run == memory.run);
    if memory.is_living() {
        let key = (memory.service.clone(), memory.run);
        // A record is written before the gate opens: what has one may have run.
        if !finds.contains_key(&key) && (record.is_some() || memory.has_process()) {
            let recorded = record.as_ref().and_then(|record| record.identity.as_ref());
            let pid = recorded.map_or(0, |identity| identity.pid);
            finds.insert(key, Found::Gone { pid });
        }
    }
    let started_with = match &record {
        Some(record) => Some(record.started_with.clone()),
        None => known.and_then(|known| known.started_with.clone()),
    };
    Recalled {
        memory,
        started_with,
        remnant: record.map(|record| record.remnant),
    }
}

fn of_record(record: &Launched) -> Memory {
    let pid = record.identity.as_ref().map_or(0, |identity| identity.pid);
    let name = record.remnant.service.clone();
    Memory::of_record(name, record.run, pid, record.mono_ns, record.wall_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardian::orders::{Identity, Stage, Ticket};
    use crate::reconcile::{ExitStatus, Now, sim};

    fn launched(name: &str, run: u32) -> Launched {
        let service = sim::build::service(name);
        let now = Now { mono_ns: 1, wall_ns: 1 };
        let mut launched = Launched::new(&service, &service, run, Ticket(run.into()), "key", "salt", now);
        launched.identity = Some(identity(70 + run));
        launched
    }

    fn identity(pid: u32) -> Identity {
        Identity {
            pid,
            pidfd_inode: 0,
            start_ticks: 0,
        }
    }

    fn held(name: &str, run: u32) -> Inherited {
        let holding = Holding {
            ticket: Ticket(run.into()),
            label: name.to_owned(),
            run,
            launched: 70 + run,
            main: identity(70 + run),
            executed: true,
            signalled: None,
            end: None,
            keeps: 0,
        };
        Inherited {
            holding,
            kept: Vec::new(),
            notify: None,
            mark: None,
        }
    }

    /// A fresh guardian whose first daemon died before it could hand over what the records tell of.
    #[test]
    fn cr_01_what_no_guardian_holds_is_adopted_whoever_died_before() {
        let records = [launched("a", 1), launched("b", 4), launched("c", 2)];
        let names = |held: &[Inherited]| -> Vec<String> {
            let unheld = unheld(&records, held);
            unheld
                .iter()
                .map(|launched| launched.remnant.service.to_string())
                .collect()
        };
        assert_eq!(names(&[]), ["a", "b", "c"]);
        assert_eq!(names(&[held("a", 1), held("b", 3)]), ["b", "c"], "of `b`, another run");
    }

    /// Guardian killed between the record and the open gate.
    #[test]
    fn cr_02_what_has_a_record_and_is_not_there_is_gone() {
        let (recollection, finds, _) = recollect(&Past::default(), vec![launched("a", 3)], Vec::new());
        assert!(recollection.services[0].memory.is_living());
        let found = finds.get(&(ServiceName::new("a"), 3));
        assert!(matches!(found, Some(Found::Gone { pid: 73 })));
    }

    /// The daemon and a service are killed at the same moment: its end comes behind what is handed over, and before anybody
    /// has adopted it.
    #[test]
    fn cr_05_an_end_between_handing_over_and_adoption_counts() {
        let mut finds = Finds::new();
        let key = (ServiceName::new("a"), 1);
        let mut fresh = held("a", 1);
        fresh.holding.executed = false;
        finds.insert(key.clone(), Found::Held(fresh));
        let ticket = Ticket(1);
        let look = |finds: &Finds| match &finds[&key] {
            Found::Held(one) => (one.holding.executed, one.holding.end),
            Found::Gone { .. } => panic!("it is held"),
        };
        hear(&mut finds, &Report::Executed { ticket: Ticket(2) });
        assert_eq!(look(&finds), (false, None), "another one");
        hear(&mut finds, &Report::Executed { ticket });
        assert_eq!(look(&finds), (true, None));
        let status = ExitStatus::Code(7);
        let left = true;
        hear(&mut finds, &Report::Exited { ticket, status, left });
        assert_eq!(look(&finds), (true, Some(End { status, left })));
        hear(&mut finds, &Report::Emptied { ticket });
        assert_eq!(look(&finds), (true, Some(End { status, left: false })));
        let (stage, errno, index) = (Stage::Exec, 2, 0);
        hear(
            &mut finds,
            &Report::SpawnFailed {
                ticket,
                stage,
                errno,
                index,
            },
        );
        assert!(finds.is_empty(), "it never ran");
    }
}
