//! What a person or a terminal says to an `up` that follows.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::Result;
use super::super::outcome::Outcome;

pub struct Signals {
    pub interrupt: Signal,
    pub terminate: Signal,
    pub hangup: Signal,
}

impl Signals {
    pub fn listen() -> Result<Signals> {
        let listen = |kind| signal(kind).map_err(Outcome::io("listen for signals"));
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}
