//! `doctor`: which mechanism each guarantee rests on here, and what stands in the way.
//!
//! Readings are taken here, of the machine and of the project where there is one; what they mean is said by `judge`.

mod judge;

use std::path::{Path, PathBuf};

use super::args::{Doctor, Global};
use super::reach::{SOCKET, STATE_DIR};
use super::{Result, project, reach, terminal};
use crate::api::wire::{self, Grade};
use crate::config::find::{self, Location};
use crate::spec::{Project, Protocol};
use crate::sys::ground::{self, Mount, Trial};
use crate::sys::lock::{Lock, LockText};
use crate::sys::machine::{self, Machine};
use crate::sys::places::{self, spare};
use crate::sys::users;
use crate::view;

/// Everything that is judged.
struct Readings {
    machine: Machine,
    runtime: Runtime,
    /// `None`: no services.toml here.
    project: Option<Surveyed>,
}

/// The runtime folder as a project would get it.
struct Runtime {
    /// Where sockets, records and FIFOs are, or why they can't be anywhere.
    folder: std::result::Result<PathBuf, String>,
    mount: Option<Mount>,
    trial: Option<Trial>,
    /// Better places that somebody else has taken.
    taken: Vec<String>,
    /// Bytes of the path of the API socket.
    socket_length: usize,
}

/// The project of this folder.
struct Surveyed {
    dir: PathBuf,
    mount: Option<Mount>,
    /// Its name and how many services it has; `None` when the file is wrong.
    valid: Option<(String, usize)>,
    state_dir: PathBuf,
    state: Trial,
    /// The folder that the file wants, and why it can't be written; `state_dir` is then another one.
    refused: Option<(PathBuf, String)>,
    /// Services with their users, where these are others than ours.
    users: Vec<(String, String)>,
    runner: Runner,
    /// Ports that the file fixes, with the service that has them.
    ports: Vec<(String, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    /// Its guardian, when it has said who it is.
    Up(Option<u32>),
    /// It holds the lock and can't be reached.
    Mute,
    NotUp,
}

pub fn doctor(global: &Global, args: &Doctor) -> Result<u8> {
    let machine = machine::examine();
    let project = found(global)?.map(|(location, project)| survey(&location, project.as_ref()));
    let readings = Readings {
        machine,
        runtime: runtime(project.as_ref().map(|project| project.dir.as_path())),
        project,
    };
    let answer = wire::Doctor {
        checks: judge::checks(&readings),
    };
    if args.json {
        project::print_json(&answer)?;
    } else {
        let from = if global.quiet { Grade::Warn } else { Grade::Ok };
        project::print(&view::doctor::doctor(&answer, from, &terminal::for_stdout(global)))?;
    }
    let is_bad = |finding: &wire::Finding| finding.status == Grade::Bad;
    Ok(u8::from(answer.checks.iter().any(is_bad)))
}

/// The project of this folder; `None` where there is none and none was named.
fn found(global: &Global) -> Result<Option<(Location, Option<Project>)>> {
    let is_named = !global.file.is_empty()
        || global.project.is_some()
        || global.directory.as_ref().is_some_and(|folder| !folder.is_dir());
    match project::read(global) {
        Ok((location, loaded)) => Ok(Some((location, loaded.ok().map(|loaded| loaded.project)))),
        Err(error) if is_named => Err(error),
        Err(_) => Ok(None),
    }
}

fn survey(location: &Location, project: Option<&Project>) -> Surveyed {
    let state_dir = match project {
        Some(project) => project.state_dir.clone(),
        None => project::state_dir(location),
    };
    let usual = location.dir.join(STATE_DIR);
    let refused = spare::is_spare(&state_dir).then(|| {
        let why = spare::refusal(&usual).map_or_else(|| "read-only".to_owned(), |error| error.to_string());
        (usual, why)
    });
    let own = users::own();
    let other_users = project
        .iter()
        .flat_map(|project| project.services.values())
        .filter_map(|service| {
            let user = service.user.as_deref()?;
            let account = users::resolve(Some(user), None).ok().flatten();
            let is_other = account.is_none_or(|account| account.ids.uid != own.ids.uid);
            is_other.then(|| (service.name.to_string(), user.to_owned()))
        });
    let services = project.iter().flat_map(|project| project.services.values());
    let ports = services.flat_map(|service| {
        let fixed = service
            .ports
            .values()
            .filter(|port| !port.auto && port.protocol == Protocol::Tcp);
        fixed.map(|port| (service.name.to_string(), port.number))
    });
    Surveyed {
        dir: location.dir.clone(),
        mount: ground::mount(&location.dir),
        valid: project.map(|project| (project.name.clone(), project.services.len())),
        state: ground::try_out(&state_dir),
        refused,
        users: other_users.collect(),
        runner: runner(location, &state_dir.join("lock")),
        ports: ports.collect(),
        state_dir,
    }
}

fn runner(location: &Location, lock: &Path) -> Runner {
    let answers = matches!(reach::running(location), Ok(Some(_)));
    if answers {
        let text = std::fs::read(lock).ok();
        let text = text.and_then(|text| serde_json::from_slice::<LockText>(&text).ok());
        return Runner::Up(text.and_then(|text| text.guardian));
    }
    if Lock::is_held(lock) {
        Runner::Mute
    } else {
        Runner::NotUp
    }
}

/// Made, tried and removed again, under the key of a folder that can't be a project's.
fn runtime(dir: Option<&Path>) -> Runtime {
    let key = find::key_of(Path::new(""), Some(&format!("doctor {}", std::process::id())));
    let spare = dir.map_or_else(std::env::temp_dir, Path::to_owned).join(STATE_DIR);
    let existed = spare.exists();
    let made = places::runtime_dir(&key, &spare);
    let (mount, trial) = match &made {
        Ok(folder) => (ground::mount(folder), Some(ground::try_out(folder))),
        Err(_) => (None, None),
    };
    if let Ok(folder) = &made {
        // Only what is empty goes: a running project may live in its own spare place.
        let _ = std::fs::remove_dir(folder);
        if !existed {
            let _ = std::fs::remove_dir(&spare);
        }
    }
    let folder = made.map_err(|error| error.to_string());
    Runtime {
        socket_length: folder
            .as_ref()
            .map_or(0, |folder| folder.join(SOCKET).as_os_str().len()),
        // Every key is as long as this one: the place that is shown is that of all projects.
        folder: folder.map(|folder| match folder.parent() {
            Some(base) if folder.ends_with(&key) => base.to_owned(),
            _ => folder,
        }),
        mount,
        trial,
        taken: places::taken_bases(),
    }
}
