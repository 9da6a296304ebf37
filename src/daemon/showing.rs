//! In place (PID 1, `up -- CMD`) there is no client: what is printed and what happens is shown by the daemon itself, on the stdout
//! and stderr that `up` was started with.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use crate::api::boot;
use crate::api::wire;
use crate::logs::{Output, Stream, Subscription};
use crate::view::console::Console;
use crate::view::failures::Failures;
use crate::view::style::Style;

/// Text for one write.
const BATCH: usize = 256 * 1024;

/// The task that shows everything; it ends with the last word of the project.
pub struct Showing(JoinHandle<()>);

impl Showing {
    /// Begins with what comes from now on.
    pub fn start(
        how: &boot::Console,
        names: Vec<String>,
        output: Subscription,
        events: broadcast::Receiver<Arc<wire::Event>>,
    ) -> Showing {
        let style = Style {
            color: how.colour,
            terminal: false,
            width: None,
        };
        let quiet = how.quiet;
        let console = Console::new(style, names);
        Showing(tokio::task::spawn_local(show(console, quiet, output, events)))
    }

    /// Waits so long until the last words are written; who reads them may have stopped reading.
    pub async fn finish(self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.0).await;
    }
}

/// A thread that writes: a stdout that takes nothing holds up nobody else. Closed when nobody reads it any more.
fn writer() -> (mpsc::Sender<Vec<u8>>, JoinHandle<()>) {
    let (sink, mut queue) = mpsc::channel::<Vec<u8>>(2);
    let done = tokio::task::spawn_blocking(move || {
        while let Some(text) = queue.blocking_recv() {
            let mut stdout = std::io::stdout().lock();
            if stdout.write_all(&text).and_then(|()| stdout.flush()).is_err() {
                return;
            }
        }
    });
    (sink, done)
}

async fn show(
    mut console: Console,
    quiet: bool,
    mut output: Subscription,
    mut events: broadcast::Receiver<Arc<wire::Event>>,
) {
    let (sink, written) = writer();
    let mut failures = Failures::default();
    let mut last = None;
    let mut text = Vec::new();
    while last.is_none() {
        let mut event = None;
        tokio::select! {
            biased;
            Some(chunk) = output.next() => print(&mut console, chunk, &mut text),
            received = events.recv() => match received {
                Ok(received) => event = Some(received),
                Err(RecvError::Lagged(missed)) => console.skipped("", Stream::Out, missed, &mut text),
                Err(RecvError::Closed) => break,
            },
        }
        // Output goes before events, so that what a service said last stands before the word that it has ended.
        while text.len() < BATCH {
            if let Some(chunk) = output.try_next() {
                print(&mut console, chunk, &mut text);
                continue;
            }
            if let Some(event) = event.take() {
                failures.hear(&event);
                if let wire::EventKind::Ended { code, because } = &event.kind {
                    last = Some((*code, because.clone()));
                } else if !quiet {
                    console.event(&event, &mut text);
                }
            }
            match events.try_recv() {
                Ok(received) => event = Some(received),
                Err(TryRecvError::Lagged(missed)) => console.skipped("", Stream::Out, missed, &mut text),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if !text.is_empty() {
            // A stdout that is closed changes nothing for the services.
            let _ = sink.send(std::mem::take(&mut text)).await;
        }
    }
    console.flush(&mut text);
    let _ = sink.send(text).await;
    drop(sink);
    let _ = written.await;
    if let Some((code, because)) = last.filter(|_| !quiet) {
        let mut words = Vec::new();
        if code != 0 {
            failures.tell(&mut console, &mut words);
        }
        words.extend_from_slice(format!("runner  ended: {because}\n").as_bytes());
        let _ = std::io::stderr().write_all(&words);
    }
}

fn print(console: &mut Console, output: Output, text: &mut Vec<u8>) {
    match output {
        Output::Chunk {
            service, stream, bytes, ..
        } => console.chunk(service.as_str(), stream, &bytes, text),
        Output::Skipped {
            service, stream, lines, ..
        } => console.skipped(service.as_str(), stream, lines, text),
        // The events tell of it.
        Output::Ended { .. } => {}
    }
}
