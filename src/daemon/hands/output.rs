//! What a run prints into.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use super::Hands;
use super::refusals::output_refused;
use crate::daemon::launch::Setting;
use crate::guardian::orders::Stdio;
use crate::logs::OpenRun;
use crate::reconcile::{Failure, Incarnation};
use crate::spec::{LogTarget, Service};
use crate::sys;
use crate::sys::places::nameless;

impl Hands {
    /// FIFOs for both streams, read by the pump; or nowhere with `log = false`.
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
            let stdio = Stdio::Fifo(path.into_os_string().into_vec());
            made.map(|reader| (stdio, OwnedFd::from(reader))).map_err(refused)
        };
        let (to_out, out) = open("out")?;
        let (to_err, err) = open("err")?;
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
        Ok([Stdio::Null, to_out, to_err])
    }
}
