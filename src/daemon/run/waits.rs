//! What the loop waits on that may not be there, and what it was given at its start.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::sys;

pub(super) fn inherited(number: i32) -> io::Result<OwnedFd> {
    sys::passing::inherited(number).ok_or_else(|| io::Error::other(format!("descriptor {number} was not passed")))
}

/// Until the other end of the owner's pipe is closed; for ever where nobody stays.
pub(super) async fn end_of(owner: &mut Option<pipe::Receiver>) {
    use tokio::io::AsyncReadExt;
    let Some(owner) = owner else {
        return std::future::pending().await;
    };
    let mut byte = [0];
    while matches!(owner.read(&mut byte).await, Ok(count) if count > 0) {}
}

pub(super) async fn sleep(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The World's monotonic nanoseconds on tokio's clock, which counts the same seconds from another zero.
pub(super) fn instant(mono_ns: u64) -> Instant {
    let ahead = mono_ns.saturating_sub(sys::clock::now().mono_ns);
    // tokio keeps far deadlines itself, but not the end of time.
    Instant::now() + Duration::from_nanos(ahead).min(Duration::from_secs(86_400 * 365))
}
