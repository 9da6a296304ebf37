//! What the log files hold, as the lines of `logs`: the same whether the daemon reads them or, when nothing runs, a client.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;

use super::lines;
use crate::config::{self, Unknown};
use crate::logs::{self, Line, LogPlace, Partial, Query, Seam, Stream};
use crate::spec::{LogTarget, Project, ServiceName};

/// Encoded lines go out in pieces of about this size.
pub const BATCH: usize = 64 * 1024;

/// Why there is nothing to read.
pub const NO_LOG: &str = "what is named has `log = false`";
/// The same of CMD of `up -- CMD`.
pub const NOT_CAPTURED: &str = "what stands behind `--` has runner's own stdout and stderr: it is not captured";

/// The log of one service.
pub type Source = (ServiceName, LogPlace);

/// The logs that the words name; no words: all. `place` knows where they are. A service that is not in the file any more is still
/// read by its name. Nothing at all: everything named keeps no log.
///
/// # Errors
/// The first word that names nothing.
pub fn sources(
    project: &Project,
    words: &[String],
    place: impl Fn(&ServiceName, &LogTarget) -> Option<LogPlace>,
) -> Result<Vec<Source>, Unknown> {
    let of_name = |name: &ServiceName| {
        let place = place(name, &project.services[name.as_str()].log);
        place.map(|place| (name.clone(), place))
    };
    if words.is_empty() {
        return Ok(project.services.keys().filter_map(&of_name).collect());
    }
    let mut sources: Vec<Source> = Vec::new();
    for word in words {
        match config::select(project, std::slice::from_ref(word)) {
            Ok(names) => sources.extend(names.iter().filter_map(&of_name)),
            Err(unknown) => sources.push(left_behind(project, word).ok_or(unknown)?),
        }
    }
    let mut seen = std::collections::HashSet::new();
    sources.retain(|(name, _)| seen.insert(name.clone()));
    Ok(sources)
}

/// The log of a service that was taken out of the file, where logs are by default.
fn left_behind(project: &Project, name: &str) -> Option<Source> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if name.starts_with('.') || !name.bytes().all(is_plain) {
        return None;
    }
    let file = project.state_dir.join("logs").join(format!("{name}.log"));
    file.is_file().then(|| (ServiceName::new(name), LogPlace::Files(file)))
}

/// How reading went.
#[derive(Debug, Default)]
pub struct Past {
    /// Whoever reads does not want any more.
    pub is_enough: bool,
    /// Logs that could not be read (to their end), in words.
    pub troubles: Vec<String>,
    /// Lines that may get their end behind the seam.
    pub unfinished: Vec<(ServiceName, Partial)>,
}

/// All logs merged by time, up to their seams if there are any, as JSON lines in pieces. `emit` tells whether somebody reads on.
pub fn read(sources: &[Source], seams: &[Seam], query: &Query, emit: &mut dyn FnMut(Bytes) -> bool) -> Past {
    let mut past = Past::default();
    let mut logs: Vec<Option<logs::Lines>> = Vec::new();
    // The next line of each, the oldest first; of two of the same instant the one that is named first.
    let mut heads = BinaryHeap::new();
    for (at, (name, log)) in sources.iter().enumerate() {
        let opened = logs::read_to(log, query, seams.get(at));
        logs.push(past.noted(name, opened));
        past.advance(at, name, &mut logs[at], &mut heads);
    }
    let mut batch = Vec::new();
    while let Some(Reverse(Head { at, line })) = heads.pop() {
        let name = &sources[at].0;
        encode(name, &line, &mut batch);
        past.advance(at, name, &mut logs[at], &mut heads);
        if batch.len() > BATCH && !emit(Bytes::from(std::mem::take(&mut batch))) {
            past.is_enough = true;
            return past;
        }
    }
    past.is_enough = !batch.is_empty() && !emit(Bytes::from(batch));
    past
}

impl Past {
    fn noted<T>(&mut self, name: &ServiceName, result: std::io::Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                self.troubles
                    .push(format!("the log of {name} could not be read: {error}"))
            })
            .ok()
    }

    fn advance(
        &mut self,
        at: usize,
        name: &ServiceName,
        log: &mut Option<logs::Lines>,
        heads: &mut BinaryHeap<Reverse<Head>>,
    ) {
        let Some(lines) = log else { return };
        match lines.next() {
            Some(Ok(line)) => heads.push(Reverse(Head { at, line })),
            Some(Err(error)) => {
                self.noted::<()>(name, Err(error));
                *log = None;
            }
            None => {
                let unfinished = log.take().expect("just looked at").into_unfinished();
                self.unfinished
                    .extend(unfinished.into_iter().map(|partial| (name.clone(), partial)));
            }
        }
    }
}

struct Head {
    at: usize,
    line: Line,
}

impl Head {
    fn key(&self) -> (i64, usize) {
        (self.line.time_ns, self.at)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// One line as `logs --json` shows it.
pub fn encode(service: &ServiceName, line: &Line, batch: &mut Vec<u8>) {
    let mut head = Vec::new();
    lines::head(line.time_ns, service.as_str(), line.run, line.stream, &mut head);
    lines::line(&head, &line.bytes, line.continued, batch);
}

/// So many lines were missed.
pub fn encode_gap(service: &ServiceName, run: u32, stream: Stream, time_ns: i64, lines: u64, batch: &mut Vec<u8>) {
    let mut head = Vec::new();
    lines::head(time_ns, service.as_str(), run, stream, &mut head);
    lines::gap(&head, lines, batch);
}
