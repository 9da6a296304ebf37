//! The points as they are when the feature is on.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::{LazyLock, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::script::{self, Deed, Script};

struct Armed {
    scripts: Vec<Script>,
    hits: Option<File>,
    own: Mutex<HashMap<&'static str, u64>>,
}

/// Read once: a process has one fate.
static ARMED: LazyLock<Armed> = LazyLock::new(|| {
    let text = std::env::var("RUNNER_FAULTS").unwrap_or_default();
    let hits = std::env::var_os("RUNNER_FAULTS_HITS");
    let open = |path| OpenOptions::new().read(true).append(true).create(true).open(path);
    Armed {
        scripts: script::parse(&text).unwrap_or_else(|why| panic!("RUNNER_FAULTS: {why}")),
        hits: hits.map(|path| open(path).unwrap_or_else(|error| panic!("RUNNER_FAULTS_HITS: {error}"))),
        own: Mutex::default(),
    }
});

pub(crate) fn hit(name: &'static str) {
    let armed = &*ARMED;
    let script = armed.scripts.iter().find(|script| script.name == name);
    if script.is_none() && armed.hits.is_none() {
        return;
    }
    let count = match &armed.hits {
        Some(hits) => {
            counted_in(hits, name, script.is_some()).unwrap_or_else(|error| panic!("RUNNER_FAULTS_HITS: {error}"))
        }
        None => {
            let mut own = armed.own.lock().unwrap_or_else(PoisonError::into_inner);
            let count = own.entry(name).or_default();
            *count += 1;
            *count
        }
    };
    let signal = match script.map_or(Deed::Off, |script| script.at(count)) {
        Deed::Off => return,
        Deed::Kill => Signal::SIGKILL,
        Deed::Stop => Signal::SIGSTOP,
        Deed::Panic => panic!("as {name} was told to"),
    };
    let _ = kill(Pid::this(), signal);
}

/// The which hit this is, by how often the name stands in the file up to the line that is written here.
fn counted_in(mut hits: &File, name: &str, asked: bool) -> io::Result<u64> {
    let line = format!("{name}\n");
    hits.write_all(line.as_bytes())?;
    if !asked {
        return Ok(0);
    }
    // Where an appending write has ended; another thread's may have moved it on, but not back.
    let end = hits.stream_position()?;
    let mut text = vec![0; usize::try_from(end).unwrap_or_default()];
    hits.read_exact_at(&mut text, 0)?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter(|line| *line == name.as_bytes())
        .count() as u64)
}
