//! What a run prints into.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use super::Hands;
use super::refusals::output_refused;
use super::terminals::{RunTerminal, terminal_refused};
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
        let pty = match service.tty {
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
            adopted: false,
            out,
            err,
            target: service.log.clone(),
            matchers: run.patterns.clone(),
        };
        self.pump.open(opened).map_err(refused)?;
        run.logged = true;
        let Some(terminal) = pty else {
            return Ok([Stdio::Null, to_out, to_err]);
        };
        run.terminal = Some(RunTerminal::begin(id, terminal, &self.inbox));
        Ok([Stdio::Passed, Stdio::Passed, Stdio::Passed])
    }
}
