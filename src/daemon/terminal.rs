//! The terminals of services with `tty`: what is printed there goes into the FIFO from which the pump reads, and whoever is
//! attached types into it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, watch};

use crate::api::attach::{Attached, MAX_PAYLOAD, Said, Shown, Window};
use crate::logs::{self, Filter, LogPlace, Output, Pump, Query, Stream, Subscription, Which};
use crate::reconcile::ExitStatus;
use crate::spec::ServiceName;
use crate::sys::pty::{self, Size};

/// So much of what was printed before is shown to who comes.
const TAIL: usize = 64 * 1024;
/// More lines than a screen that was drawn in so many bytes has.
const TAIL_LINES: usize = 2000;
/// What one viewer may have queued before it misses something.
const BUDGET: usize = 1024 * 1024;
/// A log that can't be written does not hold up the end of a service.
const PATIENCE: Duration = Duration::from_secs(1);

/// The terminal of one run.
#[derive(Debug)]
pub struct Terminal {
    master: AsyncFd<OwnedFd>,
    /// As long as somebody has it open, the other end is no dead one: a service may close its own and open it again.
    slave: OwnedFd,
    pipe: AsyncFd<OwnedFd>,
    windows: RefCell<BTreeMap<u64, Window>>,
    viewers: Cell<u64>,
    /// The main process has ended.
    ending: Notify,
    ended: watch::Sender<Option<ExitStatus>>,
}

impl Terminal {
    /// `pipe`: where what is printed goes; non-blocking.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new(master: OwnedFd, slave: OwnedFd, pipe: OwnedFd) -> io::Result<Rc<Terminal>> {
        Ok(Rc::new(Terminal {
            master: pty::watched(master, Interest::READABLE | Interest::WRITABLE)?,
            slave,
            pipe: pty::watched(pipe, Interest::WRITABLE)?,
            windows: RefCell::default(),
            viewers: Cell::new(0),
            ending: Notify::new(),
            ended: watch::Sender::new(None),
        }))
    }

    pub fn master(&self) -> &OwnedFd {
        self.master.get_ref()
    }

    pub fn slave(&self) -> &OwnedFd {
        &self.slave
    }

    /// The main process has ended: what it has printed is to be passed on now.
    pub fn finish(&self) {
        self.ending.notify_one();
    }

    /// Everything that it has printed was read.
    pub fn tell_end(&self, status: ExitStatus) {
        self.ended.send_replace(Some(status));
    }

    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// What is there now, as far as there is room for it.
    pub fn pass_on_now(&self) {
        while self.pass_on().is_ok() {}
    }

    fn pass_on(&self) -> io::Result<usize> {
        pty::pass_on(self.master.get_ref().as_fd(), self.pipe.get_ref().as_fd())
    }

    /// Passes on what is printed, whoever reads it, until it is dropped. `finished` is told once everything that the main
    /// process has printed was.
    pub async fn relay(self: Rc<Terminal>, finished: impl Fn()) {
        loop {
            tokio::select! {
                moved = self.move_some() => {
                    if let Err(error) = moved {
                        tracing::warn!(%error, "a terminal can't be read any more");
                        break;
                    }
                }
                () = self.ending.notified() => {
                    let _ = tokio::time::timeout(PATIENCE, self.drain()).await;
                    finished();
                }
            }
        }
        self.ending.notified().await;
        finished();
    }

    async fn drain(&self) {
        loop {
            match self.pass_on() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if pty::is_readable(self.master.get_ref().as_fd()) => {
                    if self.move_some().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    async fn move_some(&self) -> io::Result<()> {
        let mut printed = self.master.readable().await?;
        let mut room = self.pipe.writable().await?;
        match self.pass_on() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match pty::is_readable(self.master.get_ref().as_fd()) {
                    true => room.clear_ready(),
                    false => printed.clear_ready(),
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn type_in(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = |master: &OwnedFd| nix::unistd::write(master, bytes).map_err(io::Error::from);
            match self.master.async_io(Interest::WRITABLE, write).await {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The smallest of all windows is that of the terminal: everybody sees everything.
    fn resize(&self, viewer: u64, window: Option<Window>) {
        let mut windows = self.windows.borrow_mut();
        match window {
            Some(window) if window.rows > 0 && window.columns > 0 => drop(windows.insert(viewer, window)),
            Some(_) | None => drop(windows.remove(&viewer)),
        }
        let rows = windows.values().map(|window| window.rows).min();
        let columns = windows.values().map(|window| window.columns).min();
        // Of the last one who leaves it stays.
        if let Some((rows, columns)) = rows.zip(columns) {
            let _ = pty::resize(self.master.get_ref().as_fd(), Size { rows, columns });
        }
    }
}

/// One more viewer, who is shown the end of what was printed and then what comes.
pub fn attach(terminal: Rc<Terminal>, name: &ServiceName, run: u32, place: LogPlace, pump: &Pump) -> Attached {
    let filter = Filter {
        services: Some(vec![name.clone()]),
        stream: Some(Stream::Out),
        latest: true,
        ..Filter::default()
    };
    let (subscription, seams) = pump.follow(filter, BUDGET, vec![(name.clone(), place.clone())]);
    let (sink, shown) = mpsc::channel(4);
    let (said, heard) = mpsc::channel(4);
    let viewer = terminal.viewers.get();
    terminal.viewers.set(viewer + 1);
    let listener = terminal.clone();
    let gone = sink.clone();
    tokio::task::spawn_local(async move {
        tokio::select! {
            () = listen(&listener, viewer, heard) => {}
            () = gone.closed() => {}
        }
        listener.resize(viewer, None);
    });
    tokio::task::spawn_local(async move {
        // Files may be long and disks slow; the loop does not wait for either.
        let read = tokio::task::spawn_blocking(move || {
            let seam = seams.recv().ok().and_then(|mut seams| seams.pop());
            tail(&place, run, seam.as_ref()).unwrap_or_else(|error| {
                tracing::warn!(%error, "the log of a terminal can't be read");
                Vec::new()
            })
        });
        let before = Bytes::from(read.await.unwrap_or_default());
        let _ = show(&terminal, run, before, subscription, sink).await;
    });
    Attached { shown, said }
}

async fn listen(terminal: &Terminal, viewer: u64, mut heard: mpsc::Receiver<Said>) {
    let mut ended = terminal.ended.subscribe();
    while let Some(said) = heard.recv().await {
        match said {
            Said::Window(window) => terminal.resize(viewer, Some(window)),
            Said::Input(bytes) => {
                tokio::select! {
                    typed = terminal.type_in(&bytes) => {
                        if typed.is_err() {
                            return;
                        }
                    }
                    _ = ended.wait_for(Option::is_some) => return,
                }
            }
        }
    }
}

/// Nobody looks any more.
struct Gone;

async fn show(
    terminal: &Terminal,
    run: u32,
    before: Bytes,
    mut subscription: Subscription,
    sink: mpsc::Sender<Shown>,
) -> Result<(), Gone> {
    tell(Shown::Begun(run), &sink).await?;
    send(before, &sink).await?;
    let mut ended = terminal.ended.subscribe();
    loop {
        let output = tokio::select! {
            biased;
            () = sink.closed() => return Err(Gone),
            output = subscription.next() => output,
            _ = ended.wait_for(Option::is_some) => None,
        };
        match output {
            Some(Output::Chunk { run: of, bytes, .. }) if of == run => send(bytes, &sink).await?,
            Some(Output::Skipped { run: of, bytes, .. }) if of == run => tell(Shown::Skipped(bytes), &sink).await?,
            Some(Output::Chunk { .. } | Output::Skipped { .. }) => {}
            Some(Output::Ended { run: of, .. }) if of != run => {}
            Some(Output::Ended { .. }) | None => break,
        }
    }
    let status = *ended.borrow();
    match status {
        Some(status) => tell(Shown::Ended(status), &sink).await,
        // The daemon ends.
        None => Ok(()),
    }
}

async fn send(bytes: Bytes, sink: &mpsc::Sender<Shown>) -> Result<(), Gone> {
    for begin in (0..bytes.len()).step_by(MAX_PAYLOAD) {
        let piece = bytes.slice(begin..bytes.len().min(begin + MAX_PAYLOAD));
        tell(Shown::Output(piece), sink).await?;
    }
    Ok(())
}

async fn tell(shown: Shown, sink: &mpsc::Sender<Shown>) -> Result<(), Gone> {
    sink.send(shown).await.map_err(|_| Gone)
}

/// The last bytes that this run has printed, from the beginning of a line on; also of one that has no end yet.
fn tail(place: &LogPlace, run: u32, seam: Option<&logs::Seam>) -> io::Result<Vec<u8>> {
    let query = Query {
        run: Some(Which::Number(run)),
        stream: Some(Stream::Out),
        tail: Some(TAIL_LINES),
        ..Query::default()
    };
    let mut lines = logs::read_to(place.clone(), &query, seam)?;
    let mut text: Vec<u8> = Vec::new();
    for line in lines.by_ref() {
        let line = line?;
        text.extend_from_slice(&line.bytes);
        text.extend((!line.continued).then_some(b'\n'));
        if text.len() > 4 * TAIL {
            text.drain(..text.len() - TAIL);
        }
    }
    for mut partial in lines.into_unfinished() {
        text.extend(partial.finish().map(|line| line.bytes).unwrap_or_default());
    }
    if text.len() > TAIL {
        let from = text.len() - TAIL;
        let line = memchr::memchr(b'\n', &text[from..]).map_or(from, |end| from + end + 1);
        text.drain(..line);
    }
    Ok(text)
}
