//! Signals of our own process: dispositions, masks, and the descriptor that they are read from.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
#[cfg(target_os = "linux")]
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The highest signal number there is on Linux.
pub const LAST: i32 = 64;

/// Signals that this process ignores now, which exec would hand on.
#[allow(unsafe_code)]
pub fn ignored() -> Vec<i32> {
    let mut found = Vec::new();
    for signal in 1..=LAST {
        // SAFETY: sigaction is plain data for which all zeroes is valid; with a null new action the call only reads.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: as above, `action` is valid for the length of the call.
        let result = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
        if result == 0 && action.sa_sigaction == libc::SIG_IGN {
            found.push(signal);
        }
    }
    found
}

/// Ignores a signal in this process; children that `sys::spawn` starts get the default back.
#[allow(unsafe_code)]
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is a disposition and no function of ours runs.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Ignores every signal that can be ignored and whose default is to end or stop a process, except those that mean a fault of
/// our own code. What is listened to afterwards is not ignored any more. For a process without children: exec hands
/// ignored signals on.
pub fn ignore_strays() {
    let kept = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGABRT,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGCHLD,
        libc::SIGKILL,
        libc::SIGSTOP,
        // Until they are listened to, to be ended by them is to have heard of them: the guardian sees it.
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGQUIT,
    ];
    for signal in (1..=LAST).filter(|signal| !kept.contains(signal)) {
        // The C library refuses those that it keeps to itself.
        ignore(signal);
    }
}

/// Signals by which a container is stopped, reloaded or told something.
const FROM_OUTSIDE: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// The kernel drops what an init has no handler for. Held back, it waits, also through execve(2), until somebody reads it.
pub fn hold_back() {
    let _ = FROM_OUTSIDE.into_iter().collect::<SigSet>().thread_block();
}

/// Takes that back.
pub fn let_through() {
    let _ = FROM_OUTSIDE.into_iter().collect::<SigSet>().thread_unblock();
}

/// Takes the default disposition of a signal, whatever we were started with.
#[allow(unsafe_code)]
pub fn default(signal: i32) {
    // SAFETY: SIG_DFL is a disposition and no function of ours runs.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// As Ctrl-Z does it, for who waits for us; returns when somebody has let us go on.
#[allow(unsafe_code)]
pub fn stop_ourselves() {
    // SAFETY: numbers only.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

/// Signals as a descriptor: blocked everywhere in this process, read when the loop has time for them.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct SignalQueue(SignalFd);

#[cfg(target_os = "linux")]
impl SignalQueue {
    /// Blocks every signal that can be blocked except those that mean a fault of our own code, and collects `wanted`.
    /// All others stay blocked for ever: a storm of them costs nothing (`SG-01`).
    pub fn over(wanted: &[Signal]) -> io::Result<SignalQueue> {
        let mut blocked = SigSet::all();
        for fault in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGFPE,
            Signal::SIGILL,
            Signal::SIGABRT,
        ] {
            blocked.remove(fault);
        }
        blocked.thread_block()?;
        let mut collected = SigSet::empty();
        for &signal in wanted {
            collected.add(signal);
        }
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(SignalQueue(SignalFd::with_flags(&collected, flags)?))
    }

    /// As [`SignalQueue::over`], collecting everything that is blocked: for who passes signals on.
    pub fn over_everything() -> io::Result<SignalQueue> {
        SignalQueue::over(&[])?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(SignalQueue(SignalFd::with_flags(&SigSet::thread_get_mask()?, flags)?))
    }

    /// The next signal's number; `None` when there is none now.
    pub fn next(&self) -> Option<i32> {
        match self.0.read_signal() {
            Ok(Some(found)) => i32::try_from(found.ssi_signo).ok(),
            Ok(None) | Err(_) => None,
        }
    }
}

#[cfg(target_os = "linux")]
impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes this process the parent of every orphan among its descendants.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes one number and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
