//! Where the state of a project is when its own folder for it can't be written: beside the runtime folders, or nowhere.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::AccessFlags;

use super::{bases, nameless, private_dir};

/// In each folder of runtime folders; not seen as one of them.
pub(super) const STATES: &str = ".state";

/// Why nothing can be made at this path, in the words of the kernel; `None` where it can, or where only the trying tells.
///
/// Its folder may be missing: then the nearest one above it counts. A folder of ours in which only another user may write is no
/// case for another place: a runner of theirs may live in it.
pub fn refusal(state_dir: &Path) -> Option<io::Error> {
    let there = state_dir.ancestors().find(|folder| folder.exists())?;
    match nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(Errno::EROFS) => Some(Errno::EROFS.into()),
        Err(error @ (Errno::EACCES | Errno::EPERM)) if there != state_dir => Some(error.into()),
        _ => None,
    }
}

/// Whether the state has to go elsewhere. A folder that the file names by itself has to be there and writable, unless its file
/// system is read-only: then nobody could make it so from here.
pub fn is_needed(state_dir: &Path, usual: &Path) -> bool {
    refusal(state_dir).is_some_and(|why| why.raw_os_error() == Some(libc::EROFS) || state_dir == usual)
}

/// Where the state goes instead: a private folder in memory or below /tmp, whose path follows from project and user alone; else
/// a place that is nowhere.
pub fn state_dir(key: &str) -> PathBuf {
    in_bases(&bases(), key).unwrap_or_else(|| nameless::place(key))
}

fn in_bases(bases: &[PathBuf], key: &str) -> Option<PathBuf> {
    bases.iter().find_map(|base| {
        let states = base.join(STATES);
        let wanted = states.join(key);
        let made = private_dir(base)
            .and_then(|()| private_dir(&states))
            .and_then(|()| private_dir(&wanted));
        (made.is_ok() && refusal(&wanted.join("lock")).is_none()).then_some(wanted)
    })
}

/// Whether a state folder is such a spare one, or nowhere.
pub fn is_spare(state_dir: &Path) -> bool {
    nameless::is_nowhere(state_dir) || bases().iter().any(|base| state_dir.starts_with(base.join(STATES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn en_01_the_first_place_that_can_be_written_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("missing/base"), dir.path().join("base"));
        let taken = in_bases(&[first, second.clone()], "key").unwrap();
        assert_eq!(taken, second.join(".state/key"));
        assert_eq!(
            super::super::folders_in(&[second]),
            Vec::<PathBuf>::new(),
            "no runtime folder"
        );
        assert_eq!(in_bases(&[PathBuf::from("/proc/self")], "key"), None);
    }

    #[test]
    fn a_folder_that_can_be_made_is_not_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(&dir.path().join("not/there/yet")).is_none());
        assert!(refusal(dir.path()).is_none());
    }
}
