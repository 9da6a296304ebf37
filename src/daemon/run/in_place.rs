//! `up` has become the guardian (PID 1, `up -- CMD`): there is no client that asks and shows.

use tokio::sync::oneshot;

use super::Daemon;
use super::definition::Purpose;
use crate::api::server::UpAnswer;
use crate::api::wire::Refusal;
use crate::daemon::showing::Showing;
use crate::reconcile::{Author, Cause};

impl Daemon {
    /// From now on everything is shown.
    pub(super) fn show(&mut self) {
        let Some(console) = &self.boot.console else { return };
        let (events, _) = self.story.follow();
        self.showing = Some(Showing::start(console, self.hands.pump(), events));
    }

    /// Does what was typed, unless a daemon before us has.
    pub(super) fn begin_in_place(&mut self) {
        let Some(console) = self.boot.console.as_ref().filter(|_| !self.session.begun) else {
            return;
        };
        let request = console.up.clone();
        let (reply, answer) = oneshot::channel::<Result<UpAnswer, Refusal>>();
        tokio::task::spawn_local(async move {
            if let Ok(Err(refusal)) = answer.await {
                eprintln!("error: {}: {}", refusal.title, refusal.detail);
                if let Some(suggestion) = refusal.suggestion {
                    eprintln!("try: {suggestion}");
                }
            }
        });
        self.read(Purpose::Up { request, reply });
    }

    /// SIGHUP. Nobody hangs up on an init; whoever else has a terminal has lost it.
    pub(super) fn hang_up(&mut self) {
        let has_terminal = self
            .boot
            .console
            .as_ref()
            .is_some_and(|console| console.terminal && !console.init);
        if !has_terminal {
            self.read_for_hangup();
        } else if !self.stop_asked {
            self.stop(Cause::new(Author::Signal, "the terminal is closed"));
        }
    }
}
