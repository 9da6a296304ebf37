//! Forking without copying the descriptor table, whose cost would grow with the number of services that are held.
//!
//! The child is born sharing the parent's table (CLONE_FILES). What it is to have was put on the **shelf** before, a few
//! low numbers that are always occupied. Its first act is close_range(2) with CLOSE_RANGE_UNSHARE from behind the shelf:
//! the kernel then copies only what stands below. Until it has said so, the parent leaves the shelf alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::{Channel, Forked};

/// The lowest number on the shelf: what a child has from 0 on and its channel must fit below.
const FIRST: RawFd = 10;
/// Descriptors of a launch and its channel; a launch with more is forked the ordinary way.
const PLACES: usize = 8;
/// What the child says once its table is its own.
pub(super) const UNSHARED: u8 = b'u';

#[derive(Debug)]
pub(super) struct Shelf {
    /// An empty place holds this.
    nothing: OwnedFd,
    places: Vec<OwnedFd>,
    lent: Lent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lent {
    Nothing,
    /// To a child that is not born yet.
    Soon,
    /// This child may still look at the shelf.
    To(u32),
}

impl Shelf {
    /// `None`: the kernel can't unshare, or there are no descriptors left.
    pub(super) fn new() -> Option<Shelf> {
        if !can_unshare() {
            return None;
        }
        let nothing = OwnedFd::from(std::fs::File::open("/dev/null").ok()?);
        let places: io::Result<Vec<_>> = (0..PLACES).map(|_| copy_above(nothing.as_fd(), FIRST)).collect();
        Some(Shelf {
            nothing,
            places: places.ok()?,
            lent: Lent::Nothing,
        })
    }

    /// The first number behind the shelf.
    pub(super) fn end(&self) -> u32 {
        self.places
            .iter()
            .map(|place| place.as_raw_fd() as u32 + 1)
            .max()
            .unwrap_or(0)
    }

    /// Puts copies there; their numbers, in order. `None` when they don't fit or an earlier child was not waited for.
    pub(super) fn lend(&mut self, descriptors: &[RawFd]) -> Option<Vec<RawFd>> {
        if self.lent != Lent::Nothing || descriptors.len() > self.places.len() {
            return None;
        }
        for (place, &descriptor) in self.places.iter().zip(descriptors) {
            if put(descriptor, place).is_err() {
                self.clear();
                return None;
            }
        }
        self.lent = Lent::Soon;
        Some(
            self.places
                .iter()
                .take(descriptors.len())
                .map(AsRawFd::as_raw_fd)
                .collect(),
        )
    }

    /// Takes everything off again. Only when no child shares the table any more.
    pub(super) fn clear(&mut self) {
        for place in &self.places {
            // What fails leaves something of the last launch there until the next one.
            let _ = put(self.nothing.as_raw_fd(), place);
        }
        self.lent = Lent::Nothing;
    }

    /// The child that it was lent to is born.
    pub(super) fn is_with(&mut self, pid: u32) {
        self.lent = Lent::To(pid);
    }

    /// Waits until the child has a table of its own, or is no more.
    pub(super) fn take_back(&mut self, forked: &Forked) {
        if self.lent != Lent::To(forked.pid) {
            return;
        }
        let Some(pidfd) = &forked.pidfd else { return };
        loop {
            if has_unshared(&forked.channel) {
                break;
            }
            let mut polled = [
                PollFd::new(forked.channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut polled, PollTimeout::NONE);
            let ended = polled[1].revents().is_some_and(|events| !events.is_empty());
            if ended {
                let _ = has_unshared(&forked.channel);
                break;
            }
        }
        self.clear();
    }
}

/// Reads the child's word. A refusal is left to be read: who refuses has nothing more to do with the shelf.
fn has_unshared(channel: &Channel) -> bool {
    let mut word = [0; 12];
    let look = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    match recv(channel.as_raw_fd(), &mut word, look) {
        Ok(1) => recv(channel.as_raw_fd(), &mut word, MsgFlags::MSG_DONTWAIT).is_ok(),
        Ok(_) => true,
        Err(_) => false,
    }
}

fn copy_above(descriptor: BorrowedFd, least: RawFd) -> io::Result<OwnedFd> {
    let number = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: fcntl has just made this descriptor, and nobody else knows it.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes a place hold the same as `descriptor`.
#[allow(unsafe_code)]
fn put(descriptor: RawFd, place: &OwnedFd) -> io::Result<()> {
    // SAFETY: dup3 touches no memory; the place is ours and stays open.
    match unsafe { libc::dup3(descriptor, place.as_raw_fd(), libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether close_range(2) knows the flag (Linux 5.9). The range is empty but for a number that can't be open.
#[allow(unsafe_code)]
fn can_unshare() -> bool {
    // SAFETY: closing touches no memory, and there is nothing to close.
    unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, libc::CLOSE_RANGE_UNSHARE) == 0 }
}
