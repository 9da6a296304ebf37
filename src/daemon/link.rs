//! The daemon's end of the order socket, on tokio.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::recovery::Inherited;
use crate::guardian::link::DaemonLink;
use crate::guardian::orders::{Before, Order, Report};

pub struct Link {
    link: DaemonLink,
    /// A copy of the same socket that only tells when it is ready.
    ready: UnixStream,
}

/// How a guardian greets.
pub struct Greeting {
    pub next_ticket: u64,
    /// There was another daemon.
    pub before: Option<Before>,
    pub held: Vec<Inherited>,
    /// Bound for services; with `true` by whoever started runner.
    pub sockets: Vec<(OwnedFd, bool)>,
    /// What was said since.
    pub later: Vec<Report>,
}

impl Link {
    pub fn over(socket: OwnedFd) -> io::Result<Link> {
        let copy = std::os::unix::net::UnixStream::from(socket.as_fd().try_clone_to_owned()?);
        copy.set_nonblocking(true)?;
        Ok(Link {
            link: DaemonLink::over(socket),
            ready: UnixStream::from_std(copy)?,
        })
    }

    /// The guardian's first words: from where tickets are counted, and what an earlier daemon has left.
    ///
    /// # Errors
    /// The guardian is gone or says something else.
    pub async fn greeting(&mut self) -> io::Result<Greeting> {
        let mut reports: VecDeque<Report> = self.reports().await?.into();
        let Some(Report::Hello {
            next_ticket,
            before,
            sockets: count,
            ..
        }) = reports.pop_front()
        else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no greeting"));
        };
        let mut sockets = Vec::new();
        for _ in 0..count {
            if reports.is_empty() {
                reports = self.reports().await?.into();
            }
            let Some(Report::Socket { given }) = reports.pop_front() else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a socket is missing"));
            };
            sockets.extend(self.link.take_descriptor().map(|socket| (socket, given)));
        }
        let (held, later) = match before {
            Some(_) => self.holdings(reports).await?,
            None => (Vec::new(), reports),
        };
        Ok(Greeting {
            next_ticket,
            before,
            held,
            sockets,
            later: later.into(),
        })
    }

    /// Up to `HeldAll`, and what was said after it.
    ///
    /// # Errors
    /// The guardian is gone.
    pub async fn holdings(&mut self, mut reports: VecDeque<Report>) -> io::Result<(Vec<Inherited>, VecDeque<Report>)> {
        let (mut held, mut later) = (Vec::new(), VecDeque::new());
        loop {
            while let Some(report) = reports.pop_front() {
                match report {
                    Report::Held(holding) => {
                        let kept = (0..holding.keeps).filter_map(|_| self.link.take_descriptor()).collect();
                        let holding = *holding;
                        held.push(Inherited {
                            holding,
                            kept,
                            notify: None,
                            mark: None,
                        });
                    }
                    Report::HeldAll => {
                        later.append(&mut reports);
                        return Ok((held, later));
                    }
                    other => later.push_back(other),
                }
            }
            reports = self.reports().await?.into();
        }
    }

    /// Everything that the guardian has said since the last time, at least one report. Cancel safe.
    ///
    /// # Errors
    /// The guardian is gone.
    pub async fn reports(&mut self) -> io::Result<Vec<Report>> {
        let Link { link, ready } = self;
        ready
            .async_io(Interest::READABLE, || {
                let mut reports = Vec::new();
                loop {
                    match link.try_read() {
                        Ok(Some(report)) => reports.push(report),
                        // Nothing (more) now: without a report this is how tokio hears that it has to wait.
                        Ok(None) if reports.is_empty() => return Err(io::ErrorKind::WouldBlock.into()),
                        Ok(None) => return Ok(reports),
                        Err(error) if reports.is_empty() => return Err(error),
                        // It comes again at the next call; what was said before it counts.
                        Err(_) => return Ok(reports),
                    }
                }
            })
            .await
    }

    /// Queues an order; [`Link::flush`] sends what one turn of the loop has gathered.
    pub fn queue(&mut self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.link.queue(order, descriptors)
    }

    /// Sends what can be sent now.
    pub fn flush(&mut self) -> io::Result<()> {
        self.link.flush().map(|_| ())
    }

    /// Sends what can be sent now; `true`: nothing waits any more.
    pub fn flushed(&mut self) -> io::Result<bool> {
        self.link.flush()
    }

    pub fn is_waiting(&self) -> bool {
        self.link.is_waiting()
    }

    /// Resolves when more of what waits could be sent or the guardian is gone. Cancel safe.
    pub async fn sent(&mut self) {
        let Link { link, ready } = self;
        // The error comes up again at the reading end.
        let _ = ready
            .async_io(Interest::WRITABLE, || match link.flush() {
                Ok(true) => Ok(()),
                Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error),
            })
            .await;
    }
}
