//! `tty` and `attach`: a service with a terminal, and those who look at it.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::collections::HashSet;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::roles::{Roles, send};
use common::{Project, eventually, stderr, stdout, terminal};
use nix::sys::signal::Signal;
use runner::sys::pty::{self, Size};

const SHELL: &str = r#"
[services.shell]
command = '''test -t 0 && test -t 1 && test -t 2 && echo all three; while read -r line; do case $line in size) stty size;; end) exit 7;; flood) i=0; while [ $i -lt 20000 ]; do echo "$i a line of many"; i=$((i+1)); done; echo flooded;; *) echo "got <$line>";; esac; done < /dev/tty'''
tty = true
restart = 'no'
[services.plain]
command = 'exec sleep 1000'
"#;

fn up() -> Project {
    let project = Project::new(SHELL);
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    project
}

/// Somebody at a terminal of his own.
struct Viewer {
    child: Child,
    master: OwnedFd,
    slave: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Viewer {
    fn of(mut command: Command, size: Size) -> Viewer {
        let pty = pty::open(None).unwrap();
        pty::resize(pty.master.as_fd(), size).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        terminal::read(&pty.master, &seen);
        Viewer {
            child,
            master: pty.master,
            slave: pty.slave,
            seen,
        }
    }

    fn attach(project: &Project, rows: u16, columns: u16) -> Viewer {
        let viewer = Viewer::of(project.command(&["attach", "shell"]), Size { rows, columns });
        viewer.sees("attached to shell");
        viewer
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    fn sees(&self, what: &str) {
        eventually(&format!("{what:?} is shown"), || self.text().contains(what));
    }

    fn types(&self, text: &str) {
        nix::unistd::write(&self.master, text.as_bytes()).unwrap();
    }

    /// What is typed into a service that has not heard yet of another window is typed once more.
    fn is_told_size(&self, size: &str) {
        eventually(&format!("a window of {size}"), || {
            self.types("size\n");
            self.text().contains(&format!("{size}\r\n"))
        });
    }

    fn is_raw(&self) -> bool {
        let mut stty = Command::new("stty");
        let output = stty.arg("-a").stdin(self.slave.try_clone().unwrap()).output().unwrap();
        stdout(&output).contains("-icanon")
    }

    fn code(mut self) -> Option<i32> {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(!self.is_raw(), "the terminal is as it was");
        status.unwrap().code()
    }
}

#[test]
fn a_service_has_a_terminal_that_several_see_and_that_outlives_daemon_and_guardian() {
    let project = up();
    let pid = project.service("shell")["pid"].clone();
    let first = Viewer::attach(&project, 30, 100);
    first.sees("all three\r\n");
    eventually("the viewer's terminal is raw", || first.is_raw());
    first.types("hello\n");
    first.sees("got <hello>\r\n");
    first.is_told_size("30 100");
    pty::resize(first.master.as_fd(), Size { rows: 40, columns: 120 }).unwrap();
    send(first.child.id(), Signal::SIGWINCH);
    first.is_told_size("40 120");

    // Another one with a window that is smaller one way: what both see whole.
    let second = Viewer::attach(&project, 50, 90);
    second.sees("got <hello>\r\n");
    second.is_told_size("40 90");
    second.types("both\n");
    first.sees("got <both>");
    second.sees("got <both>");
    first.types("\x10");
    first.types("\x11");
    assert_eq!(first.code(), Some(0));
    second.is_told_size("50 90");

    // Whoever looks goes on looking, at the same run.
    send(Roles::of(&project).daemon, Signal::SIGKILL);
    let is_back = |times| {
        eventually("attached again", || {
            second.text().matches("\x1b[2Jall three\r\n").count() == times
        })
    };
    is_back(1);
    second.types("daemon\n");
    second.sees("got <daemon>");
    send(Roles::of(&project).guardian, Signal::SIGKILL);
    is_back(2);
    second.types("guardian\n");
    second.sees("got <guardian>");
    let upgrade = project.run(&["upgrade"]);
    assert!(upgrade.status.success(), "{}", stderr(&upgrade));
    is_back(3);
    assert_eq!(project.service("shell")["pid"], pid);
    second.types("flood\n");
    second.sees("flooded");
    second.types("end\n");
    assert_eq!(second.code(), Some(7));
    let logs = stdout(&project.run(&["logs", "shell", "--no-prefix"]));
    let lines: HashSet<&str> = logs.lines().collect();
    for line in ["all three", "got <hello>", "got <daemon>", "got <guardian>", "flooded"] {
        assert!(lines.contains(line), "{line} in {logs}");
    }
    for number in 0..20000 {
        assert!(lines.contains(&*format!("{number} a line of many")), "{number} is lost");
    }
    assert!(!logs.contains('\r'));
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

/// Nobody reads what one viewer is shown: neither the service nor another viewer waits for it.
#[test]
fn a_viewer_that_does_not_read_holds_up_nobody() {
    let project = up();
    let mut command = project.command(&["attach", "shell"]);
    let streams = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut stuck = streams.spawn().unwrap();
    stuck.stdin.as_ref().unwrap().write_all(b"one\n").unwrap();
    let mut ended = {
        let mut command = project.command(&["attach", "shell"]);
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        streams.spawn().unwrap()
    };
    let viewer = Viewer::attach(&project, 24, 80);
    viewer.sees("got <one>");
    for _ in 0..8 {
        viewer.types("flood\n");
    }
    viewer.types("after\n");
    viewer.sees("got <after>");
    // Full to the brim it hears signals.
    send(ended.id(), Signal::SIGTERM);
    assert_eq!(ended.wait().unwrap().code(), Some(143));
    viewer.types("end\n");
    assert_eq!(viewer.code(), Some(7));
    let reader = stuck.stdout.take().unwrap();
    let errors = stuck.stderr.take().unwrap();
    let (read, told) = (
        std::thread::spawn(|| std::io::read_to_string(reader)),
        std::io::read_to_string(errors).unwrap(),
    );
    let read = read.join().unwrap().unwrap();
    assert_eq!(stuck.wait().unwrap().code(), Some(7));
    assert!(
        told.contains("bytes were skipped: too slow"),
        "{told}; it has read {} bytes",
        read.len()
    );
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn a_pipe_is_typed_to_its_end_and_what_has_no_terminal_says_what_to_write() {
    let nobody = Project::new(SHELL);
    assert_eq!(nobody.run(&["attach", "shell"]).status.code(), Some(4));
    let project = up();
    let plain = project.run(&["attach", "plain"]);
    assert_eq!(plain.status.code(), Some(1));
    assert!(
        stderr(&plain).contains("write `tty = true` into services.plain"),
        "{}",
        stderr(&plain)
    );
    assert_eq!(project.run(&["attach", "none"]).status.code(), Some(3));
    assert_eq!(
        project
            .run(&["attach", "shell", "--detach-keys", "ctrl-"])
            .status
            .code(),
        Some(2)
    );

    let mut command = project.command(&["attach", "shell"]);
    let streams = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    // Detach keys are none in a pipe.
    child.stdin.take().unwrap().write_all(b"one\n\x10\x11\nend\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(stdout(&output).contains("got <one>\r\n"), "{}", stdout(&output));

    let over = project.run(&["attach", "shell"]);
    assert_eq!(over.status.code(), Some(1));
    assert!(stderr(&over).contains("runner start shell"), "{}", stderr(&over));
    assert!(project.run(&["start", "shell"]).status.success());
    // SIGTERM leaves the terminal as it was.
    let viewer = Viewer::attach(&project, 24, 80);
    eventually("it is raw", || viewer.is_raw());
    send(viewer.child.id(), Signal::SIGTERM);
    assert_eq!(viewer.code(), Some(143));
    assert_eq!(project.service("shell")["state"], "ready");
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

/// Root alone can be somebody else.
#[test]
fn a_user_of_its_own_opens_its_terminal_by_name_also_under_up_in_front() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let project = Project::new(
        r#"
[services.shell]
command = "echo I am $(id -un); while read -r line; do echo \"got <$line>\"; done < /dev/tty"
user = 'nobody'
tty = true
"#,
    );
    let front = Viewer::of(project.command(&["up"]), Size { rows: 24, columns: 80 });
    front.sees("I am nobody");
    let viewer = Viewer::attach(&project, 30, 100);
    viewer.sees("I am nobody\r\n");
    viewer.types("hello\n");
    viewer.sees("got <hello>");
    front.sees("got <hello>");
    send(front.child.id(), Signal::SIGINT);
    viewer.sees("shell was ended by");
    viewer.code();
    assert_eq!(front.code(), Some(0));
    project.assert_nothing_is_left();
}
