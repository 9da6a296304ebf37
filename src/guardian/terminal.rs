//! The command that has our terminal: what Ctrl-Z and `fg` mean, and the signals that are meant for it.

use super::guard::Guard;
use crate::sys::{pidfd, reap, signals, tty};

/// Signals that mean nothing to us and may mean something to the command.
pub(super) const ITS_OWN: [i32; 3] = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// Ctrl-Z stops the command's group only, and the shell that waits for us is to see it. Nobody waits for an init, and nobody could
/// let the command go on: so it goes on at once.
pub(super) fn follow_stop(command: u32) {
    if !reap::was_stopped(command) {
    } else if std::process::id() == 1 {
        let _ = pidfd::signal_group_of_child(command, libc::SIGCONT);
    } else if tty::take_back(command) {
        signals::stop_ourselves();
    }
}

/// We were let go on. In the foreground again, we hand that over.
pub(super) fn go_on(command: u32) {
    tty::give_to(command);
    let _ = pidfd::signal_group_of_child(command, libc::SIGCONT);
}

impl Guard {
    /// The command of `up -- CMD`, while it lives.
    pub(super) fn on_terminal(&self) -> Option<u32> {
        let command = self.held.get(&self.command?)?;
        (!command.adopted && command.ended.is_none()).then_some(command.main)
    }
}
