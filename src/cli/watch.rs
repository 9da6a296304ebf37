//! `ps --watch` and `top`: the table again and again, until Ctrl-C or the end of the project.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::args::{Global, Top};
use super::call::{Call, PATIENCE, silent, unless_stopped};
use super::outcome::Outcome;
use super::{Result, reach, terminal};
use crate::api::client::Chunks;
use crate::api::wire;
use crate::sys;
use crate::view::style::Style;
use crate::view::table;

/// Between two pictures of what is running.
const REDRAW: Duration = Duration::from_secs(1);
/// Changes that come together are one picture.
const GATHER: Duration = Duration::from_millis(50);

pub fn top(global: &Global, args: &Top) -> Result<u8> {
    let style = terminal::for_stdout(global);
    reach::converse(async {
        drop(Call::begin(global).await?);
        let mut ticks = interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(ps) = look(global).await? else { return Ok(0) };
            let text = match args.json {
                true => line(&ps),
                false => page(&table::top(&ps, &style), &style),
            };
            if !terminal::write(text.as_bytes())? {
                return Ok(0);
            }
        }
    })
}

/// A picture at each change; on a terminal also each second, because uptimes go on.
pub fn ps(global: &Global, json: bool) -> Result<u8> {
    let style = terminal::for_stdout(global);
    reach::converse(async {
        let mut follower = Call::begin(global).await?;
        let changes = follower.client.stream("/v1/events?follow=1");
        let mut changes: Chunks = unless_stopped(&follower.location, changes).await??;
        let mut unread = pin!(terminal::unread());
        let mut ticks = interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Some(ps) = look(global).await? else { return Ok(0) };
            let text = match json {
                true => line(&ps),
                false => page(&table::ps(&ps, &style), &style),
            };
            if !terminal::write(text.as_bytes())? {
                return Ok(0);
            }
            let over = tokio::select! {
                _ = ticks.tick(), if style.terminal && !json => false,
                chunk = changes.next() => chunk.is_none(),
                () = &mut unread => true,
            };
            if over {
                return Ok(0);
            }
            let gather = async { while changes.next().await.is_some() {} };
            let _ = tokio::time::timeout(GATHER, gather).await;
        }
    })
}

/// Over a connection of its own: one that is idle between two pictures is closed when others need its place. `None`: the
/// project has ended, or is about to.
async fn look(global: &Global) -> Result<Option<wire::Ps>> {
    let mut call = match Call::begin(global).await {
        Err(Outcome::NotRunning { .. }) => return Ok(None),
        begun => begun?,
    };
    match tokio::time::timeout(PATIENCE, call.client.get("/v1/services")).await {
        Ok(ps) => Ok(ps.ok()),
        Err(_) => Err(silent(&call.location)),
    }
}

fn line(ps: &wire::Ps) -> String {
    let mut text = serde_json::to_string(ps).expect("our own shapes serialise");
    text.push('\n');
    text
}

/// On a terminal in place of the one before: home, then clear to the end (ECMA-48 CUP, ED). Else below it.
fn page(table: &str, style: &Style) -> String {
    match style.terminal {
        true => format!("\x1b[H\x1b[2J{}", first_rows(table, sys::tty::rows())),
        false => format!("{table}\n"),
    }
}

/// What fits, from the top, and how much does not. The last row stays free: a line end there would scroll.
fn first_rows(table: &str, rows: Option<u16>) -> String {
    let (lines, room) = (
        table.lines().count(),
        rows.map_or(usize::MAX, |rows| usize::from(rows).max(3) - 1),
    );
    if lines <= room {
        return table.to_owned();
    }
    let shown: String = table.split_inclusive('\n').take(room - 1).collect();
    format!("{shown}… and {} more\n", lines - (room - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_longer_than_the_screen_shows_its_head() {
        let table = "NAME\na\nb\nc\n";
        assert_eq!(first_rows(table, Some(5)), table);
        assert_eq!(first_rows(table, None), table);
        assert_eq!(first_rows(table, Some(4)), "NAME\na\n… and 2 more\n");
        assert_eq!(first_rows(table, Some(1)), "NAME\n… and 3 more\n");
    }
}
