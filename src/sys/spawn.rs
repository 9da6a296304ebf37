//! Our own fork and exec.
//!
//! The parent prepares every byte that the child needs; the child does only what signal-safety(7) allows: a new
//! session, clean signals, descriptors, limits, user, folder. Then it waits at the **gate** until the parent has
//! written down that it exists, and only then executes. One socket pair per child carries both: a byte down opens the
//! gate, a message up is the failure (stage, errno, index), and its end without a message means "executed", because the
//! child's side is close-on-exec. When the parent vanishes before it opened the gate, the child ends without executing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

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
}

/// A child that stands at its gate.
#[derive(Debug)]
pub struct Forked {
    pub pid: u32,
    /// `None` where the kernel has no pidfds.
    pub pidfd: Option<OwnedFd>,
    pub channel: Channel,
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
                Err(nix::Error::EINTR) => {}
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
    pub pidfd: bool,
    pub close_range: bool,
}

impl Default for Calls {
    fn default() -> Self {
        Calls {
            clone3: cfg!(target_os = "linux"),
            pidfd: cfg!(target_os = "linux"),
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
}

impl Forker {
    /// `descriptor_limit`: the original (soft, hard) limit when this process has raised its own.
    pub fn new(calls: Calls, descriptor_limit: Option<(u64, u64)>) -> Forker {
        Forker {
            calls,
            ignored: signals::ignored(),
            descriptor_limit,
        }
    }

    /// Forks a child up to its gate.
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
        let mut calls = self.calls;
        let mut prepared = Prepared::new(image, self, theirs.as_raw_fd());
        let before = block_all();
        let forked = clone_or_fork(&mut prepared, &mut calls);
        restore(&before);
        self.calls = calls;
        drop(theirs);
        let (pid, pidfd) = forked.map_err(refuse)?;
        Ok(Forked {
            pid,
            pidfd,
            channel: Channel(ours),
        })
    }
}

fn clone_or_fork(prepared: &mut Prepared, calls: &mut Calls) -> io::Result<(u32, Option<OwnedFd>)> {
    #[cfg(target_os = "linux")]
    if calls.clone3 {
        match clone3(prepared) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => calls.clone3 = false,
            done => return done,
        }
    }
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

/// As fork(2), with the pidfd taken at birth.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn clone3(prepared: &mut Prepared) -> io::Result<(u32, Option<OwnedFd>)> {
    /// `struct clone_args` up to `tls`, its first version (clone3(2)).
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
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM and with no stack given this is fork(2): the child has a copy of all memory and goes on
    // here. It calls only `child`, which is async-signal-safe and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
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

#[allow(unsafe_code)]
fn close_range(first: u32, last: u32) -> i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: closing touches no memory; callers own (or, in a child, want rid of) the descriptors of the range.
    return unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) as i32 };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (first, last);
        -1
    }
}

/// Everything that the child reads, laid out before the fork.
struct Prepared<'a> {
    image: &'a Image,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    /// Whether user and groups have to be set at all: who asks for what we are already needs no privilege.
    credentials: Option<&'a Ids>,
    descriptors: Vec<RawFd>,
    ignored: &'a [i32],
    descriptor_limit: Option<(u64, u64)>,
    channel: RawFd,
    close_range: bool,
    /// Without close_range(2): the highest descriptor open at the fork.
    highest: RawFd,
}

impl<'a> Prepared<'a> {
    fn new(image: &'a Image, forker: &'a Forker, channel: RawFd) -> Prepared<'a> {
        let pointers = |words: &[CString]| {
            let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
            pointers.push(std::ptr::null());
            pointers
        };
        Prepared {
            image,
            argv: pointers(&image.argv),
            env: pointers(&image.env),
            credentials: image.credentials.as_ref().filter(|ids| !already(ids)),
            descriptors: image.descriptors.clone(),
            ignored: &forker.ignored,
            descriptor_limit: forker.descriptor_limit,
            channel,
            close_range: forker.calls.close_range,
            highest: if forker.calls.close_range {
                0
            } else {
                highest_descriptor()
            },
        }
    }
}

/// An unprivileged runner can't set groups, and need not when it is that user.
fn already(ids: &Ids) -> bool {
    let (uid, gid) = (nix::unistd::Uid::effective(), nix::unistd::Gid::effective());
    !uid.is_root() && uid.as_raw() == ids.uid && gid.as_raw() == ids.gid
}

fn highest_descriptor() -> RawFd {
    let open = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
    let highest = open.ok().and_then(|entries| {
        let numbers = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
        numbers.max()
    });
    highest.unwrap_or(4096)
}

/// Ends the child with its refusal. Async-signal-safe.
#[allow(unsafe_code)]
fn refuse(channel: RawFd, stage: Stage, index: usize) -> ! {
    let errno = errno();
    refuse_with(channel, stage, errno, index)
}

#[allow(unsafe_code)]
fn refuse_with(channel: RawFd, stage: Stage, errno: i32, index: usize) -> ! {
    let words = [stage as i32, errno, index as i32];
    // SAFETY: `words` is valid for 12 bytes; write and _exit are async-signal-safe.
    unsafe {
        libc::write(channel, words.as_ptr().cast(), 12);
        libc::_exit(127)
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The child's life between fork and exec. Nothing here allocates, locks or panics: only calls of signal-safety(7) or
/// bare system calls, on memory that was laid out before.
#[allow(unsafe_code)]
fn child(prepared: &mut Prepared) -> ! {
    // SAFETY: all pointers point into `prepared`, which outlives the child; every call is async-signal-safe.
    unsafe {
        clean_signals(prepared.ignored);
        if libc::setsid() < 0 {
            refuse(prepared.channel, Stage::Session, 0);
        }
        let channel = place_descriptors(prepared);
        let image = prepared.image;
        if let Some((soft, hard)) = prepared.descriptor_limit {
            set_limit(libc::RLIMIT_NOFILE as u32, soft, hard);
        }
        for (index, &(number, soft, hard)) in image.limits.iter().enumerate() {
            if !set_limit(number, soft, hard) {
                refuse(channel, Stage::Limits, index);
            }
        }
        if let Some(nice) = image.nice
            && libc::setpriority(libc::PRIO_PROCESS, 0, nice) != 0
        {
            refuse(channel, Stage::Nice, 0);
        }
        if let Some(ids) = prepared.credentials {
            become_user(ids, channel);
        }
        libc::umask(image.umask as libc::mode_t);
        if libc::chdir(image.working_dir.as_ptr()) != 0 {
            refuse(channel, Stage::WorkingDir, 0);
        }
        pass_gate(channel);
        execute(prepared, channel)
    }
}

#[allow(unsafe_code)]
unsafe fn clean_signals(ignored: &[i32]) {
    // SAFETY: called in the child only; plain data and async-signal-safe calls.
    unsafe {
        for &signal in ignored {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Puts the descriptors at 0.. and the channel behind them, and closes all others. Returns the channel.
#[allow(unsafe_code)]
unsafe fn place_descriptors(prepared: &mut Prepared) -> RawFd {
    let wanted = prepared.descriptors.len() as RawFd;
    // SAFETY: called in the child only, where every descriptor is ours to place or close; async-signal-safe calls.
    unsafe {
        // Nothing that is still to be copied may stand where something else goes.
        if prepared.channel < wanted {
            let moved = libc::fcntl(prepared.channel, libc::F_DUPFD_CLOEXEC, wanted);
            if moved < 0 {
                refuse(prepared.channel, Stage::Stdio, 0);
            }
            prepared.channel = moved;
        }
        let channel = prepared.channel;
        for (index, source) in prepared.descriptors.iter_mut().enumerate() {
            if *source < wanted {
                *source = libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, wanted);
                if *source < 0 {
                    refuse(channel, Stage::Stdio, index);
                }
            }
        }
        for (target, &source) in prepared.descriptors.iter().enumerate() {
            if libc::dup2(source, target as RawFd) < 0 {
                refuse(channel, Stage::Stdio, target);
            }
        }
        if channel != wanted {
            if libc::dup2(channel, wanted) < 0 {
                refuse(channel, Stage::Stdio, 0);
            }
            libc::fcntl(wanted, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        if !prepared.close_range || close_range(wanted as u32 + 1, u32::MAX) != 0 {
            for descriptor in wanted + 1..=prepared.highest.max(wanted + 64) {
                libc::close(descriptor);
            }
        }
    }
    wanted
}

#[allow(unsafe_code)]
unsafe fn set_limit(number: u32, soft: u64, hard: u64) -> bool {
    let limit = libc::rlimit {
        rlim_cur: soft as libc::rlim_t,
        rlim_max: hard as libc::rlim_t,
    };
    // SAFETY: `limit` is valid for the length of the call, a bare system call.
    unsafe { libc::setrlimit(number as _, &limit) == 0 }
}

/// Groups, group, user. By bare system calls on Linux: glibc's wrappers signal every thread of the process that was
/// forked from, and those are not here.
#[allow(unsafe_code)]
unsafe fn become_user(ids: &Ids, channel: RawFd) {
    #[cfg(target_os = "linux")]
    // SAFETY: `groups` is valid for its length; bare system calls.
    let (groups, group, user) = unsafe {
        (
            || libc::syscall(libc::SYS_setgroups, ids.groups.len(), ids.groups.as_ptr()) as i32,
            || libc::syscall(libc::SYS_setresgid, ids.gid, ids.gid, ids.gid) as i32,
            || libc::syscall(libc::SYS_setresuid, ids.uid, ids.uid, ids.uid) as i32,
        )
    };
    #[cfg(not(target_os = "linux"))]
    // SAFETY: as above, by the C library.
    let (groups, group, user) = unsafe {
        (
            || libc::setgroups(ids.groups.len() as _, ids.groups.as_ptr().cast()),
            || libc::setgid(ids.gid),
            || libc::setuid(ids.uid),
        )
    };
    if groups() != 0 {
        refuse(channel, Stage::Groups, 0);
    }
    if group() != 0 {
        refuse(channel, Stage::Group, 0);
    }
    if user() != 0 {
        refuse(channel, Stage::User, 0);
    }
}

/// Waits for the parent's word; without it nothing is executed.
#[allow(unsafe_code)]
unsafe fn pass_gate(channel: RawFd) {
    let mut word = 0u8;
    loop {
        // SAFETY: `word` is one valid byte; read and _exit are async-signal-safe.
        match unsafe { libc::read(channel, (&raw mut word).cast(), 1) } {
            1 => return,
            -1 if errno() == libc::EINTR => {}
            _ => unsafe { libc::_exit(125) },
        }
    }
}

/// How often and how long (ns) a program that is open for writing is tried again (`SP-14`): one second in all.
const BUSY_TRIES: u32 = 40;
const BUSY_PAUSE: i64 = 25_000_000;

/// execvp(3) over the candidates: a missing one leads to the next, a forbidden one too but is remembered.
#[allow(unsafe_code)]
unsafe fn execute(prepared: &Prepared, channel: RawFd) -> ! {
    let mut forbidden = None;
    let mut last = (libc::ENOENT, 0);
    for (index, program) in prepared.image.programs.iter().enumerate() {
        let mut tries = BUSY_TRIES;
        loop {
            // SAFETY: NUL-terminated strings and null-terminated arrays of them, laid out before the fork.
            unsafe { libc::execve(program.as_ptr(), prepared.argv.as_ptr(), prepared.env.as_ptr()) };
            if errno() != libc::ETXTBSY || tries == 0 {
                break;
            }
            tries -= 1;
            let pause = libc::timespec {
                tv_sec: 0,
                tv_nsec: BUSY_PAUSE,
            };
            // SAFETY: `pause` is valid for the length of the call.
            unsafe { libc::nanosleep(&pause, std::ptr::null_mut()) };
        }
        match errno() {
            missing @ (libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE) => last = (missing, index),
            libc::EACCES => forbidden = forbidden.or(Some(index)),
            _ => refuse(channel, Stage::Exec, index),
        }
    }
    match forbidden {
        Some(index) => refuse_with(channel, Stage::Exec, libc::EACCES, index),
        None => refuse_with(channel, Stage::Exec, last.0, last.1),
    }
}
