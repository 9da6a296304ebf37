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
