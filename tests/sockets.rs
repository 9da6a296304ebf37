//! `sockets`: runner holds the listening sockets of services, so that no connection is refused while one restarts, whatever
//! of runner dies meanwhile; and takes those that it was given itself.
//!
//! `RUNNER_RESTARTS`: how many restarts; `cargo test --release --test sockets -- --nocapture po_11_no` shows the figures.

#![allow(clippy::unwrap_used)]

mod common;
mod fixture;

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use common::roles::{Roles, send};
use common::{CEILING, Project, eventually, free_port, stderr};
use nix::sys::signal::Signal;

fn service(name: &str, port_name: &str, port: u16) -> String {
    let program = fixture::program();
    format!(
        "[services.{name}]\ncommand = [{:?}, \"answer\", \"1\"]\nports = {{ {port_name} = {port} }}\nsockets = [\"{port_name}\"]\n",
        program.display().to_string()
    )
}

/// The pid of who answers; the error of a client that nobody answers.
fn ask(port: u16) -> std::io::Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(CEILING))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.parse().map_err(|_| ErrorKind::UnexpectedEof.into())
}

fn is_refused(port: u16) -> bool {
    matches!(ask(port), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

fn pid(project: &Project, name: &str) -> u32 {
    living(project, name).unwrap()
}

fn living(project: &Project, name: &str) -> Option<u32> {
    u32::try_from(project.service(name)["pid"].as_u64()?).ok()
}

fn restart(project: &Project, name: &str) {
    let output = project.run(&["restart", name]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Clients that never stop asking.
struct Load {
    over: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 3]>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(port: u16, clients: usize) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 3]> = Arc::default();
        let client = || {
            let (over, counts) = (over.clone(), counts.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let place = match ask(port) {
                        Ok(_) => 0,
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => 1,
                        Err(_) => 2,
                    };
                    counts[place].fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..clients).map(|_| client()).collect();
        Load { over, counts, threads }
    }

    /// Answered, refused, and connected without an answer.
    fn end(self) -> [u64; 3] {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        [0, 1, 2].map(|place| self.counts[place].load(Ordering::Relaxed))
    }
}

#[test]
fn po_11_no_connection_is_refused_over_restarts_and_deaths_of_runner() {
    let restarts: usize = std::env::var("RUNNER_RESTARTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100);
    let port = free_port();
    let project = Project::new(&service("web", "http", port));
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    let first = pid(&project, "web");
    assert_eq!(ask(port).unwrap(), first);
    let load = Load::on(port, 4);
    let began = Instant::now();
    for turn in 0..restarts {
        if turn == restarts / 4 {
            send(Roles::of(&project).daemon, Signal::SIGKILL);
        } else if turn == restarts / 2 {
            let before = Roles::of(&project);
            send(before.guardian, Signal::SIGKILL);
            eventually("the daemon is the guardian", || {
                let now = Roles::of(&project);
                now.guardian == before.daemon && now.daemon != before.daemon
            });
        } else if turn == restarts * 3 / 4 {
            let upgrade = project.run(&["upgrade"]);
            assert!(upgrade.status.success(), "{}", stderr(&upgrade));
        }
        restart(&project, "web");
    }
    let took = began.elapsed();
    let [answered, refused, broken] = load.end();
    println!("{restarts} restarts in {took:?}: {answered} answered, {refused} refused, {broken} broken");
    assert_eq!((refused, broken), (0, 0), "of {answered}");
    assert!(answered > 0);
    assert_ne!(pid(&project, "web"), first);
    // A stop by hand is the end of it; a start opens it again.
    assert!(project.run(&["stop", "web"]).status.success());
    assert!(is_refused(port), "nobody listens for what is stopped");
    assert!(project.run(&["start", "web"]).status.success());
    assert_eq!(ask(port).unwrap(), pid(&project, "web"));
    assert!(project.run(&["down"]).status.success());
    assert!(is_refused(port));
    project.assert_nothing_is_left();
}

#[test]
fn po_11_clients_queue_while_a_crashed_service_waits_for_its_next_try() {
    let port = free_port();
    let project = Project::new(&format!(
        "{}backoff = {{ initial = \"300ms\" }}\n",
        service("web", "http", port)
    ));
    assert!(project.run(&["up", "-d"]).status.success());
    let first = pid(&project, "web");
    send(first, Signal::SIGKILL);
    eventually("it has crashed", || project.service("web")["state"] != "ready");
    let second = ask(port).unwrap();
    assert_ne!(second, first);
    assert_eq!(second, pid(&project, "web"));
}

#[test]
fn po_11_both_killed_the_socket_is_copied_from_the_service() {
    let port = free_port();
    let project = Project::new(&service("web", "http", port));
    assert!(project.run(&["up", "-d"]).status.success());
    let roles = Roles::of(&project);
    let before = pid(&project, "web");
    for pid in [roles.daemon, roles.guardian] {
        send(pid, Signal::SIGSTOP);
    }
    for pid in [roles.guardian, roles.daemon] {
        send(pid, Signal::SIGKILL);
    }
    assert_eq!(ask(port).unwrap(), before, "the service does not notice");
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    assert_eq!(pid(&project, "web"), before, "adopted");
    let load = Load::on(port, 2);
    for _ in 0..5 {
        restart(&project, "web");
    }
    let [answered, refused, broken] = load.end();
    assert_eq!((refused, broken), (0, 0), "of {answered}");
    assert!(project.run(&["down"]).status.success());
    assert!(is_refused(port));
}

#[test]
fn po_11_several_sockets_come_in_their_order_with_their_names() {
    let (http, dns) = (free_port(), free_port());
    let program = fixture::program();
    let project = Project::new(&format!(
        "[services.web]\ncommand = [{:?}, \"answer\", \"3\"]\nsockets = [\"dns\", \"http\", \"admin\"]\n\
         ports = {{ http = {http}, admin = \"auto\", dns = {{ port = {dns}, protocol = \"udp\" }} }}\n\
         [services.plain]\ncommand = [{:?}, \"show\", \"env\", \"wait\"]\nenv = {{ LISTEN_FDS = \"1\" }}\n",
        program.display().to_string(),
        program.display().to_string()
    ));
    let mut up = project.up(&[]);
    up.wait_for("answering at dns:http:admin");
    assert_eq!(ask(http).unwrap(), pid(&project, "web"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(CEILING)).unwrap();
    client.send_to(b"?", ("127.0.0.1", dns)).unwrap();
    let mut bytes = [0; 32];
    let count = client.recv(&mut bytes).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bytes[..count]),
        pid(&project, "web").to_string()
    );
    // Each run finds them blocking, whatever the one before made of them.
    restart(&project, "web");
    assert_eq!(ask(http).unwrap(), pid(&project, "web"));
    up.signal("INT");
    up.end();
}

#[test]
fn po_11_an_edit_closes_what_is_no_socket_any_more_and_two_services_trade() {
    let (a, b, c) = (free_port(), free_port(), free_port());
    let project = Project::new(&(service("one", "x", a) + &service("two", "x", b)));
    assert!(project.run(&["up", "-d"]).status.success());
    let load = [Load::on(a, 1), Load::on(b, 1)];
    project.write("services.toml", &(service("one", "x", b) + &service("two", "x", a)));
    eventually("the ports are traded", || {
        let (one, two) = (living(&project, "one"), living(&project, "two"));
        (ask(b).ok(), ask(a).ok()) == (one, two)
    });
    for load in load {
        let [answered, refused, broken] = load.end();
        assert_eq!((refused, broken), (0, 0), "of {answered}");
    }
    project.write("services.toml", &service("one", "x", c));
    eventually("the new port answers", || {
        ask(c).is_ok_and(|at| Some(at) == living(&project, "one"))
    });
    eventually("the old ones are closed", || is_refused(a) && is_refused(b));
    // Bound by the service itself now, on the same port.
    let holds = format!(
        "[services.one]\ncommand = [{:?}, \"hold\", \"{c}\", \"wait\"]\nports = [{c}]\n",
        fixture::program().display().to_string()
    );
    project.write("services.toml", &holds);
    eventually("it listens itself", || {
        project.service("one")["state"] == "ready"
            && project.read(".runner/logs/one.log").contains(&format!("port {c}"))
    });
}

#[test]
fn po_11_a_port_of_somebody_else_is_a_conflict_as_any_other() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let project = Project::new(&service("web", "http", port));
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(1));
    assert!(
        stderr(&up).contains(&format!("port {port} is in use")),
        "{}",
        stderr(&up)
    );
    assert!(project.run(&["down"]).status.success());
    // With `next` it moves, and so does what it is told.
    project.write(
        "services.toml",
        &format!("{}on_port_conflict = \"next\"\n", service("web", "http", port)),
    );
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    let ports = project.service("web")["ports"].clone();
    let moved = ports["http"].as_u64().or_else(|| ports[0]["number"].as_u64());
    let moved = u16::try_from(moved.unwrap_or_else(|| panic!("{ports}"))).unwrap();
    assert_ne!(moved, port);
    assert_eq!(ask(moved).unwrap(), pid(&project, "web"));
    restart(&project, "web");
    assert_eq!(
        ask(moved).unwrap(),
        pid(&project, "web"),
        "its own socket is not in the way"
    );
    drop(other);
    restart(&project, "web");
    assert_eq!(
        ask(port).unwrap(),
        pid(&project, "web"),
        "the declared one is tried first"
    );
    assert!(is_refused(moved), "and the other one is closed");
}

/// As systemd does for a socket unit; `LISTEN_PID` is told by a shell that becomes runner.
fn with_given(command: &mut Command, listener: &TcpListener, names: &str) {
    let number = listener.as_raw_fd();
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", names);
    #[allow(unsafe_code)]
    // SAFETY: dup and dup2 are async-signal-safe.
    unsafe {
        // By way of another number: at its own it would stay close-on-exec.
        command.pre_exec(move || match nix::libc::dup2(nix::libc::dup(number), 3) {
            3 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

#[test]
fn po_11_a_socket_that_runner_was_given_is_passed_on_and_never_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = Project::new(&service("web", "http", port));
    let mut command = Command::new("sh");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$0\" up -d", env!("CARGO_BIN_EXE_runner")])
        .current_dir(project.path())
        .stdin(Stdio::null());
    with_given(&mut command, &listener, "http");
    let up = command.output().unwrap();
    assert!(up.status.success(), "{}", stderr(&up));
    assert!(!stderr(&up).contains("warning"), "{}", stderr(&up));
    // What is ours alone is closed: from here on runner and its service hold it.
    drop(listener);
    assert_eq!(ask(port).unwrap(), pid(&project, "web"));
    assert!(project.run(&["stop", "web"]).status.success());
    let waiting = std::thread::spawn(move || ask(port));
    for kill in [|roles: &Roles| roles.daemon, |roles: &Roles| roles.guardian] {
        let before = Roles::of(&project);
        send(kill(&before), Signal::SIGKILL);
        eventually("another one", || Roles::of(&project).daemon != before.daemon);
    }
    assert!(project.run(&["upgrade"]).status.success());
    assert!(project.run(&["start", "web"]).status.success());
    assert_eq!(
        waiting.join().unwrap().unwrap(),
        pid(&project, "web"),
        "who came meanwhile has queued"
    );
    assert!(project.run(&["down"]).status.success());
    eventually("it ends with runner", || is_refused(port));
}

#[test]
fn po_11_in_place_runner_passes_on_what_it_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = Project::new(&service("web", "http", port));
    let mut command = Command::new("sh");
    let words = "LISTEN_PID=$$ exec \"$0\" up -- sleep 1000";
    command
        .args(["-c", words, env!("CARGO_BIN_EXE_runner")])
        .current_dir(project.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    with_given(&mut command, &listener, "http");
    let mut up = command.spawn().unwrap();
    drop(listener);
    let answered = ask(port).unwrap();
    assert_eq!(answered, pid(&project, "web"));
    assert_eq!(Roles::of(&project).guardian, up.id());
    send(up.id(), Signal::SIGTERM);
    up.wait().unwrap();
    assert!(is_refused(port));
    project.assert_nothing_is_left();
}

#[test]
fn sockets_for_another_process_are_left_alone_and_what_nobody_takes_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = Project::new("[services.a]\ncommand = \"sleep 1000\"\n");
    let run = |pid: &str| {
        let mut command = Command::new("sh");
        let words = format!("LISTEN_PID={pid} exec \"$0\" up -d");
        command
            .args(["-c", &words, env!("CARGO_BIN_EXE_runner")])
            .current_dir(project.path())
            .stdin(Stdio::null());
        with_given(&mut command, &listener, "lost");
        let up = command.output().unwrap();
        assert!(up.status.success(), "{}", stderr(&up));
        assert!(project.run(&["down"]).status.success());
        stderr(&up)
    };
    assert!(!run("1").contains("lost"));
    let told = run("$$");
    assert!(
        told.contains(&format!("nobody takes the socket `lost` (port {port})")),
        "{told}"
    );
}
