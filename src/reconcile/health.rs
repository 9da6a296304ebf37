//! Attempts of one probe, counted against its thresholds. Semantics are Kubernetes': results in a row.

use std::time::Duration;

use super::fact::Outcome;
use super::timers::{after, nanos};
use crate::spec::Probe;

/// The shortest rest between two attempts while something is expected to become ready.
const EAGER: Duration = Duration::from_millis(50);

/// Of an attempt that could not be made.
const UNKNOWN: &str = "unknown: ";

/// One probe of one incarnation: what was asked, what was answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probing {
    /// Attempts so far; the number of the one under way or of the last one.
    pub attempt: u32,
    pub turn: Turn,
    successes: u32,
    failures: u32,
    /// What the last failure or unknown result said.
    pub message: Option<String>,
}

/// An attempt never overlaps another of the same probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Under way; `nudged`: something happened meanwhile that it may have missed.
    Asked { nudged: bool },
    /// Since the last answer (or the beginning).
    Resting { since: u64 },
    /// To be asked at once.
    Due,
}

impl Probing {
    pub fn due() -> Self {
        Self::with(Turn::Due)
    }

    pub fn resting(since: u64) -> Self {
        Self::with(Turn::Resting { since })
    }

    /// What an attempt before these said.
    #[must_use]
    pub fn saying(self, message: Option<String>) -> Self {
        Probing { message, ..self }
    }

    fn with(turn: Turn) -> Self {
        Probing {
            attempt: 0,
            turn,
            successes: 0,
            failures: 0,
            message: None,
        }
    }

    pub fn is_asked(&self) -> bool {
        matches!(self.turn, Turn::Asked { .. })
    }

    /// Begins an attempt and returns its number.
    pub fn ask(&mut self) -> u32 {
        self.attempt = self.attempt.saturating_add(1);
        self.turn = Turn::Asked { nudged: false };
        self.attempt
    }

    pub fn nudge(&mut self) {
        self.turn = match self.turn {
            Turn::Asked { .. } => Turn::Asked { nudged: true },
            Turn::Resting { .. } | Turn::Due => Turn::Due,
        };
    }

    /// Takes the answer to the attempt under way; `false` if it answers another one.
    pub fn answer(&mut self, attempt: u32, outcome: &Outcome, now: u64) -> bool {
        let Turn::Asked { nudged } = self.turn else {
            return false;
        };
        if attempt != self.attempt {
            return false;
        }
        self.turn = if nudged {
            Turn::Due
        } else {
            Turn::Resting { since: now }
        };
        self.message = match outcome {
            Outcome::Success => None,
            Outcome::Failure(words) => Some(words.clone()),
            Outcome::Unknown(words) => Some(format!("{UNKNOWN}{words}")),
        };
        true
    }

    /// What the last attempt said, if it could not be made.
    pub fn unknown(&self) -> Option<&str> {
        self.message.as_deref()?.strip_prefix(UNKNOWN)
    }

    /// Counts one outcome. `failures_count`: not within `start_period`.
    pub fn count(&mut self, outcome: &Outcome, failures_count: bool) {
        match outcome {
            Outcome::Success => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
            }
            Outcome::Failure(_) => {
                self.successes = 0;
                if failures_count {
                    self.failures = self.failures.saturating_add(1);
                }
            }
            Outcome::Unknown(_) => {}
        }
    }

    pub fn succeeded(&self, probe: &Probe) -> bool {
        self.successes >= probe.success_threshold.max(1)
    }

    pub fn failed(&self, probe: &Probe) -> bool {
        self.failures >= probe.retries.max(1)
    }

    /// When the next readiness attempt begins: eagerly at first, rarer the longer it takes. `None`: only a nudge
    /// can change the answer. `began`: when the wait for it began.
    pub fn next_eager(&self, interval: Duration, event_driven: bool, began: u64) -> Option<u64> {
        match self.turn {
            Turn::Asked { .. } => None,
            Turn::Due => Some(0),
            Turn::Resting { .. } if event_driven && self.successes == 0 => None,
            Turn::Resting { since } => {
                let rest = nanos(EAGER).max(since.saturating_sub(began) / 10).min(nanos(interval));
                Some(since.saturating_add(rest))
            }
        }
    }

    /// When the next health attempt begins. The interval counts from the last answer, so that runner's own
    /// lateness is never the service's.
    pub fn next_steady(&self, interval: Duration) -> Option<u64> {
        match self.turn {
            Turn::Asked { .. } => None,
            Turn::Due => Some(0),
            Turn::Resting { since } => Some(after(since, interval)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::restart::Rng;
    use crate::reconcile::sim::build;

    /// The reference: healthy until `retries` failures in a row, unhealthy until `threshold` successes in a row.
    fn model(results: &[Option<bool>], retries: usize, threshold: usize) -> Vec<bool> {
        let mut healthy = true;
        let mut last: Vec<bool> = Vec::new();
        let mut published = Vec::new();
        for result in results {
            if let Some(success) = result {
                last.push(*success);
                let run = last.iter().rev().take_while(|&&s| s == *success).count();
                if *success && run >= threshold {
                    healthy = true;
                }
                if !*success && run >= retries {
                    healthy = false;
                }
            }
            published.push(healthy);
        }
        published
    }

    #[test]
    fn hp_11_flapping_equals_the_model() {
        let mut rng = Rng::new(11);
        for round in 0..5_000 {
            let mut probe = build::probe();
            probe.retries = 1 + (rng.next() % 5) as u32;
            probe.success_threshold = 1 + (rng.next() % 5) as u32;
            let results: Vec<Option<bool>> = (0..40)
                .map(|_| match rng.next() % 7 {
                    0 => None,
                    n => Some(n % 2 == 0),
                })
                .collect();
            let mut probing = Probing::resting(0);
            let mut healthy = true;
            let published: Vec<bool> = results
                .iter()
                .map(|result| {
                    let outcome = match result {
                        Some(true) => Outcome::Success,
                        Some(false) => Outcome::Failure("no".into()),
                        None => Outcome::Unknown("no descriptors".into()),
                    };
                    let attempt = probing.ask();
                    assert!(probing.answer(attempt, &outcome, 0));
                    probing.count(&outcome, true);
                    healthy = if healthy {
                        !probing.failed(&probe)
                    } else {
                        probing.succeeded(&probe)
                    };
                    healthy
                })
                .collect();
            let expected = model(&results, probe.retries as usize, probe.success_threshold as usize);
            assert_eq!(published, expected, "round {round}: {results:?} {probe:?}");
        }
    }

    #[test]
    fn hp_10_an_attempt_never_overlaps_itself() {
        let mut probing = Probing::due();
        probing.ask();
        assert_eq!(probing.next_eager(Duration::from_secs(1), false, 0), None);
        assert_eq!(probing.next_steady(Duration::from_secs(1)), None);
        probing.nudge();
        assert_eq!(probing.next_eager(Duration::from_secs(1), true, 0), None);
        assert!(probing.answer(1, &Outcome::Failure("x".into()), 5));
        assert_eq!(
            probing.next_eager(Duration::from_secs(1), true, 0),
            Some(0),
            "the nudge was kept"
        );
    }

    #[test]
    fn hp_16_unknown_counts_neither_way() {
        let mut probing = Probing::resting(0);
        let probe = build::probe();
        for _ in 0..100 {
            probing.count(&Outcome::Unknown("EMFILE".into()), true);
        }
        assert!(!probing.failed(&probe) && !probing.succeeded(&probe));
    }
}
