//! What is shown at a terminal of our own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Adds all of it to `seen`, until nobody has the other end any more.
pub fn read(master: &OwnedFd, seen: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let (master, seen) = (master.try_clone().unwrap(), seen.clone());
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        loop {
            let mut polled = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut polled, PollTimeout::NONE);
            match nix::unistd::read(&master, &mut piece) {
                Ok(count) if count > 0 => seen.lock().unwrap().extend_from_slice(&piece[..count]),
                Err(Errno::EAGAIN) => {}
                _ => return,
            }
        }
    })
}
