//! Lines out of what a subscription brings, by the same rules as those that are read back.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::cut::{Line, Partial};
use super::query::{Query, Which};
use super::seam::Seam;
use super::{Output, Stream};
use crate::spec::ServiceName;

/// What a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Line(ServiceName, Line),
    /// So many lines are in the files only; how many of them would have matched nobody knows.
    Skipped {
        service: ServiceName,
        run: u32,
        stream: Stream,
        time_ns: i64,
        lines: u64,
    },
}

/// Memory is bounded: 64 KiB for each stream, and the output that was handed in last.
#[derive(Debug)]
pub struct Follow {
    query: Query,
    /// With a run asked for: the services of which it may still write.
    wanted: Option<HashSet<ServiceName>>,
    /// `until` has passed.
    is_late: bool,
    lanes: HashMap<(ServiceName, Stream), Partial>,
    ready: VecDeque<Told>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    service: ServiceName,
    run: u32,
    stream: Stream,
    time_ns: i64,
    bytes: Bytes,
    cut: usize,
}

impl Follow {
    /// `seams` of the services that are followed, as the pump has told them.
    pub fn new<'a>(query: &Query, seams: impl Iterator<Item = (&'a ServiceName, &'a Seam)>) -> Follow {
        let wanted = query.run.map(|which| match which {
            Which::Number(number) => seams
                .filter(|(_, seam)| seam.open_run(number).is_some())
                .map(|(service, _)| service.clone())
                .collect(),
            Which::Previous => HashSet::new(),
        });
        Follow {
            query: query.clone(),
            wanted,
            is_late: false,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            current: None,
        }
    }

    /// A line that was begun before the seam.
    pub fn begin(&mut self, service: ServiceName, partial: Partial) {
        self.lanes.insert((service, partial.stream), partial);
    }

    /// Nothing that is wanted can come any more.
    pub fn is_over(&self) -> bool {
        self.is_late || self.wanted.as_ref().is_some_and(HashSet::is_empty)
    }

    /// Hands in one output; iterating tells what it brings, and must have come to its end before.
    pub fn hand_in(&mut self, output: Output) {
        match output {
            Output::Chunk {
                service,
                run,
                stream,
                time_ns,
                bytes,
            } => {
                if !self.is_wanted(&service, run, stream) {
                    return;
                }
                self.is_late |= self.query.until_ns.is_some_and(|until| until < time_ns);
                let lane = self.lane(&service, run, stream);
                if lane.run != run {
                    let line = lane.finish();
                    *lane = Partial::new(run, stream);
                    self.tell(&service, line);
                }
                self.current = Some(Current {
                    service,
                    run,
                    stream,
                    time_ns,
                    bytes,
                    cut: 0,
                });
            }
            Output::Skipped {
                service,
                run,
                stream,
                time_ns,
                lines,
                within_line,
                ..
            } => {
                if self.is_wanted(&service, run, stream) {
                    self.skip((service, run, stream), time_ns, lines, within_line);
                }
            }
            Output::Ended { service, run } => self.end(&service, run),
        }
    }

    /// Everything is over: what has no end is a line too.
    pub fn finish(&mut self) {
        let mut rest: Vec<_> = self.lanes.drain().collect();
        rest.sort_by(|one, other| one.0.cmp(&other.0));
        for ((service, _), mut partial) in rest {
            let line = partial.finish();
            self.tell(&service, line);
        }
    }

    fn is_wanted(&self, service: &ServiceName, run: u32, stream: Stream) -> bool {
        let is_its_run = match self.query.run {
            Some(Which::Number(number)) => number == run,
            Some(Which::Previous) => false,
            None => true,
        };
        let may_write = self.wanted.as_ref().is_none_or(|wanted| wanted.contains(service));
        is_its_run && may_write && self.query.is_in_stream(stream)
    }

    fn lane(&mut self, service: &ServiceName, run: u32, stream: Stream) -> &mut Partial {
        self.lanes
            .entry((service.clone(), stream))
            .or_insert_with(|| Partial::new(run, stream))
    }

    fn tell(&mut self, service: &ServiceName, line: Option<Line>) {
        let line = line.filter(|line| self.query.matches(line));
        self.ready.extend(line.map(|line| Told::Line(service.clone(), line)));
    }

    /// Only whole lines are told, so a line of which a part was missed is missed as a whole, and counted once.
    fn skip(&mut self, of: (ServiceName, u32, Stream), time_ns: i64, newlines: u64, within_line: bool) {
        let (service, run, stream) = of;
        let lane = self.lane(&service, run, stream);
        let counted_before = lane.is_left_out();
        let lines = match (counted_before, newlines) {
            (true, 0) => 0,
            (true, newlines) => newlines - 1 + u64::from(within_line),
            (false, newlines) => newlines + u64::from(within_line),
        };
        *lane = Partial::new(run, stream);
        lane.leave_out(within_line);
        if lines > 0 {
            self.ready.push_back(Told::Skipped {
                service,
                run,
                stream,
                time_ns,
                lines,
            });
        }
    }

    fn end(&mut self, service: &ServiceName, run: u32) {
        for stream in [Stream::Out, Stream::Err] {
            let key = (service.clone(), stream);
            if self.lanes.get(&key).is_some_and(|lane| lane.run == run) {
                let line = self.lanes.remove(&key).and_then(|mut lane| lane.finish());
                self.tell(service, line);
            }
        }
        if let (Some(wanted), Some(Which::Number(number))) = (&mut self.wanted, self.query.run)
            && number == run
        {
            wanted.remove(service);
        }
    }
}

/// The lines that are complete; `None`: hand in more.
impl Iterator for Follow {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        if let Some(told) = self.ready.pop_front() {
            return Some(told);
        }
        while let Some(mut current) = self.current.take() {
            if current.cut == current.bytes.len() {
                return None;
            }
            let in_time = self.query.is_in_time(current.time_ns);
            let mut rest = &current.bytes[current.cut..];
            let lane = self.lane(&current.service, current.run, current.stream);
            let line = lane.take(&mut rest, current.time_ns, in_time);
            current.cut = current.bytes.len() - rest.len();
            let line = line.filter(|line| self.query.matches(line));
            let told = line.map(|line| Told::Line(current.service.clone(), line));
            self.current = Some(current);
            if told.is_some() {
                return told;
            }
        }
        None
    }
}
