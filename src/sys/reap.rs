//! Ended children: the only place that waits.

use crate::reconcile::ExitStatus;
use crate::spec::Signal;

/// What can be said of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    Running,
    Ended(ExitStatus),
    /// Not a child of ours (any more).
    NotOurs,
}

/// Reaps any one child that has ended: its pid and how. `None`: no child has ended.
pub fn any() -> Option<(u32, ExitStatus)> {
    wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG).ok().flatten()
}

/// Reaps one child if it has ended.
pub fn one(pid: u32) -> Child {
    child(pid, libc::WEXITED | libc::WNOHANG)
}

/// Waits for the end of one child and reaps it. `None`: it is not ours.
pub fn last(pid: u32) -> Option<ExitStatus> {
    let (_, status) = wait(libc::P_PID, pid, libc::WEXITED).ok().flatten()?;
    Some(status)
}

/// Looks at one child without reaping it: if it has ended, its number stays taken.
pub fn look(pid: u32) -> Child {
    child(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Whether this child was stopped since somebody has asked last.
pub fn was_stopped(pid: u32) -> bool {
    matches!(wait(libc::P_PID, pid, libc::WSTOPPED | libc::WNOHANG), Ok(Some(_)))
}

fn child(pid: u32, flags: i32) -> Child {
    match wait(libc::P_PID, pid, flags) {
        Ok(Some((_, status))) => Child::Ended(status),
        Ok(None) => Child::Running,
        Err(_) => Child::NotOurs,
    }
}

/// By libc and not by nix, which refuses real-time signals and would lose the status it has just reaped.
#[allow(unsafe_code)]
fn wait(which: libc::idtype_t, id: u32, flags: i32) -> std::io::Result<Option<(u32, ExitStatus)>> {
    loop {
        // SAFETY: siginfo_t is plain data for which all zeroes is valid.
        let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `found` is valid for the length of the call.
        let result = unsafe { libc::waitid(which, id, &mut found, flags) };
        if result != 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: waitid succeeded, so the fields of a SIGCHLD are filled in, or all is still zero (nothing ended).
        let (pid, status) = unsafe { (found.si_pid(), found.si_status()) };
        if pid <= 0 {
            return Ok(None);
        }
        let status = match found.si_code {
            libc::CLD_EXITED => ExitStatus::Code(status),
            _ => ExitStatus::Signal(Signal::from_number(status)),
        };
        return Ok(Some((pid.unsigned_abs(), status)));
    }
}
