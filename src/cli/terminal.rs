//! What the terminal can do, and the colours that follow from it.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;

use super::Result;
use super::args::{ColorChoice, Global};
use super::outcome::Outcome;
use crate::view::escape;
use crate::view::style::Style;

/// Runner's own words, a line of them on stderr. Nobody there to read them (a full disk, a closed pipe) changes nothing
/// about what was asked for. Whatever name or path is in it: only colours get through (`AP-14`).
pub fn say(words: impl Display) {
    let words = words.to_string();
    let lines = words.split('\n').map(|line| escape::line(line, true));
    say_raw(&(lines.collect::<Vec<_>>().join("\n") + "\n"));
}

/// The same for text that brings its own line ends.
pub fn say_raw(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// What was asked for, on stdout. `false`: the reader has seen enough (`| head`), which is no error.
pub fn write(bytes: &[u8]) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Outcome::io("write to stdout")(error)),
    }
}

/// Ends when nobody can read stdout any more (`| head`), also while nothing is written.
pub async fn unread() {
    let (seen, unread) = tokio::sync::oneshot::channel();
    // It ends with the process: a reader that stays keeps it waiting.
    std::thread::spawn(move || {
        crate::sys::tty::wait_until_unread(std::io::stdout().as_fd());
        let _ = seen.send(());
    });
    let _ = unread.await;
}

pub fn for_stdout(global: &Global) -> Style {
    style(global, std::io::stdout().is_terminal())
}

pub fn for_stderr(global: &Global) -> Style {
    style(global, std::io::stderr().is_terminal())
}

fn style(global: &Global, is_terminal: bool) -> Style {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let choice = match global.color {
        ColorChoice::Auto => crate::view::style::Choice::Auto,
        ColorChoice::Always => crate::view::style::Choice::Always,
        ColorChoice::Never => crate::view::style::Choice::Never,
    };
    let style = Style::choose(
        choice,
        is_terminal,
        // https://no-color.org: any value but none.
        std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        is_set("CLICOLOR_FORCE"),
        None,
    );
    as_it_is_now(style)
}

/// With the size of the terminal, when one of our streams is one.
pub fn as_it_is_now(style: Style) -> Style {
    Style {
        width: crate::sys::tty::columns(),
        height: crate::sys::tty::rows(),
        ..style
    }
}
