//! What is known of a terminal, or of whatever else reads what we write.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Columns of the terminal that stdout or stderr is; `None` when neither is one, or it does not tell.
pub fn columns() -> Option<u16> {
    size().map(|(columns, _)| columns)
}

/// Its rows.
pub fn rows() -> Option<u16> {
    size().map(|(_, rows)| rows).filter(|rows| *rows > 0)
}

#[allow(unsafe_code)]
fn size() -> Option<(u16, u16)> {
    [libc::STDOUT_FILENO, libc::STDERR_FILENO]
        .into_iter()
        .find_map(|descriptor| {
            let mut size = libc::winsize {
                ws_row: 0,
                ws_col: 0,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // SAFETY: `size` is a valid winsize for the length of the call; a descriptor that is no terminal makes it fail.
            let result = unsafe { libc::ioctl(descriptor, libc::TIOCGWINSZ, &raw mut size) };
            (result == 0 && size.ws_col > 0).then_some((size.ws_col, size.ws_row))
        })
}

/// Makes our group the foreground of the terminal at descriptor 0, if this child's group (it leads one) is; `false`: it
/// is not. With SIGTTOU blocked.
#[allow(unsafe_code)]
pub fn take_back(child: u32) -> bool {
    // SAFETY: numbers only.
    unsafe { is_foreground(child) && libc::tcsetpgrp(0, libc::getpgrp()) == 0 }
}

/// Makes this child's group the foreground of the terminal at descriptor 0, if ours is.
#[allow(unsafe_code)]
pub fn give_to(child: u32) {
    // SAFETY: numbers only.
    unsafe {
        if is_foreground(libc::getpgrp().unsigned_abs())
            && let Ok(child) = i32::try_from(child)
        {
            libc::tcsetpgrp(0, child);
        }
    }
}

#[allow(unsafe_code)]
fn is_foreground(group: u32) -> bool {
    // SAFETY: numbers only.
    i32::try_from(group).is_ok_and(|group| unsafe { libc::tcgetpgrp(0) } == group)
}

/// Whether a short line can be written there without waiting for anybody (a pipe with room for PIPE_BUF, pipe(7)).
pub fn takes_a_line(output: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(output, PollFlags::POLLOUT)];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
        && polled[0]
            .revents()
            .is_some_and(|found| found.contains(PollFlags::POLLOUT))
}

/// Returns when nobody can read any more what is written to `output`: the pipe has no reader, the terminal was hung up.
/// Never for a file.
pub fn wait_until_unread(output: BorrowedFd<'_>) {
    loop {
        // Nothing is asked for: errors and hang-ups are always told (poll(2)).
        let mut polled = [PollFd::new(output, PollFlags::empty())];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_pipe_whose_reader_went_is_unread() {
        let (reader, writer) = std::io::pipe().unwrap();
        let waiting = std::thread::spawn(move || wait_until_unread(writer.as_fd()));
        drop(reader);
        waiting.join().unwrap();
    }
}
