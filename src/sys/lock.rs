//! The one evidence that a runner lives: an flock(2) on a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity;

/// A held lock. It is free again when the last descriptor of its open file description is closed: guardian and daemon
/// share one, and everything else closes it before exec. It is never unlocked by hand, which would free it for both.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock, or `None` when another process holds it.
    ///
    /// The file is looked at again once locked: somebody may have deleted it meanwhile, and two runners that hold two
    /// files of one name exclude nobody (`TW-04`).
    ///
    /// # Errors
    /// The file can't be opened or made.
    pub fn take(path: &Path) -> io::Result<Option<Lock>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(path)?;
            if !lock_now(&file)? {
                return Ok(None);
            }
            let held = file.metadata()?;
            match std::fs::symlink_metadata(path) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => return Ok(Some(Lock(file))),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Lock::take`], but waits for the holder's end instead of saying `None`.
    ///
    /// # Errors
    /// As there.
    pub fn wait(path: &Path) -> io::Result<Lock> {
        loop {
            if let Some(lock) = Lock::take(path)? {
                return Ok(lock);
            }
            // Until it is free; whether it is still the file of that name is seen by the next `take`.
            flock(&OpenOptions::new().read(true).open(path)?, libc::LOCK_EX)?;
        }
    }

    /// Whether somebody holds the lock right now. Only a hint: it may change before the answer is used.
    pub fn is_held(path: &Path) -> bool {
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => matches!(lock_now(&file), Ok(false)),
            Err(_) => false,
        }
    }

    /// A lock that came as an inherited descriptor.
    pub fn inherited(descriptor: OwnedFd) -> Lock {
        Lock(File::from(descriptor))
    }

    /// The locked file, whose content is the owner's to write (where the socket is, say).
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What stands in the project's lock, for who meets it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockText {
    pub runtime_dir: PathBuf,
    pub boot_id: String,
    pub pid_namespace: u64,
    /// Added by the daemon as soon as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardian: Option<u32>,
}

impl LockText {
    pub fn new(runtime_dir: &Path, guardian: Option<u32>) -> LockText {
        LockText {
            runtime_dir: runtime_dir.to_owned(),
            boot_id: identity::boot_id(),
            pid_namespace: identity::pid_namespace(),
            guardian,
        }
    }

    /// `None` where nothing stands, or nothing that is understood: it may be written at this moment.
    pub fn read(path: &Path) -> Option<LockText> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Replaces what stands in the file.
    ///
    /// # Errors
    /// The disk is full, say.
    pub fn write(&self, mut file: &File) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}

fn lock_now(file: &File) -> io::Result<bool> {
    match flock(file, libc::LOCK_EX | libc::LOCK_NB) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

#[allow(unsafe_code)]
fn flock(file: &File, operation: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    loop {
        // SAFETY: the descriptor is open for as long as `file` is borrowed; flock touches no memory of ours.
        if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!Lock::is_held(&path));
        let first = Lock::take(&path).unwrap().expect("free");
        assert!(Lock::is_held(&path));
        assert!(Lock::take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some());
    }
}
