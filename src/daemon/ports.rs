//! The numbers of `"auto"` ports, kept on the disk: a number once given stays with its port.

use std::io;
use std::path::{Path, PathBuf};

use super::store;
use crate::config::KeptPorts;
use crate::spec::Project;

pub struct PortStore {
    folder: PathBuf,
    kept: KeptPorts,
    /// What is kept is not on the disk yet.
    unsaved: bool,
}

impl PortStore {
    /// What can't be understood is set aside and told.
    pub fn open(folder: &Path) -> (PortStore, Vec<String>) {
        let (found, complaints) = store::newest(folder, [KeptPorts::FILE, KeptPorts::OLDER], KeptPorts::read);
        let store = PortStore {
            folder: folder.to_owned(),
            kept: found.unwrap_or_default(),
            unsaved: false,
        };
        (store, complaints)
    }

    pub fn kept(&self) -> &KeptPorts {
        &self.kept
    }

    /// This definition is in force: its numbers are given.
    ///
    /// # Errors
    /// They are not on the disk; they count all the same, and the next call tries again.
    pub fn keep(&mut self, project: &Project) -> io::Result<()> {
        let kept = self.kept.with(project);
        if kept == self.kept && !self.unsaved {
            return Ok(());
        }
        self.kept = kept;
        self.unsaved = true;
        let names = [KeptPorts::FILE, KeptPorts::OLDER];
        store::replace(&self.folder, names, &self.kept.text(), "the numbers of `auto` ports")?;
        self.unsaved = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_torn_is_set_aside_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(PortStore::open(folder.path()).1.is_empty());
        let path = folder.path().join(KeptPorts::FILE);
        std::fs::write(&path, "{").expect("written");
        let (store, complaints) = PortStore::open(folder.path());
        assert_eq!((store.kept(), complaints.len()), (&KeptPorts::default(), 1));
        assert!(!path.exists(), "set aside, and not written over");
    }
}
