use super::super::{Runner, Runtime};
use super::*;
use crate::sys::ground::{Kind, Mount, Trial};
use crate::sys::machine::Status;
use crate::sys::spawn::Calls;

const WORKS: Trial = Trial {
    write: Ok(()),
    lock: Ok(()),
    fifo: Ok(()),
    splice: Ok(()),
    socket: Ok(()),
};

fn mount(kind: Kind) -> Mount {
    Mount { kind, noexec: false }
}

/// A machine with everything, and a project in order.
fn best() -> Readings {
    Readings {
        machine: Machine {
            system: "Linux 6.18.0".into(),
            calls: Calls {
                clone3: true,
                pidfd: true,
                close_range: true,
            },
            unique: true,
            groups: true,
            exits_kept: true,
            subreaper: true,
            cgroup: Cgroup::Writable { kill: true },
            processes: Visibility::All,
            uid: 1000,
            user: "alice".into(),
            init: Some("systemd".into()),
            is_init: false,
            status: Status {
                may_protect: true,
                ..Status::default()
            },
            capabilities: 0,
            root_is_read_only: false,
            memory_limit: None,
            first_free_port: 1024,
            descriptors: Some((1024, 1_048_576)),
            pid_max: Some(4_194_304),
            ephemeral: Some(Ephemeral {
                first: 32768,
                last: 60999,
                reserved: vec![(40000, 40000)],
            }),
            inotify: Some(Inotify {
                watches: 524_288,
                watches_used: 100,
                instances: 128,
                instances_used: 5,
            }),
        },
        runtime: Runtime {
            folder: Ok("/tmp/runner-1000".into()),
            mount: Some(mount(Kind::InMemory)),
            trial: Some(WORKS),
            taken: Vec::new(),
            socket_length: 58,
        },
        project: Some(Surveyed {
            dir: "/srv/shop".into(),
            mount: Some(mount(Kind::Local("ext4"))),
            valid: Some(("shop".into(), 4)),
            state_dir: "/srv/shop/.runner".into(),
            state: WORKS,
            refused: None,
            users: Vec::new(),
            runner: Runner::NotUp,
            ports: vec![("web".into(), 3000), ("admin".into(), 40000)],
        }),
    }
}

fn project(readings: &mut Readings) -> &mut Surveyed {
    readings.project.as_mut().expect("`best` has one")
}

#[test]
fn the_best_machine_has_only_the_tiers_of_this_version() {
    let found = checks(&best());
    let less: Vec<_> = found.iter().filter(|finding| finding.status != Grade::Ok).collect();
    let names: Vec<_> = less
        .iter()
        .map(|finding| (finding.status, finding.name.as_str()))
        .collect();
    assert_eq!(names, [(Grade::Tier, "out of memory")]);
}

/// Each thing that can be less than best, alone: which finding says so, how bad it is, and a piece of its words.
#[test]
fn each_fault_is_found_by_itself() {
    type Fault = (fn(&mut Readings), &'static str, Grade, &'static str);
    let faults: &[Fault] = &[
        (|it| it.machine.unique = false, "identity", Grade::Tier, "start time"),
        (
            |it| it.machine.calls.pidfd = false,
            "identity",
            Grade::Tier,
            "no pidfds",
        ),
        (|it| it.machine.groups = false, "group signals", Grade::Tier, "zombie"),
        (|it| it.machine.exits_kept = false, "exit codes", Grade::Tier, "unknown"),
        (
            |it| it.machine.calls.clone3 = false,
            "starts",
            Grade::Tier,
            "fork and close_range",
        ),
        (
            |it| it.machine.calls.close_range = false,
            "starts",
            Grade::Tier,
            "one by one",
        ),
        (
            |it| it.machine.subreaper = false,
            "orphans",
            Grade::Bad,
            "does not start",
        ),
        (
            |it| it.machine.cgroup = Cgroup::None,
            "stop",
            Grade::Tier,
            "no cgroup v2 here",
        ),
        (
            |it| it.machine.cgroup = Cgroup::ReadOnly,
            "stop",
            Grade::Tier,
            "no writable",
        ),
        (
            |it| it.machine.cgroup = Cgroup::Writable { kill: false },
            "stop",
            Grade::Tier,
            "one by one",
        ),
        (
            |it| it.machine.processes = Visibility::Nothing,
            "/proc",
            Grade::Tier,
            "not mounted",
        ),
        (
            |it| it.machine.processes = Visibility::Own("hidepid=2".into()),
            "/proc",
            Grade::Tier,
            "hidepid=2",
        ),
        (
            |it| it.machine.status.no_new_privileges = true,
            "user",
            Grade::Tier,
            "no_new_privs",
        ),
        (
            |it| it.machine.status.may_protect = false,
            "out of memory",
            Grade::Tier,
            "CAP_SYS_RESOURCE",
        ),
        (
            |it| it.machine.descriptors = Some((256, 512)),
            "descriptors",
            Grade::Warn,
            "512",
        ),
        (
            |it| (it.machine.pid_max, it.machine.unique) = (Some(32768), false),
            "process numbers",
            Grade::Tier,
            "used again",
        ),
        (
            |it| project(it).ports[0].1 = 50000,
            "ports",
            Grade::Warn,
            "50000 of web is in the range",
        ),
        (
            |it| it.machine.inotify.as_mut().expect("there").watches_used = 520_000,
            "inotify",
            Grade::Warn,
            "large tree",
        ),
        (
            |it| it.machine.inotify.as_mut().expect("there").instances_used = 128,
            "inotify",
            Grade::Warn,
            "may get none",
        ),
        (
            |it| it.runtime.folder = Err("read-only".into()),
            "runtime folder",
            Grade::Tier,
            "read-only",
        ),
        (
            |it| it.runtime.folder = Err("read-only".into()),
            "adoption",
            Grade::Tier,
            "started anew",
        ),
        (
            |it| project(it).users.push(("web".into(), "www-data".into())),
            "capabilities",
            Grade::Warn,
            "web can't run as `www-data`",
        ),
        (
            |it| project(it).ports[0].1 = 80,
            "capabilities",
            Grade::Warn,
            "web can't listen on 80",
        ),
        (
            |it| it.machine.memory_limit = Some(64 << 20),
            "memory limit",
            Grade::Ok,
            "for everything in this control group",
        ),
        (
            |it| it.machine.root_is_read_only = true,
            "root file system",
            Grade::Ok,
            "read-only",
        ),
        (
            |it| project(it).refused = Some(("/srv/shop/.runner".into(), "read-only file system".into())),
            "state folder",
            Grade::Tier,
            "can't be written (read-only file system)",
        ),
        (
            |it| project(it).state_dir = crate::sys::places::nameless::place("key"),
            "logs",
            Grade::Tier,
            "in memory",
        ),
        (
            |it| it.runtime.mount = Some(mount(Kind::Local("ext4"))),
            "runtime folder",
            Grade::Tier,
            "on ext4",
        ),
        (
            |it| it.runtime.trial.as_mut().expect("there").socket = Err("no".into()),
            "runtime folder",
            Grade::Bad,
            "could not bind a socket: no",
        ),
        (
            |it| {
                it.runtime
                    .taken
                    .push("/tmp/runner-1000 belongs to another user (uid 7)".into())
            },
            "runtime folder",
            Grade::Warn,
            "uid 7",
        ),
        (
            |it| it.runtime.socket_length = 150,
            "socket path",
            Grade::Tier,
            "150 bytes",
        ),
        (|it| project(it).valid = None, "project", Grade::Warn, "not valid"),
        (
            |it| project(it).mount = Some(mount(Kind::Remote("NFS"))),
            "project folder",
            Grade::Tier,
            "on NFS",
        ),
        (
            |it| project(it).mount = Some(mount(Kind::Layered)),
            "project folder",
            Grade::Tier,
            "lower layer",
        ),
        (
            |it| project(it).mount.as_mut().expect("there").noexec = true,
            "project folder",
            Grade::Warn,
            "noexec",
        ),
        (
            |it| project(it).state.write = Err("permission denied".into()),
            "state folder",
            Grade::Bad,
            "can't be written: permission denied",
        ),
        (
            |it| project(it).state.lock = Err("no locks".into()),
            "state folder",
            Grade::Bad,
            "lock a file: no locks",
        ),
        (
            |it| project(it).state.splice = Err("invalid".into()),
            "state folder",
            Grade::Bad,
            "splice",
        ),
        (
            |it| project(it).state.fifo = Err("no".into()),
            "state folder",
            Grade::Tier,
            "use a FIFO",
        ),
        (
            |it| project(it).runner = Runner::Mute,
            "runner",
            Grade::Warn,
            "holds the lock",
        ),
    ];
    let before = checks(&best());
    for (spoil, name, grade, words) in faults {
        let mut readings = best();
        spoil(&mut readings);
        let found = checks(&readings);
        let told = found
            .iter()
            .find(|finding| finding.name == *name && finding.detail.contains(words));
        let told = told.unwrap_or_else(|| panic!("{name} says nothing of {words:?}: {found:#?}"));
        assert_eq!(told.status, *grade, "{told:?}");
        assert!(!before.contains(told), "said of the best machine too: {told:?}");
        assert!(
            *grade < Grade::Warn || told.suggestion.is_some(),
            "what to do? {told:?}"
        );
    }
}

#[test]
fn a_filter_is_blamed_only_where_something_is_missing() {
    let mut readings = best();
    readings.machine.status.seccomp = true;
    let of = |readings: &Readings, name: &str| {
        checks(readings)
            .into_iter()
            .find(|finding| finding.name == name)
            .unwrap()
    };
    assert_eq!(of(&readings, "seccomp").status, Grade::Ok);
    readings.machine.calls.clone3 = false;
    assert_eq!(of(&readings, "seccomp").status, Grade::Tier);
    assert!(
        of(&readings, "starts")
            .suggestion
            .unwrap()
            .contains("allow clone3 in the seccomp profile")
    );
}

#[test]
fn without_a_project_the_machine_is_still_judged() {
    let readings = Readings {
        project: None,
        ..best()
    };
    let found = checks(&readings);
    assert_eq!(found.last().unwrap().name, "project");
    assert!(
        found
            .iter()
            .all(|finding| finding.status < Grade::Warn && finding.name != "state folder")
    );
}

#[test]
fn a_runner_that_is_up_is_named() {
    let mut readings = best();
    project(&mut readings).runner = Runner::Up(Some(4711));
    let found = checks(&readings);
    assert!(found.iter().any(|finding| finding.detail.contains("pid 4711")));
}
