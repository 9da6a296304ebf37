//! The written witness of a launch: there before its gate opens, gone when its end was taken into account.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::orders::{Identity, Record};
use super::seal::seal;
use crate::fault::point;

/// A record that stands on the disk.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
    /// A later run of the same service writes another file of the same name, which is not ours to remove.
    inode: u64,
}

impl Written {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes the body with the identity added (`"identity": {...}`) beside `path` and renames it there; the one that was
/// there stays as `path.1`. No fsync: a record means nothing after a reboot.
pub(super) fn write(record: &Record, identity: &Identity) -> io::Result<Written> {
    let path = PathBuf::from(OsString::from_vec(record.path.clone()));
    let fresh = beside(&path, ".new");
    let mut file = create(&fresh)?;
    file.write_all(text(&record.body, identity).as_bytes())?;
    let inode = file.metadata()?.ino();
    point!("record.drafted");
    // Linked, not renamed: there is a record at every instant, also of a run whose main process is replaced.
    let older = beside(&path, ".1");
    let _ = std::fs::remove_file(&older);
    match std::fs::hard_link(&path, &older) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    point!("record.older-kept");
    std::fs::rename(&fresh, &path)?;
    point!("record.written");
    Ok(Written { path, inode })
}

/// Another process is the main one now: the record says so from here on.
pub(super) fn rename(written: &mut Written, identity: &Identity) -> io::Result<()> {
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&written.path)?)?;
    let members = record.as_object_mut().ok_or(io::ErrorKind::InvalidData)?;
    members.remove("identity");
    let record = Record {
        path: written.path.clone().into_os_string().into_vec(),
        body: record.to_string(),
    };
    *written = write(&record, identity)?;
    Ok(())
}

/// One that another guardian wrote.
pub(super) fn existing(path: &Path) -> Option<Written> {
    let inode = std::fs::symlink_metadata(path).ok()?.ino();
    let path = path.to_owned();
    Some(Written { path, inode })
}

/// Removes both generations, unless a later run has written its own.
pub(super) fn remove(written: &Written) {
    if std::fs::symlink_metadata(&written.path).is_ok_and(|found| found.ino() == written.inode) {
        let _ = std::fs::remove_file(&written.path);
        let _ = std::fs::remove_file(beside(&written.path, ".1"));
    }
}

fn create(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn text(body: &str, identity: &Identity) -> String {
    let open = body.trim_end().strip_suffix('}').unwrap_or("{").trim_end();
    let comma = if open.ends_with('{') { "" } else { "," };
    let Identity {
        pid,
        pidfd_inode,
        start_ticks,
    } = identity;
    seal(&format!(
        "{open}{comma}\"identity\":{{\"pid\":{pid},\"pidfd_inode\":{pidfd_inode},\"start_ticks\":{start_ticks}}}}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generations_and_the_identity_inside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web");
        let identity = Identity {
            pid: 7,
            pidfd_inode: 8,
            start_ticks: 9,
        };
        let record = |body: &str| Record {
            path: path.clone().into_os_string().into_vec(),
            body: body.into(),
        };
        let first = write(&record("{}"), &identity).unwrap();
        let second = write(&record("{\"name\": \"web\"}"), &identity).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(value["name"], "web");
        assert_eq!(value["identity"]["pidfd_inode"], 8);
        let old = std::fs::read(dir.path().join("web.1")).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&old).unwrap()["identity"].is_object());
        remove(&first);
        assert!(path.exists(), "a later run's record stays");
        remove(&second);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
