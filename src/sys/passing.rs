//! Bytes with descriptors beside them over a Unix socket (SCM_RIGHTS, unix(7)).

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// The most descriptors that one call carries.
pub const MOST: usize = 64;

/// Sends some of `bytes` with all of `descriptors` (at most [`MOST`]) beside the first of them; says how many bytes
/// went. Never blocks and never raises SIGPIPE.
pub fn send(socket: BorrowedFd, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(bytes)];
    let rights = [ControlMessage::ScmRights(descriptors)];
    let beside: &[ControlMessage] = if descriptors.is_empty() { &[] } else { &rights };
    Ok(sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, beside, flags, None)?)
}

/// Receives what is there into `buffer`, descriptors (close-on-exec) into `descriptors`; 0 bytes mean the end. Never
/// blocks.
#[allow(unsafe_code)]
pub fn receive(socket: BorrowedFd, buffer: &mut [u8], descriptors: &mut impl Extend<OwnedFd>) -> io::Result<usize> {
    let mut beside = nix::cmsg_space!([RawFd; MOST]);
    let mut parts = [IoSliceMut::new(buffer)];
    #[cfg(target_os = "linux")]
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut beside), flags)?;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(passed) = message {
            // SAFETY: the kernel has just made these descriptors for us; nobody else knows their numbers.
            descriptors.extend(passed.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok(received.bytes)
}

/// Takes over a descriptor that was inherited at an agreed number, and makes it close on exec. `None`: there is none.
///
/// Each number may be taken over once in the life of a process, and by nobody who does not know the agreement.
#[allow(unsafe_code)]
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_SETFD touches no memory; it fails when the number is not open.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: the descriptor is open, and by the agreement above nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets a descriptor of ours go through execve(2).
///
/// # Errors
/// It is not open.
pub fn let_through(number: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD touches no memory; it fails when the number is not open.
    #[allow(unsafe_code)]
    match unsafe { libc::fcntl(number, libc::F_SETFD, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts descriptors of ours (left) at agreed numbers (right), where they go through execve(2). Whatever stood there is closed.
///
/// # Errors
/// No descriptors are left.
pub fn place(wanted: &[(RawFd, RawFd)]) -> io::Result<()> {
    let above = wanted.iter().map(|(_, there)| there + 1).max().unwrap_or(0);
    let mut copies = Vec::with_capacity(wanted.len());
    for &(here, there) in wanted {
        // Nothing that is still to be placed may stand where something else goes.
        // SAFETY: numbers only; the copy is nobody's yet.
        #[allow(unsafe_code)]
        let copy = unsafe { libc::fcntl(here, libc::F_DUPFD_CLOEXEC, above) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        copies.push((copy, there));
    }
    for (copy, there) in copies {
        // SAFETY: by the agreement nobody uses what stands at this number; without O_CLOEXEC it goes through execve(2).
        #[allow(unsafe_code)]
        if unsafe { libc::dup2(copy, there) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes that back, where the execve(2) has failed.
pub fn close_on_exec(number: RawFd) {
    // SAFETY: F_SETFD touches no memory; it fails when the number is not open.
    #[allow(unsafe_code)]
    let _ = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// A file that only its descriptor leads to: in memory (memfd_create(2)), else below /dev/shm or /tmp.
///
/// # Errors
/// The kernel has none, and no folder takes one.
pub fn nameless_file(name: &std::ffi::CStr) -> io::Result<std::fs::File> {
    #[cfg(target_os = "linux")]
    return match nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC) {
        Ok(file) => Ok(file.into()),
        Err(error) => ["/dev/shm", "/tmp"]
            .iter()
            .find_map(|folder| unlinked(Path::new(folder)).ok())
            .ok_or_else(|| error.into()),
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = name;
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
fn unlinked(folder: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC).open(folder)
}

/// Becomes another program, with our environment. Comes back only with an error.
pub fn become_program(program: &Path, words: &[CString]) -> io::Error {
    let path = match CString::new(program.as_os_str().as_bytes()) {
        Ok(path) => path,
        Err(error) => return error.into(),
    };
    match nix::unistd::execv(&path, words) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// Becomes the program that we are, with other words. Comes back only with an error.
pub fn become_again(words: &[CString]) -> io::Error {
    let mut error = io::ErrorKind::NotFound.into();
    for path in super::program::candidates() {
        error = become_program(&path, words);
    }
    error
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_travel_beside_bytes() {
        let (left, right) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(send(left.as_fd(), b"hello", &[null.as_raw_fd()]).unwrap(), 5);
        let mut buffer = [0; 16];
        let mut passed = VecDeque::new();
        assert_eq!(receive(right.as_fd(), &mut buffer, &mut passed).unwrap(), 5);
        assert_eq!(passed.len(), 1);
        let empty = receive(right.as_fd(), &mut buffer, &mut passed).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        drop(left);
        assert_eq!(receive(right.as_fd(), &mut buffer, &mut passed).unwrap(), 0);
    }
}
