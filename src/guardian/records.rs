//! The written witnesses of launches: what the guardian writes beside each before its gate opens.
//!
//! A record says which process it was, for whom, and what is needed to stop it well. It outlives guardian and daemon, and
//! means nothing in another boot or PID namespace. Written by `record`, read by the daemon that goes on with them and by a
//! client that finds no daemon.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::orders::{Identity, Orphan, Record, Ticket};
use super::seal::is_whole;
use crate::reconcile::Now;
use crate::spec::{Fingerprint, Remnant, Service};
use crate::sys::files::set_aside;
use crate::sys::identity;

pub const VERSION: u32 = 1;
/// A record is a few hundred bytes; more than this is none of ours (`CR-07`).
const LONGEST: u64 = 256 << 10;

/// One launch, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launched {
    version: u32,
    boot_id: String,
    pid_namespace: u64,
    pub run: u32,
    pub ticket: u64,
    pub mark: String,
    /// Monotonic and wall clock, when it was ordered.
    pub mono_ns: u64,
    pub wall_ns: i64,
    pub uid: u32,
    /// Its output goes into these.
    pub fifos: Vec<PathBuf>,
    /// The control group that it is born in, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    pub started_with: Fingerprint,
    pub remnant: Remnant,
    /// The value of its NOTIFY_SOCKET, if it has one: whoever takes over listens there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// Where they are not the declared ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_ports: Option<BTreeMap<String, u16>>,
    /// Added by the guardian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

impl Launched {
    /// `declared`: what the file says; `service`: with the ports that it really has.
    pub fn new(
        declared: &Service,
        service: &Service,
        run: u32,
        ticket: Ticket,
        instance: &str,
        salt: &str,
        now: Now,
    ) -> Launched {
        Launched {
            version: VERSION,
            boot_id: identity::boot_id(),
            pid_namespace: identity::pid_namespace(),
            run,
            ticket: ticket.0,
            mark: mark(instance, ticket),
            mono_ns: now.mono_ns,
            wall_ns: now.wall_ns,
            uid: nix::unistd::Uid::effective().as_raw(),
            fifos: Vec::new(),
            cgroup: Some(cgroup(instance, declared.name.as_str(), run)),
            started_with: declared.fingerprint(salt),
            remnant: service.remnant(),
            notify: None,
            moved_ports: None,
            identity: None,
        }
    }

    pub fn path(&self, runtime_dir: &Path) -> PathBuf {
        folder(runtime_dir).join(format!("{}.json", self.remnant.service))
    }

    /// For the guardian.
    pub fn record(&self, runtime_dir: &Path) -> Record {
        Record {
            path: self.path(runtime_dir).as_os_str().as_bytes().to_vec(),
            body: serde_json::to_string(self).unwrap_or_default(),
        }
    }

    /// For a guardian that did not launch it.
    pub fn orphan(&self, ticket: Ticket, runtime_dir: &Path) -> Option<Orphan> {
        let bytes = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
        Some(Orphan {
            ticket,
            label: self.remnant.service.to_string(),
            run: self.run,
            identity: self.identity.clone()?,
            uid: self.uid,
            mark: self.mark.clone().into_bytes(),
            pid_file: self.remnant.has_followed_pid_file(),
            fifos: self.fifos.iter().map(bytes).collect(),
            cgroup: self.cgroup.clone(),
            record: bytes(&self.path(runtime_dir)),
        })
    }

    /// Whether its main process lives: the one that it names, and no other of that number.
    pub fn is_alive(&self) -> bool {
        let identity = self.identity.clone();
        self.is_of_here() && identity.is_some_and(|identity| identity::is_alive(identity.into()))
    }

    fn is_of_here(&self) -> bool {
        self.boot_id == identity::boot_id() && self.pid_namespace == identity::pid_namespace()
    }
}

/// The folder of the records.
pub fn folder(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("records")
}

/// What every process of a launch carries in [`super::MARK`].
pub fn mark(instance: &str, ticket: Ticket) -> String {
    format!("{instance}:{}", ticket.0)
}

/// The control group of a run.
pub fn cgroup(instance: &str, service: &str, run: u32) -> String {
    format!("{instance}.runner/{service}.{run}")
}

/// What was found in the folder of the records.
#[derive(Debug, Default)]
pub struct Records {
    /// Of this boot, the newest of each service.
    pub launched: Vec<Launched>,
    /// What could not be understood, and was set aside.
    pub complaints: Vec<String>,
    /// A later version of runner wrote some: it has to go on with them.
    pub of_later_version: bool,
}

/// Reads all of them; those of another boot are removed.
pub fn read_all(runtime_dir: &Path) -> Records {
    let mut records = Records::default();
    for path in paths(runtime_dir) {
        let Records {
            complaints,
            of_later_version,
            ..
        } = &mut records;
        let mut broken = |path: &Path, error: &io::Error| match error.kind() {
            io::ErrorKind::Unsupported => *of_later_version = true,
            _ => complaints.push(set_aside(path, &error.to_string())),
        };
        match read_newest(&path, &mut broken) {
            Some(launched) if launched.is_of_here() => records.launched.push(launched),
            Some(_) => {
                let _ = std::fs::remove_file(&path);
                let _ = std::fs::remove_file(older(&path));
            }
            None => {}
        }
    }
    records
}

/// Those of this boot that can be understood, for who only looks; and whether there are some of a later version.
pub fn look(runtime_dir: &Path) -> (Vec<Launched>, bool) {
    let mut of_later_version = false;
    let mut broken = |_: &Path, error: &io::Error| of_later_version |= error.kind() == io::ErrorKind::Unsupported;
    let newest = paths(runtime_dir)
        .into_iter()
        .filter_map(|path| read_newest(&path, &mut broken));
    let launched = newest.filter(Launched::is_of_here).collect();
    (launched, of_later_version)
}

fn paths(runtime_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(runtime_dir)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    paths
}

/// The generation before counts where the newest makes no sense; one of a later version hides it.
fn read_newest(path: &Path, broken: &mut dyn FnMut(&Path, &io::Error)) -> Option<Launched> {
    for path in [path.to_owned(), older(path)] {
        match read(&path) {
            Ok(launched) => return Some(launched),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                broken(&path, &error);
                if error.kind() == io::ErrorKind::Unsupported {
                    return None;
                }
            }
        }
    }
    None
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn read(path: &Path) -> io::Result<Launched> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(wrong("it is no record of runner's"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    if !is_whole(&bytes) {
        return Err(wrong("it is not as it was written"));
    }
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(&bytes)?;
    if version > VERSION {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let launched: Launched = serde_json::from_slice(&bytes)?;
    if launched.identity.as_ref().is_none_or(|identity| identity.pid <= 1) {
        return Err(wrong("it names no process"));
    }
    Ok(launched)
}
