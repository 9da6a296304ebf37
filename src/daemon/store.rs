//! What people asked for by hand, kept on the disk: rename, then fsync, two generations.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::api::wishes::{FILE, OLDER, Stored, VERSION, read};
use crate::fault::point;
use crate::reconcile::Wishes;
use crate::sys::files::set_aside;
use crate::sys::places::nameless;

pub struct Store {
    folder: PathBuf,
    /// What is on the disk.
    kept: Option<Wishes>,
}

impl Store {
    /// What was asked for of an earlier runner of this project that did not come to its end. What can't be understood is set
    /// aside and told, never taken for nothing.
    pub fn open(folder: &Path) -> (Store, Vec<String>) {
        let (found, complaints) = newest(folder, [FILE, OLDER], read);
        let store = Store {
            folder: folder.to_owned(),
            kept: found,
        };
        (store, complaints)
    }

    /// Nothing: it was never written, was deleted, or could not be understood.
    pub fn found(&self) -> Option<&Wishes> {
        self.kept.as_ref()
    }

    /// Keeps what is wished now, if that is something else than before.
    ///
    /// # Errors
    /// It is not on the disk; the next call tries again.
    pub fn keep(&mut self, wishes: &Wishes) -> io::Result<()> {
        if *wishes == *self.kept.as_ref().unwrap_or(&Wishes::default()) {
            return Ok(());
        }
        let stored = Stored {
            version: VERSION,
            wishes: wishes.clone(),
        };
        let text = serde_json::to_vec_pretty(&stored)?;
        replace(&self.folder, [FILE, OLDER], &text, "what was asked for by hand")?;
        self.kept = Some(stored.wishes);
        Ok(())
    }

    /// The project came to its end: nothing is wished any more.
    pub fn clear(&mut self) {
        for name in [FILE, OLDER] {
            let _ = fs::remove_file(self.folder.join(name));
            point!("wishes.removed");
        }
        self.kept = None;
    }
}

/// The newest of two generations that can be understood; the others are set aside, with a complaint.
pub(super) fn newest<T>(
    folder: &Path,
    names: [&str; 2],
    read: impl Fn(&Path) -> io::Result<Option<T>>,
) -> (Option<T>, Vec<String>) {
    let mut complaints = Vec::new();
    let found = names.into_iter().find_map(|name| {
        let path = folder.join(name);
        match read(&path) {
            Ok(found) => found,
            Err(error) => {
                complaints.push(set_aside(&path, &error.to_string()));
                None
            }
        }
    });
    (found, complaints)
}

/// Writes the next generation of a file; the one that was there becomes the older one.
///
/// # Errors
/// It is not on the disk.
pub(super) fn replace(folder: &Path, [name, older]: [&str; 2], text: &[u8], what: &'static str) -> io::Result<()> {
    if nameless::is_nowhere(folder) {
        return Ok(());
    }
    let (path, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&fresh)?;
    file.write_all(text)?;
    point!("store.drafted");
    let _ = fs::rename(&path, folder.join(older));
    point!("store.older-kept");
    fs::rename(&fresh, &path)?;
    point!("store.written");
    sync_beside(file, folder.to_owned(), what);
    Ok(())
}

/// What is written outlives our death at once, and the machine's soon: a disk may take seconds, which the loop has not. Until
/// then the generation before speaks for a file that the machine's end has torn.
fn sync_beside(file: File, folder: PathBuf, what: &'static str) {
    std::thread::spawn(move || {
        let synced = file.sync_all().and_then(|()| File::open(&folder)?.sync_all());
        if let Err(error) = synced {
            tracing::warn!(%error, "{what} may not outlive the machine");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::ByHand;
    use crate::spec::ServiceName;

    fn stopped(name: &str) -> Wishes {
        let by_hand = ByHand {
            stopped: true,
            ..ByHand::default()
        };
        Wishes {
            all: true,
            services: [(ServiceName::new(name), by_hand)].into(),
            ..Wishes::default()
        }
    }

    #[test]
    fn wishes_outlive_the_store_and_a_torn_file_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (mut store, complaints) = Store::open(folder);
        assert_eq!((store.found(), complaints.len()), (None, 0));
        store.keep(&stopped("db")).expect("kept");
        store.keep(&stopped("web")).expect("kept");
        assert_eq!(Store::open(folder).0.found(), Some(&stopped("web")));
        let whole = fs::read(folder.join(FILE)).expect("read");
        for length in 0..whole.len() {
            fs::write(folder.join(FILE), &whole[..length]).expect("written");
            let (store, complaints) = Store::open(folder);
            assert_eq!(store.found(), Some(&stopped("db")), "cut at {length}");
            assert_eq!(complaints.len(), 1);
            assert!(!folder.join(FILE).exists(), "set aside");
        }
    }

    #[test]
    fn what_is_cleared_is_forgotten_and_a_later_version_is_not_understood() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut store, _) = Store::open(folder.path());
        store.keep(&stopped("db")).expect("kept");
        store.clear();
        assert_eq!(Store::open(folder.path()).0.found(), None);
        fs::write(folder.path().join(FILE), "{\"version\":2,\"wishes\":{}}").expect("written");
        let (store, complaints) = Store::open(folder.path());
        assert_eq!((store.found(), complaints.len()), (None, 1));
    }
}
