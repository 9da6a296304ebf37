//! What is shown on stderr while a verb waits: who is not there yet, what for, since when.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::args::Global;
use super::{reach, terminal};
use crate::api::client::Client;
use crate::api::wire;
use crate::config::find::Location;
use crate::view::block;
use crate::view::style::Style;

/// Between two looks; and what is over sooner shows nothing.
const REDRAW: Duration = Duration::from_millis(250);
/// Whoever waits is not to wait for a picture: a runner that has not drawn it by then (stopped, say) is not asked again.
const PATIENCE: Duration = Duration::from_secs(1);

/// A second connection, for pictures of what is being waited for.
#[derive(Default)]
pub struct Watcher {
    client: Option<Client>,
    gave_up: bool,
}

impl Watcher {
    /// Only a picture: when it can't be had there is none.
    pub async fn look(&mut self, location: &Location) -> Option<wire::Ps> {
        if self.gave_up {
            return None;
        }
        if self.client.is_none()
            && let Ok(Some(stream)) = reach::running(location)
        {
            self.client = reach::client(stream).await.ok();
        }
        // One that is left in the middle of an answer is of no use any more.
        let mut client = self.client.take()?;
        let answer = tokio::time::timeout(PATIENCE, client.get("/v1/services")).await;
        self.gave_up = answer.is_err();
        let ps = answer.ok()?.ok()?;
        self.client = Some(client);
        Some(ps)
    }
}

pub struct Progress {
    style: Style,
    /// Nobody looks, or nobody wants to.
    silent: bool,
    ticks: Interval,
    /// Nothing: all that are wanted.
    names: BTreeSet<String>,
    watcher: Watcher,
    lines: usize,
}

impl Progress {
    /// Must run inside the event loop.
    pub fn new(global: &Global, json: bool) -> Progress {
        let style = terminal::for_stderr(global);
        let mut ticks = interval_at(tokio::time::Instant::now() + REDRAW, REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Progress {
            silent: !style.terminal || global.quiet || json,
            style,
            ticks,
            names: BTreeSet::new(),
            watcher: Watcher::default(),
            lines: 0,
        }
    }

    /// When it is time for a look; never where nobody looks.
    pub async fn tick(&mut self) {
        if self.silent {
            return std::future::pending().await;
        }
        self.ticks.tick().await;
    }

    pub async fn look(&mut self, location: &Location) {
        if let Some(ps) = self.watcher.look(location).await {
            self.draw(&ps);
        }
    }

    /// Those that the verb is about; not set, everything that is wanted.
    pub fn about(&mut self, names: impl IntoIterator<Item = String>) {
        self.names = names.into_iter().collect();
    }

    fn draw(&mut self, ps: &wire::Ps) {
        let is_named = |name: &str| {
            self.names.contains(name) || name.split_once('@').is_some_and(|(of, _)| self.names.contains(of))
        };
        let is_about = |service: &&wire::Service| self.names.is_empty() || is_named(&service.name);
        let services: Vec<&wire::Service> = ps.services.iter().filter(is_about).collect();
        let lines = block::of(&services, &terminal::as_it_is_now(self.style));
        self.erase();
        self.lines = lines.len();
        for line in lines {
            terminal::say(line);
        }
    }

    pub fn erase(&mut self) {
        if self.lines > 0 {
            // Up to the first line, then clear to the end of the screen (ECMA-48 CPL, ED).
            terminal::say_raw(&format!("\x1b[{}F\x1b[J", self.lines));
            self.lines = 0;
        }
    }
}
