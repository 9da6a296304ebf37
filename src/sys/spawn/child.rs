//! The child between fork and exec: what it reads, laid out before the fork, and what it does, which is only what
//! signal-safety(7) allows.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;

use super::{Forker, Image, Lent, Session, Stage};
use crate::sys::capabilities;
use crate::sys::users::Ids;

#[allow(unsafe_code)]
pub(super) fn close_range(first: u32, last: u32) -> i32 {
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
pub(super) struct Prepared<'a> {
    image: &'a Image,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    /// The entry of `env` in which the child writes down its own number.
    listen_pid: Option<ListenPid>,
    /// Whether user and groups have to be set at all: who asks for what we are already needs no privilege.
    credentials: Option<&'a Ids>,
    descriptors: Vec<RawFd>,
    ignored: &'a [i32],
    descriptor_limit: Option<(u64, u64)>,
    channel: RawFd,
    close_range: bool,
    /// What it is to be born into, as far as that works.
    pub(super) cgroup: Option<RawFd>,
    /// The table is the parent's until everything from this number on was left behind.
    shared_from: Option<u32>,
    /// Without close_range(2): the highest descriptor open at the fork.
    highest: RawFd,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(image: &'a Image, forker: &'a Forker, channel: RawFd, lent: Option<Lent>) -> Prepared<'a> {
        let shared_from = lent.as_ref().map(|lent| lent.end);
        let (descriptors, channel) = match lent {
            Some(lent) => (lent.descriptors, lent.channel),
            None => (image.descriptors.clone(), channel),
        };
        let pointers = |words: &[CString]| {
            let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
            pointers.push(std::ptr::null());
            pointers
        };
        let mut env = pointers(&image.env);
        // On the heap, so that it stays where the pointer says.
        let listen_pid = image.listens.then(ListenPid::default);
        if let Some(entry) = &listen_pid {
            env.insert(0, entry.as_ptr());
        }
        Prepared {
            image,
            argv: pointers(&image.argv),
            env,
            listen_pid,
            credentials: image.credentials.as_ref().filter(|ids| !already(ids)),
            descriptors,
            shared_from,
            ignored: &forker.ignored,
            descriptor_limit: forker.descriptor_limit,
            channel,
            close_range: forker.calls.close_range,
            cgroup: image.cgroup,
            highest: if forker.calls.close_range {
                0
            } else {
                highest_descriptor()
            },
        }
    }
}

/// `LISTEN_PID=NUMBER`, of which only the child knows the number.
struct ListenPid(Vec<u8>);

const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// The longest number of a process, and the NUL.
const LONGEST_PID: usize = 11;

impl Default for ListenPid {
    fn default() -> Self {
        let mut text = LISTEN_PID.to_vec();
        text.resize(LISTEN_PID.len() + LONGEST_PID, 0);
        ListenPid(text)
    }
}

impl ListenPid {
    fn as_ptr(&self) -> *const libc::c_char {
        self.0.as_ptr().cast()
    }

    /// Async-signal-safe: the text has room for every number, and what is behind it stays NUL.
    fn write(&mut self, pid: u32) {
        let (mut rest, mut digits, mut count) = (pid, [0u8; LONGEST_PID], 0);
        while count == 0 || rest > 0 {
            digits[count] = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
        }
        for (place, digit) in self.0[LISTEN_PID.len()..].iter_mut().zip(digits[..count].iter().rev()) {
            *place = *digit;
        }
    }
}

impl Prepared<'_> {
    pub(super) fn shares_table(&self) -> bool {
        self.shared_from.is_some()
    }

    /// It came to a fork that copies.
    pub(super) fn has_copied_table(&mut self) {
        self.shared_from = None;
    }
}

/// Who may not set users and groups need not when it is that user: anybody but root, and root without capabilities. Nor need
/// who has these groups already: in a user namespace not even its root may set groups (user_namespaces(7)).
fn already(ids: &Ids) -> bool {
    let (uid, gid) = (nix::unistd::Uid::effective(), nix::unistd::Gid::effective());
    let is_it = uid.as_raw() == ids.uid && gid.as_raw() == ids.gid;
    is_it && (has_groups(ids) || !capabilities::may_change_user(capabilities::effective()))
}

fn has_groups(ids: &Ids) -> bool {
    let beside =
        |groups: &mut dyn Iterator<Item = u32>| -> BTreeSet<u32> { groups.filter(|gid| *gid != ids.gid).collect() };
    let own = nix::unistd::getgroups().unwrap_or_default();
    beside(&mut own.iter().map(|gid| gid.as_raw())) == beside(&mut ids.groups.iter().copied())
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
pub(super) fn child(prepared: &mut Prepared) -> ! {
    // SAFETY: all pointers point into `prepared`, which outlives the child; every call is async-signal-safe.
    unsafe {
        if let Some(end) = prepared.shared_from {
            own_table(prepared.channel, end);
        }
        if prepared.image.session == Session::Ours {
            lead_a_group(prepared.descriptors.first().copied());
        } else if libc::setsid() < 0 {
            refuse(prepared.channel, Stage::Session, 0);
        }
        clean_signals(prepared.ignored);
        let channel = place_descriptors(prepared);
        let image = prepared.image;
        if image.terminal && libc::ioctl(0, libc::TIOCSCTTY as _, 0) != 0 {
            refuse(channel, Stage::Session, 0);
        }
        if let Some((soft, hard)) = prepared.descriptor_limit {
            set_limit(libc::RLIMIT_NOFILE as _, soft, hard);
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
        if let Some(entry) = &mut prepared.listen_pid {
            entry.write(libc::getpid().unsigned_abs());
        }
        execute(prepared, channel)
    }
}

/// Nothing may be opened, closed or placed before this: it would be the parent's.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
unsafe fn own_table(channel: RawFd, end: u32) {
    let word = super::shelf::UNSHARED;
    // SAFETY: bare system calls; `word` is one valid byte.
    unsafe {
        if libc::syscall(libc::SYS_close_range, end, u32::MAX, libc::CLOSE_RANGE_UNSHARE) != 0 {
            refuse(channel, Stage::Fork, 0);
        }
        libc::write(channel, (&raw const word).cast(), 1);
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)]
unsafe fn own_table(_: RawFd, _: u32) {}

/// While signals are blocked: who gives a terminal away is in its background already (SIGTTOU).
#[allow(unsafe_code)]
unsafe fn lead_a_group(terminal: Option<RawFd>) {
    // SAFETY: numbers only; async-signal-safe calls.
    unsafe {
        let before = libc::getpgrp();
        libc::setpgid(0, 0);
        if let Some(terminal) = terminal
            && libc::tcgetpgrp(terminal) == before
        {
            libc::tcsetpgrp(terminal, libc::getpgrp());
        }
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

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn a_child_can_write_down_any_number() {
        for pid in [1, 9, 10, 4_194_304, u32::MAX] {
            let mut entry = ListenPid::default();
            entry.write(pid);
            let text = CStr::from_bytes_until_nul(&entry.0).unwrap();
            assert_eq!(text.to_str().unwrap(), format!("LISTEN_PID={pid}"));
        }
    }
}
