//! A timer on the wall clock: it rings at an instant, and when somebody has set that clock.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timerfd(2) of CLOCK_REALTIME. It also rings when a machine that slept over its instant wakes.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// No descriptor was free.
    #[allow(unsafe_code)]
    pub fn new() -> io::Result<Alarm> {
        // SAFETY: takes two numbers and gives a descriptor or -1.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and nobody else has it.
        let own = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the descriptor is owned by what is registered, so that it stays open and the same for as long.
        let timer = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }?;
        Ok(Alarm { timer })
    }

    /// Rings at `at_ns` (nanoseconds since 1970) and at each setting of the clock; `None`: not at all.
    ///
    /// # Errors
    /// The kernel does not take such an instant.
    #[allow(unsafe_code)]
    pub fn set(&self, at_ns: Option<i64>) -> io::Result<()> {
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // All zero means never.
        let it_value = at_ns.map_or(zero, |at| libc::timespec {
            tv_sec: at.max(1).div_euclid(1_000_000_000),
            tv_nsec: at.max(1).rem_euclid(1_000_000_000),
        });
        let value = libc::itimerspec {
            it_interval: zero,
            it_value,
        };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        let timer = self.timer.get_ref().as_fd().as_raw_fd();
        // SAFETY: the descriptor is open for the length of the call, and `value` is a valid itimerspec.
        match unsafe { libc::timerfd_settime(timer, flags, &raw const value, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until it rings.
    pub async fn rung(&self) {
        loop {
            let Ok(mut ready) = self.timer.readable().await else {
                return std::future::pending().await;
            };
            let mut count = [0; 8];
            let read = ready.try_io(|timer| nix::unistd::read(timer.get_ref(), &mut count).map_err(io::Error::from));
            // What is no `WouldBlock` is a ring or ECANCELED: the clock was set.
            if read.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[tokio::test]
    async fn it_rings_at_its_instant() {
        let alarm = Alarm::new().unwrap();
        let at = clock::wall_ns() + 20_000_000;
        alarm.set(Some(at)).unwrap();
        alarm.rung().await;
        assert!(clock::wall_ns() >= at);
        alarm.set(Some(5)).unwrap();
        alarm.rung().await;
        alarm.set(None).unwrap();
    }
}
