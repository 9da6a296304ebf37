//! Resource limits: names to numbers, and runner's own descriptor limit.

use crate::spec::{Limit, Resource};

/// The `RLIMIT_` number of a resource.
pub fn number(resource: Resource) -> u32 {
    let number = match resource {
        Resource::As => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Stack => libc::RLIMIT_STACK,
    };
    number as _
}

/// (number, soft, hard) as `guardian::orders::Launch::limits` wants them.
pub fn triple(resource: Resource, limit: Limit) -> (u32, u64, u64) {
    let value = |wanted: Option<u64>| wanted.unwrap_or(libc::RLIM_INFINITY);
    (number(resource), value(limit.soft), value(limit.hard))
}

/// The name of a limit by its number, as the file writes it.
pub fn name(wanted: u32) -> &'static str {
    const ALL: [(Resource, &str); 9] = [
        (Resource::As, "as"),
        (Resource::Core, "core"),
        (Resource::Cpu, "cpu"),
        (Resource::Data, "data"),
        (Resource::Fsize, "fsize"),
        (Resource::Memlock, "memlock"),
        (Resource::Nofile, "nofile"),
        (Resource::Nproc, "nproc"),
        (Resource::Stack, "stack"),
    ];
    ALL.iter()
        .find(|(resource, _)| number(*resource) == wanted)
        .map_or("limit", |&(_, name)| name)
}

/// Soft and hard limit of this process for a `RLIMIT_` number.
#[allow(unsafe_code)]
pub fn current(number: u32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit for the length of the call; an unknown number makes it fail.
    let result = unsafe { libc::getrlimit(number as _, &mut limit) };
    (result == 0).then_some((limit.rlim_cur, limit.rlim_max))
}

/// Raises our own soft descriptor limit to the hard one and says what it was, so that children get the original back
/// (`RL-05`). A failure changes nothing.
#[allow(unsafe_code)]
pub fn raise_descriptors() -> Option<(u64, u64)> {
    let (soft, hard) = current(number(Resource::Nofile))?;
    if soft < hard {
        let wanted = libc::rlimit {
            rlim_cur: hard,
            rlim_max: hard,
        };
        // SAFETY: `wanted` is a valid rlimit for the length of the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) };
    }
    Some((soft, hard))
}

/// Lets the table of descriptors grow now. Later, in a process with threads or with a child that still shares the table,
/// each doubling waits for all processors (expand_fdtable of the kernel: about 10 ms, seven times on the way to a thousand
/// services). Costs 33 kB of kernel memory.
pub fn make_room_for_descriptors() {
    const ROOM: i32 = 4096;
    if let Ok(null) = std::fs::File::open("/dev/null") {
        use nix::fcntl::{FcntlArg, fcntl};
        // A limit below it is no misfortune: the table grows when it has to.
        if let Ok(high) = fcntl(&null, FcntlArg::F_DUPFD_CLOEXEC(ROOM - 1)) {
            let _ = nix::unistd::close(high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_its_own_number_and_name() {
        assert_eq!(name(number(Resource::Nofile)), "nofile");
        assert_eq!(name(number(Resource::Stack)), "stack");
        let unlimited = Limit {
            soft: Some(5),
            hard: None,
        };
        assert_eq!(
            triple(Resource::Core, unlimited),
            (number(Resource::Core), 5, libc::RLIM_INFINITY)
        );
        assert!(current(number(Resource::Nofile)).is_some());
    }
}
