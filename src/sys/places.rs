//! Where runner keeps what lives as long as it runs: socket, records, FIFOs.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

pub mod loss;
pub mod nameless;
pub mod spare;
pub mod state;

/// The longest path that fits into `sockaddr_un` with its closing NUL.
pub const SOCKET_PATH_MAX: usize = 107;
/// Says whose runtime folder it is.
const PLACE: &str = "place.json";

/// Makes (or finds) the runtime folder of a project and verifies that it is ours: mode 0700, owned by us, no symlink.
///
/// The path follows from `key` and our uid alone, never from the environment, so that sudo, cron and ssh find the
/// same: for root `/run/runner/KEY`, or `/dev/shm/runner/KEY` where only that is in memory; for others
/// `/tmp/runner-UID/KEY`; else `STATE_DIR/run`.
///
/// # Errors
/// None of the three could be made or trusted; the error is that of the last one.
pub fn runtime_dir(key: &str, state_dir: &Path) -> io::Result<PathBuf> {
    for base in bases() {
        let wanted = base.join(key);
        if private_dir(&base).and_then(|()| private_dir(&wanted)).is_ok() {
            return Ok(wanted);
        }
    }
    let last = state_dir.join("run");
    std::fs::create_dir_all(state_dir)?;
    private_dir(&last)?;
    Ok(last)
}

/// The folders that [`runtime_dir`] may have answered, for who looks for a running runner without making anything.
pub fn runtime_candidates(key: &str, state_dir: &Path) -> Vec<PathBuf> {
    let mut candidates: Vec<_> = bases().into_iter().map(|base| base.join(key)).collect();
    candidates.push(state_dir.join("run"));
    candidates.retain(|path| is_private(path).is_ok());
    candidates.push(nameless::place(key));
    candidates
}

/// The runtime folders of this user's projects, whether or not a runner still lives there. Those that fell back to their
/// project's own state folder can't be known.
pub fn runtime_folders() -> Vec<PathBuf> {
    folders_in(&bases())
}

fn folders_in(bases: &[PathBuf]) -> Vec<PathBuf> {
    let ours = bases.iter().filter(|base| is_private(base).is_ok());
    let entries = ours.filter_map(|base| std::fs::read_dir(base).ok()).flatten().flatten();
    let mut folders: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name() != Some(spare::STATES.as_ref()))
        .filter(|path| is_private(path).is_ok() && is_closed_to_others(path))
        .collect();
    folders.sort();
    folders
}

/// Why a better place than [`runtime_dir`] answers can't be had, if it is there: somebody else was first.
pub fn taken_bases() -> Vec<String> {
    let refused = |base: PathBuf| {
        let error = is_private(&base).err()?;
        (error.kind() != io::ErrorKind::NotFound).then(|| error.to_string())
    };
    bases().into_iter().filter_map(refused).collect()
}

/// Which project has a runtime folder: written there by who starts it, before anybody can connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The project's real folder.
    pub dir: PathBuf,
    /// The name given with `-p`.
    pub name_override: Option<String>,
    pub state_dir: PathBuf,
}

impl Place {
    /// # Errors
    /// The disk is full, say, or a path is no UTF-8.
    pub fn write(&self, runtime_dir: &Path) -> io::Result<()> {
        if nameless::is_nowhere(runtime_dir) {
            return Ok(());
        }
        let draft = runtime_dir.join(format!("{PLACE}.{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        // Whoever reads it meanwhile sees the whole of one or the other.
        std::fs::rename(&draft, runtime_dir.join(PLACE))
    }

    /// `None` where nothing was written, or nothing that is understood.
    pub fn read(runtime_dir: &Path) -> Option<Place> {
        serde_json::from_slice(&std::fs::read(runtime_dir.join(PLACE)).ok()?).ok()
    }
}

fn bases() -> Vec<PathBuf> {
    let uid = Uid::effective();
    let shared = PathBuf::from(format!("/tmp/runner-{uid}"));
    if !uid.is_root() {
        // Not below /dev/shm: logind removes what a user has there when they log out (RemoveIPC= of logind.conf(5)).
        return vec![shared];
    }
    let mut bases = vec![PathBuf::from("/run/runner"), shared];
    if !is_in_memory("/run") && is_in_memory("/dev/shm") {
        // A container's /run is part of its image. Making FIFOs on a disk costs more than starting programs.
        bases.insert(0, PathBuf::from("/dev/shm/runner"));
    }
    bases
}

#[cfg(target_os = "linux")]
fn is_in_memory(path: &str) -> bool {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &str) -> bool {
    false
}

/// Makes a folder of mode 0700 whose parent exists, or verifies the one that is there.
///
/// # Errors
/// It can't be made, belongs to somebody else, or is a symlink.
pub fn private_dir(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    is_private(path)?;
    if std::fs::symlink_metadata(path)?.mode() & 0o7777 != 0o700 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn is_private(path: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_dir() {
        let message = format!("{} is not a folder", path.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
    }
    if found.uid() != Uid::effective().as_raw() {
        let message = format!("{} belongs to another user (uid {})", path.display(), found.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

fn is_closed_to_others(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.mode() & 0o077 == 0)
}

/// `AP-02`: a umask that takes our own rights would lock us out of what we make. Those of others stay as they are.
pub fn keep_own_access() {
    let mask = umask(Mode::from_bits_truncate(0o077));
    umask(mask & Mode::from_bits_truncate(0o077));
}

pub fn set_umask(mask: u32) {
    umask(Mode::from_bits_truncate(mask as _));
}

/// The mask of who started us.
pub fn own_umask() -> u32 {
    let mask = umask(Mode::from_bits_truncate(0o077));
    umask(mask);
    mask.bits() as u32
}

/// Connects to a Unix socket, and waits at most so long for a place in its queue.
///
/// # Errors
/// `WouldBlock`: the queue was full all the time. Others as for connect(2).
pub fn connect(socket_path: &Path, patience: Duration) -> io::Result<UnixStream> {
    if let Some(name) = nameless::name_of(socket_path) {
        return nameless::connect(name, patience);
    }
    let place = SocketPath::of(socket_path)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let stream = UnixStream::from(socket);
    // unix(7) keeps to SO_SNDTIMEO in connect(2).
    stream.set_write_timeout(Some(patience))?;
    nix::sys::socket::connect(stream.as_raw_fd(), &UnixAddr::new(place.path())?)?;
    stream.set_write_timeout(None)?;
    Ok(stream)
}

/// Listens at a path, in place of what stood there. Private from the first instant in a folder of mode 0700.
///
/// # Errors
/// Its folder is not there, say.
pub fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(name) = nameless::name_of(socket) {
        return nameless::listen(name);
    }
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(SocketPath::of(socket)?.path())?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Which user listens at the other end, or listened there when we connected.
///
/// # Errors
/// The kernel does not say.
pub fn peer(stream: &UnixStream) -> io::Result<u32> {
    #[cfg(target_os = "linux")]
    return Ok(nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials)?.uid());
    #[cfg(not(target_os = "linux"))]
    Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
}

/// A path by which a Unix socket can be bound or connected however long its real path is.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// The folder, held open while `path` goes through /proc/self/fd.
    _folder: Option<OwnedFd>,
}

impl SocketPath {
    /// # Errors
    /// The path is too long and its folder can't be opened.
    pub fn of(path: &Path) -> io::Result<SocketPath> {
        if path.as_os_str().len() <= SOCKET_PATH_MAX {
            return Ok(SocketPath {
                path: path.to_owned(),
                _folder: None,
            });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket needs a folder and a name",
            ));
        };
        let open = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(folder)?;
        Ok(SocketPath {
            path: PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())).join(name),
            _folder: Some(open.into()),
        })
    }

    /// Valid as long as `self` lives.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_02_folders_are_private_and_ours() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        private_dir(&made).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&made).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&made, &link).unwrap();
        assert!(private_dir(&link).is_err());
    }

    #[test]
    fn private_folders_of_ours_are_listed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        for path in [base.clone(), base.join("b"), base.join("a"), base.join("open")] {
            private_dir(&path).unwrap();
        }
        std::fs::set_permissions(base.join("open"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(base.join("file"), "").unwrap();
        std::os::unix::fs::symlink(base.join("a"), base.join("link")).unwrap();
        let missing = dir.path().join("missing");
        assert_eq!(folders_in(&[missing, base.clone()]), [base.join("a"), base.join("b")]);
    }

    #[test]
    fn a_place_is_read_back_and_may_be_missing_or_broken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Place::read(dir.path()), None);
        let place = Place {
            dir: "/srv/shop".into(),
            name_override: Some("copy".into()),
            state_dir: "/srv/shop/.runner/copies/copy".into(),
        };
        place.write(dir.path()).unwrap();
        assert_eq!(Place::read(dir.path()), Some(place));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        std::fs::write(dir.path().join(PLACE), "{").unwrap();
        assert_eq!(Place::read(dir.path()), None);
    }

    #[test]
    fn a_full_queue_is_not_waited_at_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let patience = Duration::from_millis(20);
        let mut queued = Vec::new();
        let error = loop {
            match connect(&path, patience) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(!queued.is_empty());
        assert_eq!(queued[0].write_timeout().unwrap(), None);
    }

    #[test]
    fn a_long_socket_path_can_be_bound() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let real = deep.join("socket");
        assert!(std::os::unix::net::UnixListener::bind(&real).is_err());
        let short = SocketPath::of(&real).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(short.path()).unwrap();
        connect(&real, Duration::from_secs(60)).unwrap();
        assert!(real.exists());
    }
}
