//! The framing of orders and reports: a `u32` length in little endian, the postcard value, descriptors beside it.
//!
//! Nothing here blocks: what can't be sent yet waits in a queue, and who owns the link asks epoll or tokio's `AsyncFd`
//! (over [`Link::as_raw_fd`]) when to go on.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::orders::{Order, Report};
use crate::sys::passing;

/// The daemon's end.
pub type DaemonLink = Link<Report, Order>;
/// The guardian's end.
pub type GuardianLink = Link<Order, Report>;

/// A value longer than this is no value of ours.
const LONGEST: usize = 64 << 20;
/// How much is read at once, and the room that has to be there before a read.
const CHUNK: usize = 64 << 10;
const LEAST: usize = 4 << 10;

#[derive(Debug)]
pub struct Link<In, Out> {
    socket: OwnedFd,
    /// Bytes up to `filled` have arrived, those up to `taken` were taken already. What is behind stays as it is: in a
    /// process that forks all the time, each page written without need is a page copied.
    arrived: Vec<u8>,
    filled: usize,
    taken: usize,
    descriptors: VecDeque<OwnedFd>,
    waiting: Vec<u8>,
    /// How much of `waiting` was sent already.
    sent: usize,
    /// Descriptors to send beside the byte at this place of `waiting`.
    beside: VecDeque<(usize, Vec<OwnedFd>)>,
    ended: bool,
    values: PhantomData<fn(Out) -> In>,
}

impl<In: DeserializeOwned, Out: Serialize> Link<In, Out> {
    /// Over one end of a connected stream socket.
    pub fn over(socket: OwnedFd) -> Self {
        Link {
            socket,
            arrived: Vec::new(),
            filled: 0,
            taken: 0,
            descriptors: VecDeque::new(),
            waiting: Vec::new(),
            sent: 0,
            beside: VecDeque::new(),
            ended: false,
            values: PhantomData,
        }
    }

    /// Queues a value with descriptors (copies are made) and sends what can be sent now.
    ///
    /// # Errors
    /// A descriptor can't be copied, there are too many, or the other end is gone.
    pub fn send(&mut self, value: &Out, descriptors: &[BorrowedFd]) -> io::Result<()> {
        self.queue(value, descriptors)?;
        self.flush().map(|_| ())
    }

    /// As [`Link::send`], but leaves the sending to [`Link::flush`].
    ///
    /// # Errors
    /// As there.
    pub fn queue(&mut self, value: &Out, descriptors: &[BorrowedFd]) -> io::Result<()> {
        if descriptors.len() > passing::MOST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many descriptors beside one value",
            ));
        }
        if !descriptors.is_empty() {
            let copies: io::Result<Vec<_>> = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect();
            self.beside.push_back((self.waiting.len(), copies?));
        }
        let start = self.waiting.len();
        self.waiting.extend_from_slice(&[0; 4]);
        let buffer = std::mem::take(&mut self.waiting);
        match postcard::to_extend(value, buffer) {
            Ok(buffer) => self.waiting = buffer,
            Err(error) => return Err(io::Error::other(error)),
        }
        let length = u32::try_from(self.waiting.len() - start - 4).map_err(io::Error::other)?;
        self.waiting[start..start + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// Sends what waits. `true`: nothing waits any more; `false`: go on when the socket is writable.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.waiting.len() {
            let with = self.beside.front().is_some_and(|(at, _)| *at == self.sent);
            // A call carries the descriptors of one value at most: the next ones start a call of their own.
            let next = self
                .beside
                .get(usize::from(with))
                .map_or(self.waiting.len(), |(at, _)| *at);
            let numbers: Vec<RawFd> = match self.beside.front() {
                Some((_, copies)) if with => copies.iter().map(AsRawFd::as_raw_fd).collect(),
                _ => Vec::new(),
            };
            match passing::send(self.socket.as_fd(), &self.waiting[self.sent..next], &numbers) {
                Ok(count) => {
                    self.sent += count;
                    if with && count > 0 {
                        self.beside.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.clear();
        // A burst of starts takes megabytes; they are not kept for the next one.
        self.waiting.shrink_to(CHUNK);
        self.sent = 0;
        Ok(true)
    }

    /// Whether something waits to be sent.
    pub fn is_waiting(&self) -> bool {
        self.sent < self.waiting.len()
    }

    /// The next value, `None` when there is none now: go on when the socket is readable.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other end is gone and all it sent was read; `InvalidData` when it is not our peer.
    pub fn try_read(&mut self) -> io::Result<Option<In>> {
        loop {
            if let Some(value) = self.parse()? {
                return Ok(Some(value));
            }
            if self.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.arrived.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
            if self.arrived.len() < self.filled + LEAST {
                self.arrived.resize((self.filled * 2).max(CHUNK), 0);
            }
            let room = &mut self.arrived[self.filled..];
            match passing::receive(self.socket.as_fd(), room, &mut self.descriptors) {
                Ok(0) => self.ended = true,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => self.ended = true,
                Err(error) => return Err(error),
            }
        }
    }

    fn parse(&mut self) -> io::Result<Option<In>> {
        let rest = &self.arrived[self.taken..self.filled];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a value of impossible length",
            ));
        }
        let Some(bytes) = rest.get(..length) else {
            return Ok(None);
        };
        let value = postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        self.taken += 4 + length;
        value.map(Some)
    }

    /// The next descriptor that came beside the values read so far, in their order.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}

impl<In, Out> AsRawFd for Link<In, Out> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl<In, Out> AsFd for Link<In, Out> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::guardian::orders::{Target, Ticket};

    fn pair() -> (DaemonLink, GuardianLink) {
        let (daemon, guardian) = UnixStream::pair().unwrap();
        (Link::over(daemon.into()), Link::over(guardian.into()))
    }

    fn signal(number: u64) -> Order {
        Order::Signal {
            ticket: Ticket(number),
            signal: 15,
            target: Target::Group,
            wakes: true,
        }
    }

    #[test]
    fn far_more_than_the_socket_holds_arrives_in_order() {
        let (mut daemon, mut guardian) = pair();
        for number in 0..200_000 {
            daemon.send(&signal(number), &[]).unwrap();
        }
        assert!(daemon.is_waiting());
        for number in 0..200_000 {
            let order = loop {
                match guardian.try_read().unwrap() {
                    Some(order) => break order,
                    None => {
                        daemon.flush().unwrap();
                    }
                }
            };
            assert_eq!(order, signal(number));
        }
        assert!(daemon.flush().unwrap());
        drop(daemon);
        assert_eq!(guardian.try_read().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn descriptors_keep_their_order() {
        use std::io::{Read, Write};
        let (mut daemon, mut guardian) = pair();
        let mut readers = Vec::new();
        for number in 0..30u8 {
            let (reader, writer) = UnixStream::pair().unwrap();
            readers.push((number, reader));
            daemon.send(&signal(u64::from(number)), &[writer.as_fd()]).unwrap();
        }
        while guardian.try_read().unwrap().is_some() {}
        for (number, mut reader) in readers {
            let mut writer = UnixStream::from(guardian.take_descriptor().unwrap());
            writer.write_all(&[number]).unwrap();
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number]);
        }
        assert!(guardian.take_descriptor().is_none());
    }
}
