//! Processes held by descriptor, and signals to them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::reconcile::ExitStatus;
use crate::spec::Signal;

/// `PIDFD_SIGNAL_PROCESS_GROUP` of linux/pidfd.h (6.9): to the group whose number is that of the held process, even
/// after the process itself was reaped.
#[cfg(target_os = "linux")]
const TO_GROUP: libc::c_uint = 1 << 2;

/// Holds a process that can't be reaped meanwhile (our own child), or whose identity the caller checks afterwards.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: two numbers; the result is a new descriptor of ours (close-on-exec, pidfd_open(2)).
    unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(descriptor as i32))
    }
}

#[cfg(not(target_os = "linux"))]
pub fn open(_: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Blocks until the held process has exited; its files, and with them its locks, are closed by then (`exit(2)` of the
/// kernel lets go of files before it tells).
pub fn wait_for_exit(held: BorrowedFd) {
    let mut polled = [PollFd::new(held, PollFlags::POLLIN)];
    while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
}

/// The same, until then at the latest.
pub fn wait_for_exit_until(held: BorrowedFd, deadline: Instant) {
    let mut polled = [PollFd::new(held, PollFlags::POLLIN)];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if poll(&mut polled, timeout) != Err(Errno::EINTR) {
            return;
        }
    }
}

/// Whether the held process has exited; never blocks.
pub fn has_exited(held: BorrowedFd) -> bool {
    let mut polled = [PollFd::new(held, PollFlags::POLLIN)];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// The same beside other work, in a tokio runtime.
///
/// # Errors
/// It can't be waited for: no descriptor is left, say.
#[allow(unsafe_code)]
pub async fn ended(held: BorrowedFd<'_>) -> io::Result<()> {
    // A descriptor of its own: one descriptor can be waited for in one place only.
    let own = held.try_clone_to_owned()?;
    // SAFETY: the descriptor is owned by what is registered, so that it stays open and the same for as long.
    let registered = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }?;
    registered.readable().await?.retain_ready();
    Ok(())
}

/// Signals the held process; signal 0 only asks whether it is there.
pub fn signal(held: BorrowedFd, signal: i32) -> io::Result<()> {
    send(held, signal, 0)
}

/// Signals the group that the held process led or leads. `ESRCH`: there is nobody in it.
pub fn signal_group(held: BorrowedFd, signal: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return send(held, signal, TO_GROUP);
    #[cfg(not(target_os = "linux"))]
    send(held, signal, 1)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn send(held: BorrowedFd, signal: i32, flags: libc::c_uint) -> io::Result<()> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open while borrowed; a null siginfo is allowed (pidfd_send_signal(2)).
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, held.as_raw_fd(), signal, no_details, flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(not(target_os = "linux"))]
fn send(_: BorrowedFd, _: i32, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether processes can be held and signalled this way; asked of ourselves with signal 0.
pub fn supported() -> bool {
    open(std::process::id()).is_ok_and(|own| signal(own.as_fd(), 0).is_ok())
}

/// Whether the kernel signals groups through pidfds; asked of ourselves with signal 0.
pub fn groups_supported() -> bool {
    let Ok(own) = open(std::process::id()) else {
        return false;
    };
    match signal_group(own.as_fd(), 0) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::ESRCH),
    }
}

/// The wait status (wait(2)) that the kernel keeps of a process that was reaped, by somebody else too (`PIDFD_INFO_EXIT`
/// of linux/pidfd.h, 6.15). `None` where it does not, or while the process is not reaped.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn kept_status(held: BorrowedFd) -> Option<i32> {
    /// `struct pidfd_info`, its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        /// Numbers of the process, its parent, its users and groups.
        numbers: [u32; 11],
        exit_code: i32,
    }
    const EXIT: u64 = 1 << 3;
    /// `_IOWR(0xFF, 11, struct pidfd_info)`.
    const GET_INFO: u64 = 3 << 30 | (size_of::<Info>() as u64) << 16 | 0xFF << 8 | 11;
    let mut info = Info {
        mask: EXIT,
        ..Info::default()
    };
    // SAFETY: the descriptor is open while borrowed; `info` is as large as the number of the call says.
    let result = unsafe { libc::ioctl(held.as_raw_fd(), GET_INFO as _, &raw mut info) };
    (result == 0 && info.mask & EXIT != 0).then_some(info.exit_code)
}

#[cfg(not(target_os = "linux"))]
pub fn kept_status(_: BorrowedFd) -> Option<i32> {
    None
}

/// How the held process has ended, whoever its parent is: as the kernel keeps it of the reaped (see [`kept_status`]), or
/// as /proc tells while it waits for its parent (field 52 of proc_pid_stat(5), for those who may trace it).
///
/// `None`: it lives, or nobody can tell any more.
pub fn exit_status_of(held: BorrowedFd) -> Option<ExitStatus> {
    let status = kept_status(held)
        .or_else(|| zombie_status(held))
        .or_else(|| kept_status(held))?;
    Some(if libc::WIFEXITED(status) {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    } else {
        ExitStatus::Signal(Signal::from_number(libc::WTERMSIG(status)))
    })
}

/// Of a process that has ended and is not reaped yet: so long its number is its own.
fn zombie_status(held: BorrowedFd) -> Option<i32> {
    let known = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", held.as_raw_fd())).ok()?;
    let pid = known.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim();
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let line = String::from_utf8_lossy(&line);
    // The name may hold blanks and parentheses; what follows is from the third field on.
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let status = fields.get(52 - 3)?.parse().ok()?;
    let was_its_own = fields.first() == Some(&"Z") && signal(held, 0).is_ok();
    was_its_own.then_some(status)
}

/// Signals a process by number: only for a child of ours that is not reaped yet, so that the number can't be another's.
/// 0 and 1 are refused.
#[allow(unsafe_code)]
pub fn signal_child(pid: u32, signal: i32) -> io::Result<()> {
    let Some(pid) = safe(pid) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: two numbers, the first above 1.
    if unsafe { libc::kill(pid, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Signals a group by number: only while its leader is not reaped.
#[allow(unsafe_code)]
pub fn signal_group_of_child(leader: u32, signal: i32) -> io::Result<()> {
    let Some(leader) = safe(leader) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: two numbers, the first above 1.
    if unsafe { libc::kill(-leader, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// 0 is our own group, 1 is init, negative numbers are groups: none of them is a process that we mean.
fn safe(pid: u32) -> Option<libc::pid_t> {
    libc::pid_t::try_from(pid).ok().filter(|&pid| pid > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_process_has_ended_is_known_before_and_after_it_was_reaped() {
        use std::process::Command;

        for (script, wanted) in [
            ("read end; exit 42", ExitStatus::Code(42)),
            (
                "read end; kill -SEGV $$",
                ExitStatus::Signal(Signal::from_number(libc::SIGSEGV)),
            ),
        ] {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            let held = open(child.id()).unwrap();
            assert_eq!(exit_status_of(held.as_fd()), None, "it lives");
            drop(child.stdin.take());
            wait_for_exit(held.as_fd());
            assert_eq!(exit_status_of(held.as_fd()), Some(wanted), "not reaped");
            child.wait().unwrap();
            if kept_status(held.as_fd()).is_some() {
                assert_eq!(exit_status_of(held.as_fd()), Some(wanted), "reaped");
            } else {
                assert_eq!(exit_status_of(held.as_fd()), None, "this kernel keeps none");
            }
        }
    }

    #[test]
    fn nobody_can_be_meant_by_zero_one_or_too_much() {
        for pid in [0, 1, u32::MAX] {
            assert!(signal_child(pid, 0).is_err());
            assert!(signal_group_of_child(pid, 0).is_err());
        }
    }
}
