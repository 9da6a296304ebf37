//! Chance, from a seed.

use std::time::Duration;

use crate::reconcile::restart::Rng;

pub struct Dice(Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(Rng::new(seed))
    }

    /// Others, for something that leaves these as they are: what they throw later stays the same.
    pub fn aside(&self) -> Self {
        let mut aside = self.0.clone();
        Dice::new(aside.next() ^ 0x5eed)
    }

    /// In `0..sides`.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0.next() % sides
    }

    /// True once in `of` throws.
    pub fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A wait as the machine has them: often none at all, so that things fall on one instant.
    pub fn delay(&mut self, longest_ms: u64) -> u64 {
        match self.below(3) {
            0 => 0,
            1 => self.below(5) * 1_000_000,
            _ => self.below(longest_ms + 1) * 1_000_000,
        }
    }

    pub fn wait(&mut self, of_ms: &[u64]) -> Duration {
        Duration::from_millis(self.pick(of_ms))
    }
}
