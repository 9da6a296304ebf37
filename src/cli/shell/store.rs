//! What the integration keeps, in the user's own state folder: nothing is written into a project that nobody has allowed.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::inside::Record;
use super::permit::Permit;
use crate::cli::Result;
use crate::cli::outcome::Outcome;
use crate::sys::lock::Lock;
use crate::sys::{files, identity, places};

/// `$XDG_STATE_HOME/runner/shell`, of mode 0700.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes what is not there yet.
    pub fn open() -> Result<Store> {
        let store = Store::at(&state_home()?);
        let make = || {
            std::fs::create_dir_all(store.folder.parent().unwrap_or(Path::new("/")))?;
            places::private_dir(&store.folder)?;
            for below in ["allowed", "busy"] {
                places::private_dir(&store.folder.join(below))?;
            }
            Ok(())
        };
        make().map_err(refused(&store.folder))?;
        Ok(store)
    }

    #[cfg(test)]
    pub fn for_tests(state_home: &Path) -> Store {
        let store = Store::at(state_home);
        std::fs::create_dir_all(store.folder.join("allowed")).expect("made");
        store
    }

    /// Where there is one already, and it is ours: with sudo HOME may be somebody else's.
    pub fn find() -> Option<Store> {
        let store = Store::at(&state_home().ok()?);
        let is_there = store.folder.join("allowed").exists() && places::private_dir(&store.folder).is_ok();
        is_there.then_some(store)
    }

    fn at(state_home: &Path) -> Store {
        Store {
            folder: state_home.join("runner/shell"),
        }
    }

    /// One at a time looks at the record, or at what is allowed, and changes it.
    pub fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Result<T> {
        let lock = Lock::wait(&self.folder.join("lock")).map_err(refused(&self.folder))?;
        let path = self.folder.join("shells.json");
        let is_ours = |record: &Record| {
            record.boot_id == identity::boot_id() && record.pid_namespace == identity::pid_namespace()
        };
        let before: Option<Record> = self.read(&path).filter(is_ours);
        let mut record = before.clone().unwrap_or_else(Record::of_this_boot);
        let answer = change(&mut record);
        if before.as_ref() != Some(&record) {
            write(&path, &record).map_err(refused(&self.folder))?;
        }
        drop(lock);
        Ok(answer)
    }

    /// One at a time starts or stops a project.
    pub fn busy_with(&self, key: &str) -> Result<Lock> {
        Lock::wait(&self.folder.join("busy").join(key)).map_err(refused(&self.folder))
    }

    pub fn permit(&self, key: &str) -> Option<Permit> {
        self.read(&self.permit_path(key))
    }

    pub fn keep_permit(&self, key: &str, permit: &Permit) -> Result<()> {
        write(&self.permit_path(key), permit).map_err(refused(&self.folder))
    }

    fn permit_path(&self, key: &str) -> PathBuf {
        self.folder.join("allowed").join(format!("{key}.json"))
    }

    /// What can't be understood is as if it were not there: nothing is allowed by it, and nobody is inside.
    fn read<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    files::replace_private(path, &text)
}

fn state_home() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    // As the XDG Base Directory Specification has it: a relative one does not count.
    if let Some(named) = named.filter(|folder| folder.is_absolute()) {
        return Ok(named);
    }
    let home = std::env::home_dir().filter(|folder| folder.is_absolute());
    home.map(|home| home.join(".local/state"))
        .ok_or_else(|| Outcome::Failed {
            message: "there is no folder to keep in what is allowed: HOME is not set".to_owned(),
            suggestion: Some("set HOME, or XDG_STATE_HOME".to_owned()),
        })
}

fn refused(folder: &Path) -> impl FnOnce(io::Error) -> Outcome {
    Outcome::io(format!("keep what is allowed in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::inside::Process;
    use super::*;

    #[test]
    fn what_is_kept_is_for_our_eyes_and_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_tests(folder.path());
        let own = Process::of(std::process::id());
        let enter = |record: &mut Record| record.enter(own, "a", Path::new("/a")).dir.clone();
        store.change(enter).expect("kept");
        assert_eq!(
            store
                .change(|record| record.projects["a"].shells.clone())
                .expect("read"),
            [own]
        );
        let mode = store
            .folder
            .join("shells.json")
            .metadata()
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_record_of_another_boot_and_one_that_is_torn_say_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_tests(folder.path());
        let own = Process::of(std::process::id());
        let elsewhere = |record: &mut Record| {
            record.enter(own, "a", Path::new("/a"));
            record.boot_id = "another".to_owned();
        };
        store.change(elsewhere).expect("kept");
        assert!(store.change(|record| record.projects.is_empty()).expect("read"));
        std::fs::write(store.folder.join("shells.json"), "{\"boot_id\": \"").expect("written");
        assert!(store.change(|record| record.projects.is_empty()).expect("read"));
        std::fs::write(store.permit_path("a"), "{").expect("written");
        assert_eq!(store.permit("a"), None);
    }
}
