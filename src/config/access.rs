//! Whose files we obey: a `services.toml` is code.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Group, Uid, User};

const STICKY: u32 = 0o1000;

/// Why a file is not to be trusted, and what to do about it.
#[derive(Debug)]
pub(super) struct Distrust {
    /// In words that follow "refused, because ".
    pub reason: String,
    pub suggestion: Option<String>,
}

/// Whether a file is not to be trusted by `euid`; `None` when it is.
///
/// The file and the folder that it lies in must belong to us or to root, and nobody else may write them: to the
/// file not at all, to the folder only where it is sticky (as /tmp), which keeps files of others from being
/// replaced. A group that has nobody but its user (the private groups of Debian) is that user; a read-only file
/// system (a mounted ConfigMap) has no writers.
pub(super) fn distrust(path: &Path, file: &Metadata, euid: u32) -> Option<Distrust> {
    let refused = |path: &Path, metadata: &Metadata, reason: String| Distrust {
        reason,
        suggestion: (metadata.uid() == euid).then(|| format!("`chmod go-w {}`", path.display())),
    };
    if let Some(reason) = fault(path, file, euid, 0) {
        return Some(refused(path, file, format!("it {reason}")));
    }
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for folder in [path.parent(), real.parent()].into_iter().flatten() {
        let Ok(metadata) = folder.metadata() else { continue };
        if let Some(reason) = fault(folder, &metadata, euid, STICKY) {
            let reason = format!("its folder {} {reason}", folder.display());
            return Some(refused(folder, &metadata, reason));
        }
    }
    None
}

fn fault(path: &Path, metadata: &Metadata, euid: u32, harmless_with: u32) -> Option<String> {
    let owner = metadata.uid();
    if owner != euid && owner != 0 {
        return Some(format!("belongs to {}, not to you or root", user_name(owner)));
    }
    let mode = metadata.mode();
    if mode & harmless_with != 0 || mode & 0o022 == 0 {
        return None;
    }
    let read_only = || statvfs(path).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY));
    if mode & 0o002 != 0 {
        return (!read_only()).then(|| "can be written by everybody".to_owned());
    }
    if is_private_group(metadata.gid(), owner) || read_only() {
        return None;
    }
    Some("can be written by its group".to_owned())
}

fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

/// The group is named after the owner and has no other members.
fn is_private_group(gid: u32, owner: u32) -> bool {
    let (Ok(Some(group)), Ok(Some(user))) = (
        Group::from_gid(Gid::from_raw(gid)),
        User::from_uid(Uid::from_raw(owner)),
    ) else {
        return false;
    };
    group.name == user.name && group.mem.iter().all(|member| *member == user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn verdict(file_mode: u32, folder_mode: u32, euid_offset: u32) -> Option<Distrust> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("services.toml");
        std::fs::write(&path, "").expect("written");
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
        set(&path, file_mode).expect("set");
        set(folder.path(), folder_mode).expect("set");
        let metadata = path.metadata().expect("there");
        let answer = distrust(&path, &metadata, metadata.uid() + euid_offset);
        set(folder.path(), 0o700).expect("set");
        answer
    }

    #[test]
    fn files_that_others_may_write_are_refused() {
        assert!(verdict(0o644, 0o755, 0).is_none() && verdict(0o644, 0o1777, 0).is_none());
        for (file, folder, says, open) in [(0o646, 0o755, "everybody", true), (0o644, 0o757, "folder", false)] {
            let refused = verdict(file, folder, 0).expect("refused");
            assert!(refused.reason.contains(says), "{refused:?}");
            let suggestion = refused.suggestion.expect("who owns it can change it");
            assert!(suggestion.starts_with("`chmod go-w /"), "{suggestion}");
            assert_eq!(suggestion.ends_with("/services.toml`"), open, "{suggestion}");
        }
    }

    #[test]
    fn root_is_trusted_and_strangers_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("services.toml");
        std::fs::write(&path, "").expect("written");
        let metadata = path.metadata().expect("there");
        let refused = distrust(&path, &metadata, metadata.uid() + 1);
        assert_eq!(refused.is_none(), metadata.uid() == 0);
    }
}
