//! `up` has become the guardian (PID 1, `up -- CMD`): there is no client that asks and shows.

use tokio::sync::oneshot;

use super::Daemon;
use super::definition::Purpose;
use crate::api::boot::ConsoleFormat;
use crate::api::server::UpAnswer;
use crate::api::wire::Refusal;
use crate::daemon::showing::Showing;
use crate::reconcile::{Author, Cause};
use crate::sys::clock;
use crate::view::json;

impl Daemon {
    /// From now on everything is shown.
    pub(super) fn show(&mut self) {
        let Some(console) = &self.boot.console else { return };
        let (events, _) = self.story.follow();
        self.showing = Some(Showing::start(console, self.hands.pump(), events));
    }

    /// Does what was typed, unless a daemon before us has.
    pub(super) fn begin_in_place(&mut self) {
        let Some(console) = &self.boot.console else { return };
        if self.session.begun {
            // The guardian was the `up` that somebody has typed and waits for.
            if self.boot.goes_on && !console.init && !self.stop_asked {
                self.stop(Cause::new(Author::Signal, "`runner up` was killed"));
            }
            return;
        }
        let (request, format) = (console.up.clone(), console.format);
        let (reply, answer) = oneshot::channel::<Result<UpAnswer, Refusal>>();
        tokio::task::spawn_local(async move {
            match answer.await {
                // Who stops it before it is read knows why nothing comes of it.
                Ok(Err(refusal)) if !refusal.is_ending() => eprint!("{}", told(format, &refusal)),
                _ => {}
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
            // As every daemon does it for logrotate(8).
            self.hands.pump().reopen();
            self.read_for_hangup();
        } else if !self.stop_asked {
            self.stop(Cause::new(Author::Signal, "the terminal is closed"));
        }
    }
}

fn told(format: ConsoleFormat, refusal: &Refusal) -> String {
    let what = format!("{}: {}", refusal.title, refusal.detail);
    match (format, &refusal.suggestion) {
        (ConsoleFormat::Json, Some(suggestion)) => json::note(&format!("{what}; {suggestion}"), clock::wall_ns()),
        (ConsoleFormat::Json, None) => json::note(&what, clock::wall_ns()),
        (ConsoleFormat::Text, Some(suggestion)) => format!("error: {what}\ntry: {suggestion}\n"),
        (ConsoleFormat::Text, None) => format!("error: {what}\n"),
    }
}
