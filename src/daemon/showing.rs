//! In place (PID 1, `up -- CMD`) there is no client: what is printed and what happens is shown by the daemon itself, on the stdout
//! and stderr that `up` was started with.
//!
//! A stdout that is no terminal is somebody's log: nothing is left out of it, and services wait for its reader. A terminal that stands
//! still (Ctrl-S) holds up nobody: it misses lines, which are counted.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::api::boot;
use crate::api::wire::{self, EventKind};
use crate::logs::{Filter, Origin, Output, Pump, Render, Sink, Subscription};
use crate::view::failures::Failures;
use crate::view::shown::Shown;
use crate::view::style::Style;

/// What may wait for a terminal that is slow before lines are missed.
const BUDGET: usize = 4 * 1024 * 1024;

/// What shows everything; it ends with the last word of the project.
pub struct Showing {
    task: JoinHandle<()>,
}

/// Where a stream was closed before we began, nothing is shown on it.
struct Outlets {
    out: Option<Arc<Sink<Shown>>>,
    err: Option<Arc<Sink<Words>>>,
}

/// Our own words need no rendering.
struct Words;

impl Render for Words {
    fn chunk(&mut self, _: &Origin<'_>, _: &[u8], _: &mut Vec<u8>) {}
    fn end(&mut self, _: &str, _: u32, _: &mut Vec<u8>) {}
}

impl Showing {
    /// Begins with what comes from now on.
    pub fn start(how: &boot::Console, pump: &Pump, events: broadcast::Receiver<Arc<wire::Event>>) -> Showing {
        let style = Style {
            color: how.colour,
            ..Style::PLAIN
        };
        let shown = Shown::new(how.format, style, Vec::new());
        let outlets = Outlets {
            out: copy(io::stdout()).and_then(|file| Sink::start(shown, file)).ok(),
            err: copy(io::stderr()).and_then(|file| Sink::start(Words, file)).ok(),
        };
        let mut output = None;
        if io::stdout().is_terminal() {
            let filter = Filter {
                console_only: true,
                ..Filter::default()
            };
            output = Some(pump.subscribe(filter, BUDGET));
        } else if let Some(out) = &outlets.out {
            pump.show_on(out);
        }
        let quiet = how.quiet;
        Showing {
            task: tokio::task::spawn_local(show(outlets, quiet, output, events)),
        }
    }

    /// Waits so long until the last words are written; who reads them may have stopped reading.
    pub async fn finish(self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.task).await;
    }
}

fn copy(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

impl Outlets {
    /// Until what waits for the reader of stdout is written so far that there is room for more.
    async fn room(&self) {
        if let Some(out) = &self.out {
            out.room().await;
        }
        if let Some(err) = &self.err {
            err.room().await;
        }
    }

    fn print(&self, output: &Output) {
        let Some(out) = &self.out else { return };
        let origin = |service, run, stream, time_ns| Origin {
            service,
            run,
            stream,
            time_ns,
        };
        out.tell(|shown, text| match output {
            Output::Chunk {
                service,
                run,
                stream,
                time_ns,
                bytes,
            } => shown.chunk(&origin(service.as_str(), *run, *stream, *time_ns), bytes, text),
            Output::Skipped {
                service,
                run,
                stream,
                time_ns,
                lines,
                ..
            } => shown.skipped(&origin(service.as_str(), *run, *stream, *time_ns), *lines, text),
            Output::Ended { service, run } => shown.end(service.as_str(), *run, text),
        });
    }

    /// What is to be said on stderr comes after what stands before it on stdout.
    fn tell(&self, what: impl FnOnce(&mut Shown, &mut Vec<u8>, &mut Vec<u8>)) {
        let mut words = Vec::new();
        if let Some(out) = &self.out {
            out.tell(|shown, text| what(shown, text, &mut words));
        }
        if let Some(err) = self.err.as_ref().filter(|_| !words.is_empty()) {
            err.tell(|_, text| text.append(&mut words));
        }
    }

    /// Until both are written.
    async fn finish(self, last_words: Vec<u8>) {
        let finish = move || {
            if let Some(out) = self.out {
                out.finish(PATIENCE);
            }
            if let Some(err) = self.err {
                err.tell(|_, text| text.extend_from_slice(&last_words));
                err.finish(PATIENCE);
            }
        };
        let _ = tokio::task::spawn_blocking(finish).await;
    }
}

/// A reader that takes nothing for so long is not waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);

async fn show(
    outlets: Outlets,
    quiet: bool,
    mut output: Option<Subscription>,
    mut events: broadcast::Receiver<Arc<wire::Event>>,
) {
    let mut failures = Failures::default();
    let (code, because) = loop {
        outlets.room().await;
        // Output goes before events, so that what a service said last stands before the word that it has ended.
        let received = tokio::select! {
            biased;
            Some(chunk) = next(&mut output) => {
                outlets.print(&chunk);
                continue;
            }
            received = events.recv() => received,
        };
        match received {
            Ok(event) => {
                failures.hear(&event);
                if !quiet {
                    outlets.tell(|shown, out, err| shown.event(&event, out, err));
                }
                if let EventKind::Ended { code, because } = &event.kind {
                    break (*code, because.clone());
                }
            }
            Err(RecvError::Lagged(missed)) => outlets.tell(|shown, out, _| shown.missed(missed, out)),
            Err(RecvError::Closed) => return,
        }
    };
    let mut last_words = Vec::new();
    outlets.tell(|shown, out, _| {
        shown.flush(out);
        // As JSON the event has said it.
        if let Shown::Text(console) = shown
            && !quiet
        {
            if code != 0 {
                failures.tell(console, &mut last_words);
            }
            last_words.extend_from_slice(format!("runner  ended: {because}\n").as_bytes());
        }
    });
    outlets.finish(last_words).await;
}

async fn next(output: &mut Option<Subscription>) -> Option<Output> {
    match output {
        Some(output) => output.next().await,
        None => std::future::pending().await,
    }
}
