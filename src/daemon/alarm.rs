//! How the loop sleeps. Without anything due by the wall clock, that costs nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::sys;

#[derive(Debug, Default)]
pub struct AlarmClock {
    alarm: Option<sys::alarm::Alarm>,
    /// What it is set to.
    at: Option<i64>,
}

impl AlarmClock {
    /// To ring at `at` (nanoseconds since 1970). Where there is no alarm to be had: how long until then, by the monotonic
    /// clock, which knows nothing of a wall clock that is set.
    pub fn set(&mut self, at: Option<i64>) -> Option<u64> {
        if at == self.at {
            return None;
        }
        let set = match (&self.alarm, at) {
            (None, None) => Ok(()),
            (None, Some(_)) => sys::alarm::Alarm::new().and_then(|alarm| self.alarm.insert(alarm).set(at)),
            (Some(alarm), _) => alarm.set(at),
        };
        match (set, at) {
            (Ok(()), _) => {
                self.at = at;
                None
            }
            (Err(_), None) => None,
            (Err(error), Some(at)) => {
                tracing::warn!(%error, "no alarm on the wall clock");
                let now = sys::clock::now();
                let ahead = u64::try_from(at.saturating_sub(now.wall_ns)).unwrap_or(0);
                Some(now.mono_ns.saturating_add(ahead))
            }
        }
    }

    /// Waits until it rings; for ever where it is not set.
    pub async fn rung(&mut self) {
        match &self.alarm {
            Some(alarm) if self.at.is_some() => alarm.rung().await,
            _ => std::future::pending().await,
        }
        // Set anew: the clock may have been.
        self.at = None;
    }
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
