//! The sockets that are bound for services: held by us, so that they outlive every run and every daemon.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::guard::Guard;
use super::orders::Report;
use crate::sys::sockets::{BoundTo, make_blocking};

/// Each is known by where it is bound, which it says itself.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    to: BoundTo,
    descriptor: OwnedFd,
    /// Whoever started runner has bound it.
    given: bool,
}

impl Sockets {
    /// What is not bound to a port is let go; of two at one place the first stays.
    pub(super) fn hold(&mut self, descriptor: OwnedFd, given: bool) {
        let Some(to) = BoundTo::of(descriptor.as_fd()) else {
            return;
        };
        if !self.0.iter().any(|socket| socket.to == to) {
            self.0.push(Socket { to, descriptor, given });
        }
    }

    pub(super) fn close(&mut self, to: BoundTo) {
        self.0.retain(|socket| socket.given || socket.to != to);
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Their numbers, and whether they were given.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (RawFd, bool)> {
        self.0
            .iter()
            .map(|socket| (socket.descriptor.as_raw_fd(), socket.given))
    }

    /// For a launch, blocking as the first time; else what is wrong with which.
    pub(super) fn lend(&self, wanted: &[BoundTo]) -> Result<Vec<RawFd>, (io::Error, usize)> {
        let one = |(index, to): (usize, &BoundTo)| {
            let socket = self.0.iter().find(|socket| socket.to == *to);
            let missing = || io::Error::from_raw_os_error(libc::EBADF);
            let descriptor = &socket.ok_or_else(missing).map_err(|error| (error, index))?.descriptor;
            make_blocking(descriptor.as_fd()).map_err(|error| (error, index))?;
            Ok(descriptor.as_raw_fd())
        };
        wanted.iter().enumerate().map(one).collect()
    }
}

impl Guard {
    pub(super) fn hold_socket(&mut self) {
        if let Some(descriptor) = self.claim() {
            self.sockets.hold(descriptor, false);
        }
    }

    /// To a daemon that was just greeted.
    ///
    /// # Errors
    /// No descriptors are left, or it is gone.
    pub(super) fn hand_down_sockets(&mut self) -> io::Result<()> {
        for Socket { descriptor, given, .. } in &self.sockets.0 {
            self.link
                .queue(&Report::Socket { given: *given }, &[descriptor.as_fd()])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::spec::Protocol;

    fn listener() -> (OwnedFd, BoundTo) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let protocol = Protocol::Tcp;
        (listener.into(), BoundTo { number, protocol })
    }

    #[test]
    fn po_11_what_was_given_is_never_closed() {
        let mut sockets = Sockets::default();
        let ((own, at_own), (given, at_given)) = (listener(), listener());
        sockets.hold(own, false);
        sockets.hold(given, true);
        sockets.hold(std::fs::File::open("/dev/null").unwrap().into(), true);
        assert_eq!(sockets.count(), 2);
        assert_eq!(sockets.lend(&[at_given, at_own]).unwrap().len(), 2);
        sockets.close(at_own);
        sockets.close(at_given);
        assert_eq!(sockets.lend(&[at_given]).unwrap().len(), 1);
        let (error, index) = sockets.lend(&[at_given, at_own]).unwrap_err();
        assert_eq!((error.raw_os_error(), index), (Some(libc::EBADF), 1));
    }
}
