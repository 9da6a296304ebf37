//! A project that can write nowhere: its API has an abstract name (unix(7)) instead of a path, and that name is its lock.
//!
//! Such a place is written as a path that nothing can ever be at, so that whoever looks for a file there finds none: records,
//! history and wishes are simply not there. Only sockets and locks look at the name in it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::unistd::Uid;

/// Nothing can be made below it, mounted or not.
const NOWHERE: &str = "/proc/runner-nowhere";

/// The place of a project without a folder. Abstract names belong to a network, which containers may share: so the name says
/// also by which mount namespace its folder is that folder.
pub fn place(key: &str) -> PathBuf {
    let uid = Uid::effective();
    Path::new(NOWHERE).join(format!("runner-{uid}-{key}-{}", mounts()))
}

/// Inode of our mount namespace; where nobody tells, the device of its root.
fn mounts() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata("/proc/self/ns/mnt").map(|found| found.ino());
    namespace.unwrap_or_else(|_| std::fs::metadata("/").map_or(0, |root| root.dev()))
}

pub fn is_nowhere(path: &Path) -> bool {
    path.starts_with(NOWHERE)
}

/// A file for whoever writes without being asked: one in such a place goes nowhere.
pub fn or_nothing(path: PathBuf) -> PathBuf {
    if is_nowhere(&path) {
        return PathBuf::from("/dev/null");
    }
    path
}

/// The abstract name for a path in such a place.
pub fn name_of(path: &Path) -> Option<&str> {
    path.strip_prefix(NOWHERE).ok()?.iter().next()?.to_str()
}

/// Listens under the name, which nobody else can have at the same time.
///
/// # Errors
/// `AddrInUse`: somebody has it.
pub fn listen(name: &str) -> io::Result<UnixListener> {
    let socket = new_socket()?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address(name)?)?;
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::MAXCONN)?;
    Ok(socket.into())
}

/// Connects to whoever listens under the name, and waits at most so long for a place in the queue.
///
/// # Errors
/// `WouldBlock` as for a path; `PermissionDenied`: who listens there is neither root nor our user, for anybody may take a name.
pub fn connect(name: &str, patience: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::from(new_socket()?);
    stream.set_write_timeout(Some(patience))?;
    nix::sys::socket::connect(stream.as_raw_fd(), &address(name)?)?;
    stream.set_write_timeout(None)?;
    match super::peer(&stream)? {
        uid if uid == 0 || uid == Uid::effective().as_raw() => Ok(stream),
        uid => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("another user (uid {uid}) listens under the name that this project would have (@{name})"),
        )),
    }
}

/// Waits until nobody listens under the name any more. A connection that nobody takes ends with who listens, and one that is
/// taken ends with who has taken it.
pub fn wait_for_end(name: &str) {
    const PATIENCE: Duration = Duration::from_secs(60);
    loop {
        match connect(name, PATIENCE) {
            Ok(mut stream) => drop(io::copy(&mut stream, &mut io::sink())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn new_socket() -> nix::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let flags = SockFlag::SOCK_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = SockFlag::empty();
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

#[cfg(target_os = "linux")]
fn address(name: &str) -> io::Result<UnixAddr> {
    Ok(UnixAddr::new_abstract(name.as_bytes())?)
}

#[cfg(not(target_os = "linux"))]
fn address(_: &str) -> io::Result<UnixAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_place(what: &str) -> PathBuf {
        place(&format!("test-{what}-{}", std::process::id()))
    }

    #[test]
    fn en_01_a_name_is_a_lock_and_a_door() {
        let place = own_place("lock");
        let socket = place.join("api.sock");
        let name = name_of(&socket).unwrap();
        assert_eq!(name_of(&place.join("lock")), Some(name));
        let patience = Duration::from_secs(60);
        assert_eq!(
            connect(name, patience).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let listener = listen(name).unwrap();
        assert_eq!(listen(name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let _stream = connect(name, patience).unwrap();
        let waiting = std::thread::spawn({
            let name = name.to_owned();
            move || wait_for_end(&name)
        });
        drop(listener);
        waiting.join().unwrap();
        listen(name).unwrap();
    }

    #[test]
    fn nothing_is_found_or_made_there() {
        let place = own_place("empty");
        assert!(is_nowhere(&place) && !is_nowhere(Path::new("/proc/self")));
        assert_eq!(
            std::fs::read(place.join("lock")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(std::fs::create_dir_all(&place).is_err());
    }
}
