//! A round has panicked: a defect of ours, which no service pays for.
//!
//! What a round has half done nobody knows, and a daemon may wait for its other half. So the daemon is ended, and we become
//! ourselves anew as an upgrade does it: we keep our number and with it our children, and tell another daemon what we hold.

use std::os::unix::ffi::OsStrExt;
use std::process::exit;

use super::closing::code;
use super::guard::Guard;
use super::held::Life;
use super::renewal::After;
use crate::reconcile::ExitStatus;
use crate::sys::rescue::Rescue;
use crate::sys::{pidfd, program, reap};

impl Rescue for Guard {
    /// Comes back where we can't become anything; our words say why.
    fn rescue(&mut self, panic: &str) {
        self.note(&format!("a defect in runner, please report it: {panic}"));
        if self.finished {
            // Nothing is held any more, and the daemon ends with the code that is ours.
            let status = self.end_of_daemon();
            self.leave_cgroups();
            exit(status.map_or(0, code));
        }
        if self.revival.is_none() {
            return;
        }
        // Its end of the order socket would tell it that we are no more, and it would become what we are.
        if let Some(daemon) = self.daemon.filter(|_| self.daemon_ended.is_none()) {
            let _ = pidfd::signal_child(daemon, libc::SIGKILL);
        }
        self.daemon_ended = self.end_of_daemon();
        let errands = self.held.values().filter(|held| held.reap_tree);
        for errand in errands.filter(|held| held.life != Life::Empty) {
            errand.signal_group(libc::SIGKILL, self.groups_by_pidfd);
        }
        for place in program::candidates() {
            let error = self.renew(place.as_os_str().as_bytes(), After::Panic);
            self.note(&format!("could not begin anew as {}: {error}", place.display()));
        }
    }
}

impl Guard {
    fn end_of_daemon(&self) -> Option<ExitStatus> {
        let reaped = || Some(reap::last(self.daemon?).unwrap_or(ExitStatus::Unknown));
        self.daemon_ended.or_else(reaped)
    }
}
