//! What the log files hold, as the lines of `logs`: the same whether the daemon reads them or, when nothing runs, a client.

use std::path::PathBuf;

use base64::Engine;
use bytes::Bytes;

use super::wire;
use crate::logs::{self, Line, Query};
use crate::spec::{LogTarget, Project, ServiceName};

/// Encoded lines go out in pieces of about this size.
pub const BATCH: usize = 64 * 1024;

/// Where the services log that do; nothing named: all.
pub fn files(project: &Project, names: &[ServiceName]) -> Vec<(ServiceName, PathBuf)> {
    let wanted = project
        .services
        .values()
        .filter(|service| names.is_empty() || names.contains(&service.name));
    wanted
        .filter_map(|service| match &service.log {
            LogTarget::File(file) => Some((service.name.clone(), file.file.clone())),
            LogTarget::Off => None,
        })
        .collect()
}

/// All files merged by time, as JSON lines in pieces. `emit` tells whether somebody reads on; so does the answer.
pub fn read(files: &[(ServiceName, PathBuf)], query: &Query, emit: &mut dyn FnMut(Bytes) -> bool) -> bool {
    let mut sources: Vec<_> = files
        .iter()
        .filter_map(|(name, file)| {
            let mut lines = logs::read(file, query).ok()?;
            let head = lines.next()?.ok()?;
            Some((name, head, lines))
        })
        .collect();
    let mut batch = Vec::new();
    while let Some(oldest) = (0..sources.len()).min_by_key(|&at| sources[at].1.time_ns) {
        let (name, head, lines) = &mut sources[oldest];
        encode(name, head, &mut batch);
        match lines.next() {
            Some(Ok(next)) => *head = next,
            Some(Err(_)) | None => drop(sources.swap_remove(oldest)),
        }
        if batch.len() > BATCH && !emit(Bytes::from(std::mem::take(&mut batch))) {
            return false;
        }
    }
    batch.is_empty() || emit(Bytes::from(batch))
}

/// One line as `logs --json` shows it.
pub fn encode(service: &ServiceName, line: &Line, batch: &mut Vec<u8>) {
    let (text, base64) = match std::str::from_utf8(&line.bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (
            None,
            Some(base64::engine::general_purpose::STANDARD.encode(&line.bytes)),
        ),
    };
    let line = wire::LogLine {
        time: wire::timestamp(line.time_ns),
        service: service.to_string(),
        run: line.run,
        stream: line.stream,
        line: text,
        line_base64: base64,
        skipped: None,
    };
    serde_json::to_writer(&mut *batch, &line).expect("writing to memory does not fail");
    batch.push(b'\n');
}
