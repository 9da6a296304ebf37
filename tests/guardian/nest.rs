//! A guardian of the built binary without a daemon: the test is at the other end of its order socket.
#![allow(dead_code)] // the tests and the bench use their part of it

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as Standard};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use runner::guardian::MARK;
use runner::guardian::link::DaemonLink;
use runner::guardian::orders::{Identity, Launch, Order, Report, Stdio, Target, Ticket};
use runner::reconcile::ExitStatus;
use runner::sys::processes;

use crate::fixture;

/// Far beyond what any step takes on a loaded machine: reaching it is a failure, not a delay.
pub const CEILING: Duration = Duration::from_secs(60);

/// Hands the order socket, which is stdin, on as descriptor 3.
const AT_THREE: &str = r#"exec "$@" 3<&0 0</dev/null"#;

pub struct Nest {
    link: Option<DaemonLink>,
    guardian: Child,
    reports: VecDeque<Report>,
    first_ticket: u64,
    next_ticket: u64,
    pub dir: tempfile::TempDir,
}

/// What was ordered, and what it says.
pub struct Run {
    pub ticket: Ticket,
    pub identity: Identity,
    pub output: Output,
    pub mark: String,
}

impl Nest {
    pub fn new() -> Nest {
        Nest::without(&[])
    }

    /// `words`: kernel calls that it is told not to use.
    pub fn without(words: &[&str]) -> Nest {
        Nest::begin(&[], words)
    }

    /// Executed by the fixture, after these orders of it.
    pub fn after(orders: &[&str]) -> Nest {
        let mut before = vec![fixture::program().to_str().unwrap().to_owned()];
        before.extend(orders.iter().map(|&order| order.to_owned()));
        before.push("exec".to_owned());
        Nest::begin(&before, &[])
    }

    /// In a mount namespace of its own, once a shell has done this there. For root.
    pub fn inside(script: &str, words: &[&str]) -> Nest {
        let script = format!("set -e; {script}; exec \"$@\"");
        let before = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned);
        Nest::begin(&before, words)
    }

    fn begin(before: &[String], words: &[&str]) -> Nest {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let guardian = Command::new("/bin/sh")
            .args(["-c", AT_THREE, "sh"])
            .args(before)
            .arg(env!("CARGO_BIN_EXE_runner"))
            .arg(runner::guardian::BARE_VERB)
            .args(words)
            .env_remove(MARK)
            .stdin(Standard::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        let mut nest = Nest {
            link: Some(DaemonLink::over(ours.into())),
            guardian,
            reports: VecDeque::new(),
            first_ticket: 0,
            next_ticket: 0,
            dir: tempfile::tempdir().unwrap(),
        };
        nest.first_ticket = nest.wait("the greeting", |report| match report {
            Report::Hello { next_ticket, .. } => Some(*next_ticket),
            _ => None,
        });
        nest.next_ticket = nest.first_ticket;
        nest
    }

    pub fn pid(&self) -> u32 {
        self.guardian.id()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// A launch of the fixture with a mark, nothing else in its environment, and no output.
    pub fn fixture(&mut self, orders: &[&str]) -> Launch {
        let mut argv = vec!["fixture"];
        argv.extend(orders);
        self.program(&fixture::program(), &argv)
    }

    pub fn program(&mut self, program: &Path, argv: &[&str]) -> Launch {
        let ticket = self.ticket();
        Launch {
            ticket,
            label: "test".into(),
            run: 1,
            programs: vec![program.as_os_str().as_bytes().to_vec()],
            argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
            env: vec![format!("{MARK}={}", self.mark(ticket)).into_bytes()],
            working_dir: b"/".to_vec(),
            credentials: None,
            umask: 0o022,
            nice: None,
            limits: Vec::new(),
            stdio: [Stdio::Null, Stdio::Null, Stdio::Null],
            sockets: Vec::new(),
            record: None,
            cgroup: Some(format!("test-{}.runner/test.{}", self.pid(), ticket.0)),
            pid_file: false,
            terminal: false,
            reap_tree: false,
            keeps: 0,
        }
    }

    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket - 1)
    }

    fn mark(&self, ticket: Ticket) -> String {
        format!("test-{}-{}:{}", std::process::id(), self.pid(), ticket.0)
    }

    pub fn order(&mut self, order: &Order, descriptors: &[BorrowedFd]) {
        let link = self.link.as_mut().unwrap();
        link.send(order, descriptors).unwrap();
        while !link.flush().unwrap() {
            let mut fds = [PollFd::new(link.as_fd(), PollFlags::POLLOUT)];
            poll(&mut fds, PollTimeout::NONE).unwrap();
        }
    }

    pub fn spawn(&mut self, launch: Launch) -> Ticket {
        let ticket = launch.ticket;
        self.order(&Order::Spawn(Box::new(launch)), &[]);
        ticket
    }

    /// Starts a launch whose stdout and stderr the test reads, and waits until its program was executed.
    pub fn start_launch(&mut self, mut launch: Launch) -> Run {
        let (reader, writer) = std::io::pipe().unwrap();
        let (ticket, mark) = (launch.ticket, self.mark(launch.ticket));
        launch.stdio[1..].fill(Stdio::Passed);
        self.order(&Order::Spawn(Box::new(launch)), &[writer.as_fd(), writer.as_fd()]);
        drop(writer);
        let identity = self.wait("its birth", |report| match report {
            Report::Spawned { ticket: of, identity } if *of == ticket => Some(identity.clone()),
            _ => None,
        });
        self.wait("its execution", |report| {
            (*report == Report::Executed { ticket }).then_some(())
        });
        Run {
            ticket,
            identity,
            output: Output::over(reader.into()),
            mark,
        }
    }

    /// What was taken over under a ticket.
    pub fn adopted(&self, ticket: Ticket, identity: Identity) -> Run {
        let nothing = std::fs::File::open("/dev/null").unwrap();
        Run {
            ticket,
            identity,
            output: Output::over(nothing.into()),
            mark: self.mark(ticket),
        }
    }

    pub fn start(&mut self, orders: &[&str]) -> Run {
        let launch = self.fixture(orders);
        self.start_launch(launch)
    }

    /// Runs a launch to its end; its exit status and everything it said.
    pub fn run_launch(&mut self, launch: Launch) -> (ExitStatus, String) {
        let mut run = self.start_launch(launch);
        let text = run.output.rest();
        let (status, left) = self.exit(run.ticket);
        assert!(!left, "nothing was left");
        self.release(run.ticket);
        (status, text)
    }

    pub fn run(&mut self, orders: &[&str]) -> (ExitStatus, String) {
        let launch = self.fixture(orders);
        self.run_launch(launch)
    }

    /// Orders a launch that comes to nothing: (stage, errno, index).
    pub fn refused(&mut self, launch: Launch) -> (runner::guardian::orders::Stage, i32, u32) {
        let wanted = self.spawn(launch);
        self.wait("a refusal", |report| match report {
            Report::SpawnFailed {
                ticket,
                stage,
                errno,
                index,
            } if *ticket == wanted => Some((*stage, *errno, *index)),
            Report::Exited { ticket, .. } if *ticket == wanted => panic!("it was executed: {report:?}"),
            _ => None,
        })
    }

    pub fn signal(&mut self, ticket: Ticket, signal: i32) {
        self.order(
            &Order::Signal {
                ticket,
                signal,
                target: Target::Group,
                wakes: true,
            },
            &[],
        );
    }

    pub fn kill(&mut self, ticket: Ticket) {
        self.order(
            &Order::Kill {
                ticket,
                target: Target::Group,
                sweep: true,
            },
            &[],
        );
    }

    pub fn release(&mut self, ticket: Ticket) {
        self.order(&Order::Release { ticket }, &[]);
    }

    /// Its end: how, and whether it left something.
    pub fn exit(&mut self, wanted: Ticket) -> (ExitStatus, bool) {
        self.wait("an exit", |report| match report {
            Report::Exited { ticket, status, left } if *ticket == wanted => Some((*status, *left)),
            _ => None,
        })
    }

    pub fn emptied(&mut self, wanted: Ticket) {
        self.wait("an empty tree", |report| match report {
            Report::Emptied { ticket } if *ticket == wanted => Some(()),
            Report::KillFailed { leftovers, .. } => panic!("the kill failed: {leftovers:?}"),
            _ => None,
        });
    }

    /// Kills what may be left and waits until nothing is.
    pub fn kill_to_the_end(&mut self, run: &Run) {
        self.kill(run.ticket);
        if self.exit(run.ticket).1 {
            self.emptied(run.ticket);
        }
        none_left(&run.mark);
        self.release(run.ticket);
        self.settle();
    }

    /// The first report (of those not yet taken) of which `wanted` makes something. Others stay in their order.
    pub fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        let mut looked_at = 0;
        let deadline = Instant::now() + CEILING;
        loop {
            while looked_at < self.reports.len() {
                if let Some(found) = wanted(&self.reports[looked_at]) {
                    self.reports.remove(looked_at);
                    return found;
                }
                looked_at += 1;
            }
            let link = self.link.as_mut().unwrap();
            match link
                .try_read()
                .unwrap_or_else(|error| panic!("waited for {what}: {error}"))
            {
                Some(report) => self.reports.push_back(report),
                None => readable(link.as_fd(), deadline, what),
            }
        }
    }

    /// The first report from now on of which `wanted` makes something. Others are dropped.
    pub fn next<T>(&mut self, wanted: impl FnMut(Report) -> Option<T>) -> T {
        let mut wanted = wanted;
        let deadline = Instant::now() + CEILING;
        loop {
            while let Some(report) = self.reports.pop_front() {
                if let Some(found) = wanted(report) {
                    return found;
                }
            }
            let link = self.link.as_mut().unwrap();
            match link.try_read().unwrap() {
                Some(report) => self.reports.push_back(report),
                None => readable(link.as_fd(), deadline, "a report"),
            }
        }
    }

    /// Answers when every order before it was obeyed: by a ticket that nobody can follow.
    pub fn settle(&mut self) {
        let ticket = Ticket(u64::MAX >> 3);
        self.order(&Order::Follow { ticket, pid: 0 }, &[]);
        self.wait("an answer", |report| {
            matches!(report, Report::NotFollowed { .. }).then_some(())
        });
    }

    /// Reports that nobody has taken yet.
    pub fn untaken(&self) -> &VecDeque<Report> {
        &self.reports
    }

    /// What the guardian holds: its descriptors and its children, ended ones included.
    pub fn holds(&self) -> (usize, Vec<u32>) {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count();
        (descriptors, processes::children(self.pid()))
    }

    /// The daemon's end goes away; the answer is the guardian's exit code once it has cleaned up.
    pub fn abandon(&mut self) -> Option<i32> {
        self.link = None;
        self.guardian.wait().unwrap().code()
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        if let Some(link) = &mut self.link {
            for number in self.first_ticket..self.next_ticket {
                let order = Order::Kill {
                    ticket: Ticket(number),
                    target: Target::Group,
                    sweep: true,
                };
                let _ = link.send(&order, &[]);
            }
        }
        self.link = None;
        let _ = self.guardian.wait();
    }
}

/// What a service says, with an end to every wait.
pub struct Output {
    pipe: std::fs::File,
    text: Vec<u8>,
}

impl Output {
    pub fn over(pipe: OwnedFd) -> Output {
        Output {
            pipe: pipe.into(),
            text: Vec::new(),
        }
    }

    fn more(&mut self) -> usize {
        readable(self.pipe.as_fd(), Instant::now() + CEILING, "output");
        let mut buffer = [0; 4096];
        let count = self.pipe.read(&mut buffer).unwrap();
        self.text.extend_from_slice(&buffer[..count]);
        count
    }

    pub fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            assert!(self.more() > 0, "the output ended before its line");
        }
    }

    /// Until everybody has closed it.
    pub fn rest(&mut self) -> String {
        while self.more() > 0 {}
        String::from_utf8(std::mem::take(&mut self.text)).unwrap()
    }
}

fn readable(descriptor: BorrowedFd, deadline: Instant, what: &str) {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    let mut fds = [PollFd::new(descriptor, PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
    assert!(ready > 0, "waited in vain for {what}");
}

/// Live processes with this mark in their environment.
pub fn marked(mark: &str) -> Vec<u32> {
    let all = processes::all().into_iter().filter(|stat| !stat.is_zombie());
    all.map(|stat| stat.pid)
        .filter(|&pid| processes::environment_value(pid, MARK).is_some_and(|found| found == mark.as_bytes()))
        .collect()
}

/// The oracle NONE.
#[track_caller]
pub fn none_left(mark: &str) {
    let left: Vec<_> = marked(mark).into_iter().filter_map(processes::stat).collect();
    assert!(left.is_empty(), "still there: {left:?}");
}

/// `key: value` of what a fixture has shown.
#[track_caller]
pub fn shown(text: &str, key: &str) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {key} in {text}")).trim().to_owned()
}

/// Tests that need to become somebody else.
pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}
