//! `down`: stops everything in reverse order and ends runner.

use super::Result;
use super::args::{Down, Global};
use super::progress::Progress;
use super::reach::Holder;
use super::{call, project, reach, terminal};
use crate::api::client;
use crate::api::wire::{DownAnswer, DownRequest};

pub fn down(global: &Global, args: &Down) -> Result<u8> {
    let (location, stream) = project::locate_running(global)?;
    let Some(stream) = stream else {
        if !global.quiet {
            terminal::say(format_args!("nothing is running for {}", location.dir.display()));
        }
        return Ok(0);
    };
    let timeout_ms = args
        .timeout
        .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let request = DownRequest {
        timeout_ms,
        hasten: false,
        because: None,
    };
    reach::converse(async {
        let mut client = reach::client(stream).await?;
        let mut progress = Progress::new(global, false);
        let end = async {
            let ending = match client.post::<DownAnswer>("/v1/down", &request).await {
                Ok(answer) => Holder::named(&answer.lock, answer.guardian),
                // Somebody else has asked for it already.
                Err(client::Error::Lost(_)) => Holder::Nobody,
                Err(client::Error::Refused(refusal)) if refusal.is_ending() => Holder::Nobody,
                Err(error) => return Err(error),
            };
            // The lock alone says it all, unless somebody has deleted it; and a connection that is idle for long is closed
            // before the end.
            client.until_closed().await;
            // Beside us, so that Ctrl-C is heard meanwhile.
            let _ = tokio::task::spawn_blocking(move || ending.wait()).await;
            Ok(())
        };
        call::wait(&location, end, &mut progress).await
    })?;
    if !global.quiet {
        terminal::say(format_args!("everything has stopped in {}", location.dir.display()));
    }
    Ok(0)
}
