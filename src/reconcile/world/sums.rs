//! What all services come to, kept current instead of counted.

/// What one service adds to the [`Tally`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) living: bool,
    pub(super) moving: bool,
    pub(super) unwell: bool,
    pub(super) open: bool,
}

/// Sums over all services, kept current so that no question needs a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Something of it lives.
    pub(super) living: u32,
    /// In transition.
    pub(super) moving: u32,
    /// Wanted, and neither ready nor completed.
    pub(super) unwell: u32,
    /// Wanted (or stopped by hand) and not ended by itself.
    pub(super) open: u32,
}

impl Tally {
    pub(super) fn change(&mut self, old: Share, new: Share) {
        for (sum, old, new) in [
            (&mut self.living, old.living, new.living),
            (&mut self.moving, old.moving, new.moving),
            (&mut self.unwell, old.unwell, new.unwell),
            (&mut self.open, old.open, new.open),
        ] {
            *sum = *sum + u32::from(new) - u32::from(old);
        }
    }
}
