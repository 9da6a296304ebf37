//! `up -- CMD` without a project: what an init owes to one command, and nothing else.
//!
//! Without a file there is nothing to reconcile: no daemon, no socket, no state. The command keeps our descriptors, gets every signal
//! that we get, and its code is ours; what it orphans is reaped. Whoever is not PID 1 ends what is left of it.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Write};
use std::marker::PhantomPinned;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::closing::code;
use super::terminal;
use crate::fault::point;
use crate::reconcile::{ExitStatus, Reason};
use crate::sys::exec_failure::{self, Attempt};
use crate::sys::processes::OwnChildren;
use crate::sys::reap::{self, Child};
use crate::sys::rescue::{self, Rescue};
use crate::sys::signals::{self, SignalQueue};
use crate::sys::spawn::{Forker, Image, Progress, Refusal, Session};
use crate::sys::{clock, detach, pidfd, search, tty};

/// What is left of the command has so long after SIGTERM.
const GRACE_NS: u64 = 10_000_000_000;
/// As of a shell: the program is not there; it is, and can't be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Runs the command in our folder, with our environment, umask and descriptors 0-2; the answer is the exit code: its
/// own, or `128 + n` for a signal.
///
/// # Errors
/// No child can be started at all.
pub fn run(words: &[OsString]) -> io::Result<i32> {
    super::guard::occupy_standard_streams();
    let signals = SignalQueue::over_everything()?;
    // Ignored by who started us, the kernel would reap our children and drop how they ended.
    signals::default(libc::SIGCHLD);
    let is_init = std::process::id() == 1;
    if !is_init {
        signals::become_subreaper()?;
    }
    let mut forker = Forker::of_one();
    let image = image(words)?;
    let forked = forker.fork(&image).map_err(failed)?;
    forker.settle(&forked);
    let mut alone = Alone {
        signals,
        command: forked.pid,
        ended: None,
        is_init,
        _pinned: PhantomPinned,
    };
    if let Progress::Refused(refusal) = forked.channel.wait() {
        let _ = reap::one(forked.pid);
        return Ok(say_why_not(words, &image, refusal));
    }
    // The rescue of it does not come back.
    Ok(rescue::attempt(&mut alone, Alone::finish).unwrap_or_default())
}

struct Alone {
    signals: SignalQueue,
    command: u32,
    ended: Option<ExitStatus>,
    is_init: bool,
    /// As `sys::rescue` wants it.
    _pinned: PhantomPinned,
}

impl Rescue for Alone {
    /// Nothing can be half done that matters: we wait on from where the panic was.
    fn rescue(&mut self, _: &str) {
        std::process::exit(self.finish());
    }
}

impl Alone {
    fn finish(&mut self) -> i32 {
        let status = self.wait();
        if !self.is_init {
            tty::take_back(self.command);
            self.end_what_is_left();
        }
        code(status)
    }

    fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended {
                return status;
            }
            self.sleep(PollTimeout::NONE);
            while let Some(signal) = self.signals.next() {
                match signal {
                    libc::SIGCHLD => self.reap(),
                    // About us, where we are in the background of a terminal.
                    libc::SIGTTIN | libc::SIGTTOU => {}
                    libc::SIGCONT => terminal::go_on(self.command),
                    // It may have ended, unreaped: then this does nothing.
                    other => {
                        drop(pidfd::signal_child(self.command, other));
                        point!("alone.signalled");
                    }
                }
            }
        }
    }

    fn sleep(&self, timeout: PollTimeout) {
        let mut polled = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut polled, timeout);
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = reap::any() {
            if pid == self.command {
                self.ended = Some(status);
            }
        }
        if self.ended.is_none() {
            terminal::follow_stop(self.command);
        }
    }

    /// SIGTERM, a grace, SIGKILL. All of them are children of ours by now, or of one.
    fn end_what_is_left(&mut self) {
        let mut children = OwnChildren::default();
        let mut left = Vec::new();
        let kill_at = clock::mono_ns() + GRACE_NS;
        let mut told: Vec<u32> = Vec::new();
        loop {
            while reap::any().is_some() {}
            children.read(&mut left);
            left.retain(|pid| reap::look(*pid) == Child::Running);
            if left.is_empty() {
                return;
            }
            let now = clock::mono_ns();
            if now >= kill_at {
                left.iter()
                    .for_each(|&pid| drop(pidfd::signal_child(pid, libc::SIGKILL)));
            } else {
                for &pid in left.iter().filter(|pid| !told.contains(pid)) {
                    drop(pidfd::signal_child(pid, libc::SIGTERM));
                    drop(pidfd::signal_child(pid, libc::SIGCONT));
                }
                told.clone_from(&left);
            }
            let patience = kill_at.saturating_sub(now).div_ceil(1_000_000);
            // After SIGKILL each end is told by SIGCHLD, and may leave us children of its own.
            let patience = match now >= kill_at {
                true => PollTimeout::NONE,
                false => PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO),
            };
            self.sleep(patience);
            while let Some(signal) = self.signals.next() {
                if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) {
                    left.iter()
                        .for_each(|&pid| drop(pidfd::signal_child(pid, libc::SIGKILL)));
                }
            }
        }
    }
}

fn image(words: &[OsString]) -> io::Result<Image> {
    let word = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let program = words.first().map_or(OsStr::new(""), OsString::as_os_str);
    let programs = search::candidates(program, &path());
    Ok(Image {
        programs: programs
            .into_iter()
            .map(|candidate| CString::new(candidate).map_err(io::Error::from))
            .collect::<io::Result<_>>()?,
        argv: words.iter().map(|text| word(text)).collect::<io::Result<_>>()?,
        env: detach::environment(&["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]),
        working_dir: c".".to_owned(),
        credentials: None,
        umask: crate::sys::places::own_umask(),
        nice: None,
        limits: Vec::new(),
        descriptors: vec![0, 1, 2],
        listens: false,
        gate_is_open: true,
        cgroup: None,
        session: Session::Ours,
        terminal: false,
    })
}

fn failed(refusal: Refusal) -> io::Error {
    io::Error::from_raw_os_error(refusal.errno)
}

fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| search::DEFAULT_PATH.into())
}

/// Words for a person, and the code that a shell would have.
fn say_why_not(words: &[OsString], image: &Image, refusal: Refusal) -> i32 {
    let path = path();
    let programs = image
        .programs
        .iter()
        .map(|path| OsStr::from_bytes(path.to_bytes()).into());
    let programs: Vec<PathBuf> = programs.collect();
    let failure = exec_failure::failure(&Attempt {
        stage: refusal.stage,
        errno: refusal.errno,
        index: refusal.index,
        command: &words[0].to_string_lossy(),
        programs: &programs,
        working_dir: Path::new("."),
        path: path.to_str(),
        user: None,
        ids: None,
        limits: &[],
    });
    let mut text = format!("error: {}: {}\n", failure.reason.as_str(), failure.message);
    if let Some(suggestion) = failure.suggestion {
        text.push_str(&format!("try: {suggestion}\n"));
    }
    let _ = io::stderr().write_all(text.as_bytes());
    match failure.reason {
        Reason::CommandNotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}
