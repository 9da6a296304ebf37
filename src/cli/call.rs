//! A verb's conversation with the running project.

use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

use super::args::Global;
use super::outcome::Outcome;
use super::progress::Progress;
use super::{Result, project, reach};
use crate::api::client::{self, Client};
use crate::config::find::Location;

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

    /// One question that is answered at once. Of a runner that does not answer it is said why.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        match tokio::time::timeout(reach::PATIENCE, self.client.get(path)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(reach::silent(&self.location)),
        }
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
    let mut answer = std::pin::pin!(answer);
    let outcome = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break Ok(answer?),
            Some(()) = interrupt.recv() => break Err(Outcome::Interrupted),
            Some(()) = terminate.recv() => break Err(Outcome::Interrupted),
            () = progress.tick() => progress.look(location).await,
        }
    };
    progress.erase();
    outcome
}
