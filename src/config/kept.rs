//! The numbers that `"auto"` ports have, as they lie in the project's state folder: two generations, so that the number of a
//! port stays what it is over edits, restarts and reboots. The daemon writes them; whoever foretells what it would do reads here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::spec::Project;

/// So many numbers are kept in all, as long as there are some of services that are not in the file any more.
const MOST: usize = 2_000;
/// A larger file is none of ours.
const LARGEST: u64 = 16 * 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    ports: KeptPorts,
}

/// By service and name of the port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPorts(BTreeMap<String, BTreeMap<String, u16>>);

impl KeptPorts {
    pub const FILE: &str = "ports.json";
    /// The generation before.
    pub const OLDER: &str = "ports.1.json";

    /// The newest generation that can be understood, for who only looks.
    pub fn left_in(state_dir: &Path) -> KeptPorts {
        [Self::FILE, Self::OLDER]
            .into_iter()
            .find_map(|name| Self::read(&state_dir.join(name)).ok().flatten())
            .unwrap_or_default()
    }

    /// `None`: there is none.
    ///
    /// # Errors
    /// It can't be read, or not be understood.
    pub fn read(path: &Path) -> io::Result<Option<KeptPorts>> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !found.is_file() || found.len() > LARGEST {
            return Err(io::Error::other("it is no file of runner's"));
        }
        let stored: Stored = serde_json::from_slice(&fs::read(path)?)?;
        if stored.version != VERSION {
            return Err(io::Error::other(format!("it is of version {}", stored.version)));
        }
        Ok(Some(stored.ports))
    }

    /// As it is written.
    pub fn text(&self) -> Vec<u8> {
        let stored = Stored {
            version: VERSION,
            ports: self.clone(),
        };
        serde_json::to_vec_pretty(&stored).expect("our own shapes serialise")
    }

    pub fn get(&self, service: &str, port_name: &str) -> Option<u16> {
        self.0.get(service)?.get(port_name).copied()
    }

    /// From now on that port may have another number, of a member also the one that all share.
    pub fn forget(&mut self, service: &str, port_name: &str) {
        let group = service.split_once('@').map(|(group, _)| group);
        for owner in [Some(service), group].into_iter().flatten() {
            if let Some(ports) = self.0.get_mut(owner) {
                ports.remove(port_name);
            }
        }
    }

    pub fn numbers(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.values().flat_map(BTreeMap::values).copied()
    }

    /// What is kept once this definition is in force. What is not in it may come back: its numbers stay its own, unless one of
    /// them was given away.
    pub fn with(&self, project: &Project) -> KeptPorts {
        let mut kept = KeptPorts::default();
        for service in project.services.values() {
            for (name, port) in service.ports.iter().filter(|(_, port)| port.auto) {
                let owner = port.owner(service.name.as_str()).to_owned();
                kept.0.entry(owner).or_default().insert(name.clone(), port.number);
            }
        }
        let given: BTreeSet<u16> = kept.numbers().collect();
        let mut room = MOST.saturating_sub(given.len());
        for (service, ports) in &self.0 {
            for (name, &number) in ports {
                if room == 0 {
                    return kept;
                }
                if kept.get(service, name).is_none() && !given.contains(&number) {
                    kept.0.entry(service.clone()).or_default().insert(name.clone(), number);
                    room -= 1;
                }
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(entries: &[(&str, &str, u16)]) -> KeptPorts {
        let mut kept = KeptPorts::default();
        for (service, name, number) in entries {
            let ports = kept.0.entry((*service).to_owned()).or_default();
            ports.insert((*name).to_owned(), *number);
        }
        kept
    }

    #[test]
    fn po_05_what_is_written_is_read_back_and_what_is_torn_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let (now, before) = (
            kept(&[("web", "http", 20_001), ("db", "auto", 20_002)]),
            kept(&[("web", "http", 20_009)]),
        );
        assert_eq!(KeptPorts::left_in(folder.path()), KeptPorts::default());
        fs::write(folder.path().join(KeptPorts::OLDER), before.text()).expect("written");
        let path = folder.path().join(KeptPorts::FILE);
        fs::write(&path, now.text()).expect("written");
        assert_eq!(KeptPorts::left_in(folder.path()), now);
        let whole = now.text();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            assert!(KeptPorts::read(&path).is_err(), "cut at {length}");
            assert_eq!(KeptPorts::left_in(folder.path()), before);
        }
        fs::write(&path, "{\"version\":2,\"ports\":{}}").expect("written");
        assert!(KeptPorts::read(&path).is_err());
    }
}
