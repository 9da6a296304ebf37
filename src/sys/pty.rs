//! Pseudo-terminals (pty(7)): the end that a service has, and ours.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Both ends of a new one. Nobody's controlling terminal yet.
#[derive(Debug)]
pub struct Pty {
    /// Ours: what it says was printed, what it is given was typed. Non-blocking.
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// Until somebody looks, whose window says more.
pub const DEFAULT_SIZE: Size = Size { rows: 24, columns: 80 };

/// At most this much is passed on at once.
const PIECE: usize = 64 << 10;
/// A pipe that is writable takes this much as a whole (pipe(7)).
const ATOM: usize = 4096;

/// `owner`: who may open it again by its name (/dev/tty, /dev/pts/N).
///
/// # Errors
/// There is no devpts, or no terminals or descriptors are left.
#[allow(unsafe_code)]
pub fn open(owner: Option<u32>) -> io::Result<Pty> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: a new descriptor, or -1.
    let number = checked(unsafe { libc::posix_openpt(flags) })?;
    // SAFETY: it was just opened and is nobody else's.
    let master = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: a number only.
    checked(unsafe { libc::grantpt(number) })?;
    // SAFETY: as above.
    checked(unsafe { libc::unlockpt(number) })?;
    let slave = slave_of(master.as_fd())?;
    resize(master.as_fd(), DEFAULT_SIZE)?;
    if let Some(uid) = owner.filter(|uid| *uid != nix::unistd::Uid::effective().as_raw()) {
        nix::unistd::fchown(&slave, Some(nix::unistd::Uid::from_raw(uid)), None)?;
    }
    Ok(Pty { master, slave })
}

/// The other end of it, opened once more.
///
/// # Errors
/// As [`open`].
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn slave_of(master: BorrowedFd) -> io::Result<OwnedFd> {
    /// ioctl_tty(2); opens it whatever is mounted at /dev/pts here.
    const TIOCGPTPEER: u32 = 0x5441;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: numbers only; the answer is a new descriptor, or -1.
    let number = checked(unsafe { libc::ioctl(master.as_raw_fd(), TIOCGPTPEER as _, flags) })?;
    // SAFETY: it was just opened and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)]
pub fn slave_of(master: BorrowedFd) -> io::Result<OwnedFd> {
    // SAFETY: the name is copied before anybody else can ask for one: only the daemon's loop does.
    let name = unsafe {
        let name = libc::ptsname(master.as_raw_fd());
        if name.is_null() {
            return Err(io::Error::last_os_error());
        }
        std::ffi::CStr::from_ptr(name).to_owned()
    };
    // SAFETY: a NUL-terminated name; the answer is a new descriptor, or -1.
    let number = checked(unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) })?;
    // SAFETY: it was just opened and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether it is our end of one.
#[allow(unsafe_code)]
pub fn is_master(descriptor: BorrowedFd) -> bool {
    #[cfg(target_os = "linux")]
    {
        let mut number: libc::c_uint = 0;
        // SAFETY: `number` is valid for the length of the call; what is no master makes it fail.
        unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TIOCGPTN as _, &raw mut number) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: a number only.
    unsafe {
        !libc::ptsname(descriptor.as_raw_fd()).is_null()
    }
}

/// The session that the terminal controls: by our end of it.
#[allow(unsafe_code)]
pub fn session_of(master: BorrowedFd) -> Option<u32> {
    // SAFETY: a number only.
    let session = unsafe { libc::tcgetsid(master.as_raw_fd()) };
    u32::try_from(session).ok().filter(|session| *session > 0)
}

/// Tells the window's size. Those in the foreground get SIGWINCH, where it is another one.
///
/// # Errors
/// It is no terminal.
#[allow(unsafe_code)]
pub fn resize(terminal: BorrowedFd, size: Size) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `size` is a valid winsize for the length of the call.
    checked(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) })?;
    Ok(())
}

/// Moves what was printed into a pipe; both non-blocking. Where the kernel can (splice(2)), nothing is in our hands meanwhile,
/// and so nothing is lost when we are killed.
///
/// # Errors
/// `WouldBlock`: nothing was printed, or the pipe is full.
pub fn pass_on(master: BorrowedFd, pipe: BorrowedFd) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        let flags = nix::fcntl::SpliceFFlags::SPLICE_F_NONBLOCK;
        match nix::fcntl::splice(master, None, pipe, None, PIECE, flags) {
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {}
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            moved => return Ok(moved?),
        }
    }
    copy(master, pipe)
}

fn copy(master: BorrowedFd, pipe: BorrowedFd) -> io::Result<usize> {
    if !is_ready(pipe, PollFlags::POLLOUT) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut bytes = [0; ATOM];
    let count = nix::unistd::read(master, &mut bytes)?;
    let mut rest = &bytes[..count];
    while !rest.is_empty() {
        match nix::unistd::write(pipe, rest) {
            Ok(written) => rest = &rest[written..],
            Err(nix::errno::Errno::EINTR) => {}
            // Somebody else has filled it since: they are waited for, as it is a moment.
            Err(nix::errno::Errno::EAGAIN) => {
                let mut polled = [PollFd::new(pipe, PollFlags::POLLOUT)];
                poll(&mut polled, PollTimeout::NONE)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    match count {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// For whoever waits until it is ready.
///
/// # Errors
/// It can't be watched.
#[allow(unsafe_code)]
pub fn watched(own: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it is owned by what is made here, and never replaced there.
    Ok(unsafe { AsyncFd::register_with_interest(own, interest) }?)
}

/// Something was printed that nobody has read.
pub fn is_readable(master: BorrowedFd) -> bool {
    is_ready(master, PollFlags::POLLIN)
}

fn is_ready(descriptor: BorrowedFd, wanted: PollFlags) -> bool {
    let mut polled = [PollFd::new(descriptor, wanted)];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
        && polled[0].revents().is_some_and(|found| found.intersects(wanted))
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        other => Ok(other),
    }
}

/// A terminal that passes on what is typed at once, as it is (termios(3), cfmakeraw), until it is dropped.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: libc::termios,
}

impl Raw {
    /// # Errors
    /// It is no terminal.
    #[allow(unsafe_code)]
    pub fn of(terminal: BorrowedFd) -> io::Result<Raw> {
        let terminal = terminal.try_clone_to_owned()?;
        // SAFETY: plain data, for which zeros are valid; filled by the call, which fails for what is no terminal.
        let before = unsafe {
            let mut found: libc::termios = std::mem::zeroed();
            checked(libc::tcgetattr(terminal.as_raw_fd(), &raw mut found))?;
            found
        };
        let mut raw = before;
        // SAFETY: `raw` is a valid termios.
        unsafe {
            libc::cfmakeraw(&raw mut raw);
            checked(libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const raw))?;
        }
        Ok(Raw { terminal, before })
    }

    /// As it was. Also for a panic that nobody unwinds from.
    #[allow(unsafe_code)]
    pub fn restore(&self) {
        // SAFETY: `before` is what tcgetattr(3) gave.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSADRAIN, &raw const self.before) };
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_goes_into_the_pipe_and_stays_while_it_is_full() {
        let Pty { master, slave } = open(None).unwrap();
        let (reader, writer) = crate::sys::fifo::nameless(None).unwrap();
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
        let pass = || pass_on(master.as_fd(), writer.as_fd()).map_err(|error| error.kind());
        assert_eq!(pass(), Err(io::ErrorKind::WouldBlock));
        nix::unistd::write(&slave, b"one\n").unwrap();
        assert!(is_readable(master.as_fd()));
        assert_eq!(pass(), Ok(5), "\\n is printed as \\r\\n");
        assert_eq!(
            copy(master.as_fd(), writer.as_fd()).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        nix::unistd::write(&slave, b"2").unwrap();
        assert_eq!(copy(master.as_fd(), writer.as_fd()).unwrap(), 1);
        let mut bytes = [0; 16];
        assert_eq!(nix::unistd::read(&reader, &mut bytes).unwrap(), 6);
        assert_eq!(&bytes[..6], b"one\r\n2");
        while nix::unistd::write(&writer, &[0; 4096]).is_ok() {}
        nix::unistd::write(&slave, b"later").unwrap();
        assert_eq!(pass(), Err(io::ErrorKind::WouldBlock));
        assert!(is_readable(master.as_fd()));
    }

    #[test]
    fn our_end_is_known_from_others_and_gives_the_other_one() {
        let pty = open(None).unwrap();
        assert!(is_master(pty.master.as_fd()));
        assert!(!is_master(pty.slave.as_fd()));
        assert!(!is_master(std::fs::File::open("/dev/null").unwrap().as_fd()));
        assert_eq!(session_of(pty.master.as_fd()), None);
        drop(pty.slave);
        let again = slave_of(pty.master.as_fd()).unwrap();
        nix::unistd::write(&again, b"x").unwrap();
        assert!(is_readable(pty.master.as_fd()));
    }

    #[test]
    fn a_raw_terminal_is_as_before_afterwards() {
        let pty = open(None).unwrap();
        let before = Raw::of(pty.slave.as_fd()).unwrap();
        let flags = before.before.c_lflag;
        let second = Raw::of(pty.slave.as_fd()).unwrap();
        assert_ne!(second.before.c_lflag, flags, "it was raw meanwhile");
        drop(second);
        drop(before);
        let after = Raw::of(pty.slave.as_fd()).unwrap();
        assert_eq!(after.before.c_lflag, flags);
    }
}
