//! The stream of an `up` broke for good.

use std::path::Path;

use super::Session;
use super::signals::Signals;
use crate::cli::outcome::Outcome;
use crate::cli::reach::{self, Holder};
use crate::cli::{Result, orphans};

impl Session<'_> {
    /// Whether nothing of the project is left, once whoever had it is gone. That may be a stop that takes its time: signals mean what they
    /// always do.
    pub(super) async fn is_over(&mut self, signals: &mut Signals) -> Result<bool> {
        let holder = std::mem::replace(&mut self.holder, Holder::Nobody);
        let mut gone = tokio::task::spawn_blocking(move || holder.wait());
        loop {
            let why = tokio::select! {
                biased;
                _ = &mut gone => break,
                Some(()) = signals.interrupt.recv() => "Ctrl-C",
                Some(()) = signals.terminate.recv() => "SIGTERM to `runner up`",
            };
            if self.stop(why).await? {
                break;
            }
        }
        Ok(orphans::of(self.location).is_none_or(|orphans| orphans.are_gone()))
    }
}

/// `is_over`: nothing of the project runs any more.
pub fn outcome(is_over: bool, state_dir: &Path) -> Outcome {
    let log = reach::own_log(state_dir);
    let log = log.display();
    match is_over {
        true => Outcome::Failed {
            message: "everything has stopped, and runner was killed before it could say why".to_owned(),
            suggestion: Some(format!(
                "`runner events` tells what has happened; what runner said last is in {log}"
            )),
        },
        false => Outcome::Failed {
            message: "runner was killed; its services run on, and nobody looks after them".to_owned(),
            suggestion: Some(format!(
                "`runner up` takes them over, `runner down` stops them; what runner said last is in {log}"
            )),
        },
    }
}
