//! `attach`: the terminal of a service, in ours.

mod keys;
mod screen;

use std::io::Read;

use bytes::{Bytes, BytesMut};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::keys::Watch;
use self::screen::{Printer, Screen};
use super::args::{self, Global};
use super::call::{self, Call};
use super::outcome::Outcome;
use super::{Result, reach, terminal};
use crate::api::attach::{PROTOCOL, Said, Shown, Window};
use crate::api::client::{Error, Upgraded};
use crate::config::find::Location;
use crate::reconcile::ExitStatus;
use crate::sys::tty;

pub use self::keys::DetachKeys;

/// What is read of stdin at once.
const PIECE: usize = 4096;

/// How it ended.
enum End {
    Detached,
    Ended(ExitStatus),
    /// A signal to us.
    Signal(i32),
    /// The connection is gone without a word.
    Lost,
    /// The run ended while nobody was there to say how.
    Gone,
    /// Nobody reads our stdout any more.
    Unread,
}

pub fn attach(global: &Global, args: &args::Attach) -> Result<u8> {
    let name = &args.name;
    let say = |words: &str, line_end: &str| {
        if !global.quiet {
            terminal::say_raw(&format!("runner  {words}{line_end}"));
        }
    };
    let end = reach::converse(async {
        let Call { location, client } = Call::begin(global).await?;
        let mut stream = call::in_time(&location, client.upgrade(&path(name, None), PROTOCOL)).await?;
        // From here on every signal gives the terminal back.
        let signals = Signals::new()?;
        let screen = Screen::take()?;
        let keys = match screen {
            Some(_) => args.detach_keys.clone(),
            // Who writes into a pipe closes it.
            None => DetachKeys::none(),
        };
        if screen.is_some() {
            say(&format!("attached to {name}; {} leaves it", args.detach_keys), "\r\n");
        }
        let mut viewer = Viewer::new(signals, typed(), Watch::of(&keys));
        loop {
            let end = viewer.converse(stream).await?;
            // A pipe has every byte once, in order: what was printed meanwhile can't be told from what came before.
            let (End::Lost, Some(run), true) = (&end, viewer.run, screen.is_some()) else {
                return Ok(end);
            };
            say("the connection is lost; again ...", "\r\n");
            let (again, signals) = (again(&location, name, run), &mut viewer.signals);
            stream = tokio::select! {
                again = again => match again? {
                    Ok(stream) => stream,
                    Err(end) => return Ok(end),
                },
                number = signals.ending() => return Ok(End::Signal(number)),
            };
            viewer.printer.clear();
        }
    })?;
    match end {
        End::Detached => {
            say(&format!("left {name}, which goes on"), "\n");
            Ok(0)
        }
        End::Ended(ExitStatus::Code(code)) => {
            say(&format!("{name} has ended with code {code}"), "\n");
            Ok(u8::try_from(code).unwrap_or(1))
        }
        End::Ended(ExitStatus::Signal(signal)) => {
            say(&format!("{name} was ended by {signal}"), "\n");
            Ok(by_signal(signal.number()))
        }
        End::Ended(ExitStatus::Unknown) => Err(Outcome::failed(format!("{name} has ended, nobody knows how"))),
        End::Signal(number) => Ok(by_signal(number)),
        End::Unread => Ok(0),
        End::Gone => Err(Outcome::Failed {
            message: format!("{name} has ended while runner was away"),
            suggestion: Some(format!("`runner why {name}` says what is known")),
        }),
        End::Lost => Err(Outcome::Failed {
            message: format!("the connection to runner is lost; {name} may go on"),
            suggestion: Some(format!("`runner attach {name}` goes on if it does")),
        }),
    }
}

fn path(name: &str, run: Option<u32>) -> String {
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let run = run.map_or_else(String::new, |run| format!("?run={run}"));
    format!("/v1/services/{name}/attach{run}")
}

/// The same run, from the daemon that has taken over.
async fn again(location: &Location, name: &str, run: u32) -> Result<std::result::Result<Upgraded, End>> {
    while let Some(stream) = reach::running(location)? {
        let client = reach::client(stream).await?;
        let path = path(name, Some(run));
        match call::unless_stopped(location, client.upgrade(&path, PROTOCOL)).await? {
            Ok(stream) => return Ok(Ok(stream)),
            // That one is gone as well.
            Err(Error::Lost(_)) => {}
            Err(Error::Refused(refusal)) if refusal.is_ending() => break,
            Err(Error::Refused(refusal)) if refusal.status == 409 => return Ok(Err(End::Gone)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Err(End::Lost))
}

/// As a shell tells it.
fn by_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(1)
}

/// Those that end us, and the one that says that the window is another.
struct Signals {
    window: Signal,
    ending: [(i32, Signal); 4],
}

impl Signals {
    fn new() -> Result<Signals> {
        let listen = |kind| signal(kind).map_err(Outcome::io("listen for signals"));
        let ending = |number: i32| Ok::<_, Outcome>((number, listen(SignalKind::from_raw(number))?));
        Ok(Signals {
            window: listen(SignalKind::window_change())?,
            ending: [
                ending(libc::SIGINT)?,
                ending(libc::SIGTERM)?,
                ending(libc::SIGHUP)?,
                ending(libc::SIGQUIT)?,
            ],
        })
    }

    async fn ending(&mut self) -> i32 {
        ending(&mut self.ending).await
    }
}

async fn ending([one, two, three, four]: &mut [(i32, Signal); 4]) -> i32 {
    tokio::select! {
        Some(()) = one.1.recv() => one.0,
        Some(()) = two.1.recv() => two.0,
        Some(()) = three.1.recv() => three.0,
        Some(()) = four.1.recv() => four.0,
        else => std::future::pending().await,
    }
}

/// Who looks and types, over as many connections as it takes.
struct Viewer {
    signals: Signals,
    printer: Printer,
    /// `None`: it is at its end.
    typed: Option<mpsc::Receiver<Vec<u8>>>,
    watch: Watch,
    run: Option<u32>,
}

impl Viewer {
    fn new(signals: Signals, typed: mpsc::Receiver<Vec<u8>>, watch: Watch) -> Viewer {
        Viewer {
            signals,
            printer: Printer::new(),
            typed: Some(typed),
            watch,
            run: None,
        }
    }

    async fn converse(&mut self, stream: impl AsyncRead + AsyncWrite) -> Result<End> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut came, mut goes) = (BytesMut::new(), BytesMut::new());
        tell_window(&mut goes);
        // How it ended, once everything before that is printed.
        let mut end = None;
        loop {
            while end.is_none()
                && !self.printer.is_full()
                && let Some(shown) = Shown::decode(&mut came).map_err(Outcome::failed)?
            {
                match shown {
                    Shown::Begun(run) => self.run = Some(run),
                    Shown::Output(bytes) => self.printer.print(bytes),
                    Shown::Skipped(bytes) => {
                        terminal::say_raw(&format!("\r\nrunner  {bytes} bytes were skipped: too slow\r\n"));
                    }
                    Shown::Ended(status) => end = Some(End::Ended(status)),
                }
            }
            if self.printer.is_idle()
                && let Some(end) = end
            {
                return Ok(end);
            }
            let typed = self.typed.as_mut();
            tokio::select! {
                read = reader.read_buf(&mut came), if end.is_none() && !self.printer.is_full() => {
                    if !read.is_ok_and(|count| count > 0) {
                        end = Some(End::Lost);
                    }
                }
                // While some of it waits to be sent nothing more is read.
                Some(piece) = async { Some(typed?.recv().await) }, if goes.is_empty() => {
                    let (bytes, leaves) = match piece {
                        Some(piece) => self.watch.see(&piece),
                        None => {
                            self.typed = None;
                            (self.watch.finish(), false)
                        }
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
                is_read = self.printer.go_on() => {
                    if !is_read {
                        return Ok(End::Unread);
                    }
                }
                Some(()) = self.signals.window.recv() => tell_window(&mut goes),
                number = ending(&mut self.signals.ending) => return Ok(End::Signal(number)),
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_typed_is_sent_also_if_its_end_was_there_before_us() {
        let (sink, typed) = mpsc::channel(4);
        sink.try_send(b"one\n".to_vec()).unwrap();
        drop(sink);
        let (near, mut far) = tokio::io::duplex(64);
        let mut viewer = Viewer::new(Signals::new().unwrap(), typed, Watch::of(&DetachKeys::none()));
        let service = async {
            let mut came = BytesMut::new();
            loop {
                far.read_buf(&mut came).await.unwrap();
                match Said::decode(&mut came).unwrap() {
                    Some(Said::Input(bytes)) => break assert_eq!(bytes, "one\n"),
                    Some(Said::Window(_)) | None => {}
                }
            }
            let mut end = BytesMut::new();
            Shown::Ended(ExitStatus::Code(7)).encode(&mut end);
            far.write_all(&end).await.unwrap();
        };
        let (end, ()) = tokio::join!(viewer.converse(near), service);
        assert!(matches!(end, Ok(End::Ended(ExitStatus::Code(7)))));
    }
}
