//! What `up` writes, and in which order: lines of services and transitions on stdout, with a block below them while
//! something is not ready.
//!
//! Writing happens on a thread of its own, so that a terminal frozen by Ctrl-S freezes neither Ctrl-C nor, behind the
//! bounded queue, any service.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::api::boot::ConsoleFormat;
use crate::api::wire::{self, EventKind};
use crate::cli::terminal;
use crate::logs::{Origin, Render};
use crate::reconcile::StateName;
use crate::sys;
use crate::view::acted;
use crate::view::block;
use crate::view::failures::Failures;
use crate::view::shown::Shown;
use crate::view::style::Style;

/// Text that may wait for the writer before no more frames are taken.
const ROOM: usize = 256 * 1024;

pub struct Screen {
    shown: Shown,
    style: Style,
    /// Shows output and transitions; `up -d` shows only what goes wrong.
    full: bool,
    quiet: bool,
    /// The project ran already: what this `up` changes is told.
    pub joins: bool,
    text: Vec<u8>,
    writer: mpsc::Sender<Vec<u8>>,
    unread: Arc<Notify>,
    written: Option<std::thread::JoinHandle<()>>,
    /// Lines of the block that stands below the text.
    block: usize,
    settled: bool,
    failures: Failures,
}

impl Screen {
    pub fn new(format: ConsoleFormat, style: Style, names: Vec<String>, full: bool, quiet: bool) -> Screen {
        let (writer, mut queue) = mpsc::channel::<Vec<u8>>(2);
        let written = std::thread::spawn(move || {
            while let Some(text) = queue.blocking_recv() {
                let mut stdout = std::io::stdout().lock();
                if stdout.write_all(&text).and_then(|()| stdout.flush()).is_err() {
                    return; // the closed queue tells `broken`
                }
            }
        });
        let unread = Arc::new(Notify::new());
        let seen = unread.clone();
        // It ends with the process: a reader that stays keeps it waiting.
        std::thread::spawn(move || {
            sys::tty::wait_until_unread(std::io::stdout().as_fd());
            seen.notify_one();
        });
        Screen {
            unread,
            shown: Shown::new(format, style, names),
            style,
            full,
            quiet,
            joins: false,
            text: Vec::new(),
            writer,
            written: Some(written),
            block: 0,
            settled: false,
            failures: Failures::default(),
        }
    }

    /// Takes text as fast as stdout does; closed when nobody reads that any more.
    pub fn writer(&self) -> mpsc::Sender<Vec<u8>> {
        self.writer.clone()
    }

    /// Tells once when nobody can read stdout any more, also while nothing is written.
    pub fn unread(&self) -> Arc<Notify> {
        self.unread.clone()
    }

    pub fn has_room(&self) -> bool {
        self.text.len() < ROOM || self.writer.is_closed()
    }

    pub fn has_text(&self) -> bool {
        !self.text.is_empty() && !self.writer.is_closed()
    }

    pub fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    pub fn output(&mut self, of: &Origin<'_>, bytes: &[u8]) {
        if self.full && !self.writer.is_closed() {
            self.erase_block();
            self.shown.chunk(of, bytes, &mut self.text);
        }
    }

    pub fn skipped(&mut self, of: &Origin<'_>, lines: u64) {
        if self.full && !self.writer.is_closed() {
            self.erase_block();
            self.shown.skipped(of, lines, &mut self.text);
        }
    }

    pub fn missed(&mut self, events: u64) {
        if self.full && !self.writer.is_closed() {
            self.erase_block();
            self.shown.missed(events, &mut self.text);
        }
    }

    pub fn event(&mut self, event: &wire::Event) {
        match &event.kind {
            EventKind::Settled { .. } => self.settled = true,
            EventKind::Started { .. } | EventKind::Waiting { .. } | EventKind::ConfigApplied { .. } => {
                self.settled = false;
            }
            _ => {}
        }
        self.failures.hear(event);
        let tells = match event.kind {
            EventKind::Failed { .. } | EventKind::Restarting { .. } => true,
            EventKind::ConfigApplied { .. } | EventKind::ConfigRejected { .. } => self.full || self.joins,
            _ => self.full,
        };
        if tells && !self.quiet {
            self.erase_block();
            let mut words = Vec::new();
            self.shown.event(event, &mut self.text, &mut words);
            let _ = std::io::stderr().write_all(&words);
        }
    }

    /// The file was saved and is broken; `diagnosis` looks at it.
    pub fn rejected(
        &mut self,
        event: &wire::Event,
        problems: &[wire::Problem],
        diagnosis: &dyn Fn() -> Option<String>,
    ) {
        if let Shown::Text(_) = self.shown
            && !problems.is_empty()
            && let Some(diagnosis) = diagnosis()
        {
            self.show_rejected(problems, &diagnosis);
        } else {
            self.event(event);
        }
    }

    fn show_rejected(&mut self, problems: &[wire::Problem], diagnosis: &str) {
        let tells = (self.full || self.joins) && !self.quiet;
        self.erase_block();
        if let Shown::Text(console) = &mut self.shown
            && tells
        {
            console.rejected(problems, diagnosis, &mut self.text);
        }
    }

    /// Only a terminal has a block, and only while something is not as it should be.
    pub fn shows_progress(&self) -> bool {
        self.style.terminal && !self.shown.is_json() && !self.quiet && !self.settled && self.has_room()
    }

    /// What is waited for is said in words now and then.
    pub fn waits_in_words(&self) -> bool {
        (!self.style.terminal || self.shown.is_json()) && !self.quiet
    }

    pub fn progress(&mut self, ps: &wire::Ps) {
        let lines = block::wanted(ps, &terminal::as_it_is_now(self.style));
        self.erase_block();
        // Bare output may have left the cursor inside a line; a block begins on its own one.
        if !lines.is_empty() {
            self.text.push(b'\n');
            for line in &lines {
                self.text.extend_from_slice(line.as_bytes());
                self.text.push(b'\n');
            }
            self.block = lines.len() + 1;
        }
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// What is not as it should be, a line each.
    pub fn waiting(&self, ps: &wire::Ps) -> Vec<String> {
        block::wanted(ps, &self.style)
    }

    fn erase_block(&mut self) {
        if self.block > 0 {
            // Up to the first line of the block, then clear to the end of the screen (ECMA-48 CPL, ED).
            self.text
                .extend_from_slice(format!("\x1b[{}F\x1b[J", self.block).as_bytes());
            self.block = 0;
        }
    }

    /// Writes what is left and waits until it is taken.
    pub async fn finish(&mut self) {
        self.erase_block();
        self.shown.flush(&mut self.text);
        if self.has_text() {
            // A writer that is gone meanwhile has no use for it.
            let _ = self.writer.send(std::mem::take(&mut self.text)).await;
        }
        let (writer, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.writer, writer));
        if let Some(written) = self.written.take() {
            let _ = written.join();
        }
    }

    /// What is not up although it was asked for, as the last words.
    pub fn troubles(&self, acted: &wire::Acted) {
        let is_up = |service: &wire::Service| matches!(service.state, StateName::Ready | StateName::Completed);
        let mut troubles = acted.clone();
        let is_asked = |service: &wire::Service| service.wanted || service.state == StateName::Stopped;
        troubles.services.retain(|service| is_asked(service) && !is_up(service));
        terminal::say_raw(&acted::lines(&troubles, "up", &self.style));
    }

    /// Why it ended, as the last line; before it, what failed and was not mended.
    pub fn last_words(&mut self, code: u8, because: &str) {
        let Shown::Text(console) = &mut self.shown else {
            // The event has said it.
            return;
        };
        if self.quiet {
            return;
        }
        let mut text = Vec::new();
        if code != 0 {
            self.failures.tell(console, &mut text);
        }
        let _ = std::io::stderr().write_all(&text);
        terminal::say(format_args!("runner  ended: {because}"));
    }
}
