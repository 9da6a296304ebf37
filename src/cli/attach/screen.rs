//! The user's terminal while it is the service's.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::cli::outcome::Outcome;
use crate::cli::{Result, terminal};
use crate::sys::pty::Raw;
use crate::sys::tty;

/// Colours, cursor, mouse and pasting as they are in a terminal that nobody has changed.
const PLAIN: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l";
/// From the top of an empty screen on.
const CLEAR: &[u8] = b"\x1b[0m\x1b[H\x1b[2J";

/// Stdout, which is written by a thread of its own: nobody may read it for long, and signals and keys are heard all the same.
pub struct Printer {
    sink: mpsc::Sender<Bytes>,
    /// A piece was written; it ends when nobody reads them.
    written: mpsc::Receiver<()>,
    unread: Pin<Box<dyn Future<Output = ()>>>,
    /// Handed over and not written yet.
    waiting: usize,
}

/// So many pieces may wait.
const PIECES: usize = 2;

impl Printer {
    pub fn new() -> Printer {
        // One more is for what is printed between two connections.
        let (sink, mut pieces) = mpsc::channel::<Bytes>(PIECES + 1);
        let (done, written) = mpsc::channel(PIECES + 1);
        // It ends with the process.
        std::thread::spawn(move || {
            while let Some(piece) = pieces.blocking_recv() {
                if !print(&piece) || done.blocking_send(()).is_err() {
                    return;
                }
            }
        });
        Printer {
            sink,
            written,
            unread: Box::pin(terminal::unread()),
            waiting: 0,
        }
    }

    pub fn is_full(&self) -> bool {
        self.waiting >= PIECES
    }

    pub fn is_idle(&self) -> bool {
        self.waiting == 0
    }

    /// Whoever asks first whether it [is full](Printer::is_full) loses nothing.
    pub fn print(&mut self, bytes: Bytes) {
        // Where its thread has ended `go_on` says so.
        if self.sink.try_send(bytes).is_ok() {
            self.waiting += 1;
        }
    }

    /// What comes next is the screen as it is, from its beginning on.
    pub fn clear(&mut self) {
        self.print(Bytes::from_static(CLEAR));
    }

    /// Ends when something was written; `false`: nobody reads it any more.
    pub async fn go_on(&mut self) -> bool {
        tokio::select! {
            written = self.written.recv() => {
                self.waiting = self.waiting.saturating_sub(1);
                written.is_some()
            }
            () = &mut self.unread => false,
        }
    }
}

/// `false`: nobody reads it.
fn print(bytes: &[u8]) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).is_ok()
}

/// The user's terminal, as the service is to have it, until it is dropped or we panic.
pub struct Screen(Arc<Raw>);

static TAKEN: OnceLock<Arc<Raw>> = OnceLock::new();

impl Screen {
    /// `None`: stdin is no terminal.
    pub fn take() -> Result<Option<Screen>> {
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let raw = Raw::of(std::io::stdin().as_fd()).map_err(Outcome::io("make the terminal raw"))?;
        let raw = Arc::new(raw);
        if TAKEN.set(raw.clone()).is_ok() {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if let Some(raw) = TAKEN.get() {
                    raw.restore();
                }
                before(info);
            }));
        }
        Ok(Some(Screen(raw)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let stdout = std::io::stdout();
        // One that takes nothing may be held by the printer for ever.
        if stdout.is_terminal() && tty::takes_a_line(stdout.as_fd()) {
            print(PLAIN);
            print(b"\r\n");
        }
        self.0.restore();
    }
}
