//! What is asked right behind a save is about what was saved.
//!
//! A save is applied once the files have been quiet for a moment. Whoever saves and asks in one breath (`sed -i ...; runner wait
//! web`) would be answered by what was before: such questions wait for that moment.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Daemon, News};
use crate::api::server::{Act, Call};
use crate::sys;

/// Files that never come to rest hold up nobody for longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Daemon {
    /// What a client asks, at its time.
    pub(in crate::daemon::run) fn ask(&mut self, call: Call) {
        let Some(read) = self.definition.read.clone().filter(|_| goes_by_the_files(&call)) else {
            return self.answer(call);
        };
        let news = self.definition.news.clone();
        tokio::task::spawn_local(async move {
            // Disks may be slow: the loop does not look itself.
            let changed = tokio::task::spawn_blocking(move || read.has_changed()).await;
            // After the loop whoever asked is told by the end of the connection.
            let _ = news.send(News::Asked {
                call,
                changed: changed.unwrap_or(false),
            });
        });
    }

    pub(super) fn asked(&mut self, call: Call, changed: bool) {
        let quiet = &mut self.definition.quiet;
        if !changed && !quiet.is_holding() {
            return self.answer(call);
        }
        if quiet.is_at_rest() {
            // It was not told yet.
            quiet.changed(sys::clock::now().mono_ns, false);
        }
        let (rest, rested) = oneshot::channel();
        self.definition.held.push(rest);
        let news = self.definition.news.clone();
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(PATIENCE, rested).await;
            let _ = news.send(News::Answer(call));
        });
    }

    /// After a reading.
    pub(super) fn let_go_of_questions(&mut self) {
        if self.definition.quiet.is_at_rest() {
            for held in self.definition.held.drain(..) {
                let _ = held.send(());
            }
        }
    }
}

/// Not to stop something, which has its time at once.
fn goes_by_the_files(call: &Call) -> bool {
    match call {
        Call::Act { act, .. } => matches!(act, Act::Start | Act::Restart | Act::Reload),
        Call::Wait { .. } | Call::Run { .. } | Call::Scale { .. } => true,
        Call::Project { .. } | Call::Ps { .. } | Call::Inspect { .. } | Call::Why { .. } | Call::Health { .. } => false,
        Call::Plan { .. } | Call::Up { .. } | Call::Down { .. } | Call::Upgrade { .. } => false,
        Call::Logs { .. } | Call::Attach { .. } | Call::Events { .. } => false,
    }
}
