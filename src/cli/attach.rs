//! `attach`: the terminal of a service, in ours.

mod keys;

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::keys::Watch;
use super::args::{self, Global};
use super::call::{self, Call};
use super::outcome::Outcome;
use super::{Result, reach, terminal};
use crate::api::attach::{PROTOCOL, Said, Shown, Window};
use crate::reconcile::ExitStatus;
use crate::sys::pty::Raw;
use crate::sys::tty;

pub use self::keys::DetachKeys;

/// What is read of stdin at once.
const PIECE: usize = 4096;
/// Colours, cursor, mouse and pasting as they are in a terminal that nobody has changed.
const PLAIN: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l";

/// How it ended.
enum End {
    Detached,
    Ended(ExitStatus),
    /// A signal to us.
    Signal(i32),
    /// The connection is gone without a word.
    Lost,
    /// Nobody reads our stdout any more.
    Unread,
}

pub fn attach(global: &Global, args: &args::Attach) -> Result<u8> {
    let name = &args.name;
    let end = reach::converse(async {
        let Call { location, client } = Call::begin(global).await?;
        let path = format!("/v1/services/{}/attach", utf8_percent_encode(name, NON_ALPHANUMERIC));
        let stream = call::in_time(&location, client.upgrade(&path, PROTOCOL)).await?;
        let raw = Screen::take()?;
        let keys = match raw {
            Some(_) => args.detach_keys.clone(),
            // Who writes into a pipe closes it.
            None => DetachKeys::none(),
        };
        if raw.is_some() && !global.quiet {
            terminal::say_raw(&format!(
                "runner  attached to {name}; {} leaves it\r\n",
                args.detach_keys
            ));
        }
        converse(stream, Watch::of(&keys)).await
    })?;
    let say = |words: String| {
        if !global.quiet {
            terminal::say(format_args!("runner  {words}"));
        }
    };
    match end {
        End::Detached => {
            say(format!("left {name}, which goes on"));
            Ok(0)
        }
        End::Ended(ExitStatus::Code(code)) => {
            say(format!("{name} has ended with code {code}"));
            Ok(u8::try_from(code).unwrap_or(1))
        }
        End::Ended(ExitStatus::Signal(signal)) => {
            say(format!("{name} was ended by {signal}"));
            Ok(by_signal(signal.number()))
        }
        End::Ended(ExitStatus::Unknown) => Err(Outcome::failed(format!("{name} has ended, nobody knows how"))),
        End::Signal(number) => Ok(by_signal(number)),
        End::Unread => Ok(0),
        End::Lost => Err(Outcome::Failed {
            message: format!("the connection to runner is lost; {name} may go on"),
            suggestion: Some(format!("`runner attach {name}` goes on if it does")),
        }),
    }
}

/// As a shell tells it.
fn by_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(1)
}

async fn converse(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite, mut watch: Watch) -> Result<End> {
    let listen = |kind| signal(kind).map_err(Outcome::io("listen for signals"));
    let mut window = listen(SignalKind::window_change())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut quit = listen(SignalKind::quit())?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut typed = typed();
    let (mut came, mut goes) = (BytesMut::new(), BytesMut::new());
    let mut unread = std::pin::pin!(terminal::unread());
    tell_window(&mut goes);
    loop {
        tokio::select! {
            read = reader.read_buf(&mut came) => {
                if !read.is_ok_and(|count| count > 0) {
                    return Ok(End::Lost);
                }
                while let Some(shown) = Shown::decode(&mut came).map_err(Outcome::failed)? {
                    match shown {
                        Shown::Output(bytes) => {
                            if !print(&bytes) {
                                return Ok(End::Unread);
                            }
                        }
                        Shown::Skipped(bytes) => {
                            terminal::say_raw(&format!("\r\nrunner  {bytes} bytes were skipped: too slow\r\n"));
                        }
                        Shown::Ended(status) => return Ok(End::Ended(status)),
                    }
                }
            }
            // While some of it waits to be sent nothing more is read.
            piece = typed.recv(), if goes.is_empty() && !typed.is_closed() => {
                let (bytes, leaves) = match piece {
                    Some(piece) => watch.see(&piece),
                    None => (watch.finish(), false),
                };
                if !bytes.is_empty() {
                    Said::Input(Bytes::from(bytes)).encode(&mut goes);
                }
                if leaves {
                    let _ = writer.write_all_buf(&mut goes).await;
                    return Ok(End::Detached);
                }
            }
            sent = writer.write_buf(&mut goes), if !goes.is_empty() => {
                if sent.is_err() {
                    // What it has said before it hung up is still to be read.
                    goes.clear();
                }
            }
            Some(()) = window.recv() => tell_window(&mut goes),
            Some(()) = interrupt.recv() => return Ok(End::Signal(libc::SIGINT)),
            Some(()) = terminate.recv() => return Ok(End::Signal(libc::SIGTERM)),
            Some(()) = hangup.recv() => return Ok(End::Signal(libc::SIGHUP)),
            Some(()) = quit.recv() => return Ok(End::Signal(libc::SIGQUIT)),
            () = &mut unread => return Ok(End::Unread),
        }
    }
}

fn tell_window(goes: &mut BytesMut) {
    if let Some((rows, columns)) = tty::rows().zip(tty::columns()) {
        Said::Window(Window { rows, columns }).encode(goes);
    }
}

/// What comes on stdin, to its end.
fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sink, typed) = mpsc::channel(4);
    // It ends with the process: nobody can be told to stop reading.
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        loop {
            match std::io::stdin().lock().read(&mut piece) {
                Ok(0) => return,
                Ok(count) if sink.blocking_send(piece[..count].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    typed
}

/// `false`: nobody reads it.
fn print(bytes: &[u8]) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).is_ok()
}

/// The user's terminal, as the service is to have it, until it is dropped or we panic.
struct Screen(Arc<Raw>);

static TAKEN: OnceLock<Arc<Raw>> = OnceLock::new();

impl Screen {
    /// `None`: stdin is no terminal.
    fn take() -> Result<Option<Screen>> {
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let raw = Raw::of(std::io::stdin().as_fd()).map_err(Outcome::io("make the terminal raw"))?;
        let raw = Arc::new(raw);
        if TAKEN.set(raw.clone()).is_ok() {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if let Some(raw) = TAKEN.get() {
                    raw.restore();
                }
                before(info);
            }));
        }
        Ok(Some(Screen(raw)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if std::io::stdout().is_terminal() {
            print(PLAIN);
            print(b"\r\n");
        }
        self.0.restore();
    }
}
