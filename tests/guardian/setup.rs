//! What a service is started with.

use std::os::unix::fs::PermissionsExt;

use runner::guardian::orders::{Credentials, Stdio};
use runner::reconcile::ExitStatus;

use crate::fixture;
use crate::nest::{Nest, is_root, shown};

const FINE: ExitStatus = ExitStatus::Code(0);

#[test]
fn sp_19_nothing_is_ignored_or_blocked_whatever_runner_was_started_with() {
    let mut nest = Nest::after(&[
        "ignore", "HUP", "ignore", "INT", "ignore", "CHLD", "block", "TERM", "block", "USR1",
    ]);
    let (status, text) = nest.run(&["show", "signals"]);
    assert_eq!(status, FINE);
    assert_eq!(
        (shown(&text, "blocked"), shown(&text, "ignored")),
        (String::new(), String::new())
    );
}

#[test]
fn sp_20_only_the_standard_descriptors_are_inherited() {
    let mut nest = Nest::after(&["leak", "20"]);
    let (status, text) = nest.run(&["show", "descriptors"]);
    assert_eq!(status, FINE);
    assert_eq!(shown(&text, "descriptors"), "0 1 2");
}

#[test]
fn sp_20_nor_with_standard_descriptors_closed() {
    let mut nest = Nest::after(&["close", "0", "close", "1", "close", "2"]);
    let (_, text) = nest.run(&["show", "descriptors"]);
    assert_eq!(shown(&text, "descriptors"), "0 1 2");
}

#[test]
fn rl_05_the_descriptor_limit_is_the_one_that_runner_was_started_with() {
    let mut nest = Nest::after(&["limit", "nofile", "200", "4000"]);
    assert_eq!(shown(&nest.run(&["show", "limits"]).1, "nofile"), "200 4000");
    let own = std::fs::read_to_string(format!("/proc/{}/limits", nest.pid())).unwrap();
    let line = own.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(
        line.split_whitespace().nth(3),
        Some("4000"),
        "raised for itself: {line}"
    );
}

#[test]
fn limits_umask_nice_folder_and_session_are_what_was_ordered() {
    let mut nest = Nest::new();
    let mut launch = nest.fixture(&[
        "show", "limits", "show", "umask", "show", "nice", "show", "cwd", "show", "session",
    ]);
    launch.limits = vec![(libc::RLIMIT_NOFILE, 100, 200), (libc::RLIMIT_CORE, 0, 0)];
    launch.umask = 0o027;
    launch.nice = Some(7);
    launch.working_dir = b"/usr".to_vec();
    let (status, text) = nest.run_launch(launch);
    assert_eq!(status, FINE);
    assert_eq!(shown(&text, "nofile"), "100 200");
    assert_eq!(shown(&text, "core"), "0 0");
    assert_eq!(shown(&text, "umask"), "027");
    assert_eq!(shown(&text, "nice"), "7");
    assert_eq!(shown(&text, "cwd"), "/usr");
    let session = shown(&text, "session");
    let numbers: Vec<_> = session.split(' ').collect();
    assert!(
        numbers[0] == numbers[1] && numbers[1] == numbers[2],
        "it leads group and session: {session}"
    );
}

#[test]
fn the_environment_is_the_ordered_one_and_nothing_else() {
    let mut nest = Nest::new();
    let mut launch = nest.fixture(&["show", "env"]);
    launch.env = vec![b"A=1".to_vec(), b"B=two words".to_vec()];
    assert_eq!(nest.run_launch(launch).1, "env: A=1\nenv: B=two words\n");
}

#[test]
fn user_group_and_groups_are_taken_on_for_good() {
    if !is_root() {
        return;
    }
    let mut nest = Nest::new();
    // Where that user may reach it.
    let program = nest.file("fixture");
    std::fs::copy(fixture::program(), &program).unwrap();
    std::fs::set_permissions(nest.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut launch = nest.program(&program, &["fixture", "show", "ids"]);
    launch.credentials = Some(Credentials {
        uid: 54321,
        gid: 54322,
        groups: vec![54323, 54324],
    });
    let (status, text) = nest.run_launch(launch);
    assert_eq!(status, FINE);
    assert_eq!(shown(&text, "uid"), "54321 54321 54321");
    assert_eq!(shown(&text, "gid"), "54322 54322 54322");
    assert_eq!(shown(&text, "groups"), "54323 54324");
}

#[test]
fn pg_10_stdin_is_at_its_end() {
    let mut nest = Nest::new();
    assert_eq!(nest.run(&["drain"]), (FINE, "eof 0\n".to_owned()));
}

#[test]
fn a_fifo_is_held_until_release_and_keeps_what_was_written() {
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    let mut nest = Nest::new();
    let path = nest.file("out");
    runner::sys::fifo::make(&path, None).unwrap();
    let mut launch = nest.fixture(&["print", "1", "3"]);
    launch.stdio[1] = Stdio::Fifo(path.as_os_str().as_bytes().to_vec());
    let ticket = nest.spawn(launch);
    assert_eq!(nest.exit(ticket), (FINE, false));
    let mut reader = runner::sys::fifo::open_reader(&path).unwrap();
    let mut buffer = [0; 64];
    let count = reader.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"1\n2\n3\n");
    let still_held = reader.read(&mut buffer).unwrap_err();
    assert_eq!(still_held.kind(), std::io::ErrorKind::WouldBlock);
    nest.release(ticket);
    nest.settle();
    assert_eq!(reader.read(&mut buffer).unwrap(), 0, "nobody holds it any more");
}

#[test]
fn po_01_the_service_that_holds_a_port_is_named() {
    use runner::spec::Protocol;
    use runner::sys::ports::{PortToCheck, PortTrouble, conflict, listening_sockets_of};
    let mut nest = Nest::new();
    let mut launch = nest.fixture(&["hold", "0", "wait"]);
    launch.working_dir = b"/usr".to_vec();
    let mut run = nest.start_launch(launch);
    let number = run.output.line().strip_prefix("port ").unwrap().parse().unwrap();
    assert_eq!(listening_sockets_of(&[run.identity.pid]).tcp_ports, [number]);
    let port = PortToCheck {
        number,
        protocol: Protocol::Tcp,
    };
    let Some(PortTrouble::Taken(owner)) = conflict(&[port]) else {
        panic!("the port is held")
    };
    assert_eq!(owner.pid, Some(run.identity.pid));
    let words = format!(
        "port {number} is in use by fixture (pid {}, /usr, started ",
        run.identity.pid
    );
    assert!(owner.describe().starts_with(&words), "{}", owner.describe());
    nest.kill_to_the_end(&run);
    assert_eq!(conflict(&[port]), None);
}
