//! The daemon's end of the order socket, on tokio.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::guardian::link::DaemonLink;
use crate::guardian::orders::{Order, Report};

pub struct Link {
    link: DaemonLink,
    /// A copy of the same socket that only tells when it is ready.
    ready: UnixStream,
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

    /// The guardian's first word: from where tickets are counted.
    ///
    /// # Errors
    /// The guardian is gone or says something else.
    pub async fn hello(&mut self) -> io::Result<u64> {
        match self.reports().await?.as_slice() {
            [Report::Hello { next_ticket, .. }] => Ok(*next_ticket),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no greeting but {other:?}"),
            )),
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
