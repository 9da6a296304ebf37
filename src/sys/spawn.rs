//! Our own fork and exec.
//!
//! The parent prepares every byte that the child needs; the child does only what signal-safety(7) allows: a new
//! session, clean signals, descriptors, limits, user, folder. Then it waits at the **gate** until the parent has
//! written down that it exists, and only then executes. One socket pair per child carries both: a byte down opens the
//! gate, a message up is the failure (stage, errno, index), and its end without a message means "executed", because the
//! child's side is close-on-exec. When the parent vanishes before it opened the gate, the child ends without executing.

mod child;
#[cfg(target_os = "linux")]
mod shelf;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use self::child::{Prepared, child, close_range};
use super::signals;
use super::users::Ids;

/// The step of a launch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Fork,
    Record,
    Session,
    Limits,
    Nice,
    Stdio,
    Groups,
    Group,
    User,
    WorkingDir,
    Exec,
}

/// Stages by the number that the child sends.
const STAGES: [Stage; 11] = [
    Stage::Fork,
    Stage::Record,
    Stage::Session,
    Stage::Limits,
    Stage::Nice,
    Stage::Stdio,
    Stage::Groups,
    Stage::Group,
    Stage::User,
    Stage::WorkingDir,
    Stage::Exec,
];

/// A launch that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub stage: Stage,
    pub errno: i32,
    /// Which program (`Exec`), limit (`Limits`) or descriptor (`Stdio`).
    pub index: u32,
}

/// What to execute and as what.
#[derive(Debug)]
pub struct Image {
    /// Tried in this order, as execvp(3) does.
    pub programs: Vec<CString>,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
    pub working_dir: CString,
    pub credentials: Option<Ids>,
    pub umask: u32,
    /// As setpriority(2) takes it: absolute.
    pub nice: Option<i32>,
    /// (`RLIMIT_` number, soft, hard).
    pub limits: Vec<(u32, u64, u64)>,
    /// Ours, in the order in which the child has them from 0 on. Everything else is closed in the child.
    pub descriptors: Vec<RawFd>,
    /// Those from 3 on are sockets that were bound for it: it learns its own number as `LISTEN_PID` (sd_listen_fds(3)).
    pub listens: bool,
    /// Nothing has to be written down before it executes: it does not wait.
    pub gate_is_open: bool,
    /// The control group that it is born into, where the kernel can do that.
    pub cgroup: Option<RawFd>,
    pub session: Session,
    /// Its descriptor 0 becomes the controlling terminal of its session.
    pub terminal: bool,
}

/// Where a child belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// A session, and thereby a group, of its own, without a terminal.
    #[default]
    Own,
    /// A group of its own in our session. If its descriptor 0 is our terminal and we are in its foreground, its group is
    /// from now on.
    Ours,
}

/// A child that stands at its gate, or is through it already where that was open.
#[derive(Debug)]
pub struct Forked {
    pub pid: u32,
    /// `None` where the kernel has no pidfds.
    pub pidfd: Option<OwnedFd>,
    pub channel: Channel,
    /// It was born into the control group of its image.
    pub in_cgroup: bool,
}

/// Our end of the child's socket pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What the channel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet.
    Underway,
    Executed,
    Refused(Refusal),
}

impl Channel {
    /// Lets the child execute. A child that is gone already needs no gate, so this can't fail.
    pub fn open_gate(&self) {
        let _ = nix::sys::socket::send(self.0.as_raw_fd(), b"!", nix::sys::socket::MsgFlags::MSG_NOSIGNAL);
    }

    /// What has become of the child so far; never blocks.
    pub fn progress(&self) -> Progress {
        let mut words = [0u8; 12];
        loop {
            match nix::sys::socket::recv(self.0.as_raw_fd(), &mut words, nix::sys::socket::MsgFlags::MSG_DONTWAIT) {
                Ok(12) => break,
                // A child that refused before it came to its gate leaves our word unread, and the kernel tells that once,
                // ahead of what the child has said.
                Err(nix::Error::EINTR | nix::Error::ECONNRESET) => {}
                Err(nix::Error::EAGAIN) => return Progress::Underway,
                Ok(_) | Err(_) => return Progress::Executed,
            }
        }
        let word = |at: usize| i32::from_ne_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let stage = usize::try_from(word(0)).ok().and_then(|number| STAGES.get(number));
        Progress::Refused(Refusal {
            stage: stage.copied().unwrap_or(Stage::Exec),
            errno: word(4),
            index: word(8).unsigned_abs(),
        })
    }

    /// Waits for the end of the launch. For callers that have nothing else to do.
    pub fn wait(&self) -> Progress {
        loop {
            match self.progress() {
                Progress::Underway => {}
                done => return done,
            }
            let mut fds = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(&self.0),
                nix::poll::PollFlags::POLLIN,
            )];
            let _ = nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE);
        }
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl std::os::fd::AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Kernel calls that may be missing or forbidden (`EN-04`); each has a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// clone3(2) with CLONE_PIDFD, else fork(2) and pidfd_open(2).
    pub clone3: bool,
    /// pidfd_open(2) and pidfd_send_signal(2), else signals by number to children that are not reaped yet.
    pub pidfd: bool,
    pub close_range: bool,
}

impl Calls {
    /// As the default, but clone3(2) is asked too, which a [`Forker`] finds out with its first child.
    pub fn examined() -> Calls {
        Calls {
            clone3: clone3_is_allowed(),
            ..Calls::default()
        }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Calls {
            clone3: cfg!(target_os = "linux"),
            pidfd: super::pidfd::supported(),
            close_range: close_range(u32::MAX, u32::MAX) == 0,
        }
    }
}

/// Starts children; made once per process, when its own signals are settled.
#[derive(Debug)]
pub struct Forker {
    calls: Calls,
    /// Signals that we ignore and that the child is to have at their default.
    ignored: Vec<i32>,
    /// The descriptor limit that we were started with, given back to children.
    descriptor_limit: Option<(u64, u64)>,
    /// `None` where the child has to copy the whole descriptor table.
    #[cfg(target_os = "linux")]
    shelf: Option<shelf::Shelf>,
}

impl Forker {
    /// `descriptor_limit`: the original (soft, hard) limit when this process has raised its own.
    pub fn new(calls: Calls, descriptor_limit: Option<(u64, u64)>) -> Forker {
        Forker {
            calls,
            ignored: signals::ignored(),
            descriptor_limit,
            #[cfg(target_os = "linux")]
            shelf: (calls.clone3 && calls.pidfd && calls.close_range)
                .then(shelf::Shelf::new)
                .flatten(),
        }
    }

    /// For one child that is to be started as we were: what we ignore it ignores too, but for SIGPIPE, which Rust ignores.
    pub fn of_one() -> Forker {
        // A copied table of descriptors costs less than what makes a thousand children cheap.
        let calls = Calls {
            clone3: false,
            pidfd: false,
            close_range: true,
        };
        Forker {
            calls,
            ignored: vec![libc::SIGPIPE],
            descriptor_limit: None,
            #[cfg(target_os = "linux")]
            shelf: None,
        }
    }

    /// The original limit of descriptors, where this process has raised its own.
    pub fn descriptor_limit(&self) -> Option<(u64, u64)> {
        self.descriptor_limit
    }

    /// What another program that was this process had raised it from.
    pub fn restore_limit(&mut self, limit: Option<(u64, u64)>) {
        self.descriptor_limit = limit.or(self.descriptor_limit);
    }

    /// Forks a child up to its gate. [`Forker::settle`] comes before its channel is read and before the next fork; what
    /// is done in between is done while the child comes up.
    ///
    /// # Errors
    /// `Stage::Fork` with the errno of socketpair(2) or fork(2); everything later comes over the channel.
    pub fn fork(&mut self, image: &Image) -> Result<Forked, Refusal> {
        let refuse = |error: io::Error| Refusal {
            stage: Stage::Fork,
            errno: error.raw_os_error().unwrap_or(libc::EAGAIN),
            index: 0,
        };
        let (ours, theirs) = pair().map_err(refuse)?;
        let ours = Channel(ours);
        if image.gate_is_open {
            ours.open_gate();
        }
        let mut calls = self.calls;
        let lent = self.lend(&image.descriptors, theirs.as_raw_fd());
        #[cfg(target_os = "linux")]
        let shelved = lent.is_some();
        let mut prepared = Prepared::new(image, self, theirs.as_raw_fd(), lent);
        let before = block_all();
        let forked = clone_or_fork(&mut prepared, &mut calls);
        restore(&before);
        let in_cgroup = calls.clone3 && prepared.cgroup.is_some();
        self.calls = calls;
        #[cfg(target_os = "linux")]
        if let Some(shelf) = self.shelf.as_mut().filter(|_| shelved) {
            match &forked {
                Ok((pid, _)) if calls.clone3 => shelf.is_with(*pid),
                // Nobody looks at it.
                Ok(_) | Err(_) => shelf.clear(),
            }
        }
        drop(theirs);
        let (pid, pidfd) = forked.map_err(refuse)?;
        Ok(Forked {
            pid,
            in_cgroup,
            // One that can't be signalled would only look like a hold on the process.
            pidfd: pidfd.filter(|_| calls.pidfd),
            channel: ours,
        })
    }

    /// Waits until the child that was forked last shares nothing with us any more: microseconds.
    pub fn settle(&mut self, forked: &Forked) {
        #[cfg(target_os = "linux")]
        if let Some(shelf) = &mut self.shelf {
            shelf.take_back(forked);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = forked;
    }

    /// Puts a launch's descriptors and its end of the channel where a child that shares our table finds them.
    fn lend(&mut self, descriptors: &[RawFd], channel: RawFd) -> Option<Lent> {
        #[cfg(target_os = "linux")]
        if self.calls.clone3
            && let Some(shelf) = &mut self.shelf
        {
            let mut all = descriptors.to_vec();
            all.push(channel);
            let mut descriptors = shelf.lend(&all)?;
            let channel = descriptors.pop()?;
            return Some(Lent {
                descriptors,
                channel,
                end: shelf.end(),
            });
        }
        let _ = (descriptors, channel);
        None
    }
}

/// Where on the shelf a launch's descriptors stand.
struct Lent {
    descriptors: Vec<RawFd>,
    channel: RawFd,
    /// The first number behind the shelf.
    end: u32,
}

fn clone_or_fork(prepared: &mut Prepared, calls: &mut Calls) -> io::Result<(u32, Option<OwnedFd>)> {
    #[cfg(target_os = "linux")]
    if calls.clone3 {
        let mut cloned = clone3(prepared);
        if let Err(error) = &cloned
            && prepared.cgroup.is_some()
            && !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM))
        {
            // The kernel can't (it came with 5.7), or we may not.
            prepared.cgroup = None;
            cloned = clone3(prepared);
        }
        match cloned {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => calls.clone3 = false,
            done => return done,
        }
    }
    prepared.has_copied_table();
    let pid = plain_fork(prepared)?;
    let pidfd = if calls.pidfd {
        super::pidfd::open(pid).ok()
    } else {
        None
    };
    Ok((pid, pidfd))
}

/// A connected pair that closes on exec.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    #[cfg(target_os = "linux")]
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    #[cfg(not(target_os = "linux"))]
    let (kind, flags) = (SockType::Datagram, SockFlag::empty());
    let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    #[cfg(not(target_os = "linux"))]
    for end in [&ours, &theirs] {
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    Ok((ours, theirs))
}

#[allow(unsafe_code)]
fn block_all() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigfillset and pthread_sigmask get valid pointers for the length of the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    }
}

#[allow(unsafe_code)]
fn restore(before: &libc::sigset_t) {
    // SAFETY: `before` is a mask that pthread_sigmask gave us.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn clone3_is_allowed() -> bool {
    // SAFETY: a size of zero is refused before anything is read or forked (clone3(2)).
    let result = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0) };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

#[cfg(not(target_os = "linux"))]
fn clone3_is_allowed() -> bool {
    false
}

/// As fork(2), with the pidfd taken at birth.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn clone3(prepared: &mut Prepared) -> io::Result<(u32, Option<OwnedFd>)> {
    /// `struct clone_args` (clone3(2)).
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    /// Up to `tls`, all that its first version has.
    const FIRST_VERSION: usize = 64;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: (libc::CLONE_PIDFD | if prepared.shares_table() { libc::CLONE_FILES } else { 0 }) as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    let mut size = FIRST_VERSION;
    if let Some(cgroup) = prepared.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.unsigned_abs());
        size = size_of::<CloneArgs>();
    }
    // SAFETY: without CLONE_VM and with no stack given this is fork(2): the child has a copy of all memory and goes on
    // here. It calls only `child`, which is async-signal-safe and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    match pid {
        0 => child(prepared),
        1.. => {
            // SAFETY: the kernel has put a new descriptor of ours there.
            let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
            Ok((pid as u32, pidfd))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(unsafe_code)]
fn plain_fork(prepared: &mut Prepared) -> io::Result<u32> {
    // SAFETY: the child calls only `child`, which is async-signal-safe and never returns.
    match unsafe { libc::fork() } {
        0 => child(prepared),
        pid @ 1.. => Ok(pid.unsigned_abs()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_heard_from_a_child_that_never_came_to_its_gate() {
        let (ours, theirs) = pair().unwrap();
        let channel = Channel(ours);
        channel.open_gate();
        let words = [Stage::WorkingDir as i32, libc::ENOENT, 3]
            .map(i32::to_ne_bytes)
            .concat();
        nix::unistd::write(&theirs, &words).unwrap();
        drop(theirs);
        let refusal = Refusal {
            stage: Stage::WorkingDir,
            errno: libc::ENOENT,
            index: 3,
        };
        assert_eq!(channel.progress(), Progress::Refused(refusal));
        assert_eq!(channel.progress(), Progress::Executed, "and then there is nothing");
    }
}
