//! Where clients find us: the socket in the runtime folder, and what is done when somebody takes the folder away (`CR-10`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Daemon;
use crate::api::boot::{Boot, SOCKET};
use crate::api::server::{self, Call};
use crate::daemon::rebirth::Estate;
use crate::guardian::records;
use crate::sys::lock::LockText;
use crate::sys::places::{self, Place, nameless};

/// Who can't get into the queue of our own socket within this has found it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lets clients in, through every socket that there was.
pub(super) struct Door {
    calls: mpsc::Sender<Call>,
    closing: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Door {
    pub fn new(calls: mpsc::Sender<Call>) -> Door {
        Door {
            calls,
            closing: watch::Sender::new(false),
            servers: Vec::new(),
        }
    }

    /// # Errors
    /// No descriptors are left.
    pub fn open(&mut self, listener: &OwnedFd) -> io::Result<()> {
        let listener = std::os::unix::net::UnixListener::from(Estate::copy(listener)?);
        listener.set_nonblocking(true)?;
        let serve = server::serve(
            UnixListener::from_std(listener)?,
            self.calls.clone(),
            self.closing.subscribe(),
        );
        self.servers.push(tokio::task::spawn_local(serve));
        Ok(())
    }

    /// Nobody is let in any more; waits so long until the last words are read. `false`: somebody has not read them.
    pub async fn close(self, patience: Duration) -> bool {
        self.closing.send_replace(true);
        let read = async {
            for server in self.servers {
                let _ = server.await;
            }
        };
        tokio::time::timeout(patience, read).await.is_ok()
    }
}

/// The socket that was handed down, if it is the one that clients find; else another one in its place.
///
/// # Errors
/// There is none, and none can be made.
pub(super) fn reachable(listener: OwnedFd, boot: &Boot) -> io::Result<OwnedFd> {
    match places::connect(&boot.runtime_dir.join(SOCKET), PATIENCE) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => make(boot),
        _ => Ok(listener),
    }
}

/// The runtime folder as whoever started the project made it, with a new socket.
fn make(boot: &Boot) -> io::Result<OwnedFd> {
    if let Some(base) = boot.runtime_dir.parent().filter(|base| !base.exists()) {
        places::private_dir(base)?;
    }
    places::private_dir(&boot.runtime_dir)?;
    places::private_dir(&records::folder(&boot.runtime_dir))?;
    let place = Place {
        dir: boot.location.dir.clone(),
        name_override: boot.location.name_override.clone(),
        state_dir: boot.state_dir.clone(),
    };
    place.write(&boot.runtime_dir)?;
    Ok(places::listen(&boot.runtime_dir.join(SOCKET))?.into())
}

/// Whoever waits for the end of this runner waits for our parent's.
pub(super) fn name_guardian(lock: &OwnedFd, boot: &Boot) -> io::Result<()> {
    if nameless::is_nowhere(&boot.state_dir) {
        return Ok(());
    }
    let guardian = u32::try_from(nix::unistd::getppid().as_raw()).ok();
    let written = LockText::new(&boot.runtime_dir, guardian).write(&File::from(lock.try_clone()?));
    if let Err(error) = written {
        tracing::warn!(%error, "could not write the guardian's number into the lock");
    }
    Ok(())
}

/// The runtime folder goes with the project.
pub(super) fn remove_places(runtime_dir: &Path) {
    if !nameless::is_nowhere(runtime_dir)
        && let Err(error) = std::fs::remove_dir_all(runtime_dir)
    {
        tracing::warn!(%error, folder = %runtime_dir.display(), "could not remove the runtime folder");
    }
}

impl Daemon {
    /// Somebody may have deleted the runtime folder: it is made again. (Its FIFOs are held open; only their names are lost.)
    pub(super) fn keep_place(&mut self) {
        if nameless::is_nowhere(&self.boot.runtime_dir) || self.boot.runtime_dir.join(SOCKET).exists() {
            return;
        }
        let folder = self.boot.runtime_dir.display().to_string();
        let made = make(&self.boot).and_then(|listener| {
            self.door.open(&listener)?;
            self.estate.listener = listener;
            Ok(())
        });
        match made {
            Ok(()) => self.warn(format!(
                "{folder} was deleted and is made again; services run on, but the records of those that run now are lost: \
                 should guardian and daemon be killed at once, the next `up` does not know them. `runner restart` makes new ones"
            )),
            Err(error) => self.warn(format!(
                "{folder} was deleted and can't be made again: {error}; services run on, and no verb can reach them"
            )),
        }
    }
}
