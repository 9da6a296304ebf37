//! Our own process takes on what a service would have, before it becomes another program.

use std::io;

use super::users::Ids;

/// Limits, priority, umask, then groups and user: as a service gets them between fork and exec.
///
/// # Errors
/// One of them is refused; what came before it stays.
#[allow(unsafe_code)]
pub fn become_like(limits: &[(u32, u64, u64)], nice: Option<i32>, umask: u32, ids: Option<&Ids>) -> io::Result<()> {
    let checked = |result: i32| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    for &(number, soft, hard) in limits {
        let limit = libc::rlimit {
            rlim_cur: soft as _,
            rlim_max: hard as _,
        };
        // SAFETY: `limit` lives over the call, which only reads it.
        checked(unsafe { libc::setrlimit(number as _, &limit) })?;
    }
    if let Some(nice) = nice {
        // SAFETY: setpriority takes numbers and touches no memory of ours.
        checked(unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, nice) })?;
    }
    // SAFETY: umask takes a number, always succeeds and touches no memory of ours.
    unsafe { libc::umask(umask as libc::mode_t) };
    if let Some(ids) = ids {
        // SAFETY: the list lives over the call, which reads as many entries as it has.
        checked(unsafe { libc::setgroups(ids.groups.len() as _, ids.groups.as_ptr()) })?;
        // SAFETY: both take numbers and touch no memory of ours.
        checked(unsafe { libc::setgid(ids.gid) })?;
        // SAFETY: as before.
        checked(unsafe { libc::setuid(ids.uid) })?;
    }
    Ok(())
}
