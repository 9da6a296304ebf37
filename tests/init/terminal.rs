//! A person at a terminal: the command has it, and Ctrl-Z stops what the shell waits for.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::common::{CEILING, Project};

/// A shell with job control on a pseudo-terminal.
struct Terminal {
    shell: std::process::Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn open(project: &Project) -> Terminal {
        let (master, slave) = pair();
        let mut command = Command::new("bash");
        command
            .args(["--norc", "--noediting", "-i"])
            .env("PS1", "$ ")
            .env("RUNNER", env!("CARGO_BIN_EXE_runner"))
            .current_dir(project.path())
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave.try_clone().unwrap()));
        let number = slave.as_raw_fd();
        // SAFETY: setsid and ioctl are async-signal-safe and touch no memory.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                libc::ioctl(number, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let shell = command.spawn().unwrap();
        let (sink, shown) = channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let _ = sink.send(bytes[..count].to_vec());
            }
        });
        let mut terminal = Terminal {
            shell,
            keys: master,
            shown,
            seen: String::new(),
        };
        terminal.wait_for("$ ");
        terminal
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What stands behind it was not waited for yet.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + CEILING;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("waited for {text:?}, saw {:?}", self.seen),
            }
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Both ends of a new pseudo-terminal.
#[allow(unsafe_code)]
fn pair() -> (File, File) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two valid places for numbers; name, settings and size are not asked for.
    unsafe {
        assert_eq!(
            libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()),
            0
        );
        (File::from_raw_fd(master), File::from_raw_fd(slave))
    }
}

/// It has no handlers: one of Python comes too late for a read that has just begun.
const COMMAND: &str = "import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
print('asks', flush=True)
print('heard', input(), flush=True)
signal.sigwait([signal.SIGCONT])
print('goes on', flush=True)
input()
";

fn works(project: &Project) {
    let mut terminal = Terminal::open(project);
    project.write("command.py", COMMAND);
    terminal.press("$RUNNER up -- python3 command.py\n");
    terminal.wait_for("asks\r\n");
    terminal.press("something\n");
    terminal.wait_for("heard something");
    terminal.press("\x1a");
    terminal.wait_for("Stopped");
    terminal.wait_for("$ ");
    terminal.press("fg\n");
    terminal.wait_for("goes on");
    terminal.press("\x03");
    terminal.wait_for("$ ");
    terminal.press("echo code $?\n");
    terminal.wait_for("code 130");
    project.assert_no_process_but(&[terminal.shell.id()]);
}

#[test]
fn sg_04_a_command_alone_has_the_terminal_and_ctrl_z_stops_both() {
    let project = Project::new("");
    std::fs::remove_file(project.file("services.toml")).unwrap();
    works(&project);
}

#[test]
fn sg_04_a_command_beside_services_has_the_terminal_too() {
    works(&Project::new("[services.web]\ncommand = \"exec sleep 1000\"\n"));
}

#[test]
fn sg_07_the_end_of_the_terminal_ends_a_command_and_all_beside_it() {
    let project = Project::new("[services.web]\ncommand = \"exec sleep 1000\"\n");
    let mut terminal = Terminal::open(&project);
    terminal.press("$RUNNER up -- sh -c 'echo begun; exec sleep 1000'\n");
    terminal.wait_for("begun\r\n");
    drop(terminal);
    crate::eventually("nothing is left", || project.processes().is_empty());
}

#[test]
fn the_terminal_is_taken_back_when_the_command_has_ended() {
    let project = Project::new("[services.web]\ncommand = \"exec sleep 1000\"\n");
    let mut terminal = Terminal::open(&project);
    // No job control in between: nobody else would take it back.
    project.write(
        "script",
        "$RUNNER up -- true\necho asks; read answer; echo heard $answer\n",
    );
    terminal.press("sh script\n");
    terminal.wait_for("asks\r\n");
    terminal.press("something\n");
    terminal.wait_for("heard something");
}
