//! How the process becomes a daemon: its name, its limits, its voice, its loop.

use std::ffi::OsString;
use std::io;

use tokio::task::LocalSet;

use super::run;
use crate::api::boot::Boot;
use crate::{guardian, sys};

/// The daemon from start to end; the exit code is the project's. `boot` is a [`Boot`] in JSON.
pub fn main(boot: OsString) -> u8 {
    // `SG-01`: what comes before anybody listens waits.
    sys::signals::hold_back();
    sys::identity::set_name(guardian::DAEMON_NAME);
    // `RL-05`: two for each service. They are not inherited: the guardian starts everything.
    sys::limits::raise_descriptors();
    sys::limits::make_room_for_descriptors();
    // `SG-01`: only the signals of the loop mean anything, and they are listened to from `start` on.
    sys::signals::ignore_strays();
    let boot: Boot = match serde_json::from_slice(boot.as_encoded_bytes()) {
        Ok(boot) => boot,
        Err(error) => {
            eprintln!("`__daemon` is for runner's own use: {error}");
            return 2;
        }
    };
    // Where our stderr is the user's, what happens is told as events.
    let level = match boot.console {
        Some(_) => tracing::Level::ERROR,
        None => tracing::Level::INFO,
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level)
        .with_writer(|| OwnLog)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "could not start the event loop");
            return 1;
        }
    };
    let outcome = LocalSet::new().block_on(&runtime, run::live(boot));
    // A blocking task (a foreign name that is being resolved) must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Where the daemon writes about itself. What can't be written (a full disk) is lost; nothing else depends on it, and a
/// failure would be reported to the same place.
struct OwnLog;

impl io::Write for OwnLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
