//! Starting a project that can write nowhere: the name of its socket is its lock.

use std::io::ErrorKind;

use super::Result;
use super::call::silent;
use super::outcome::Outcome;
use super::reach::{self, Reached, SOCKET, Start};
use crate::sys::lock::Lock;
use crate::sys::places::nameless;

/// As [`reach::or_start`]: of any number of callers exactly one gets the name.
pub fn or_start(start: &Start<'_>) -> Result<Reached> {
    let socket = start.state_dir.join(SOCKET);
    let name = nameless::name_of(&socket).unwrap_or_default();
    loop {
        match nameless::listen(name) {
            Ok(listener) => {
                let reached = reach::launch(start, start.state_dir, Lock::inherited(listener.into()))?;
                reach::say_loss(start, start.state_dir);
                return Ok(reached);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(Outcome::io(format_args!("listen at @{name}"))(error)),
        }
        match reach::connect(&socket) {
            Ok(stream) => return Ok(Reached::Joined(stream)),
            // It has ended meanwhile.
            Err(error) if reach::is_nobody(&error) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(silent(start.location)),
            Err(error) => {
                return Err(Outcome::Failed {
                    message: format!("nothing can be written here, and {error}"),
                    suggestion: Some("give runner a folder that it can write: a tmpfs at /tmp, say".to_owned()),
                });
            }
        }
    }
}
