//! Whether and when a service that has ended is started again.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::timers::nanos;
use crate::spec::{Backoff, Service};

/// So many restarts within [`LOOP_WINDOW`] are called a crash loop.
const LOOP_RESTARTS: usize = 5;
const LOOP_WINDOW: Duration = Duration::from_secs(60);

/// A small seeded generator (splitmix64), so that the same facts give the same jitter.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `-1.0..=1.0`.
    fn swing(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// What earlier runs say about the next one. Starts empty at every start that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Restarts in a row without having been ready for `reset_after` in between.
    streak: u32,
    /// All restarts since the last start that was asked for.
    pub restarts: u32,
    /// When the latest restarts were decided, oldest first; never more than the rules look back.
    times: VecDeque<u64>,
    pub looping: bool,
}

/// What follows an end.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Again {
        delay_ns: u64,
        attempt: u32,
        /// This restart is the one that makes it a crash loop.
        loop_begins: bool,
    },
    /// `max_restarts` were used up within `restart_window`.
    GiveUp,
}

impl History {
    /// Nothing was restarted yet.
    pub fn is_empty(&self) -> bool {
        *self == History::default()
    }

    /// A run has ended and the policy wants another. `ready_for`: how long it had been ready.
    pub(super) fn ended(&mut self, service: &Service, now: u64, ready_for: Option<u64>, rng: &mut Rng) -> Verdict {
        if ready_for.is_some_and(|ready| ready >= nanos(service.backoff.reset_after)) {
            self.streak = 0;
        }
        if let Some(max) = service.max_restarts
            && self.within(now, service.restart_window) >= max as usize
        {
            return Verdict::GiveUp;
        }
        self.times.push_back(now);
        let looked_at = LOOP_RESTARTS.max(service.max_restarts.unwrap_or(0) as usize);
        while self.times.len() > looked_at {
            self.times.pop_front();
        }
        let was_looping = self.looping;
        self.looping = self.within(now, LOOP_WINDOW) >= LOOP_RESTARTS;
        self.restarts = self.restarts.saturating_add(1);
        self.again(&service.backoff, rng, self.looping && !was_looping)
    }

    /// A start failed for want of something that comes back by itself: waits like a crash, counts as none.
    pub(super) fn postponed(&mut self, backoff: &Backoff, rng: &mut Rng) -> Verdict {
        self.again(backoff, rng, false)
    }

    fn again(&mut self, backoff: &Backoff, rng: &mut Rng, loop_begins: bool) -> Verdict {
        self.streak = self.streak.saturating_add(1);
        Verdict::Again {
            delay_ns: delay(backoff, self.streak, rng),
            attempt: self.streak,
            loop_begins,
        }
    }

    fn within(&self, now: u64, window: Duration) -> usize {
        let window = nanos(window);
        self.times
            .iter()
            .rev()
            .take_while(|&&at| now.saturating_sub(at) < window)
            .count()
    }
}

/// Delay before the n-th restart in a row, n from 1.
fn delay(backoff: &Backoff, nth: u32, rng: &mut Rng) -> u64 {
    let power = i32::try_from(nth - 1).unwrap_or(i32::MAX);
    let grown = backoff.initial.as_secs_f64() * backoff.factor.powi(power);
    // An initial delay of zero times an overflowed factor is NaN; `min` then answers the other operand.
    let grown = if backoff.initial.is_zero() { 0.0 } else { grown };
    let capped = grown.min(backoff.max.as_secs_f64());
    let varied = capped * (1.0 + backoff.jitter * rng.swing());
    // `max` is what it says.
    (varied.clamp(0.0, backoff.max.as_secs_f64()) * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::sim::build;

    const SEC: u64 = 1_000_000_000;

    fn service() -> Service {
        let mut service = build::service("web");
        service.backoff.jitter = 0.0;
        service
    }

    fn delay_of(verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Again { delay_ns, .. } => delay_ns,
            Verdict::GiveUp => panic!("gave up"),
        }
    }

    #[test]
    fn rs_01_delays_follow_the_documented_curve() {
        let (mut history, mut rng, service) = (History::default(), Rng::new(1), service());
        let delays: Vec<u64> = (0..9)
            .map(|n| delay_of(history.ended(&service, n * 100 * SEC, None, &mut rng)) / 1_000_000)
            .collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    }

    #[test]
    fn rs_01_jitter_stays_within_its_share() {
        let (mut rng, mut service) = (Rng::new(7), service());
        service.backoff.jitter = 0.1;
        let delays: Vec<u64> = (0..1000).map(|_| delay(&service.backoff, 2, &mut rng)).collect();
        assert!(delays.iter().all(|&d| (900_000_000..=1_100_000_000).contains(&d)));
        assert!(delays.iter().min() < Some(&920_000_000) && delays.iter().max() > Some(&1_080_000_000));
        let longest: Vec<u64> = (0..1000).map(|_| delay(&service.backoff, 20, &mut rng)).collect();
        assert!(longest.iter().all(|&d| (27_000_000_000..=30_000_000_000).contains(&d)));
    }

    #[test]
    fn rs_02_the_reset_is_exact_at_the_edge() {
        let service = service();
        for (ready_for, expected) in [(10 * SEC - 1, 1000), (10 * SEC, 500), (11 * SEC, 500)] {
            let (mut history, mut rng) = (History::default(), Rng::new(1));
            history.ended(&service, 0, None, &mut rng);
            let second = delay_of(history.ended(&service, 20 * SEC, Some(ready_for), &mut rng));
            assert_eq!(second / 1_000_000, expected, "ready for {ready_for}");
        }
    }

    #[test]
    fn more_than_max_restarts_within_the_window_gives_up() {
        let (mut history, mut rng, mut service) = (History::default(), Rng::new(1), service());
        service.max_restarts = Some(2);
        service.restart_window = Duration::from_secs(60);
        assert_ne!(history.ended(&service, 0, None, &mut rng), Verdict::GiveUp);
        assert_ne!(history.ended(&service, 30 * SEC, None, &mut rng), Verdict::GiveUp);
        assert_ne!(
            history.ended(&service, 60 * SEC, None, &mut rng),
            Verdict::GiveUp,
            "the first left the window"
        );
        assert_eq!(history.ended(&service, 61 * SEC, None, &mut rng), Verdict::GiveUp);
    }

    #[test]
    fn the_fifth_restart_within_a_minute_is_a_loop_and_is_said_once() {
        let (mut history, mut rng, service) = (History::default(), Rng::new(1), service());
        let begins: Vec<bool> = (0..7)
            .map(|n| match history.ended(&service, n * SEC, None, &mut rng) {
                Verdict::Again { loop_begins, .. } => loop_begins,
                Verdict::GiveUp => panic!("gave up"),
            })
            .collect();
        assert_eq!(begins, [false, false, false, false, true, false, false]);
        assert!(history.looping);
    }

    #[test]
    fn an_absurd_factor_and_a_zero_delay_stay_sane() {
        let mut rng = Rng::new(1);
        let mut backoff = service().backoff;
        backoff.factor = 1e300;
        assert_eq!(delay(&backoff, u32::MAX, &mut rng), nanos(backoff.max));
        backoff.initial = Duration::ZERO;
        assert_eq!(delay(&backoff, u32::MAX, &mut rng), 0);
    }
}
