//! Daemons that leave no trace, numbers that PID files hold, and what is taken over.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use runner::guardian::orders::{Adoption, Identity, Order, Report, Stdio as Output};
use runner::reconcile::ExitStatus;
use runner::spec::Signal;
use runner::sys::processes;

use crate::fixture;
use crate::nest::{CEILING, Nest, Run, is_root};

const FINE: ExitStatus = ExitStatus::Code(0);
const KILLED: ExitStatus = ExitStatus::Signal(Signal::KILL);

fn lives(pid: u32) -> bool {
    processes::stat(pid).is_some_and(|stat| !stat.is_zombie())
}

fn end(pid: u32) {
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid as i32),
        nix::sys::signal::Signal::SIGKILL,
    );
}

/// The number that a daemon writes when it is nobody's any more.
fn number_in(file: &str) -> u32 {
    let deadline = std::time::Instant::now() + CEILING;
    loop {
        match std::fs::read_to_string(file).ok().and_then(|text| text.parse().ok()) {
            Some(pid) => return pid,
            None => assert!(std::time::Instant::now() < deadline, "no number in {file}"),
        }
        std::thread::yield_now();
    }
}

fn follow(nest: &mut Nest, run: &Run, pid: u32) -> Result<Identity, String> {
    let ticket = run.ticket;
    nest.order(&Order::Follow { ticket, pid }, &[]);
    nest.wait("an answer", |report| match report {
        Report::Followed { ticket: of, identity } if *of == ticket => Some(Ok(identity.clone())),
        Report::NotFollowed { ticket: of, why, .. } if *of == ticket => Some(Err(why.clone())),
        _ => None,
    })
}

/// Launches a shell that starts an untraceable daemon under another name than its own.
fn through_a_shell(nest: &mut Nest, file: &str, pid_file: bool) -> Run {
    let script = format!(
        "{} daemon {{ vanish catch TERM 6 write {file} % wait }} exit 0; while ! test -s {file}; do :; done; exit 0",
        fixture::program().display()
    );
    let mut launch = nest.program(std::path::Path::new("/bin/sh"), &["sh", "-c", &script]);
    launch.env.push(b"PATH=/usr/bin:/bin".to_vec());
    launch.pid_file = pid_file;
    nest.start_launch(launch)
}

#[test]
fn pg_02_a_daemon_that_leaves_no_trace_is_stopped_with_its_service() {
    let mut nest = Nest::new();
    let (file, gate) = (nest.path("pid"), nest.path("gate"));
    // The launcher ends when the daemon has vanished.
    runner::sys::fifo::make(gate.as_ref(), None).unwrap();
    let run = nest.start(&[
        "daemon", "{", "vanish", "ignore", "TERM", "write", &file, "%", "write", &gate, "x", "wait", "}", "await",
        &gate, "exit", "0",
    ]);
    assert_eq!(nest.exit(run.ticket), (FINE, true));
    let pid = number_in(&file);
    assert!(lives(pid));
    nest.kill(run.ticket);
    nest.emptied(run.ticket);
    assert!(!lives(pid));
}

#[test]
fn pf_08_a_daemon_of_whom_nothing_tells_is_believed_only_where_a_pid_file_is_declared() {
    // A control group would tell.
    let mut nest = Nest::without(&["cgroup"]);
    let file = nest.path("declared");
    let run = through_a_shell(&mut nest, &file, true);
    assert_eq!(nest.exit(run.ticket), (FINE, true), "somebody may be left");
    let pid = number_in(&file);
    assert_eq!(follow(&mut nest, &run, pid).unwrap().pid, pid);
    nest.signal(run.ticket, libc::SIGTERM);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(6), false));
    assert!(!lives(pid));

    let file = nest.path("undeclared");
    let run = through_a_shell(&mut nest, &file, false);
    assert_eq!(nest.exit(run.ticket), (FINE, false));
    let pid = number_in(&file);
    assert!(follow(&mut nest, &run, pid).is_err());
    assert!(lives(pid));
    end(pid);
}

#[test]
fn pf_08_a_predecessor_that_ends_at_the_same_moment_is_no_end() {
    let mut nest = Nest::new();
    let (file, gate) = (nest.path("pid"), nest.path("gate"));
    runner::sys::fifo::make(gate.as_ref(), None).unwrap();
    let orders = [
        "daemon", "{", "catch", "TERM", "6", "write", &file, "%", "wait", "}", "await", &gate, "exit", "0",
    ];
    let mut launch = nest.fixture(&orders);
    launch.pid_file = true;
    let run = nest.start_launch(launch);
    let pid = number_in(&file);
    // Both news wait for the guardian when it looks.
    let guardian = nix::unistd::Pid::from_raw(nest.pid() as i32);
    nix::sys::signal::kill(guardian, nix::sys::signal::Signal::SIGSTOP).unwrap();
    // On a loaded machine a signal takes its time, and the news would be looked at one by one.
    while processes::stat(nest.pid()).unwrap().state != 'T' {
        std::thread::yield_now();
    }
    std::fs::write(&gate, "go").unwrap();
    while lives(run.identity.pid) {
        std::thread::yield_now();
    }
    let ticket = run.ticket;
    nest.order(&Order::Follow { ticket, pid }, &[]);
    nix::sys::signal::kill(guardian, nix::sys::signal::Signal::SIGCONT).unwrap();
    nest.wait("it is followed", |report| {
        matches!(report, Report::Followed { .. }).then_some(())
    });
    nest.signal(ticket, libc::SIGTERM);
    assert_eq!(nest.exit(ticket), (ExitStatus::Code(6), false));
}

#[test]
fn what_a_daemon_leaves_hears_the_stop_signal() {
    let mut nest = Nest::new();
    let (file, below) = (nest.path("pid"), nest.path("below"));
    let orders = [
        "daemon", "{", "fork", "{", "catch", "QUIT", "0", "write", &below, "%", "wait", "}", "write", &file, "%",
        "wait", "}", "exit", "0",
    ];
    let mut launch = nest.fixture(&orders);
    launch.pid_file = true;
    let run = nest.start_launch(launch);
    assert_eq!(nest.exit(run.ticket), (FINE, true));
    let (pid, worker) = (number_in(&file), number_in(&below));
    follow(&mut nest, &run, pid).unwrap();
    end(pid);
    assert_eq!(nest.exit(run.ticket), (KILLED, true));
    assert!(lives(worker));
    nest.signal(run.ticket, libc::SIGQUIT);
    nest.emptied(run.ticket);
    assert!(!lives(worker));
}

#[test]
fn pf_02_suspicion_kills_nobody() {
    // A control group would tell.
    let mut nest = Nest::without(&["cgroup"]);
    let file = nest.path("pid");
    let run = through_a_shell(&mut nest, &file, true);
    assert_eq!(nest.exit(run.ticket), (FINE, true));
    let pid = number_in(&file);
    nest.kill(run.ticket);
    nest.emptied(run.ticket);
    assert!(lives(pid), "nothing but its age tied it to this launch");
    end(pid);
}

#[test]
fn pf_02_the_daemon_of_another_service_is_never_followed() {
    let mut nest = Nest::new();
    let (one, other) = (nest.path("one"), nest.path("other"));
    let first = through_a_shell(&mut nest, &one, true);
    assert_eq!(nest.exit(first.ticket), (FINE, true));
    let pid = number_in(&one);
    follow(&mut nest, &first, pid).unwrap();
    let second = through_a_shell(&mut nest, &other, true);
    assert_eq!(nest.exit(second.ticket), (FINE, true));
    assert!(
        follow(&mut nest, &second, pid)
            .unwrap_err()
            .contains("belongs to another service")
    );
    let mut bystander = stranger(&["wait"]);
    let why = follow(&mut nest, &second, bystander.id()).unwrap_err();
    assert!(why.contains("was not started by this service"), "{why}");
    let own = number_in(&other);
    follow(&mut nest, &second, own).unwrap();
    for run in [first, second] {
        nest.kill(run.ticket);
        assert_eq!(nest.exit(run.ticket), (KILLED, false));
    }
    assert!(lives(bystander.id()));
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn pf_14_a_number_from_inside_a_container_is_refused_with_that_hint() {
    if !is_root() {
        return;
    }
    let mut nest = Nest::new();
    let inside = "sleep 1000 & echo ready; wait";
    let mut launch = nest.program(
        std::path::Path::new("/usr/bin/unshare"),
        &["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", inside],
    );
    launch.env.push(b"PATH=/usr/bin:/bin".to_vec());
    launch.pid_file = true;
    let mut run = nest.start_launch(launch);
    assert_eq!(run.output.line(), "ready");
    let why = follow(&mut nest, &run, 2).unwrap_err();
    assert!(why.contains("inside its own PID namespace process "), "{why}");
    nest.kill_to_the_end(&run);
}

#[test]
fn p1_08_a_service_that_is_its_own_subreaper_or_ignores_its_children_harms_nobody() {
    let mut nest = Nest::new();
    let own = nest.start(&[
        "subreaper",
        "ignore",
        "CHLD",
        "daemon",
        "{",
        "say",
        "ready",
        "wait",
        "}",
        "fork",
        "{",
        "exit",
        "3",
        "}",
        "wait",
    ]);
    let mut run = own;
    assert_eq!(run.output.line(), "ready");
    let other = nest.start(&["exit", "5"]);
    assert_eq!(nest.exit(other.ticket), (ExitStatus::Code(5), false));
    nest.kill_to_the_end(&run);
}

/// A process of the fixture that runner has not started.
fn stranger(orders: &[&str]) -> Child {
    let mut command = Command::new(fixture::program());
    command.args(orders).env_remove(runner::guardian::MARK);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    if orders.contains(&"say") {
        use std::io::BufRead;
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        std::io::BufReader::new(output).read_line(&mut line).unwrap();
    }
    child
}

fn adopt(nest: &mut Nest, pid: u32, change: impl FnOnce(&mut Adoption)) -> Result<Run, String> {
    let found = std::fs::metadata(fixture::program()).unwrap();
    // For its ticket.
    let launch = nest.fixture(&[]);
    let mut adoption = Adoption {
        label: "test".into(),
        run: 1,
        ticket: launch.ticket,
        pid,
        uid: nix::unistd::Uid::effective().as_raw(),
        program: (found.dev(), found.ino()),
        record: None,
    };
    change(&mut adoption);
    nest.order(&Order::TakeOver(Box::new(adoption)), &[]);
    let answer = nest.wait("an answer", |report| match report {
        Report::TakenOver { ticket, identity } if *ticket == launch.ticket => Some(Ok(identity.clone())),
        Report::NotTakenOver { ticket, why, .. } if *ticket == launch.ticket => Some(Err(why.clone())),
        _ => None,
    });
    answer.map(|identity| nest.adopted(launch.ticket, identity))
}

#[test]
fn what_something_else_has_started_is_taken_over_and_its_end_is_known() {
    let mut nest = Nest::new();
    let mut child = stranger(&["catch", "TERM", "6", "say", "ready", "wait"]);
    let run = adopt(&mut nest, child.id(), |_| {}).unwrap();
    assert_eq!(run.identity.pid, child.id());
    nest.signal(run.ticket, libc::SIGTERM);
    assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(6), false));
    child.wait().unwrap();
    nest.release(run.ticket);
    nest.settle();
}

#[test]
fn what_is_taken_over_is_killed_with_all_that_is_below_it() {
    let mut nest = Nest::new();
    let orders = [
        "ignore", "TERM", "fork", "{", "setsid", "fork", "{", "say", "ready", "wait", "}", "wait", "}", "wait",
    ];
    let mut child = stranger(&orders);
    let below = processes::descendants(child.id());
    assert_eq!(below.len(), 2);
    let run = adopt(&mut nest, child.id(), |_| {}).unwrap();
    nest.kill(run.ticket);
    assert_eq!(nest.exit(run.ticket), (KILLED, false));
    child.wait().unwrap();
    let deadline = std::time::Instant::now() + CEILING;
    while below.iter().any(|pid| lives(*pid)) {
        assert!(std::time::Instant::now() < deadline, "its children live");
        std::thread::yield_now();
    }
}

/// As daemons do it: a session of its own, which outlives its leader.
#[test]
fn what_a_daemon_that_was_taken_over_leaves_is_ended_too() {
    let mut nest = Nest::new();
    for is_killed in [true, false] {
        let file = nest.path(if is_killed { "killed" } else { "ended" });
        let orders = [
            "setsid", "fork", "{", "ignore", "TERM", "write", &file, "%", "say", "ready", "wait", "}", "catch", "TERM",
            "6", "wait",
        ];
        let mut child = stranger(&orders);
        let below = number_in(&file);
        let run = adopt(&mut nest, child.id(), |_| {}).unwrap();
        match is_killed {
            true => end(child.id()),
            false => nest.signal(run.ticket, libc::SIGTERM),
        }
        child.wait().unwrap();
        assert!(nest.exit(run.ticket).1, "it has left something");
        assert!(lives(below));
        nest.kill(run.ticket);
        nest.emptied(run.ticket);
        assert!(!lives(below));
        nest.release(run.ticket);
    }
    nest.settle();
}

/// By nothing but its output it is known whose it is.
#[test]
fn what_a_hook_leaves_alone_stays_with_its_service() {
    // A control group would tell.
    let mut nest = Nest::without(&["cgroup"]);
    let (file, out) = (nest.path("pid"), nest.file("out"));
    runner::sys::fifo::make(&out, None).unwrap();
    let output = || Output::Fifo(out.as_os_str().as_bytes().to_vec());
    let script = format!(
        "(env -i /usr/bin/setsid {} write {file} % wait &); exec /bin/sleep 1000",
        fixture::program().display()
    );
    let mut launch = nest.program(std::path::Path::new("/bin/sh"), &["sh", "-c", &script]);
    launch.env.push(b"PATH=/usr/bin:/bin".to_vec());
    launch.stdio[1] = output();
    let service = nest.spawn(launch);
    let pid = number_in(&file);
    for _ in 0..2 {
        let mut hook = nest.fixture(&["exit", "0"]);
        hook.stdio[1] = output();
        hook.reap_tree = true;
        let hook = nest.spawn(hook);
        assert_eq!(nest.exit(hook), (FINE, false));
        nest.release(hook);
        nest.settle();
        assert!(lives(pid), "the helper was the hook's");
    }
    nest.kill(service);
    if nest.exit(service).1 {
        nest.emptied(service);
    }
    assert!(!lives(pid));
}

#[test]
fn a_process_of_another_program_or_user_or_of_a_runner_is_not_taken_over() {
    let mut nest = Nest::new();
    let mut child = stranger(&["wait"]);
    let pid = child.id();
    let why = |result: Result<Run, String>| result.map(|run| run.identity).unwrap_err();
    let wrong = why(adopt(&mut nest, pid, |adoption| adoption.program.1 += 1));
    assert!(wrong.contains("does not run the program of this service"), "{wrong}");
    let wrong = why(adopt(&mut nest, pid, |adoption| adoption.uid += 1));
    assert!(wrong.contains("does not run as the user of this service"), "{wrong}");
    let ours = nest.start(&["say", "ready", "wait"]);
    for pid in [0, 1, nest.pid(), ours.identity.pid] {
        adopt(&mut nest, pid, |_| {}).map(|run| run.identity).unwrap_err();
    }
    let mut other = Nest::new();
    let theirs = other.start(&["say", "ready", "wait"]);
    let wrong = why(adopt(&mut nest, theirs.identity.pid, |_| {}));
    assert!(wrong.contains("belongs to another runner"), "{wrong}");
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = why(adopt(&mut nest, pid, |_| {}));
    assert!(gone.contains("there is no process"), "{gone}");
    nest.kill_to_the_end(&ours);
    other.kill_to_the_end(&theirs);
}
