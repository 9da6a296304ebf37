//! `up -d` waits for the start to come out, beside the output.

use crate::api::{client, wire};
use crate::cli::outcome::Outcome;
use crate::cli::{Result, act, call, reach};
use crate::config::find::Location;
use crate::reconcile::Author;

/// Answers with the outcome of the start.
pub type Arrival = tokio::task::JoinHandle<Result<wire::Acted>>;

/// Waits beside the output, on a connection of its own. Nothing named: until the project has come to rest.
pub fn arrival(location: Location, names: &[String]) -> Arrival {
    let path = act::wait_path(names, "up", None);
    tokio::task::spawn_local(async move {
        // Where the project has ended meanwhile, its stream tells more.
        let Some(stream) = reach::running(&location)? else {
            return std::future::pending().await;
        };
        let mut client = reach::client(stream).await?;
        match call::unless_stopped(&location, client.get(&path)).await? {
            Err(client::Error::Lost(_)) => std::future::pending().await,
            Err(client::Error::Refused(refusal)) if refusal.is_ending() => std::future::pending().await,
            answer => Ok(answer?),
        }
    })
}

/// That outcome, once; for ever nothing where nobody waits for one.
pub async fn arrived(arrival: &mut Option<Arrival>) -> Result<wire::Acted> {
    if let Some(task) = arrival {
        let acted = task.await;
        *arrival = None;
        if let Ok(acted) = acted {
            return acted;
        }
    }
    std::future::pending().await
}

pub fn words(acted: &wire::Acted) -> &'static str {
    match acted.services.is_empty() {
        true => {
            "nothing starts by itself here (`autostart = false`, `profiles`): `runner start NAME`, or `runner --profile NAME up`"
        }
        false => "all is up: `runner logs -f` shows the output, `runner down` stops it",
    }
}

/// For who waited until all was there. Had somebody the project stopped instead, that has not come.
pub fn code_of_an_end(code: u8, by: Author, asked_ourselves: bool) -> u8 {
    match by {
        Author::User | Author::Signal if asked_ourselves => Outcome::Interrupted.code(),
        Author::User | Author::Signal => code.max(1),
        _ => code,
    }
}
