//! What is looked for in the output of a run: the lines of its `log` checks, and its `outputs`.

use super::{Hands, Inbox, Run, checks};
use crate::logs::{self, LogFact, Query, Which};
use crate::reconcile::{Fact, Incarnation};
use crate::spec::{Check, Service, ServiceName};
use crate::view::escape;

/// An output is no longer.
const LONGEST: usize = 4096;

/// One thing that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    pub pattern: String,
    /// The output that it tells; `None`: it is a check's.
    pub output: Option<String>,
}

fn of(service: &Service) -> Vec<Awaited> {
    let of_check = |check: &Check| match check {
        Check::Log(pattern) => Some(Awaited {
            pattern: pattern.clone(),
            output: None,
        }),
        _ => None,
    };
    let of_output = |(name, pattern): (&String, &String)| Awaited {
        pattern: pattern.clone(),
        output: Some(name.clone()),
    };
    let outputs = service.outputs.iter().map(of_output);
    checks(service).filter_map(of_check).chain(outputs).collect()
}

/// What is looked for in one run, in the order in which the pump numbers it. An edit takes things away and brings others;
/// numbers stay.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<Option<Awaited>>);

impl Patterns {
    pub fn of(service: &Service) -> Patterns {
        Patterns(of(service).into_iter().map(Some).collect())
    }

    /// As the pump takes them, before there was an edit.
    pub fn texts(&self) -> Vec<String> {
        let awaited = self.0.iter().flatten();
        awaited.map(|awaited| awaited.pattern.clone()).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, index: usize) -> Option<&Awaited> {
        self.0.get(index)?.as_ref()
    }

    /// From now on that is looked for: what is new in it, and the number of the first of those. What was looked for once and is
    /// again is new: its line may have been told as what it no longer was.
    fn change(&mut self, wanted: Vec<Awaited>) -> (usize, Vec<String>) {
        for known in &mut self.0 {
            known.take_if(|known| !wanted.contains(known));
        }
        let first = self.0.len();
        for awaited in wanted {
            if !self.0.iter().flatten().any(|known| *known == awaited) {
                self.0.push(Some(awaited));
            }
        }
        let fresh = self.0[first..].iter().flatten();
        (first, fresh.map(|awaited| awaited.pattern.clone()).collect())
    }
}

impl Hands {
    /// A live edit may ask for another line, which the run may have printed long ago: whoever mends a pattern that never
    /// matched has seen it.
    pub(super) fn expect_patterns(&mut self, id: Incarnation, service: &Service) {
        // What is prepared is looked at by what it is spawned with: what a step prints does not count.
        let looked_at = |run: &&mut Run| run.logged && run.preparing.is_none();
        let Some(run) = self.runs.get_mut(&id).filter(looked_at) else {
            return;
        };
        let (first, fresh) = run.patterns.change(of(service));
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

    /// A line of its output matches what is looked for.
    pub(super) fn take_match(&mut self, id: Incarnation, index: usize, line: &[u8]) {
        let Some(run) = self.runs.get(&id) else { return };
        let Some(Awaited { pattern, output }) = run.patterns.get(index).cloned() else {
            return;
        };
        let Some(name) = output else {
            run.witness.matched.borrow_mut().insert(pattern);
            self.known.push_back(Fact::Nudged { id });
            return;
        };
        match value(&pattern, line) {
            Ok(value) => self.known.push_back(Fact::OutputFound { id, name, value }),
            Err(words) => {
                let service = run.service.name.clone();
                self.troubles.push((service, format!("its output `{name}` {words}")));
            }
        }
    }
}

/// What a matching line tells: its first group, or all that matched. Colours are no part of it.
fn value(pattern: &str, line: &[u8]) -> Result<String, String> {
    let regex = logs::pattern(pattern)?;
    let mut plain = Vec::new();
    escape::push_line(line, false, &mut plain);
    let captures = regex.captures(&plain).or_else(|| regex.captures(line));
    let told = captures.and_then(|captures| captures.get(1).or_else(|| captures.get(0)));
    let told = told.ok_or_else(|| "is not where it was seen".to_owned())?.as_bytes();
    if told.len() > LONGEST {
        return Err(format!("has more than {LONGEST} bytes"));
    }
    let text = String::from_utf8_lossy(told);
    Ok(text.chars().filter(|letter| !letter.is_control()).collect())
}

fn matched(service: &ServiceName, run: u32, index: usize, line: Vec<u8>) -> LogFact {
    LogFact::Matched {
        service: service.clone(),
        run,
        index,
        line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_that_is_taken_back_looks_anew_and_the_old_number_means_nothing() {
        let awaited = |pattern: &str| Awaited {
            pattern: pattern.to_owned(),
            output: Some("url".to_owned()),
        };
        let check = Awaited {
            pattern: "ready".to_owned(),
            output: None,
        };
        let mut patterns = Patterns(vec![Some(check.clone()), Some(awaited("one"))]);
        assert_eq!(patterns.change(vec![check.clone(), awaited("one")]), (2, vec![]));
        assert_eq!(
            patterns.change(vec![check.clone(), awaited("two")]),
            (2, vec!["two".to_owned()])
        );
        assert_eq!(patterns.get(1), None);
        assert_eq!(
            patterns.change(vec![check.clone(), awaited("one")]),
            (3, vec!["one".to_owned()])
        );
        assert_eq!(
            (0..4).map(|index| patterns.get(index)).collect::<Vec<_>>(),
            [Some(&check), None, None, Some(&awaited("one"))]
        );
    }

    #[test]
    fn the_first_group_counts_and_colours_do_not() {
        let pattern = r"https://\S+";
        assert_eq!(value(pattern, b"at https://a.b/c now").unwrap(), "https://a.b/c");
        assert_eq!(value(pattern, b"at \x1b[32mhttps://a.b\x1b[0m").unwrap(), "https://a.b");
        assert_eq!(value("key=(\\w+);", b"key=abc;").unwrap(), "abc");
        assert_eq!(value("key=(.+);", b"key=a\x07\xffb;").unwrap(), "a^G\u{fffd}b");
        let long = [b"https://".to_vec(), vec![b'a'; 5000]].concat();
        assert!(value(pattern, &long).unwrap_err().contains("more than 4096"));
    }
}
