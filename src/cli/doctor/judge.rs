//! From readings to findings: what each is worth, what follows where it is less than best, what to do. Pure.

mod places;

use super::{Readings, Surveyed};
use crate::api::wire::{Finding, Grade};
use crate::sys::capabilities::{Capability, holds, may_change_user};
use crate::sys::machine::{Cgroup, Ephemeral, Inotify, Machine, Visibility};
use crate::view::words;

/// Below this many descriptors a middling project runs into the limit: each service takes a few.
const FEW_DESCRIPTORS: u64 = 1024;
/// Numbers of processes go round within hours on a busy machine with no more than this.
const FEW_PIDS: u64 = 32_768;
/// A watched tree of sources easily takes so many.
const FEW_WATCHES: u64 = 1024;

pub(super) fn checks(readings: &Readings) -> Vec<Finding> {
    let machine = &readings.machine;
    let mut found = vec![
        ok("system", machine.system.clone()),
        user(machine),
        identity(machine),
        groups(machine),
        exit_codes(machine),
        starts(machine),
        orphans(machine),
        stop(machine.cgroup),
        processes(machine),
        filter(machine),
        memory(machine),
        memory_limit(machine),
        capabilities(machine, readings.project.as_ref()),
        places::root(machine),
    ];
    found.extend(machine.descriptors.map(descriptors));
    found.extend(machine.pid_max.map(|max| pids(max, machine.unique)));
    found.extend(
        machine
            .ephemeral
            .as_ref()
            .map(|range| ports(range, readings.project.as_ref())),
    );
    found.extend(machine.inotify.as_ref().map(inotify));
    found.extend(places::runtime(&readings.runtime));
    match &readings.project {
        Some(project) => found.extend(places::surveyed(project)),
        None => found.push(ok("project", "no services.toml here, so only the machine was examined")),
    }
    found
}

fn finding(status: Grade, name: &str, detail: impl Into<String>, suggestion: Option<String>) -> Finding {
    Finding {
        status,
        name: name.to_owned(),
        detail: detail.into(),
        suggestion,
    }
}

fn ok(name: &str, detail: impl Into<String>) -> Finding {
    finding(Grade::Ok, name, detail, None)
}

fn tier(name: &str, detail: impl Into<String>, suggestion: Option<&str>) -> Finding {
    finding(Grade::Tier, name, detail, suggestion.map(str::to_owned))
}

fn warn(name: &str, detail: impl Into<String>, suggestion: impl Into<String>) -> Finding {
    finding(Grade::Warn, name, detail, Some(suggestion.into()))
}

fn bad(name: &str, detail: impl Into<String>, suggestion: impl Into<String>) -> Finding {
    finding(Grade::Bad, name, detail, Some(suggestion.into()))
}

/// What makes a missing kernel call come back: a newer kernel, or a wider filter.
fn newer(machine: &Machine, version: &str, calls: &str) -> String {
    if machine.status.seccomp {
        format!("allow {calls} in the seccomp profile of this container (and a kernel of {version} or newer)")
    } else {
        format!("a kernel of {version} or newer")
    }
}

fn user(machine: &Machine) -> Finding {
    let mut detail = format!("{} (uid {})", machine.user, machine.uid);
    if machine.uid != 0 {
        detail.push_str("; services of another `user` can be started by root alone");
    }
    if machine.status.no_new_privileges {
        let detail = format!("{detail}; no_new_privs is set: sudo, ping and the like get no privileges in services");
        return tier("user", detail, None);
    }
    ok("user", detail)
}

fn identity(machine: &Machine) -> Finding {
    const NAME: &str = "identity";
    match (machine.calls.pidfd, machine.unique) {
        (true, true) => ok(NAME, "processes are held by pidfds with unique inodes"),
        (true, false) => tier(
            NAME,
            "processes are held by pidfds, and found again by number and start time: after runner itself was killed, \
             another process with the same pair could be taken for a service",
            Some(&newer(machine, "6.9", "pidfd_open")),
        ),
        (false, _) => tier(
            NAME,
            "no pidfds: processes are known by number and start time, and signalled by number while runner is their \
             parent; one that is not its child can't be signalled for certain",
            Some(&newer(machine, "5.3", "pidfd_open and pidfd_send_signal")),
        ),
    }
}

fn groups(machine: &Machine) -> Finding {
    const NAME: &str = "group signals";
    if machine.groups {
        return ok(NAME, "sent through pidfds, also when the leader is gone");
    }
    let detail = "sent by number: a leader that has ended stays a zombie until its group is empty";
    tier(NAME, detail, Some(&newer(machine, "6.9", "pidfd_send_signal")))
}

fn exit_codes(machine: &Machine) -> Finding {
    const NAME: &str = "exit codes";
    if machine.exits_kept {
        return ok(
            NAME,
            "the kernel keeps them for whoever holds the pidfd (PIDFD_GET_INFO)",
        );
    }
    let detail = "only the parent learns them: of a service that ends while runner is dead, it stays unknown";
    tier(NAME, detail, Some("a kernel of 6.15 or newer"))
}

fn starts(machine: &Machine) -> Finding {
    const NAME: &str = "starts";
    let calls = machine.calls;
    let missing: Vec<&str> = [(calls.clone3, "clone3"), (calls.close_range, "close_range")]
        .iter()
        .filter_map(|(there, name)| (!there).then_some(*name))
        .collect();
    if missing.is_empty() && calls.pidfd {
        return ok(NAME, "clone3 with the pidfd at birth, close_range");
    }
    let how = match (calls.clone3, calls.close_range) {
        (true, true) => "clone3 and close_range, without a pidfd",
        (true, false) => "clone3, and descriptors are closed one by one",
        (false, true) => "fork and close_range",
        (false, false) => "fork, and descriptors are closed one by one",
    };
    let suggestion = (!missing.is_empty()).then(|| newer(machine, "5.9", &missing.join(" and ")));
    finding(
        Grade::Tier,
        NAME,
        format!("{how}: each start costs a little more"),
        suggestion,
    )
}

fn orphans(machine: &Machine) -> Finding {
    const NAME: &str = "orphans";
    if !machine.subreaper {
        return bad(
            NAME,
            "runner can't become their parent (PR_SET_CHILD_SUBREAPER), so it does not start",
            "Linux, and a seccomp profile that allows prctl",
        );
    }
    let init = match (&machine.init, machine.is_init) {
        (_, true) => "; this is process 1".to_owned(),
        (Some(name), false) => format!("; process 1 here is {name}"),
        (None, false) => String::new(),
    };
    ok(
        NAME,
        format!("they come to runner (subreaper), and are traced to their service{init}"),
    )
}

/// What SIGKILL to a whole service rests on.
fn stop(cgroup: Cgroup) -> Finding {
    const NAME: &str = "stop";
    let without = |why: &str| {
        let detail = format!("process group + descendants ({why}; a program that flees in a loop could escape)");
        tier(NAME, detail, None)
    };
    match cgroup {
        Cgroup::Writable { kill: true } => ok(
            NAME,
            "each service has a control group, which is killed as a whole (cgroup.kill)",
        ),
        Cgroup::Writable { kill: false } => tier(
            NAME,
            "each service has a control group, which is frozen and killed one by one (no cgroup.kill before Linux 5.14)",
            None,
        ),
        Cgroup::ReadOnly => without("no writable cgroup v2"),
        Cgroup::None => without("no cgroup v2 here"),
    }
}

fn processes(machine: &Machine) -> Finding {
    const NAME: &str = "/proc";
    match &machine.processes {
        Visibility::All => ok(NAME, "every process can be seen"),
        Visibility::Own(option) => tier(
            NAME,
            format!(
                "processes of other users are hidden ({option}): whoever else holds a port that a service wants can't \
                 be named"
            ),
            None,
        ),
        Visibility::Nothing => tier(
            NAME,
            "it is not mounted: what a service leaves behind outside of its process group can't be found (unless it has a \
             control group), nor who holds a port, and `ps` shows neither CPU nor memory",
            Some("mount -t proc proc /proc"),
        ),
    }
}

fn filter(machine: &Machine) -> Finding {
    const NAME: &str = "seccomp";
    let calls = machine.calls;
    if !machine.status.seccomp {
        return ok(NAME, "no filter");
    }
    if calls.clone3 && calls.close_range && calls.pidfd && machine.groups && machine.subreaper {
        return ok(NAME, "a filter is active; it allows everything that runner asks for");
    }
    tier(
        NAME,
        "a filter is active, and may be why something above is not as it could be",
        None,
    )
}

/// Runner does not protect itself yet; whether it could is said.
fn memory(machine: &Machine) -> Finding {
    let could = if machine.status.may_protect {
        "its OOM score could be lowered, which this version does not do yet"
    } else {
        "lowering its OOM score takes CAP_SYS_RESOURCE"
    };
    let detail = format!("when memory runs out, the kernel may kill runner as readily as a service ({could})");
    tier("out of memory", detail, None)
}

fn memory_limit(machine: &Machine) -> Finding {
    const NAME: &str = "memory limit";
    match machine.memory_limit {
        None => ok(NAME, "no control group limits it"),
        Some(limit) => ok(
            NAME,
            format!(
                "{} for everything in this control group; runner itself needs about 10 MB of it",
                words::bytes(limit)
            ),
        ),
    }
}

/// What the file asks for that takes more than an ordinary process may.
fn capabilities(machine: &Machine, project: Option<&Surveyed>) -> Finding {
    const NAME: &str = "capabilities";
    let mut lacking = Vec::new();
    let mut needed = Vec::new();
    for (service, user) in project.into_iter().flat_map(|project| &project.users) {
        if !may_change_user(machine.capabilities) {
            lacking.push(format!("{service} can't run as `{user}`"));
            needed.extend(["SETUID", "SETGID"]);
        }
    }
    for (service, port) in project.into_iter().flat_map(|project| &project.ports) {
        if *port < machine.first_free_port && !holds(machine.capabilities, Capability::NetBindService) {
            lacking.push(format!("{service} can't listen on {port}"));
            needed.push("NET_BIND_SERVICE");
        }
    }
    needed.dedup();
    if lacking.is_empty() {
        let detail = match machine.capabilities {
            0 => "none, and this project needs none".to_owned(),
            _ => "what this project needs is there".to_owned(),
        };
        return ok(NAME, detail);
    }
    warn(
        NAME,
        lacking.join(", "),
        format!("start runner as root, or give the container {}", needed.join(", ")),
    )
}

fn descriptors((soft, hard): (u64, u64)) -> Finding {
    const NAME: &str = "descriptors";
    let words = |limit: u64| match limit {
        u64::MAX => "unlimited".to_owned(),
        limit => limit.to_string(),
    };
    let detail = format!("{} (hard limit {})", words(soft), words(hard));
    if hard < FEW_DESCRIPTORS {
        return warn(
            NAME,
            format!("{detail}: a project of many services runs out of them"),
            "raise the hard limit: `ulimit -Hn 65536` as root, LimitNOFILE= of a systemd unit, --ulimit of a container",
        );
    }
    ok(
        NAME,
        format!("{detail}; runner itself goes up to the hard limit, services start with what it was given"),
    )
}

fn pids(max: u64, unique: bool) -> Finding {
    const NAME: &str = "process numbers";
    if max > FEW_PIDS || unique {
        return ok(NAME, format!("up to {max}"));
    }
    let detail =
        format!("up to {max}: they are soon used again, and there are no unique inodes to tell processes apart");
    tier(NAME, detail, Some("`sysctl kernel.pid_max=4194304` as root"))
}

fn ports(range: &Ephemeral, project: Option<&Surveyed>) -> Finding {
    const NAME: &str = "ports";
    let (first, last) = (range.first, range.last);
    let fixed = project.into_iter().flat_map(|project| &project.ports);
    let held: Vec<_> = fixed.filter(|(_, port)| range.holds(*port)).collect();
    if held.is_empty() {
        return ok(
            NAME,
            format!("the kernel hands out {first}-{last} to whoever asks; fixed ports are safe outside"),
        );
    }
    let named: Vec<_> = held
        .iter()
        .map(|(service, port)| format!("{port} of {service}"))
        .collect();
    let numbers: Vec<_> = held.iter().map(|(_, port)| port.to_string()).collect();
    warn(
        NAME,
        format!(
            "{} in the range that the kernel hands out ({first}-{last}): another program may hold it when the service \
             starts",
            are(&named)
        ),
        format!(
            "choose one below {first}, or as root `sysctl net.ipv4.ip_local_reserved_ports={}`",
            numbers.join(",")
        ),
    )
}

/// `a is`, `a, b are`.
fn are(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

fn inotify(found: &Inotify) -> Finding {
    const NAME: &str = "inotify";
    let nearly = |used: u64, max: u64| used.saturating_mul(10) >= max.saturating_mul(9);
    let detail = format!(
        "{} watches, {} in use; {} instances, {} in use",
        found.watches, found.watches_used, found.instances, found.instances_used
    );
    if nearly(found.instances_used, found.instances) {
        let more = found.instances.saturating_mul(4).max(1024);
        return warn(
            NAME,
            format!("{detail}; another program that watches files may get none"),
            format!("`sysctl fs.inotify.max_user_instances={more}` as root"),
        );
    }
    let left = found.watches.saturating_sub(found.watches_used);
    if nearly(found.watches_used, found.watches) || left < FEW_WATCHES {
        let more = found.watches.saturating_mul(4).max(524_288);
        return warn(
            NAME,
            format!("{detail}; a large tree can't be watched whole"),
            format!("`sysctl fs.inotify.max_user_watches={more}` as root"),
        );
    }
    ok(NAME, detail)
}

#[cfg(test)]
mod tests;
