//! What a run prints into.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::refusals::output_refused;
use super::terminals::{RunTerminal, terminal_refused};
use super::{Hands, Run};
use crate::daemon::launch::Setting;
use crate::daemon::terminal::Terminal;
use crate::guardian::orders::Stdio;
use crate::logs::OpenRun;
use crate::reconcile::{Failure, Incarnation};
use crate::spec::{LogTarget, Service};
use crate::sys;
use crate::sys::places::nameless;

impl Hands {
    /// FIFOs for both streams, read by the pump; or nowhere with `log = false`. With `tty`, a terminal from which we fill the
    /// first of them.
    pub(super) fn open_output(
        &mut self,
        id: Incarnation,
        service: &Service,
        setting: &Setting,
    ) -> Result<[Stdio; 3], Failure> {
        match service.log {
            LogTarget::Off => return Ok([Stdio::Null, Stdio::Null, Stdio::Null]),
            LogTarget::Inherited => return Ok([Stdio::Inherited, Stdio::Inherited, Stdio::Inherited]),
            LogTarget::File(_) | LogTarget::Memory(_) => {}
        }
        let owner = setting
            .credentials()
            .map(|credentials| (credentials.uid, credentials.gid));
        let run = self.runs.get_mut(&id).expect("just inserted");
        let refused = |error: io::Error| output_refused(service, &error);
        let mut open = |stream: &str| {
            if nameless::is_nowhere(&self.runtime_dir) {
                let (reader, writer) = sys::fifo::nameless(owner).map_err(refused)?;
                run.pipes.push(writer);
                run.readers.push(reader.try_clone().map_err(refused)?);
                return Ok((Stdio::Passed, reader));
            }
            let path = self.runtime_dir.join(format!("{}.{}.{stream}", service.name, id.run));
            run.fifos.push(path.clone());
            let made = sys::fifo::make(&path, owner).and_then(|()| sys::fifo::open_reader(&path));
            let reader = OwnedFd::from(made.map_err(refused)?);
            if service.tty {
                // Nobody but us writes there: the guardian holds it for what is in it.
                run.readers.push(reader.try_clone().map_err(refused)?);
            }
            Ok((Stdio::Fifo(path.into_os_string().into_vec()), reader))
        };
        let (to_out, out) = open("out")?;
        let (to_err, err) = open("err")?;
        // A hook of a run that is over has none.
        let pty = match service.tty && !run.is_reopened {
            true => {
                let pty = sys::pty::open(owner.map(|(uid, _)| uid)).map_err(terminal_refused)?;
                let into = sys::fifo::open_writer_of(out.as_fd()).map_err(refused)?;
                Some(Terminal::new(pty.master, pty.slave, into).map_err(terminal_refused)?)
            }
            false => None,
        };
        let opened = OpenRun {
            service: service.name.clone(),
            run: id.run,
            adopted: run.is_reopened,
            out,
            err,
            target: service.log.clone(),
            matchers: run.patterns.texts(),
        };
        self.pump.open(opened).map_err(refused)?;
        run.logged = true;
        let Some(terminal) = pty else {
            return Ok([Stdio::Null, to_out, to_err]);
        };
        run.terminal = Some(RunTerminal::begin(id, terminal, &self.inbox));
        Ok([Stdio::Passed, Stdio::Passed, Stdio::Passed])
    }

    /// Its FIFOs stay open between the commands that come and go before its spawn.
    pub(super) fn hold_output(&mut self, id: Incarnation) {
        if let Some(run) = self.runs.get_mut(&id) {
            let opened = run.fifos.iter().filter_map(|path| sys::fifo::open_both(path).ok());
            run.held = opened.collect();
        }
    }

    /// What the service prints into goes on where its preparation did.
    pub(super) fn output_of_prepared(&mut self, id: Incarnation, service: &Service) -> [Stdio; 3] {
        let Some(run) = self.runs.get(&id) else {
            return [Stdio::Null, Stdio::Null, Stdio::Null];
        };
        if run.logged && !run.patterns.is_empty() {
            let texts = run.patterns.texts();
            self.pump.expect(&service.name, id.run, 0, &texts);
        }
        if run.terminal.is_some() {
            return [Stdio::Passed, Stdio::Passed, Stdio::Passed];
        }
        run.output()
    }
}

impl Run {
    /// Where its commands print to.
    pub(super) fn output(&self) -> [Stdio; 3] {
        if !self.pipes.is_empty() {
            return [Stdio::Null, Stdio::Passed, Stdio::Passed];
        }
        let mut streams = self
            .fifos
            .iter()
            .map(|path| Stdio::Fifo(path.as_os_str().as_bytes().to_vec()));
        let mut next = || streams.next().unwrap_or(Stdio::Null);
        [Stdio::Null, next(), next()]
    }

    /// The output of what was prepared is that of what is started.
    pub(super) fn goes_on_from(&mut self, prepared: Run) {
        self.fifos = prepared.fifos;
        self.pipes = prepared.pipes;
        self.readers = prepared.readers;
        self.held = prepared.held;
        self.logged = prepared.logged;
        self.terminal = prepared.terminal;
    }
}
