//! `RS-08`: a service that writes into what is watched for it is restarted for ever. Whoever writes is not told by the kernel; but
//! a person does not save one file again and again within moments of what it sets off.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So soon after the last action, beyond the time of being quiet.
const SOON: Duration = Duration::from_secs(2);
/// So often in a row, and by one path.
const MOST: u32 = 6;

#[derive(Debug, Default)]
pub struct Feedback {
    last: Option<(PathBuf, Instant)>,
    count: u32,
}

impl Feedback {
    /// One more action because of this path; whether it goes round in a circle.
    pub fn hear(&mut self, path: &Path, debounce: Duration, now: Instant) -> bool {
        let again = |(before, at): &(PathBuf, Instant)| before == path && now.duration_since(*at) < debounce + SOON;
        self.count = if self.last.as_ref().is_some_and(again) {
            self.count + 1
        } else {
            1
        };
        self.last = Some((path.to_owned(), now));
        self.count >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_path_again_and_again_at_once_is_a_circle() {
        let debounce = Duration::from_millis(200);
        let hear = |feedback: &mut Feedback, paths: &[&str], step: Duration| {
            let mut now = Instant::now();
            paths.iter().any(|path| {
                now += step;
                feedback.hear(Path::new(path), debounce, now)
            })
        };
        let soon = Duration::from_millis(900);
        assert!(hear(&mut Feedback::default(), &["a"; 6], soon));
        assert!(!hear(&mut Feedback::default(), &["a"; 5], soon));
        assert!(!hear(&mut Feedback::default(), &["a", "b"].repeat(9), soon));
        assert!(!hear(&mut Feedback::default(), &["a"; 20], Duration::from_millis(2500)));
    }
}
