//! The named pipes that services write their output into.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

/// Makes a FIFO, mode 0600, owned by `owner` (uid, gid) so that a service that has dropped its privileges can open
/// /dev/stdout again (`LG-13`). What stood there before is replaced, unless it is a folder.
pub fn make(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    match nix::unistd::mkfifo(path, mode) {
        Ok(()) => {}
        Err(nix::Error::EEXIST) => {
            std::fs::remove_file(path)?;
            nix::unistd::mkfifo(path, mode)?;
        }
        Err(error) => return Err(error.into()),
    }
    if let Some((uid, gid)) = owner
        && uid != Uid::effective().as_raw()
    {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        nix::unistd::fchownat(
            nix::fcntl::AT_FDCWD,
            path,
            Some(uid),
            Some(gid),
            nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}

/// The reading end, non-blocking. Opening succeeds whether or not anybody writes yet.
pub fn open_reader(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true), libc::O_NONBLOCK)
}

/// As [`open_reader`], of one whose name was deleted, and that another process holds open.
///
/// # Errors
/// It holds none that had this name, or is another user's.
pub fn open_reader_of(pid: u32, path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    // proc_pid_fd(5)
    name.push(" (deleted)");
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == name) {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
                .open(entry.path())?;
            if std::os::unix::fs::FileTypeExt::is_fifo(&file.metadata()?.file_type()) {
                return Ok(file);
            }
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// A pipe without a name, for where there is no place for one: its reading end, non-blocking, and what a service is given to
/// write into. Where /proc is mounted, that is both ends at once, as with [`open_both`].
///
/// # Errors
/// No descriptors are left, or the owner can't be given.
pub fn nameless(owner: Option<(u32, u32)>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let (reader, mut writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
    if let Some((uid, gid)) = owner
        && uid != Uid::effective().as_raw()
    {
        nix::unistd::fchown(&writer, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    let by_name = format!("/proc/self/fd/{}", writer.as_raw_fd());
    if let Ok(both) = OpenOptions::new().read(true).write(true).open(by_name) {
        writer = both.into();
    }
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(flags))?;
    Ok((reader, writer))
}

/// Both ends at once, blocking: who holds it never gets SIGPIPE, and what was written stays until it is read
/// (`faults.md`, kernel facts).
pub fn open_both(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true).write(true), 0)
}

/// Another end of a pipe that is at hand, to write into, non-blocking (/proc/self/fd, proc(5)).
///
/// # Errors
/// /proc is not mounted, or it is no pipe.
pub fn open_writer_of(pipe: std::os::fd::BorrowedFd) -> io::Result<OwnedFd> {
    let by_name = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(by_name)?;
    match std::os::unix::fs::FileTypeExt::is_fifo(&file.metadata()?.file_type()) {
        true => Ok(file.into()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a pipe")),
    }
}

fn open(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<File> {
    let file = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | flags)
        .open(path)?;
    let kind = std::os::unix::fs::FileTypeExt::is_fifo(&file.metadata()?.file_type());
    if kind {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a FIFO"))
    }
}

/// How many bytes wait in a pipe (FIONREAD).
#[allow(unsafe_code)]
pub fn waiting(pipe: impl AsFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: `count` is a valid int for the length of the call; a descriptor that is no pipe makes it fail.
    let result = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    match result {
        0 => usize::try_from(count).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_was_written_stays_while_somebody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        make(&path, None).unwrap();
        make(&path, Some((0, 0))).unwrap();
        let mut both = open_both(&path).unwrap();
        both.write_all(b"hello").unwrap();
        let mut reader = open_reader(&path).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(waiting(&reader), 5);
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        assert_eq!(waiting(&reader), 0);
        assert_eq!(reader.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn en_01_without_a_name_it_is_the_same() {
        let (reader, writer) = nameless(None).unwrap();
        let (mut reader, mut writer) = (File::from(reader), File::from(writer));
        writer.write_all(b"hello").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        assert_eq!(reader.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(reader);
        writer
            .write_all(b"nobody reads, and who holds both ends gets no SIGPIPE")
            .unwrap();
    }

    #[test]
    fn only_fifos_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain");
        std::fs::write(&path, "x").unwrap();
        assert!(open_both(&path).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open_reader(&link).is_err());
    }
}
