//! What a service has to print for its `log` checks.

use super::{Hands, Inbox, checks};
use crate::logs::{self, LogFact, Query, Which};
use crate::reconcile::Incarnation;
use crate::spec::{Check, Service, ServiceName};

pub(super) fn of(service: &Service) -> Vec<String> {
    let pattern = |check: &Check| match check {
        Check::Log(pattern) => Some(pattern.clone()),
        _ => None,
    };
    checks(service).filter_map(pattern).collect()
}

impl Hands {
    /// A live edit may ask for another line, which the run may have printed long ago: whoever mends a pattern that never
    /// matched has seen it.
    pub(super) fn expect_patterns(&mut self, id: Incarnation, service: &Service) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.logged) else {
            return;
        };
        let mut fresh = of(service);
        fresh.retain(|pattern| !run.patterns.contains(pattern));
        let first = run.patterns.len();
        run.patterns.extend(fresh.iter().cloned());
        let Some(log) = self.pump.place(&service.name, &run.service.log) else {
            return;
        };
        if fresh.is_empty() {
            return;
        }
        self.pump.expect(&service.name, id.run, first, &fresh);
        let name = service.name.clone();
        let seams = self.pump.seams(vec![(name.clone(), log.clone())]);
        let inbox = self.inbox.clone();
        // A log may be long: the loop does not wait for it.
        tokio::task::spawn_blocking(move || {
            let seams = seams.recv().unwrap_or_default();
            for (pattern, index) in fresh.iter().zip(first..) {
                let query = Query {
                    run: Some(Which::Number(id.run)),
                    grep: logs::pattern(pattern).ok(),
                    ..Query::default()
                };
                let lines = logs::read_to(&log, &query, seams.first());
                // What can't be read has no line; what is printed from now on is seen all the same.
                if let Some(Ok(line)) = lines.ok().and_then(|mut lines| lines.next()) {
                    let _ = inbox.send(Inbox::Log(matched(&name, id.run, index, line.bytes)));
                }
            }
        });
    }
}

fn matched(service: &ServiceName, run: u32, index: usize, line: Vec<u8>) -> LogFact {
    LogFact::Matched {
        service: service.clone(),
        run,
        index,
        line,
    }
}
