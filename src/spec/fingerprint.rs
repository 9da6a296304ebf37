//! What a process was started with, told without saying it: salted hashes of everything that only a restart can change.
//!
//! They are written beside the launch, so that the daemon after this one can tell an edited service from an untouched
//! one. Nobody can read a secret out of them, as long as it is not so short that all of its kind can be tried.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::compare::Difference;
use super::keys::SERVICE;
use super::service::{Change, Service};

/// Hashes by the name of the key as it is written in the file: `command`, `env.PORT`. All that can be changed live is
/// one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    salt: String,
    keys: BTreeMap<String, String>,
    live: String,
}

/// Of each hash so many bytes are kept: enough that no edit goes unseen by chance.
const KEPT: usize = 8;

impl Service {
    /// `salt`: random, the same for all services of one life of a project.
    pub fn fingerprint(&self, salt: &str) -> Fingerprint {
        let (mut keys, mut live) = (BTreeMap::new(), serde_json::Map::new());
        let Value::Object(written) = self.written() else {
            unreachable!("a service is written as a table")
        };
        for (name, value) in written {
            match (SERVICE.key(&name).and_then(|key| key.class), value) {
                // Key by key: their order means nothing, and a difference has a name.
                (Some(Change::Restart), Value::Object(members)) => {
                    for (member, value) in members {
                        // A file that is reloaded can be changed live.
                        if value.get("reload") == Some(&Value::Bool(true)) {
                            live.insert(format!("{name}.{member}"), value);
                            continue;
                        }
                        let path = format!("{name}.{member}");
                        let hash = hash(salt, &path, &value);
                        keys.insert(path, hash);
                    }
                }
                (Some(Change::Restart), value) => {
                    let hash = hash(salt, &name, &value);
                    keys.insert(name, hash);
                }
                (_, value) => drop(live.insert(name, value)),
            }
        }
        Fingerprint {
            salt: salt.to_owned(),
            keys,
            live: hash(salt, "", &Value::Object(live)),
        }
    }
}

impl Fingerprint {
    /// Whether something that can be changed live is another in this definition.
    pub fn is_live_edit(&self, service: &Service) -> bool {
        self.live != service.fingerprint(&self.salt).live
    }

    /// What of this definition a process with this fingerprint was not started with.
    pub fn differences(&self, service: &Service) -> Vec<Difference> {
        let wanted = service.fingerprint(&self.salt);
        let names = self.keys.keys().chain(wanted.keys.keys());
        let mut names: Vec<&String> = names
            .filter(|name| self.keys.get(*name) != wanted.keys.get(*name))
            .collect();
        names.sort();
        names.dedup();
        let difference = |name: &String| Difference {
            field: name.clone(),
            class: Change::Restart,
            from_to: None,
        };
        names.into_iter().map(difference).collect()
    }

    /// Whether a process with this fingerprint does the same as one of this definition.
    pub fn does_the_same(&self, service: &Service) -> bool {
        let wanted = service.fingerprint(&self.salt);
        ["command", "working_dir"]
            .iter()
            .all(|key| self.keys.get(*key) == wanted.keys.get(*key))
    }
}

fn hash(salt: &str, name: &str, value: &Value) -> String {
    let mut hasher = Sha256::new();
    for part in [salt, name, &value.to_string()] {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()[..KEPT]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
