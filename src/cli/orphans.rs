//! Services whose runner was killed, guardian and daemon both: seen by their records, and brought to an end.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::args::Global;
use super::clean::{LOCK, START_LOCK};
use super::outcome::Outcome;
use super::reach::{Holder, Reached, SOCKET, Start};
use super::{Result, project, reach, terminal};
use crate::api::past::Source;
use crate::api::wire;
use crate::config::find::Location;
use crate::guardian::errands;
use crate::guardian::records::{self, Launched};
use crate::logs::LogPlace;
use crate::reconcile::{Memory, Recalled, Recollection, StateName};
use crate::sys::lock::Lock;
use crate::sys::places::{self, Place};
use crate::sys::{clock, processes, usage};
use crate::view::words;

const LATER: &str = "services that a later version of runner has started";

/// What a lost runner has left in one runtime folder. Nobody holds its lock.
pub struct Orphans {
    runtime_dir: PathBuf,
    place: Option<Place>,
    /// Also those whose main process has ended meanwhile: something of them may be left.
    launched: Vec<Launched>,
    /// There are records that only a later version of runner understands.
    of_later_version: bool,
}

/// What is left of a project whose runner is gone. `None`: nothing is, or a runner lives.
pub fn of(location: &Location) -> Option<Orphans> {
    let folders = places::runtime_candidates(&location.key, &location.dir.join(reach::STATE_DIR));
    folders.into_iter().find_map(in_folder)
}

/// Ends what a lost runner had under way for services: hooks, steps, probe commands. `false`: there was nothing, or a runner lives.
pub fn end_errands(location: &Location) -> bool {
    let folders = places::runtime_candidates(&location.key, &location.dir.join(reach::STATE_DIR));
    let Some(place) = folders.iter().find_map(|folder| Place::read(folder)) else {
        return false;
    };
    // So that none begins meanwhile: its own are no leftovers.
    let turn = Lock::wait(&place.state_dir.join(START_LOCK));
    let held = turn.and_then(|turn| Ok((turn, Lock::take(&place.state_dir.join(LOCK))?)));
    matches!(held, Ok((_, Some(_)))) && errands::end_left(&location.key) > 0
}

/// The same by the runtime folder.
pub fn in_folder(runtime_dir: PathBuf) -> Option<Orphans> {
    let (launched, of_later_version) = records::look(&runtime_dir);
    if launched.is_empty() && !of_later_version {
        return None;
    }
    let place = Place::read(&runtime_dir);
    if place.as_ref().is_some_and(|place| is_governed(place, &runtime_dir)) {
        return None;
    }
    Some(Orphans {
        runtime_dir,
        place,
        launched,
        of_later_version,
    })
}

/// Whether a runner lives. Under the start lock nobody begins: who holds the project's lock then and does not answer is on its way
/// out, and its end frees the lock.
fn is_governed(place: &Place, runtime_dir: &Path) -> bool {
    let lock = place.state_dir.join("lock");
    let answers = || !reach::connect(&runtime_dir.join(SOCKET)).is_err_and(|error| reach::is_nobody(&error));
    if !Lock::is_held(&lock) {
        return false;
    }
    if answers() {
        return true;
    }
    match Lock::wait(&place.state_dir.join("start.lock")) {
        Ok(_turn) if !answers() => Lock::wait(&lock).is_err(),
        Ok(_) | Err(_) => true,
    }
}

impl Orphans {
    pub fn living(&self) -> impl Iterator<Item = &Launched> {
        self.launched.iter().filter(|launched| launched.is_alive())
    }

    /// Of those that were found none lives any more.
    pub fn are_gone(&self) -> bool {
        self.living().next().is_none()
    }

    pub fn count(&self) -> u64 {
        self.living().count() as u64
    }

    /// As `ps` shows them.
    pub fn ps(&self, global: &Global, location: &Location) -> wire::Ps {
        let living: Vec<&Launched> = self.living().collect();
        let usage = usage::of_trees(&living.iter().filter_map(|launched| pid(launched)).collect::<Vec<_>>());
        let now = clock::now();
        let one = |launched: &&Launched| {
            let uptime_s = now.mono_ns.saturating_sub(launched.mono_ns) as f64 / 1e9;
            let pid = pid(launched);
            let usage = pid.and_then(|pid| usage.get(&pid));
            // There was no look before: the share over its whole life.
            let cpu = |used: &usage::Usage| used.cpu_ticks as f64 / processes::ticks_per_second() as f64 / uptime_s;
            let ports = launched.remnant.ports().iter();
            let moved = |name: &String| launched.moved_ports.as_ref()?.get(name).copied();
            wire::Service {
                name: launched.remnant.service.to_string(),
                state: StateName::Orphaned,
                pid,
                started_at: Some(wire::timestamp(launched.wall_ns)),
                uptime_s: Some(uptime_s),
                restarts: 0,
                run: launched.run,
                ports: ports
                    .map(|(name, port)| (name.clone(), moved(name).unwrap_or(port.number)))
                    .collect(),
                url: None,
                outputs: indexmap::IndexMap::new(),
                cpu_percent: usage.filter(|_| uptime_s > 0.0).map(|used| cpu(used) * 100.0),
                memory_bytes: usage.map(|used| used.resident_bytes),
                last_exit: None,
                failure: None,
                drift: None,
                adopted: false,
                waiting_on: Vec::new(),
                note: None,
                since_s: uptime_s,
                next_try_s: None,
                next_run: None,
                wanted: false,
                probe_attempts: 0,
            }
        };
        let services = living.iter().map(one).collect();
        let (project, config_error) = match project::read(global) {
            Ok((_, Ok(loaded))) => (loaded.project.name, None),
            Ok((_, Err(problems))) => (location.name(), Some(problems.to_string())),
            Err(_) => (location.name(), None),
        };
        wire::Ps {
            project,
            generation: 0,
            settled: true,
            config_error,
            services,
        }
    }

    /// What the next runner will go on with, as far as the records tell.
    pub fn recollection(&self) -> Recollection {
        let recalled = |launched: &Launched| Recalled {
            memory: Memory::of_record(
                launched.remnant.service.clone(),
                launched.run,
                pid(launched).unwrap_or_default(),
                launched.mono_ns,
                launched.wall_ns,
            ),
            started_with: Some(launched.started_with.clone()),
            remnant: Some(launched.remnant.clone()),
        };
        Recollection {
            cold: true,
            services: self.living().map(recalled).collect(),
            ..Recollection::default()
        }
    }

    /// The logs of those that are named (nothing named: all), where they were when they were started.
    pub fn logs(&self, names: &[String]) -> Result<Vec<Source>> {
        let known = |name: &&String| self.launched.iter().any(|launched| is_meant(launched, name));
        if let Some(name) = names.iter().find(|name| !known(name)) {
            return Err(Outcome::NoSuchService {
                message: format!("nothing is left of a service `{name}`, and services.toml can't be read"),
                suggestion: None,
            });
        }
        let source = |launched: &Launched| {
            let name = &launched.remnant.service;
            let is_named = names.is_empty() || names.iter().any(|named| is_meant(launched, named));
            let place = LogPlace::of_files(launched.remnant.log()).filter(|_| is_named);
            place.map(|place| (name.clone(), place))
        };
        Ok(self.launched.iter().filter_map(source).collect())
    }

    /// As `why` tells of one of them.
    pub fn why(&self, name: &str) -> Option<wire::Why> {
        let launched = self.living().find(|launched| is_meant(launched, name))?;
        let link = wire::WhyLink {
            service: launched.remnant.service.to_string(),
            what: format!("runs on alone as pid {} (run {})", pid(launched)?, launched.run),
            because: "runner was killed, guardian and daemon both".to_owned(),
        };
        Some(wire::Why {
            service: launched.remnant.service.to_string(),
            state: StateName::Orphaned,
            chain: vec![link],
            suggestion: Some("`runner up` takes it over as it is, `runner down` stops it".to_owned()),
            last_lines: Vec::new(),
            events: Vec::new(),
        })
    }

    /// `db (pid 12)`, `web (pid 13)`
    fn names(&self) -> Vec<String> {
        let one = |launched: &Launched| match pid(launched) {
            Some(pid) => format!("{} (pid {pid})", launched.remnant.service),
            None => launched.remnant.service.to_string(),
        };
        let later = self.of_later_version.then(|| LATER.to_owned());
        self.living().map(one).chain(later).collect()
    }

    /// Where the lock is. In a project folder that was deleted nothing is made again.
    pub fn state_dir(&self, location: &Location) -> PathBuf {
        match &self.place {
            Some(place) if location.dir.is_dir() => place.state_dir.clone(),
            None if location.dir.is_dir() => location.default_state_dir(),
            _ => self.runtime_dir.join("state"),
        }
    }

    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// A runner that takes over what is left only to stop it, or the one that somebody has started meanwhile; and whose
    /// end is the end of it.
    pub fn begin_end(&self, location: &Location) -> Result<(UnixStream, Holder)> {
        if self.of_later_version {
            return Err(Outcome::Failed {
                message: format!("{} holds {LATER}", self.runtime_dir.display()),
                suggestion: Some("that version of runner can end them".to_owned()),
            });
        }
        let state_dir = self.state_dir(location);
        let start = Start {
            ends: true,
            ..Start::background(location, &state_dir)
        };
        let (Reached::Joined(stream) | Reached::Started { stream, .. }) = reach::or_start(&start)?;
        Ok((stream, Holder::of(&state_dir.join("lock"))))
    }
}

/// A name means one, or all replicas of one.
fn is_meant(launched: &Launched, name: &str) -> bool {
    let service = &launched.remnant.service;
    service.as_str() == name || service.group() == Some(name)
}

fn pid(launched: &Launched) -> Option<u32> {
    launched.identity.as_ref().map(|identity| identity.pid)
}

/// No runner is up: what a person reads then depends on whether something of one still runs.
pub fn nobody(location: &Location) -> Outcome {
    let orphans = of(location).map_or_else(Vec::new, |orphans| orphans.names());
    Outcome::NotRunning {
        folder: location.dir.display().to_string(),
        orphans,
    }
}

/// Said below the table.
pub fn hint(global: &Global, ps: &wire::Ps) {
    if global.quiet {
        return;
    }
    let (run, them) = match ps.services.len() {
        1 => ("runs", "it"),
        _ => ("run", "them"),
    };
    terminal::say(format_args!(
        "no runner is up: {} of one that was killed still {run}; `runner up` takes {them} over, `runner down` stops {them}",
        words::count(ps.services.len() as u64, "service"),
    ));
}
