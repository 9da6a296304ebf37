//! Work with files as another user would do it.

use std::io;

use super::users::Ids;

/// Does `work` with this user's rights over files, so that no link in a folder of theirs leads us where they may not go.
/// Only a thread of its own gives its rights up: setfsuid(2) is about the calling thread.
///
/// # Errors
/// The rights can't be taken on.
#[cfg(target_os = "linux")]
pub fn with_those_of<T: Send>(ids: &Ids, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().spawn_scoped(scope, || take_on(ids).map(|()| work()))?;
        worker.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
    })
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn take_on(ids: &Ids) -> io::Result<()> {
    use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
    // The wrapper of the C library would change every thread of the process.
    // SAFETY: the pointer and the length are those of one slice of gid_t.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, ids.groups.len(), ids.groups.as_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    setfsgid(gid);
    setfsuid(uid);
    // They tell of no failure, but of what was in force before.
    if setfsgid(gid) == gid && setfsuid(uid) == uid {
        return Ok(());
    }
    Err(io::ErrorKind::PermissionDenied.into())
}

#[cfg(not(target_os = "linux"))]
pub fn with_those_of<T: Send>(_: &Ids, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    Ok(work())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_by_another_user_and_we_stay_who_we_are() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let nobody = Ids {
            uid: 65_534,
            gid: 65_534,
            groups: vec![65_534],
        };
        let file = folder.path().join("theirs");
        with_those_of(&nobody, || std::fs::write(&file, "x")).unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().uid(), 65_534);
        let closed = folder.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        let refused = with_those_of(&nobody, || std::fs::write(closed.join("x"), "x")).unwrap();
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::write(closed.join("ours"), "x").unwrap();
    }
}
