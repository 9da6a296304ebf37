//! `events`: every transition with its cause, from the running project or, when nothing runs, from its history.

use std::path::PathBuf;

use super::args::{Events, Global};
use super::call::Flow;
use super::outcome::Outcome;
use super::{Result, orphans, project, reach, terminal};
use crate::api::{events, history, wire};
use crate::config::find::Location;
use crate::view::events as view;

pub fn events(global: &Global, args: &Events) -> Result<u8> {
    let (location, stream) = project::locate_running(global)?;
    // A number to go on from, should the daemon be lost before it has told anything.
    let now = || history::last_cursor(&state_dir(global, &location)).ok();
    let since = args.since.or_else(|| now().filter(|_| args.follow && stream.is_some()));
    let mut teller = Teller {
        json: args.json,
        style: terminal::for_stdout(global),
        last: since,
        quiet: global.quiet,
        has_ended: false,
    };
    let Some(stream) = stream else {
        if args.follow {
            return Err(orphans::nobody(&location));
        }
        return from_history(&state_dir(global, &location), &mut teller);
    };
    reach::converse(async {
        let mut client = reach::client(stream).await?;
        let path = |since: Option<u64>| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("follow", if args.follow { "1" } else { "0" });
            if let Some(since) = since {
                query.append_pair("since", &since.to_string());
            }
            format!("/v1/events?{}", query.finish())
        };
        let mut flow = Flow::begin(&location, &mut client, &path(since)).await?;
        loop {
            let mut buffer = Vec::new();
            while let Some(chunk) = flow.next().await {
                buffer.extend_from_slice(&chunk);
                let mut lines = Vec::new();
                events::decode(&mut buffer, &mut |line| lines.push(line.to_vec()));
                for line in lines {
                    if !teller.tell(&line)? {
                        return Ok(0);
                    }
                }
            }
            if !args.follow || teller.has_ended {
                return Ok(0);
            }
            // Events have numbers: another daemon goes on behind the last one.
            match flow.again(&location, &path(teller.last)).await? {
                Some(another) => flow = another,
                None => return Ok(0),
            }
        }
    })
}

/// By the file if it can be read, else where it is when the file says nothing.
fn state_dir(global: &Global, location: &Location) -> PathBuf {
    match project::read(global) {
        Ok((_, Ok(loaded))) => loaded.project.state_dir,
        _ => project::state_dir(location),
    }
}

fn from_history(state_dir: &std::path::Path, teller: &mut Teller) -> Result<u8> {
    let mut failed = None;
    // As the daemon does it: a number that was not given out yet is one of a history that is gone.
    let is_known = |since| Ok(since <= history::last_cursor(state_dir)?);
    let after = match teller.last {
        Some(since) => is_known(since).map(|is_known| if is_known { since } else { 0 }),
        None => Ok(0),
    };
    let read = after.and_then(|after| {
        history::read(state_dir, after, &mut |_, line| match teller.tell(line) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                failed = Some(error);
                false
            }
        })
    });
    read.map_err(Outcome::io("read the history"))?;
    failed.map_or(Ok(0), Err)
}

struct Teller {
    json: bool,
    style: crate::view::style::Style,
    /// The number of the event before.
    last: Option<u64>,
    quiet: bool,
    /// The project came to its end.
    has_ended: bool,
}

impl Teller {
    /// `false`: the reader has seen enough (`| head`).
    fn tell(&mut self, line: &[u8]) -> Result<bool> {
        let event: wire::Event = serde_json::from_slice(line)
            .map_err(|error| Outcome::failed(format!("an event was not understood: {error}")))?;
        // Numbers have no gap: one that is missing was too old to be kept.
        if let Some(last) = self
            .last
            .filter(|&last| event.cursor > last.saturating_add(1) && !self.quiet)
        {
            let (from, to) = (last + 1, event.cursor - 1);
            terminal::say(format_args!("runner  events {from} to {to} are no longer kept"));
        }
        self.last = Some(event.cursor);
        self.has_ended = matches!(event.kind, wire::EventKind::Ended { .. });
        let text = match self.json {
            true => [line, b"\n"].concat(),
            false => view::line(&event, &self.style).into_bytes(),
        };
        terminal::write(&text)
    }
}
