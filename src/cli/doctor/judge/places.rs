//! Folders: what lies where, and what the file system under it can do.

use std::path::Path;

use super::super::{Runner, Runtime, Surveyed};
use super::{bad, ok, tier, warn};
use crate::api::wire::Finding;
use crate::sys::ground::{Kind, Mount, Trial};
use crate::sys::machine::Machine;
use crate::sys::places::{SOCKET_PATH_MAX, nameless};
use crate::view::words;

pub(super) fn root(machine: &Machine) -> Finding {
    const NAME: &str = "root file system";
    match machine.root_is_read_only {
        true => ok(NAME, "read-only; runner writes only into the folders below"),
        false => ok(NAME, "can be written"),
    }
}

pub(super) fn runtime(runtime: &Runtime) -> Vec<Finding> {
    const NAME: &str = "runtime folder";
    let mut found = Vec::new();
    for taken in &runtime.taken {
        found.push(warn(
            NAME,
            format!("{taken}, so a lesser place is used"),
            "remove it, and ask who made it",
        ));
    }
    let folder = match &runtime.folder {
        Ok(folder) => folder.display(),
        Err(error) => {
            const PLACE: &str = "a tmpfs at /tmp or /run, or a project folder that can be written";
            found.push(tier(
                NAME,
                format!(
                    "no private folder can be made for sockets, records and FIFOs ({error}): the API has an abstract name, and \
                     services print into pipes without a name"
                ),
                Some(PLACE),
            ));
            found.push(tier(
                "adoption",
                "none: services of a daemon or guardian that is killed are stopped and started anew",
                Some(PLACE),
            ));
            return found;
        }
    };
    let broken = runtime.trial.as_ref().and_then(|trial| {
        broken(&[
            (&trial.write, "write"),
            (&trial.fifo, "use a FIFO"),
            (&trial.socket, "bind a socket"),
        ])
    });
    found.push(match (broken, &runtime.mount) {
        (Some(fault), _) => bad(
            NAME,
            format!("{folder}: {fault}"),
            "another file system at /tmp or /run",
        ),
        (
            None,
            Some(Mount {
                kind: Kind::InMemory, ..
            }),
        ) => ok(NAME, format!("{folder} on tmpfs, 0700, ours")),
        (None, mount) => tier(
            NAME,
            format!(
                "{folder} on {}, 0700, ours: FIFOs there cost more than in memory",
                file_system(mount.as_ref())
            ),
            Some("a tmpfs at /tmp"),
        ),
    });
    found.push(ok(
        "adoption",
        "services of a runner that is killed are taken over by the next one",
    ));
    let length = runtime.socket_length;
    found.push(if length <= SOCKET_PATH_MAX {
        ok("socket path", format!("{length} bytes of {SOCKET_PATH_MAX}"))
    } else {
        let detail = format!(
            "{length} bytes, and a socket takes {SOCKET_PATH_MAX}: runner goes through /proc/self/fd, `curl \
             --unix-socket` can't"
        );
        tier("socket path", detail, None)
    });
    found
}

/// The first thing that does not work, in words.
fn broken(tried: &[(&Result<(), String>, &str)]) -> Option<String> {
    let fault = |(result, what): &(&Result<(), String>, &str)| {
        result.as_ref().err().map(|error| format!("could not {what}: {error}"))
    };
    tried.iter().find_map(fault)
}

fn file_system(mount: Option<&Mount>) -> &'static str {
    match mount.map(|mount| mount.kind) {
        Some(Kind::Local(name) | Kind::Remote(name)) => name,
        Some(Kind::InMemory) => "tmpfs",
        Some(Kind::Layered) => "overlayfs",
        Some(Kind::Unknown) | None => "a file system that runner does not know",
    }
}

pub(super) fn surveyed(project: &Surveyed) -> Vec<Finding> {
    let dir = project.dir.display();
    let mut found = vec![match &project.valid {
        Some((name, services)) => {
            let services = words::count(*services as u64, "service");
            ok("project", format!("{name}, {services}, in {dir}"))
        }
        None => warn(
            "project",
            format!("the services.toml in {dir} is not valid; its `state_dir` and ports were not examined"),
            "`runner check` shows every problem",
        ),
    }];
    found.push(files(project));
    match &project.refused {
        Some((wanted, why)) => found.push(elsewhere(&wanted.display().to_string(), why, &project.state_dir)),
        None => found.push(state(&project.state_dir.display().to_string(), &project.state)),
    }
    found.push(logs(&project.state_dir));
    found.push(match project.runner {
        Runner::Up(Some(guardian)) => ok("runner", format!("up for this project (pid {guardian})")),
        Runner::Up(None) => ok("runner", "up for this project"),
        Runner::NotUp => ok("runner", "not up for this project"),
        Runner::Mute => warn(
            "runner",
            "something holds the lock of this project, and nothing answers at its socket",
            "wait if it is just ending; else `fuser -v` on the lock in the state folder names the process",
        ),
    });
    found
}

fn files(project: &Surveyed) -> Finding {
    const NAME: &str = "project folder";
    let mount = project.mount.as_ref();
    let name = file_system(mount);
    if mount.is_some_and(|mount| mount.noexec) {
        return warn(
            NAME,
            format!("on {name}, mounted noexec: programs that lie in it can't be executed"),
            "mount it with `exec`, or run them through their interpreter (`sh script`)",
        );
    }
    match mount.map(|mount| mount.kind) {
        Some(Kind::Remote(_)) => tier(
            NAME,
            format!("on {name}, which tells nothing of changes that are made elsewhere: edits there go unnoticed"),
            Some("after such an edit `runner up`, which reads the file anew"),
        ),
        Some(Kind::Layered) => tier(
            NAME,
            format!("on {name}: changes in a lower layer, past this mount, go unnoticed"),
            None,
        ),
        Some(Kind::Local(_) | Kind::InMemory | Kind::Unknown) | None => ok(NAME, format!("on {name}")),
    }
}

/// The folder of the file can't be written.
fn elsewhere(wanted: &str, why: &str, state_dir: &Path) -> Finding {
    const NAME: &str = "state folder";
    let instead = match nameless::is_nowhere(state_dir) {
        true => "and no other folder either: history and what is asked for by hand are in memory only".to_owned(),
        false => format!("so lock, history and logs are in {} only", state_dir.display()),
    };
    tier(
        NAME,
        format!("{wanted} can't be written ({why}), {instead}"),
        Some("a volume there, or `state_dir` in [project] that names one"),
    )
}

fn logs(state_dir: &Path) -> Finding {
    const NAME: &str = "logs";
    match nameless::is_nowhere(state_dir) {
        true => tier(NAME, "in memory, the newest of each service", None),
        false => ok(
            NAME,
            format!(
                "in {}, except of services with a `log.file` of their own; in memory where runner is process 1",
                state_dir.join("logs").display()
            ),
        ),
    }
}

fn state(folder: &str, trial: &Trial) -> Finding {
    const NAME: &str = "state folder";
    if let Err(error) = &trial.write {
        return bad(
            NAME,
            format!("{folder} can't be written: {error}"),
            "make it writable, or set `state_dir` in [project] to a folder that is",
        );
    }
    const ELSEWHERE: &str = "set `state_dir` in [project] to a folder on a local disk";
    if let Some(fault) = broken(&[
        (&trial.lock, "lock a file"),
        (&trial.splice, "move output into a log by splice"),
    ]) {
        return bad(NAME, format!("{folder}: {fault}"), ELSEWHERE);
    }
    if let Some(fault) = broken(&[(&trial.fifo, "use a FIFO"), (&trial.socket, "bind a socket")]) {
        let detail = format!("{folder}: {fault}; this matters only where there is no better runtime folder");
        return tier(NAME, detail, Some(ELSEWHERE));
    }
    ok(
        NAME,
        format!("{folder} can be written; locks, FIFOs and splice work there"),
    )
}
