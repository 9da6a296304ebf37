//! A state folder that the runner of another project folder uses: the folder was moved while it ran, or two name the same
//! `state_dir`.

use std::path::Path;

use super::clean::LOCK;
use super::outcome::Outcome;
use super::reach;
use crate::config::find::Location;
use crate::sys::identity;
use crate::sys::lock::{Lock, LockText};
use crate::sys::places::Place;

/// What to say of it (`TW-07`); `None`: nobody has it, or our own runner.
pub fn user_of(location: &Location, state_dir: &Path) -> Option<Outcome> {
    let lock = state_dir.join(LOCK);
    let text = LockText::read(&lock)?;
    let is_here = text.boot_id == identity::boot_id() && text.pid_namespace == identity::pid_namespace();
    let is_ours = text.runtime_dir.file_name() == Some(location.key.as_ref())
        || text.runtime_dir == location.dir.join(reach::STATE_DIR).join("run");
    if !is_here || is_ours || !Lock::is_held(&lock) {
        return None;
    }
    let place = Place::read(&text.runtime_dir).filter(|place| place.dir != location.dir)?;
    let (dir, pid) = (place.dir.display(), text.guardian);
    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    Some(Outcome::Failed {
        message: format!("{} is in use by the runner of {dir}{pid}", state_dir.display()),
        suggestion: Some(match place.dir.is_dir() {
            true => format!("`runner -C {dir} down`, or give one of the two another `state_dir`"),
            false => format!("`runner -C {dir} down`: that folder was moved while its project ran"),
        }),
    })
}
