//! From what is written and what is held to what the World recalls.
//!
//! Three witnesses: the book (what the daemon before us knew), the records (what was launched), and the guardian (what is
//! there). The guardian is always right about processes; the book is right about the past of a service as long as it speaks of
//! the run that is there.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::book::{Known, Past};
use crate::config::MovedPorts;
use crate::guardian::orders::Holding;
use crate::guardian::records::Launched;
use crate::reconcile::{Memory, Recalled, Recollection};
use crate::spec::ServiceName;

/// What the guardian holds, with the descriptors that it kept.
pub struct Inherited {
    pub holding: Holding,
    pub kept: Vec<OwnedFd>,
}

/// What is there of a run that is remembered as living.
pub enum Found {
    Held(Inherited),
    /// It was executed and is no more; nobody can tell how it ended.
    Gone,
}

pub type Finds = BTreeMap<(ServiceName, u32), Found>;

/// Puts the witnesses together.
pub fn recollect(past: &Past, records: Vec<Launched>, inherited: Vec<Inherited>) -> (Recollection, Finds, MovedPorts) {
    let mut finds = Finds::new();
    for one in inherited {
        let key = (ServiceName::new(&one.holding.label), one.holding.run);
        finds.insert(key, Found::Held(one));
    }
    let mut moved = MovedPorts::new();
    for launched in &records {
        let is_there = |key: &(ServiceName, u32)| finds.contains_key(key);
        if let Some(ports) = &launched.moved_ports
            && is_there(&(launched.remnant.service.clone(), launched.run))
        {
            moved.insert(launched.remnant.service.clone(), ports.clone());
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
            finds.insert(key, Found::Gone);
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
