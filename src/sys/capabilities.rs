//! What a process may beyond its user: capabilities(7), and the users that its namespace knows.

/// Numbers of linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    SetGid = 6,
    SetUid = 7,
    NetBindService = 10,
    SysResource = 24,
}

/// The effective set, a bit for each number. Elsewhere than on Linux root has all of them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn effective() -> u64 {
    /// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: of ourselves (pid 0); the kernel writes two sets for this version, and there is room for both.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    match result {
        0 => u64::from(sets[0].effective) | u64::from(sets[1].effective) << 32,
        // Nobody asks a process that may not even look at itself: root is taken for root.
        _ if nix::unistd::Uid::effective().is_root() => u64::MAX,
        _ => 0,
    }
}

#[cfg(not(target_os = "linux"))]
pub fn effective() -> u64 {
    if nix::unistd::Uid::effective().is_root() {
        u64::MAX
    } else {
        0
    }
}

pub fn holds(set: u64, capability: Capability) -> bool {
    set & 1 << capability as u64 != 0
}

/// Whether a process with these may become another user.
pub fn may_change_user(set: u64) -> bool {
    holds(set, Capability::SetUid) && holds(set, Capability::SetGid)
}

/// Whether our user namespace has this user (user_namespaces(7)); only one that it has can be become.
pub fn knows_user(uid: u32) -> bool {
    knows(std::fs::read_to_string("/proc/self/uid_map").ok().as_deref(), uid)
}

pub fn knows_group(gid: u32) -> bool {
    knows(std::fs::read_to_string("/proc/self/gid_map").ok().as_deref(), gid)
}

/// Lines of `inside outside count`. Without any nothing is known against it.
fn knows(map: Option<&str>, id: u32) -> bool {
    let Some(map) = map.filter(|map| !map.trim().is_empty()) else {
        return true;
    };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let first = first.unwrap_or(0);
        (first..first.saturating_add(count.unwrap_or(0))).contains(&u64::from(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn en_05_a_namespace_knows_the_users_that_it_maps() {
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        for (map, id, known) in [
            (Some("0 0 4294967295"), 12345, true),
            (Some("0 1000 1\n"), 0, true),
            (Some("0 1000 1\n"), 33, false),
            (Some(rootless), 65536, true),
            (Some(rootless), 65537, false),
            (Some(""), 33, true),
            (None, 33, true),
        ] {
            assert_eq!(knows(map, id), known, "{map:?} {id}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_set_is_what_proc_says() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let said = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        assert_eq!(effective(), u64::from_str_radix(said.trim(), 16).unwrap());
    }
}
