//! The sockets of sd_notify: bound for a run, held by the guardian as well, and listened to.

use std::io;
use std::os::fd::OwnedFd;

use tokio::task::AbortHandle;

use super::{Hands, Inbox, checks};
use crate::daemon::launch::Setting;
use crate::probe::NotifySocket;
use crate::reconcile::{Failure, Incarnation, Reason};
use crate::spec::{Check, Service, ServiceName};
use crate::sys;
use crate::sys::places::nameless;

impl Hands {
    /// The socket, and a copy of it for the guardian, who holds it when we are gone.
    pub(super) fn bind_for_notifications(
        &self,
        id: Incarnation,
        label: &ServiceName,
        setting: &mut Setting,
    ) -> Result<(NotifySocket, OwnedFd), Failure> {
        let name = format!("{label}.{}.notify", id.run);
        let socket = match setting.credentials() {
            None if !nameless::is_nowhere(&self.runtime_dir) => NotifySocket::bind(&self.runtime_dir.join(name)),
            // Abstract names have no owner: one that can't be known beforehand can't be taken beforehand.
            _ => {
                let unforeseen = sys::clock::now().mono_ns;
                NotifySocket::bind_abstract(&format!("runner/{}/{name}.{unforeseen}", self.surroundings.instance))
            }
        };
        let refused = |error: io::Error| Failure {
            reason: Reason::OutOfResources,
            message: format!("no notify socket: {error}"),
            suggestion: None,
        };
        let socket = socket.map_err(refused)?;
        let copy = socket.copy().map_err(refused)?;
        setting.give("NOTIFY_SOCKET", socket.address());
        Ok((socket, copy))
    }

    pub(super) fn hear_notifications(&self, id: Incarnation, socket: NotifySocket) -> AbortHandle {
        let inbox = self.inbox.clone();
        let task = tokio::task::spawn_local(async move {
            while let Ok(notification) = socket.next().await {
                if inbox.send(Inbox::Notified(id, notification)).is_err() {
                    return;
                }
            }
        });
        task.abort_handle()
    }
}

pub(super) fn uses_notify(service: &Service) -> bool {
    checks(service).any(|check| matches!(check, Check::Notify))
}
