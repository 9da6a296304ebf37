//! `Spawn`: fork up to the gate, write the record, open the gate, learn whether it was executed.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::MARK;
use super::guard::Guard;
use super::held::{Held, Launcher, Life};
use super::orders::{Identity, Launch, Report, Stdio, Ticket};
use super::record;
use crate::fault::point;
use crate::sys::spawn::{Image, Progress, Refusal, Session, Stage};
use crate::sys::{fifo, identity};

/// Descriptors 0, 1 and 2 of a launch, opened.
#[derive(Default)]
struct Streams {
    passed: Vec<OwnedFd>,
    fifos: Vec<(File, (u64, u64))>,
    numbers: Vec<RawFd>,
}

impl Guard {
    pub(super) fn launch(&mut self, mut launch: Launch) {
        let ticket = launch.ticket;
        if let Err(refusal) = self.try_launch(&mut launch) {
            self.report(&refused(ticket, refusal));
        }
    }

    fn try_launch(&mut self, launch: &mut Launch) -> Result<(), Refusal> {
        let ticket = launch.ticket;
        // Claimed first, whatever fails later: the next order's descriptors come behind them.
        let passed: Vec<_> = launch.stdio.iter().filter(|stdio| **stdio == Stdio::Passed).collect();
        let passed: Vec<_> = (0..passed.len()).filter_map(|_| self.claim()).collect();
        let kept: Vec<_> = (0..launch.keeps).filter_map(|_| self.claim()).collect();
        let streams = self.open_streams(launch, passed)?;
        let mark = mark_of(&launch.env);
        let uid = launch
            .credentials
            .as_ref()
            .map_or_else(own_uid, |credentials| credentials.uid);
        let mut numbers = streams.numbers;
        numbers.extend(
            self.sockets
                .lend(&launch.sockets)
                .map_err(|(error, index)| at(Stage::Stdio, &error, 3 + index))?,
        );
        let mut image = image(launch, numbers)?;
        let (forked, cgroup) = self.fork_into(&mut image, launch.cgroup.as_deref())?;
        point!("guardian.forked");
        let held = forked.pidfd.as_ref().map(AsFd::as_fd);
        let found: Identity = match launch.record {
            Some(_) => identity::of(forked.pid, held).into(),
            None => identity::at_birth(forked.pid, held).into(),
        };
        let mut held = Held {
            label: std::mem::take(&mut launch.label),
            run: launch.run,
            kept,
            cgroup,
            mark,
            fifos: streams.fifos,
            sessions: vec![forked.pid],
            reap_tree: launch.reap_tree,
            launcher: Launcher {
                name: launched_name(&image),
                born_ticks: found.start_ticks,
                pid_file: launch.pid_file,
                ended_well: false,
            },
            on_terminal: image.session == Session::Ours,
            ..Held::new(ticket, found.clone(), uid)
        };
        let written = launch
            .record
            .as_ref()
            .map(|record| record::write(record, &found))
            .transpose();
        self.forker.settle(&forked);
        held.pidfd = forked.pidfd;
        match written {
            Ok(written) => {
                held.record = written;
                point!("guardian.recorded");
                if !image.gate_is_open {
                    forked.channel.open_gate();
                }
                let is_watched = self.watch_channel(&forked.channel, ticket);
                held.channel = is_watched.then_some(forked.channel);
                // At once: who has passed the gate is held, whatever else becomes of this round.
                self.hold(held);
                point!("guardian.gate-opened");
                self.report(&Report::Spawned {
                    ticket,
                    identity: found,
                });
                if !is_watched {
                    self.report(&Report::Executed { ticket });
                }
            }
            Err(error) => {
                // Without its channel the child ends at the gate, and its end is reported as this failure.
                held.refusal = Some(at(Stage::Record, &error, 0));
                self.hold(held);
            }
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, held: Held) {
        let ticket = held.ticket;
        if held.on_terminal {
            self.command = Some(ticket);
        }
        if held.life == Life::Alive {
            self.mains.insert(held.main, ticket);
        }
        for session in &held.sessions {
            self.sessions.insert(*session, ticket);
        }
        if let Some(mark) = &held.mark {
            self.marks.insert(mark.clone(), ticket);
        }
        for (_, place) in &held.fifos {
            self.fifos.add(*place, ticket, held.reap_tree);
        }
        self.held.insert(ticket, held);
    }

    fn open_streams(&self, launch: &Launch, passed: Vec<OwnedFd>) -> Result<Streams, Refusal> {
        let mut streams = Streams::default();
        let mut passed = passed.into_iter();
        for (index, stdio) in launch.stdio.iter().enumerate() {
            let number = match stdio {
                Stdio::Null => self.null.as_raw_fd(),
                Stdio::Inherited => RawFd::try_from(index).unwrap_or_default(),
                Stdio::Fifo(path) => {
                    let path = PathBuf::from(OsString::from_vec(path.clone()));
                    let opened = fifo::open_both(&path).and_then(|file| {
                        let found = file.metadata()?;
                        Ok((file, (found.dev(), found.ino())))
                    });
                    let (file, place) = opened.map_err(|error| at(Stage::Stdio, &error, index))?;
                    let number = file.as_raw_fd();
                    streams.fifos.push((file, place));
                    number
                }
                Stdio::Passed => {
                    let missing = io::Error::from_raw_os_error(libc::EBADF);
                    let descriptor = passed.next().ok_or_else(|| at(Stage::Stdio, &missing, index))?;
                    let number = descriptor.as_raw_fd();
                    streams.passed.push(descriptor);
                    number
                }
            };
            streams.numbers.push(number);
        }
        Ok(streams)
    }

    /// The channel of a launch says something, or has ended.
    pub(super) fn launch_went_on(&mut self, ticket: Ticket) {
        let Some(channel) = self.held.get_mut(&ticket).and_then(|held| held.channel.take()) else {
            return;
        };
        match channel.progress() {
            Progress::Underway => {
                if let Some(held) = self.held.get_mut(&ticket) {
                    held.channel = Some(channel);
                }
                return;
            }
            Progress::Executed => {
                self.report(&Report::Executed { ticket });
                point!("guardian.exec-reported");
            }
            // It is told when the child was reaped, so that nothing of it is left by then.
            Progress::Refused(refusal) => {
                if let Some(held) = self.held.get_mut(&ticket) {
                    held.refusal = Some(refusal);
                }
            }
        }
        let _ = self.epoll.delete(&channel);
    }

    /// A child that did not come to execute was reaped.
    pub(super) fn launch_failed(&mut self, ticket: Ticket, refusal: Refusal) {
        self.forget(ticket);
        self.report(&refused(ticket, refusal));
    }
}

fn refused(ticket: Ticket, refusal: Refusal) -> Report {
    Report::SpawnFailed {
        ticket,
        stage: refusal.stage.into(),
        errno: refusal.errno,
        index: refusal.index,
    }
}

fn at(stage: Stage, error: &io::Error, index: usize) -> Refusal {
    Refusal {
        stage,
        errno: error.raw_os_error().unwrap_or(libc::EINVAL),
        index: u32::try_from(index).unwrap_or(0),
    }
}

fn own_uid() -> u32 {
    nix::unistd::Uid::effective().as_raw()
}

/// `comm` of proc(5): the last step of the program's path, up to 15 bytes.
fn launched_name(image: &Image) -> String {
    let path = image.programs.first().map_or(&b""[..], |program| program.to_bytes());
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(&name[..name.len().min(15)]).into_owned()
}

fn mark_of(env: &[Vec<u8>]) -> Option<Vec<u8>> {
    env.iter()
        .find_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))
        .map(<[u8]>::to_vec)
}

/// The launch in the words of `sys`; its strings are moved, not copied.
fn image(launch: &mut Launch, descriptors: Vec<RawFd>) -> Result<Image, Refusal> {
    let inside = |_| at(Stage::Exec, &io::Error::from_raw_os_error(libc::EINVAL), 0);
    let words = |words: &mut Vec<Vec<u8>>| {
        let words = std::mem::take(words).into_iter();
        words.map(CString::new).collect::<Result<Vec<_>, _>>().map_err(inside)
    };
    Ok(Image {
        programs: words(&mut launch.programs)?,
        argv: words(&mut launch.argv)?,
        env: words(&mut launch.env)?,
        working_dir: CString::new(std::mem::take(&mut launch.working_dir)).map_err(inside)?,
        credentials: launch.credentials.take().map(Into::into),
        umask: launch.umask,
        nice: launch.nice,
        limits: std::mem::take(&mut launch.limits),
        descriptors,
        listens: !launch.sockets.is_empty(),
        gate_is_open: launch.record.is_none(),
        cgroup: None,
        session: match launch.stdio[0] {
            Stdio::Inherited => Session::Ours,
            _ => Session::Own,
        },
        terminal: launch.terminal,
    })
}
