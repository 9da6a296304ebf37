//! A verb's conversation with the running project.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

use super::args::Global;
use super::outcome::Outcome;
use super::progress::Progress;
use super::{Result, project, reach, terminal};
use crate::api::client::{self, Chunks, Client};
use crate::config::find::Location;
use crate::guardian;
use crate::sys::places::{self, Place};
use crate::sys::processes;

/// What is answered at once is, even on a busy machine, by then.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A running project, connected.
pub struct Call {
    pub location: Location,
    pub client: Client,
}

impl Call {
    /// # Errors
    /// No runner is up here.
    pub async fn begin(global: &Global) -> Result<Call> {
        let (location, stream) = project::locate_running(global)?;
        let stream = reach::require((location.clone(), stream))?;
        let client = reach::client(stream).await?;
        Ok(Call { location, client })
    }

    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        in_time(&self.location, self.client.get(path)).await
    }
}

/// One question that is answered at once. Of a runner that does not answer it is said why.
pub async fn in_time<T>(
    location: &Location,
    answer: impl Future<Output = std::result::Result<T, client::Error>>,
) -> Result<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(silent(location)),
    }
}

/// An answer that may take its time, or the beginning of one that goes on. A runner that was stopped gives none: then it is
/// said who is, and what to do.
pub async fn unless_stopped<T>(location: &Location, answer: impl Future<Output = T>) -> Result<T> {
    let mut answer = std::pin::pin!(answer);
    loop {
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut answer).await {
            return Ok(answer);
        }
        if let Some(why) = stopped(location) {
            return Err(why);
        }
    }
}

/// An answer that goes on, as long as somebody reads what we make of it.
pub struct Flow {
    chunks: Chunks,
    unread: Pin<Box<dyn Future<Output = ()>>>,
    is_unread: bool,
}

impl Flow {
    pub async fn begin(location: &Location, client: &mut Client, path: &str) -> Result<Flow> {
        Ok(Flow {
            chunks: unless_stopped(location, client.stream(path)).await??,
            unread: Box::pin(terminal::unread()),
            is_unread: false,
        })
    }

    /// `None`: that was all, or nobody reads it any more.
    pub async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            chunk = self.chunks.next() => chunk,
            () = &mut self.unread => {
                self.is_unread = true;
                None
            }
        }
    }

    /// Where it ended in the middle because its daemon was killed, or replaced by `upgrade`: the same of the one that
    /// has taken over. `None`: that was all.
    pub async fn again(&self, location: &Location, path: &str) -> Result<Option<Flow>> {
        while !self.is_unread
            && self.chunks.is_broken()
            && let Some(stream) = reach::running(location)?
        {
            let mut client = reach::client(stream).await?;
            match unless_stopped(location, client.stream(path)).await? {
                Ok(chunks) => {
                    return Ok(Some(Flow {
                        chunks,
                        unread: Box::pin(terminal::unread()),
                        is_unread: false,
                    }));
                }
                // That one is gone as well.
                Err(client::Error::Lost(_)) => {}
                Err(client::Error::Refused(refusal)) if refusal.is_ending() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

/// One question whose answer may take its time; meanwhile it is shown what is not there yet. Ctrl-C ends the waiting,
/// not what was asked for.
pub async fn wait<T>(
    location: &Location,
    answer: impl Future<Output = std::result::Result<T, client::Error>>,
    progress: &mut Progress,
) -> Result<T> {
    let listen = |kind| signal(kind).map_err(Outcome::io("listen for signals"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut answer = std::pin::pin!(unless_stopped(location, answer));
    let outcome = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break Ok(answer??),
            Some(()) = interrupt.recv() => break Err(Outcome::Interrupted),
            Some(()) = terminate.recv() => break Err(Outcome::Interrupted),
            () = progress.tick() => progress.look(location).await,
        }
    };
    progress.erase();
    outcome
}

/// It holds its socket and says nothing: what is known of it without asking.
pub fn silent(location: &Location) -> Outcome {
    if let Some(stopped) = stopped(location) {
        return stopped;
    }
    let folder = location.dir.display();
    let Some(guardian) = guardian_of(location) else {
        return Outcome::failed(format!("the runner of {folder} does not answer"));
    };
    Outcome::Failed {
        message: format!("the runner of {folder} (pid {guardian}) does not answer, though it holds the project's lock"),
        suggestion: Some("is the machine short of memory or processor time? its services run meanwhile".to_owned()),
    }
}

/// One of its two processes does not run until somebody lets it.
fn stopped(location: &Location) -> Option<Outcome> {
    let guardian = guardian_of(location)?;
    let mut roles = vec![guardian];
    roles.extend(processes::children(guardian));
    let stopped = roles.into_iter().filter_map(processes::stat).find(|stat| {
        // Services are children of the guardian as well, and may be stopped as they like.
        matches!(stat.state, 'T' | 't')
            && (stat.pid == guardian || stat.name.as_bytes() == guardian::DAEMON_NAME.to_bytes())
    })?;
    let (folder, pid) = (location.dir.display(), stopped.pid);
    Some(Outcome::Failed {
        message: format!("the runner of {folder} does not answer: pid {pid} is stopped (SIGSTOP)"),
        suggestion: Some(format!("`kill -CONT {pid}` lets it go on; its services run meanwhile")),
    })
}

/// By what stands in the project's lock, whether or not it still lives.
pub fn guardian_of(location: &Location) -> Option<u32> {
    let candidates = places::runtime_candidates(&location.key, &location.dir.join(reach::STATE_DIR));
    let state_dir = candidates
        .iter()
        .find_map(|folder| Place::read(folder))
        .map_or_else(|| location.dir.join(reach::STATE_DIR), |place| place.state_dir);
    reach::holder_of(&state_dir)
}
