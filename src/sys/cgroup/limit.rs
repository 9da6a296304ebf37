//! How much memory the control groups above us leave, in either version.

use std::path::{Path, PathBuf};

use super::{own, text};

/// More than this is the kernel's way to say that there is no limit in version 1.
const NO_LIMIT: u64 = 1 << 62;

/// Bytes; `None` where nothing limits us, or nobody tells.
pub fn memory_limit() -> Option<u64> {
    let second = own().into_iter().flat_map(|group| files(&group, "memory.max"));
    let first = first_version()
        .into_iter()
        .flat_map(|group| files(&group, "memory.limit_in_bytes"));
    let limits = second.chain(first).filter_map(|file| text(&file)?.trim().parse().ok());
    limits.filter(|limit| *limit < NO_LIMIT).min()
}

/// A file of the group and of all above it: the least counts.
fn files(group: &Path, name: &'static str) -> Vec<PathBuf> {
    let groups = group
        .ancestors()
        .take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    groups.map(|folder| folder.join(name)).collect()
}

fn first_version() -> Option<PathBuf> {
    let groups = text(Path::new("/proc/self/cgroup"))?;
    let of_memory = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?.trim_start_matches('/').to_owned();
        controllers.split(',').any(|name| name == "memory").then_some(path)
    };
    let path = groups.lines().find_map(of_memory)?;
    let mount = Path::new("/sys/fs/cgroup/memory");
    // Inside of a container its own group is the mount.
    [mount.join(path), mount.to_owned()]
        .into_iter()
        .find(|group| group.is_dir())
}
