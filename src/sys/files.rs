//! What the kernel says of files and their file systems.

use std::path::Path;

/// Whether changes that others make here are told to nobody: the other end of a network or of a shared folder writes
/// without this kernel's knowledge.
#[cfg(target_os = "linux")]
pub fn tells_no_changes(folder: &Path) -> bool {
    use nix::sys::statfs::{NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
    // Of linux/magic.h, where nix has no name for them.
    const FUSE: i64 = 0x6573_5546;
    const V9FS: i64 = 0x0102_1997;
    const CIFS: i64 = 0xFF53_4D42;
    const SMB2: i64 = 0xFE53_4D42;
    const CEPH: i64 = 0x00C3_6400;
    const VBOXSF: i64 = 0x786F_4256;
    let Ok(found) = statfs(folder) else { return false };
    let kind = found.filesystem_type();
    kind == NFS_SUPER_MAGIC
        || kind == SMB_SUPER_MAGIC
        || [FUSE, V9FS, CIFS, SMB2, CEPH, VBOXSF].contains(&i64::from(kind.0))
}

#[cfg(not(target_os = "linux"))]
pub fn tells_no_changes(_: &Path) -> bool {
    false
}
