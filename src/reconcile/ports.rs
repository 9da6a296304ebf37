//! A declared port is held by somebody else: what follows from that.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::spec::{PortConflict, Rung, Service, Signal};

/// So often what holds a port is ended, and another number is asked for, for one start.
const MOST: u32 = 3;

/// A port of a service that was about to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortTaken {
    /// Its name in `ports`.
    pub port: String,
    pub holder: Holder,
    /// Names the port and its owner.
    pub failure: Failure,
}

/// Who holds a port, as far as ending it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Something that an earlier run of this project left behind.
    Leftover,
    /// Processes of the service's user that no runner looks after.
    Stranger,
    /// Nobody whom runner may end. Fits after "it is left alone: ".
    Spared(String),
}

/// What was tried so far for one start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// What held a port was ended.
    pub evictions: u32,
    /// Another number was asked for.
    pub numbers: u32,
    /// The next free port may be taken.
    pub elsewhere: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// By these rungs, then SIGKILL.
    Evict(Vec<Rung>),
    /// The next free port.
    Elsewhere,
    /// An `"auto"` port gets another number.
    Renumber,
    Fail(Failure),
}

/// A leftover of our own is stopped, whatever `on_port_conflict` says; an `"auto"` port moves; else `on_port_conflict` decides.
pub(super) fn resolve(spec: &Service, taken: &PortTaken, tried: &Tried) -> Resolution {
    let failure = taken.failure.clone();
    let evict = |ladder| match tried.evictions < MOST {
        true => Resolution::Evict(ladder),
        false => Resolution::Fail(came_back(failure.clone())),
    };
    if taken.holder == Holder::Leftover {
        return evict(spec.stop.clone());
    }
    if spec.ports.get(&taken.port).is_some_and(|port| port.auto) {
        return match tried.numbers < MOST {
            true => Resolution::Renumber,
            false => Resolution::Fail(failure),
        };
    }
    match (spec.on_port_conflict, &taken.holder) {
        // What several share is the same for all of them.
        (PortConflict::Next, _) if !tried.elsewhere && !is_shared(spec, taken) => Resolution::Elsewhere,
        (PortConflict::Kill, Holder::Spared(why)) => Resolution::Fail(Failure {
            message: format!("{}; it is left alone: {why}", failure.message),
            ..failure
        }),
        (PortConflict::Kill, _) => evict(vec![Rung {
            signal: Signal::TERM,
            wait: spec.stop.iter().map(|rung| rung.wait).sum(),
        }]),
        (PortConflict::Fail | PortConflict::Next, _) => Resolution::Fail(failure),
    }
}

fn is_shared(spec: &Service, taken: &PortTaken) -> bool {
    spec.ports.get(&taken.port).is_some_and(|port| port.shared)
}

fn came_back(failure: Failure) -> Failure {
    Failure {
        message: format!("{}; it was ended {MOST} times and came back", failure.message),
        suggestion: Some("find out what starts it again, or give the service another port".to_owned()),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reconcile::failure::Reason;
    use crate::reconcile::sim::build;

    fn service(on_port_conflict: PortConflict, auto: bool) -> Service {
        let mut web = build::service("web");
        web.on_port_conflict = on_port_conflict;
        web.stop = vec![Rung {
            signal: Signal::INT,
            wait: Duration::from_secs(7),
        }];
        web.ports.insert("http".to_owned(), build::port(3000, auto));
        web
    }

    fn taken(holder: Holder) -> PortTaken {
        PortTaken {
            port: "http".to_owned(),
            holder,
            failure: Failure {
                reason: Reason::PortInUse,
                message: "port 3000 is in use by node".to_owned(),
                suggestion: None,
            },
        }
    }

    fn ladder(signal: Signal) -> Resolution {
        Resolution::Evict(vec![Rung {
            signal,
            wait: Duration::from_secs(7),
        }])
    }

    fn spared() -> Holder {
        Holder::Spared("it belongs to another runner".to_owned())
    }

    #[test]
    fn po_01_nobody_is_ended_who_was_not_meant() {
        let fresh = Tried::default();
        let failed = Resolution::Fail(taken(Holder::Stranger).failure);
        for holder in [Holder::Stranger, spared()] {
            let web = service(PortConflict::Fail, false);
            assert_eq!(resolve(&web, &taken(holder.clone()), &fresh), failed);
            let web = service(PortConflict::Next, false);
            assert_eq!(resolve(&web, &taken(holder), &fresh), Resolution::Elsewhere);
        }
        let web = service(PortConflict::Kill, false);
        assert_eq!(resolve(&web, &taken(Holder::Stranger), &fresh), ladder(Signal::TERM));
        let Resolution::Fail(failure) = resolve(&web, &taken(spared()), &fresh) else {
            panic!("spared")
        };
        let words = "port 3000 is in use by node; it is left alone: it belongs to another runner";
        assert_eq!(failure.message, words);
    }

    #[test]
    fn po_02_a_leftover_is_stopped_whatever_the_file_says() {
        for conflict in [PortConflict::Fail, PortConflict::Next, PortConflict::Kill] {
            for auto in [false, true] {
                let resolution = resolve(&service(conflict, auto), &taken(Holder::Leftover), &Tried::default());
                assert_eq!(resolution, ladder(Signal::INT), "{conflict:?}");
            }
        }
    }

    #[test]
    fn po_05_an_auto_port_moves_and_nobody_is_ended_for_it() {
        for conflict in [PortConflict::Fail, PortConflict::Next, PortConflict::Kill] {
            let web = service(conflict, true);
            assert_eq!(
                resolve(&web, &taken(Holder::Stranger), &Tried::default()),
                Resolution::Renumber
            );
        }
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let tried = Tried {
            evictions: MOST,
            numbers: MOST,
            elsewhere: true,
        };
        let fails = |web: Service, holder| matches!(resolve(&web, &taken(holder), &tried), Resolution::Fail(_));
        assert!(fails(service(PortConflict::Kill, false), Holder::Stranger));
        assert!(fails(service(PortConflict::Fail, false), Holder::Leftover));
        assert!(fails(service(PortConflict::Next, false), Holder::Stranger));
        assert!(fails(service(PortConflict::Fail, true), Holder::Stranger));
    }
}
