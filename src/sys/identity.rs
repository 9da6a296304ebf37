//! Which process this is: a number alone is not an identity, and not even with its start time
//! (`faults.md`: 1,748 of 2,000 forced reuses had the same pair).

use std::os::fd::{AsFd, BorrowedFd};

use super::{pidfd, processes};

/// A process beyond its number; the same as `guardian::orders::Identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// Inode of its pidfd where the kernel has pidfs (unique per boot), else 0.
    pub pidfd_inode: u64,
    /// Field 22 of /proc/PID/stat in clock ticks, 0 when it could not be read.
    pub start_ticks: u64,
}

/// Of a process that is held, or that can't be reaped meanwhile.
pub fn of(pid: u32, held: Option<BorrowedFd>) -> Identity {
    Identity {
        pid,
        pidfd_inode: held.map_or(0, inode),
        start_ticks: processes::stat(pid).map_or(0, |stat| stat.start_ticks),
    }
}

/// As [`of`], but reads the start time only where there is no inode: for what is not written down.
pub fn at_birth(pid: u32, held: Option<BorrowedFd>) -> Identity {
    match held.map_or(0, inode) {
        0 => of(pid, held),
        pidfd_inode => Identity {
            pid,
            pidfd_inode,
            start_ticks: 0,
        },
    }
}

/// Whether the process that has this number now is that one. Without pidfs the start time has to do.
pub fn is_alive(wanted: Identity) -> bool {
    let Ok(held) = pidfd::open(wanted.pid) else {
        return processes::stat(wanted.pid)
            .is_some_and(|stat| !stat.is_zombie() && stat.start_ticks == wanted.start_ticks);
    };
    // Asked of what is held, which needs no /proc.
    is_held(wanted, held.as_fd()) && !pidfd::has_exited(held.as_fd())
}

/// Whether the held process, which has (or had) this number, is that one, dead or alive. Without pidfs the start time has to
/// do.
pub fn is_held(wanted: Identity, held: BorrowedFd) -> bool {
    match (wanted.pidfd_inode, inode(held)) {
        (0, _) | (_, 0) => processes::stat(wanted.pid).is_some_and(|stat| stat.start_ticks == wanted.start_ticks),
        (wanted, found) => wanted == found,
    }
}

/// Inode of a descriptor if it is a pidfd of its own inode: the same in every process that holds this process.
pub fn inode_of(held: BorrowedFd) -> Option<u64> {
    match inode(held) {
        0 => None,
        inode => Some(inode),
    }
}

/// `PIDFS_MAGIC` ("PIDF") of linux/magic.h.
#[cfg(target_os = "linux")]
const PIDFS: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x5049_4446);

#[cfg(target_os = "linux")]
fn inode(held: BorrowedFd) -> u64 {
    // Without pidfs every pidfd is the one inode of the anonymous files, which says nothing.
    match nix::sys::statfs::fstatfs(held) {
        Ok(found) if found.filesystem_type() == PIDFS => nix::sys::stat::fstat(held).map_or(0, |found| found.st_ino),
        _ => 0,
    }
}

#[cfg(not(target_os = "linux"))]
fn inode(_: BorrowedFd) -> u64 {
    0
}

/// Whether pidfds have inodes of their own (pidfs, 6.9), which tell two processes of one number apart.
pub fn is_unique() -> bool {
    pidfd::open(std::process::id()).is_ok_and(|own| inode(own.as_fd()) != 0)
}

/// This boot, as /proc/sys/kernel/random/boot_id says; empty where there is none.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Inode of our PID namespace; 0 where there is none.
pub fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

/// What `ps` and `top` show as the name of our process, up to 15 bytes: one that was started through /proc/self/exe
/// would be called `exe`.
pub fn set_name(name: &std::ffi::CStr) {
    #[cfg(target_os = "linux")]
    // Only a name: nothing depends on it.
    let _ = nix::sys::prctl::set_name(name);
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pr_02_we_are_ourselves_and_nobody_else() {
        let own = std::process::id();
        let held = pidfd::open(own).unwrap();
        let identity = of(own, Some(held.as_fd()));
        assert!(identity.start_ticks > 0);
        assert!(is_alive(identity));
        assert!(!is_alive(Identity {
            start_ticks: identity.start_ticks + 1,
            pidfd_inode: identity.pidfd_inode + u64::from(identity.pidfd_inode != 0),
            ..identity
        }));
        assert!(!boot_id().is_empty());
        assert_ne!(pid_namespace(), 0);
    }
}
