//! What the kernel says of files and their file systems, and what is done with broken ones.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether changes that others make here are told to nobody: the other end of a network or of a shared folder writes
/// without this kernel's knowledge.
#[cfg(target_os = "linux")]
pub fn tells_no_changes(folder: &Path) -> bool {
    use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
    // Of linux/magic.h, where nix has no name for them: FUSE, 9p, CIFS, SMB2, Ceph, VirtualBox's shared folders.
    const OTHERS: [u32; 6] = [
        0x6573_5546,
        0x0102_1997,
        0xFF53_4D42,
        0xFE53_4D42,
        0x00C3_6400,
        0x786F_4256,
    ];
    let Ok(found) = statfs(folder) else { return false };
    let kind = found.filesystem_type();
    // The width of the kernel's type depends on the machine.
    kind == NFS_SUPER_MAGIC || kind == SMB_SUPER_MAGIC || OTHERS.iter().any(|&other| kind == FsType(other as _))
}

#[cfg(not(target_os = "linux"))]
pub fn tells_no_changes(_: &Path) -> bool {
    false
}

/// Whether somebody has deleted the file that we hold open, with its folder perhaps (`CR-10`).
pub fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() == 0)
}

/// Puts a file away that can't be understood, and says so: it is never deleted, never taken for nothing.
pub fn set_aside(path: &Path, why: &str) -> String {
    let seconds = super::clock::now().wall_ns / 1_000_000_000;
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(match number {
            0 => format!(".corrupt-{seconds}"),
            _ => format!(".corrupt-{seconds}-{number}"),
        });
        PathBuf::from(name)
    };
    let is_free = |aside: &PathBuf| aside.symlink_metadata().is_err();
    let aside = (0..).map(name).find(is_free).unwrap_or_default();
    let kept = match std::fs::rename(path, &aside) {
        Ok(()) => format!("kept as {}", aside.display()),
        Err(error) => format!("could not be set aside: {error}"),
    };
    format!("{} could not be read ({why}); {kept}", path.display())
}

/// Whether a path is what [`replace`] writes before it takes the file's place.
pub fn is_draft_of(file: &Path, path: &Path) -> bool {
    let (Some(own), Some(name)) = (file.file_name(), path.file_name()) else {
        return false;
    };
    let rest = name.as_encoded_bytes().strip_prefix(b".");
    let rest = rest.and_then(|rest| rest.strip_prefix(own.as_encoded_bytes())?.strip_prefix(b"."));
    file.parent() == path.parent() && rest.is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
}

/// Replaces what stands in a file, or makes it: whoever reads it sees the old text or the new one. A link stays a link, and who
/// could read it still can.
///
/// # Errors
/// Nothing has changed then.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    replace_as(path, text, None)
}

/// The same; a new file gets these permission bits, whatever our own umask is.
///
/// # Errors
/// Nothing has changed then.
pub fn replace_as(path: &Path, text: &[u8], mode: Option<u32>) -> io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let fresh = folder.join(name);
    let written = write_new(&fresh, &path, text, mode).and_then(|()| std::fs::rename(&fresh, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// As [`replace`], for what is of nobody else's business: mode 0600, and a link is no link any more. It need not outlive a power
/// failure, and is not waited for.
///
/// # Errors
/// Nothing has changed then.
pub fn replace_private(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = Path::new(&fresh);
    let _ = std::fs::remove_file(fresh);
    let mut options = std::fs::File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(fresh);
    let written = opened
        .and_then(|mut file| file.write_all(text))
        .and_then(|()| std::fs::rename(fresh, path));
    if written.is_err() {
        let _ = std::fs::remove_file(fresh);
    }
    written
}

/// Makes a folder with those on the way to it; what is new gets these permission bits, whatever our own umask is, and is ours
/// to write.
///
/// # Errors
/// One of them can't be made; those before it stay.
pub fn create_folders(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folders(parent, mode)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => std::fs::set_permissions(path, PermissionsExt::from_mode(mode | 0o700)),
        // Somebody was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_new(fresh: &Path, like: &Path, text: &[u8], mode: Option<u32>) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
    let _ = std::fs::remove_file(fresh);
    // More only once it is known who may read it.
    let first = mode.map_or(0o666, |_| 0o600);
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create_new(true).mode(first).open(fresh)?;
    if let Ok(old) = like.metadata() {
        file.set_permissions(old.permissions())?;
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
            // chown(2) takes set-ID bits away.
            file.set_permissions(old.permissions())?;
        }
    } else if let Some(mode) = mode {
        file.set_permissions(PermissionsExt::from_mode(mode))?;
    }
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_known_by_its_name() {
        let is_draft = |path: &str| is_draft_of(Path::new("/p/conf/a.conf"), Path::new(path));
        assert!(is_draft("/p/conf/.a.conf.4711"));
        for other in [
            "/p/conf/a.conf",
            "/p/conf/.a.conf.x1",
            "/p/.a.conf.1",
            "/p/conf/.b.conf.1",
        ] {
            assert!(!is_draft(other), "{other}");
        }
    }

    #[test]
    fn cr_07_each_broken_file_is_kept_under_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wishes.json");
        for text in ["one", "two", "three"] {
            std::fs::write(&path, text).unwrap();
            assert!(set_aside(&path, "it is torn").contains("kept as"));
        }
        let mut kept: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        kept.sort();
        assert_eq!(kept, ["one", "three", "two"]);
    }
}
