//! The two clocks.

use crate::reconcile::Now;

/// Nanoseconds of CLOCK_MONOTONIC: comparable across the processes of one boot.
pub fn mono_ns() -> u64 {
    let time = read(libc::CLOCK_MONOTONIC);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Nanoseconds since 1970, UTC. Saturates in the year 2262.
pub fn wall_ns() -> i64 {
    let time = read(libc::CLOCK_REALTIME);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// Both clocks, for one step of the world.
pub fn now() -> Now {
    Now {
        mono_ns: mono_ns(),
        wall_ns: wall_ns(),
    }
}

#[allow(unsafe_code)]
fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the length of the call. Both clocks exist everywhere, so it can't fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_is_this_century() {
        let first = now();
        let second = now();
        assert!(second.mono_ns >= first.mono_ns);
        assert!(first.wall_ns > 1_600_000_000_000_000_000);
    }
}
