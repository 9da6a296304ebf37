//! When a file that is being changed is taken for saved.

use std::time::Duration;

use super::timers::after;

/// So long nothing may happen any more: editors save in several steps.
const SHORT: Duration = Duration::from_millis(100);
/// The same for what would end services, and while somebody may still be writing.
const LONG: Duration = Duration::from_secs(1);

/// The files of a project between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quiet {
    /// Nothing has changed since the last reading.
    #[default]
    Rest,
    /// The last change was at this instant. `open`: whoever made it has not closed the file.
    Settling { last: u64, open: bool },
    /// What has been quiet is being read.
    Reading { last: u64 },
    /// It was read, and would end services: it is read once more when it has been quiet for longer.
    Holding { last: u64 },
}

impl Quiet {
    pub fn changed(&mut self, now: u64, open: bool) {
        *self = Quiet::Settling { last: now, open };
    }

    /// What stands in the files was read, and counts.
    pub fn is_at_rest(self) -> bool {
        self == Quiet::Rest
    }

    /// What stands in the files was read, and does not count yet.
    pub fn is_holding(self) -> bool {
        matches!(self, Quiet::Holding { .. })
    }

    /// When it has been quiet for long enough (monotonic nanoseconds).
    pub fn deadline(self) -> Option<u64> {
        match self {
            Quiet::Rest | Quiet::Reading { .. } => None,
            Quiet::Settling { last, open: false } => Some(after(last, SHORT)),
            Quiet::Settling { last, open: true } | Quiet::Holding { last } => Some(after(last, LONG)),
        }
    }

    /// Whether it is to be read now, and up to which change: [`Quiet::was_read`] wants to know.
    pub fn is_due(&mut self, now: u64) -> Option<u64> {
        self.deadline().filter(|&at| at <= now)?;
        let (Quiet::Settling { last, .. } | Quiet::Holding { last }) = *self else {
            return None;
        };
        *self = Quiet::Reading { last };
        Some(last)
    }

    /// Whether what was read counts. Not if it has changed after `change`, even if that is being read too by now; nor if it
    /// `ends` services (or is empty, or gone altogether) and has not been quiet for long. `touched`: when the files changed
    /// last by what they say themselves, which may be ahead of what was told.
    pub fn was_read(&mut self, change: u64, now: u64, ends: bool, touched: Option<u64>) -> bool {
        let last = match *self {
            Quiet::Reading { last } if last == change => last,
            _ => return false,
        };
        if let Some(touched) = touched.filter(|&touched| touched > last) {
            self.changed(touched, false);
            return false;
        }
        let holds = ends && now < after(last, LONG);
        *self = if holds { Quiet::Holding { last } } else { Quiet::Rest };
        !holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn hr_02_a_save_in_several_steps_is_one_and_a_file_that_is_being_written_is_waited_for() {
        let mut quiet = Quiet::default();
        quiet.changed(0, false);
        quiet.changed(60 * MS, false);
        assert_eq!(quiet.is_due(159 * MS), None);
        assert_eq!(quiet.deadline(), Some(160 * MS));
        assert_eq!(quiet.is_due(160 * MS), Some(60 * MS));
        assert!(quiet.was_read(60 * MS, 161 * MS, false, None));
        quiet.changed(0, true);
        assert_eq!(quiet.is_due(999 * MS), None);
        quiet.changed(999 * MS, false);
        assert_eq!(quiet.is_due(1_099 * MS), Some(999 * MS));
    }

    #[test]
    fn what_changed_while_it_was_read_does_not_count() {
        let mut quiet = Quiet::default();
        quiet.changed(0, false);
        assert_eq!(quiet.is_due(100 * MS), Some(0));
        quiet.changed(101 * MS, false);
        assert!(!quiet.was_read(0, 102 * MS, false, None));
        assert_eq!(quiet.deadline(), Some(201 * MS));
    }

    #[test]
    fn a_reading_that_takes_long_does_not_stand_in_for_the_one_after_it() {
        let mut quiet = Quiet::default();
        quiet.changed(0, false);
        assert_eq!(quiet.is_due(100 * MS), Some(0));
        quiet.changed(101 * MS, false);
        assert_eq!(quiet.is_due(201 * MS), Some(101 * MS));
        assert!(
            !quiet.was_read(0, 250 * MS, false, None),
            "it may have read what was before"
        );
        assert!(quiet.was_read(101 * MS, 300 * MS, false, None));
    }

    #[test]
    fn hr_02_a_change_that_was_not_told_yet_is_known_by_the_files() {
        let mut quiet = Quiet::default();
        quiet.changed(0, false);
        assert_eq!(quiet.is_due(100 * MS), Some(0));
        assert!(!quiet.was_read(0, 102 * MS, false, Some(101 * MS)));
        assert_eq!(quiet.deadline(), Some(201 * MS));
        assert_eq!(quiet.is_due(201 * MS), Some(101 * MS));
        assert!(quiet.was_read(101 * MS, 202 * MS, false, Some(101 * MS)));
    }

    #[test]
    fn an_edit_that_ends_services_waits_for_a_second_of_quiet() {
        let mut quiet = Quiet::default();
        quiet.changed(0, false);
        assert_eq!(quiet.is_due(100 * MS), Some(0));
        assert!(!quiet.was_read(0, 110 * MS, true, None));
        assert_eq!(quiet.deadline(), Some(1_000 * MS));
        assert_eq!(quiet.is_due(1_000 * MS), Some(0));
        assert!(quiet.was_read(0, 1_010 * MS, true, None));
        assert_eq!(quiet, Quiet::Rest);
    }
}
