//! `down`: stops everything in reverse order and ends runner.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::args::{Down, Global};
use super::orphans::{self, Orphans};
use super::outcome::Outcome;
use super::progress::Progress;
use super::reach::Holder;
use super::{Result, call, clean, elsewhere, project, reach, terminal};
use crate::api::client;
use crate::api::wire::{self, DownAnswer, DownRequest};
use crate::config::find::Location;

pub fn down(global: &Global, args: &Down) -> Result<u8> {
    let (location, stream) = project::locate_running(global)?;
    let request = DownRequest {
        because: args.because.clone(),
        ..asked(args.timeout)
    };
    if let Some(stream) = stream {
        // Where somebody else has asked for it already, nobody is left to wait for.
        end(global, &location, (stream, Holder::Nobody), &request, None)?;
        // Its guardian may have been killed meanwhile: then the one that has taken over is still at it.
        while let Some(stream) = reach::running(&location)? {
            if !reach::converse(is_ending(stream))? {
                break;
            }
            if let Some(stream) = reach::running(&location)? {
                end(global, &location, (stream, Holder::Nobody), &request, None)?;
            }
        }
        if let Some(orphans) = orphans::of(&location).filter(|orphans| !orphans.are_gone()) {
            // Both of its processes were killed over it.
            end_orphans(global, &location, &orphans, args.timeout, None)?;
        }
    } else if let Some(orphans) = orphans::of(&location) {
        end_orphans(global, &location, &orphans, args.timeout, None)?;
    } else if !orphans::end_errands(&location) {
        if let Some(outcome) = elsewhere::user_of(&location, &clean::state_dir(global, &location, None)) {
            return Err(outcome);
        }
        if !global.quiet {
            terminal::say(format_args!("nothing is running for {}", location.dir.display()));
        }
        return Ok(0);
    }
    if !global.quiet {
        terminal::say(format_args!("everything has stopped in {}", location.dir.display()));
    }
    Ok(0)
}

/// Ends what a runner that was killed has left, by one that takes it over.
pub fn end_orphans(
    global: &Global,
    location: &Location,
    orphans: &Orphans,
    timeout: Option<Duration>,
    patience: Option<Duration>,
) -> Result<()> {
    end(
        global,
        location,
        orphans.begin_end(location)?,
        &asked(timeout),
        patience,
    )?;
    // The one that was to end them could not begin, say, or was killed over it.
    match orphans.are_gone() {
        true => Ok(()),
        false => Err(Outcome::Failed {
            message: "not everything that a killed runner has left could be ended".to_owned(),
            suggestion: Some(format!(
                "look into {}",
                reach::own_log(&orphans.state_dir(location)).display()
            )),
        }),
    }
}

/// One that is gone before it answers is not ending any more.
async fn is_ending(stream: UnixStream) -> Result<bool> {
    let mut client = reach::client(stream).await?;
    let project = client.get::<wire::Project>("/v1/project").await;
    Ok(project.is_ok_and(|project| project.state == wire::ProjectState::Ending))
}

fn asked(timeout: Option<Duration>) -> DownRequest {
    DownRequest {
        timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        hasten: false,
        because: None,
    }
}

/// A runner, and whose end is waited for where it does not say so itself; `patience`: at most this long.
fn end(
    global: &Global,
    location: &Location,
    (stream, holder): (UnixStream, Holder),
    request: &DownRequest,
    patience: Option<Duration>,
) -> Result<()> {
    reach::converse(async {
        let mut client = reach::client(stream).await?;
        let mut progress = Progress::new(global, false);
        let end = async {
            let ending = match client.post::<DownAnswer>("/v1/down", request).await {
                Ok(answer) => Holder::named(&answer.lock, answer.guardian),
                // It is about to end already.
                Err(client::Error::Lost(_)) => holder,
                Err(client::Error::Refused(refusal)) if refusal.is_ending() => holder,
                Err(error) => return Err(error),
            };
            // The lock alone says it all, unless somebody has deleted it; and a connection that is idle for long is closed
            // before the end.
            client.until_closed().await;
            // Beside us, so that Ctrl-C is heard meanwhile.
            let _ = tokio::task::spawn_blocking(move || ending.wait()).await;
            Ok(())
        };
        let waiting = call::wait(location, end, &mut progress);
        match patience {
            None => waiting.await,
            Some(patience) => tokio::time::timeout(patience, waiting).await.unwrap_or_else(|_| {
                Err(Outcome::TimedOut {
                    message: "not everything has stopped in time; it goes on".to_owned(),
                })
            }),
        }
    })
}
