//! Deadlines of all services in one ordered set, and time arithmetic that can't overflow.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fact::ServiceId;

/// A duration in nanoseconds; one that does not fit (584 years) is as good as for ever.
pub(super) fn nanos(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
}

/// The instant `wait` after `at`; `u64::MAX` means never.
pub(super) fn after(at: u64, wait: Duration) -> u64 {
    at.saturating_add(nanos(wait))
}

/// At most one deadline for each service.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(u64, ServiceId)>,
}

impl Timers {
    /// Moves the deadline of a service; `armed` is where that service remembers the one it has.
    pub fn set(&mut self, id: ServiceId, armed: &mut Option<u64>, at: Option<u64>) {
        let at = at.filter(|&at| at != u64::MAX);
        if *armed == at {
            return;
        }
        if let Some(old) = armed.take() {
            self.due.remove(&(old, id));
        }
        if let Some(new) = at {
            self.due.insert((new, id));
        }
        *armed = at;
    }

    pub fn next(&self) -> Option<u64> {
        self.due.first().map(|&(at, _)| at)
    }

    /// The services whose deadline is reached; they stay armed until [`Timers::set`] moves them.
    pub fn reached(&self, now: u64) -> impl Iterator<Item = ServiceId> + '_ {
        self.due
            .iter()
            .take_while(move |&&(at, _)| at <= now)
            .map(|&(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn st_11_an_endless_wait_never_comes_due() {
        assert_eq!(after(u64::MAX - 5, Duration::from_secs(86_400)), u64::MAX);
        let (mut timers, mut armed) = (Timers::default(), None);
        timers.set(ServiceId(1), &mut armed, Some(u64::MAX));
        assert_eq!((timers.next(), armed), (None, None));
        timers.set(ServiceId(1), &mut armed, Some(7));
        timers.set(ServiceId(1), &mut armed, Some(9));
        assert_eq!(timers.next(), Some(9));
        assert_eq!(timers.reached(9).count(), 1);
    }
}
