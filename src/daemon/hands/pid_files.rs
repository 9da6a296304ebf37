//! The PID files of runs: watched and read, written, and taken at their word when a service is adopted.
//!
//! What a file says is passed to the guardian, which alone judges whether the process may be believed to be the service.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::{Claim, Hands, Inbox, Run, refusals};
use crate::daemon::files::{Interest, Touched, Watch};
use crate::daemon::launch::Setting;
use crate::guardian::orders::{Adoption, Identity, Order};
use crate::reconcile::{ExitStatus, Fact, Failure, Incarnation};
use crate::spec::{Given, PidFileMode, Service};
use crate::sys;
use crate::sys::pid_file::{Fault, Written};

/// Somebody who makes and removes folders all the time does not hold up the loop.
const MOST_LOOKS: u32 = 16;

/// What is known of the PID file of a run.
pub(super) enum RunFile {
    Followed(Followed),
    Written(Written),
}

pub(super) struct Followed {
    path: PathBuf,
    /// The user of the service.
    user: Option<u32>,
    watch: Watch,
    told: Arc<AtomicBool>,
    /// Whom it named when it was believed last.
    believed: Option<u32>,
    /// What it held when it was read last was not.
    doubted: bool,
    /// The process that was forked, until another is the main process.
    launcher: Option<u32>,
    /// The end of a main process, while it is asked whether the file names its successor.
    end: Option<(ExitStatus, bool)>,
}

impl RunFile {
    /// Before anybody is started: what is stale is removed, what is to be written can be.
    pub(super) fn of(
        service: &Service,
        id: Incarnation,
        setting: &Setting,
        inbox: &mpsc::UnboundedSender<Inbox>,
    ) -> Result<Option<RunFile>, Failure> {
        let Some(file) = &service.pid_file else { return Ok(None) };
        let user = setting.credentials().map(|credentials| credentials.uid);
        if file.mode == PidFileMode::Write {
            let written = Written::prepare(&file.path);
            let written = written.map_err(|error| refusals::pid_file_refused(service, &file.path, &error))?;
            return Ok(Some(RunFile::Written(written)));
        }
        if let Err(error) = sys::pid_file::remove_stale(&file.path, user) {
            tracing::warn!(service = %service.name, %error, "a stale PID file can't be removed");
        }
        let told = Arc::default();
        Ok(Some(RunFile::Followed(Followed {
            watch: watch(&file.path, id, inbox, &told),
            path: file.path.clone(),
            user,
            told,
            believed: None,
            doubted: false,
            launcher: None,
            end: None,
        })))
    }

    /// Of a run that an earlier daemon began. `launched`: what was forked; `main`: which process it is by now.
    pub(super) fn resumed(
        service: &Service,
        id: Incarnation,
        setting: &Setting,
        inbox: &mpsc::UnboundedSender<Inbox>,
        (launched, main): (u32, u32),
    ) -> Option<RunFile> {
        let file = service.pid_file.as_ref()?;
        if file.mode == PidFileMode::Write {
            return Some(RunFile::Written(Written::resumed(&file.path, main)));
        }
        let told = Arc::default();
        Some(RunFile::Followed(Followed {
            watch: watch(&file.path, id, inbox, &told),
            path: file.path.clone(),
            user: setting.credentials().map(|credentials| credentials.uid),
            told,
            believed: (launched != main).then_some(main),
            doubted: false,
            launcher: Some(launched),
            end: None,
        }))
    }
}

fn watch(path: &Path, id: Incarnation, inbox: &mpsc::UnboundedSender<Inbox>, told: &Arc<AtomicBool>) -> Watch {
    let (inbox, told) = (inbox.clone(), Arc::clone(told));
    let tell = move |touched: Touched| {
        // One word is enough until it was heard: a file may be written as often as its writer likes.
        if !told.swap(true, Ordering::AcqRel) || touched.lost {
            let _ = inbox.send(Inbox::PidFile(id, touched.lost));
        }
    };
    let mut watch = Watch::start(Interest::of_file(path), tell.clone());
    // A folder that came between the look and the watch was seen by neither.
    for _ in 0..MOST_LOOKS {
        let interest = Interest::of_file(path);
        if watch.is_for(&interest) {
            break;
        }
        watch = Watch::start(interest, tell.clone());
    }
    watch
}

fn followed(run: &mut Run) -> Option<&mut Followed> {
    match run.pid_file.as_mut()? {
        RunFile::Followed(file) => Some(file),
        RunFile::Written(_) => None,
    }
}

impl Hands {
    /// Something about the PID file of a run may have changed. `lost`: a watched folder went away.
    pub(super) fn look_at_pid_file(&mut self, id: Incarnation, lost: bool) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let (ticket, main) = (run.ticket, run.witness.pid.get());
        let Some(file) = followed(run) else { return };
        file.told.store(false, Ordering::Release);
        if lost || !file.watch.is_for(&Interest::of_file(&file.path)) {
            file.watch = watch(&file.path, id, &self.inbox, &file.told);
        }
        if file.launcher.is_none() {
            // Nobody was executed yet whom it could name.
            return;
        }
        match sys::pid_file::read(&file.path, file.user) {
            Ok(pid) if file.believed == Some(pid) && main == Some(pid) => {
                if std::mem::take(&mut file.doubted) {
                    self.known.push_back(Fact::MainPidTold { id, pid });
                }
            }
            Ok(pid) => self.order(&Order::Follow { ticket, pid }, &[]),
            Err(Fault::Missing) if file.believed.is_some() => self.doubt_pid_file(id, "it is gone".to_owned()),
            Err(fault) => self.doubt_pid_file(id, fault.to_string()),
        }
    }

    fn doubt_pid_file(&mut self, id: Incarnation, why: String) {
        if let Some(file) = self.runs.get_mut(&id).and_then(followed) {
            file.doubted = true;
        }
        self.known.push_back(Fact::PidFileDoubted { id, why });
    }

    /// The process of a run exists.
    pub(super) fn name_in_pid_file(&mut self, id: Incarnation, pid: u32) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(RunFile::Written(file)) = &mut run.pid_file else {
            return;
        };
        if let Err(error) = file.name(pid) {
            let words = format!("its PID file can't be written: {error}");
            self.troubles.push((run.service.name.clone(), words));
        }
    }

    /// Its program runs: from now on the file may name it.
    pub(super) fn expect_pid_file(&mut self, id: Incarnation) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let pid = run.witness.pid.get();
        if let Some(file) = followed(run) {
            file.launcher = pid;
            self.look_at_pid_file(id, false);
        }
    }

    pub(super) fn main_or_launcher_ended(&mut self, id: Incarnation, status: ExitStatus, left: bool) {
        if !self.may_have_successor(id, status, left) {
            self.main_ended(id, status, left);
        }
    }

    /// Whether the end of a main process is held back, because its PID file names another by now: that may be its
    /// successor.
    fn may_have_successor(&mut self, id: Incarnation, status: ExitStatus, left: bool) -> bool {
        let Some(run) = self.runs.get_mut(&id).filter(|_| left) else {
            return false;
        };
        let (ticket, main) = (run.ticket, run.witness.pid.get());
        let fine = is_success(&run.service, status);
        let Some(file) = followed(run) else { return false };
        // A launcher that fails has started nothing.
        if file.launcher == main && !fine {
            return false;
        }
        match sys::pid_file::read(&file.path, file.user) {
            Ok(pid) if main != Some(pid) => {
                file.end = Some((status, left));
                self.order(&Order::Follow { ticket, pid }, &[]);
                true
            }
            _ => false,
        }
    }

    /// Nothing is left of a run whose end was held back: there is no successor.
    pub(super) fn lost_successor(&mut self, id: Incarnation) -> bool {
        let end = self
            .runs
            .get_mut(&id)
            .and_then(followed)
            .and_then(|file| file.end.as_mut());
        end.map(|(_, left)| *left = false).is_some()
    }

    pub(super) fn pid_file_believed(&mut self, id: Incarnation, pid: u32) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        // An end that was not told yet was that of a predecessor, and so none of the service.
        run.end = None;
        if let Some(file) = followed(run) {
            (file.believed, file.doubted, file.end) = (Some(pid), false, None);
        }
    }

    /// `false`: it was not about a PID file.
    pub(super) fn pid_file_not_believed(&mut self, id: Incarnation, why: &str) -> bool {
        let Some(file) = self.runs.get_mut(&id).and_then(followed) else {
            return false;
        };
        let end = file.end.take();
        self.doubt_pid_file(id, why.to_owned());
        if let Some((status, left)) = end {
            self.main_ended(id, status, left);
        }
        true
    }

    /// Asks the guardian to take over what a PID file names. `false`: there is nothing to take over.
    pub(super) fn tries_to_adopt(&mut self, id: Incarnation, service: &Arc<Service>, given: &Given) -> bool {
        let Some(file) = service.pid_file.as_ref().filter(|file| file.mode == PidFileMode::Adopt) else {
            return false;
        };
        // What is wrong with these stands in the way of an ordinary start as well, which tells.
        let Ok(setting) = Setting::of(id, service, &self.surroundings) else {
            return false;
        };
        let user = setting.credentials().map(|credentials| credentials.uid);
        let Ok(pid) = sys::pid_file::read(&file.path, user) else {
            return false;
        };
        let Some(program) = executable(&setting, &service.command.words[0]) else {
            return false;
        };
        let Ok(pid_file) = RunFile::of(service, id, &setting, &self.inbox) else {
            return false;
        };
        let ticket = self.tickets.take();
        let record = self.record(service, service, id, ticket, &setting);
        // What was prepared is of no use to who runs already.
        self.forget(id);
        let run = Run {
            pid_file,
            given: given.clone(),
            ..Run::new(ticket, service, setting)
        };
        self.by_name.insert((service.name.clone(), id.run), id);
        self.runs.insert(id, run);
        self.claims.insert(ticket, Claim::Service(id));
        let adoption = Adoption {
            ticket,
            pid,
            uid: user.unwrap_or_else(|| nix::unistd::Uid::effective().as_raw()),
            label: service.name.to_string(),
            run: id.run,
            program,
            record,
        };
        self.order(&Order::TakeOver(Box::new(adoption)), &[]);
        true
    }

    pub(super) fn taken_over(&mut self, id: Incarnation, main: &Identity) {
        let pid = main.pid;
        self.see(id, main);
        if let Some(file) = self.runs.get_mut(&id).and_then(followed) {
            (file.launcher, file.believed) = (Some(pid), Some(pid));
        }
        self.known.push_back(Fact::Spawned { id, pid });
        self.known.push_back(Fact::Executed { id });
        self.known.push_back(Fact::MainPidTold { id, pid });
    }

    /// Then it is started.
    pub(super) fn not_taken_over(&mut self, id: Incarnation, why: &str) {
        let run = self.runs.get(&id).map(|run| (run.service.clone(), run.given.clone()));
        let Some((service, given)) = run else { return };
        tracing::info!(service = %service.name, %why, "not adopted");
        self.forget(id);
        self.start(id, &service, given, false);
    }
}

fn is_success(service: &Service, status: ExitStatus) -> bool {
    match status {
        ExitStatus::Code(code) => u8::try_from(code).is_ok_and(|code| service.success_exit_codes.contains(&code)),
        ExitStatus::Signal(_) | ExitStatus::Unknown => false,
    }
}

/// Device and inode of the file that would be executed.
fn executable(setting: &Setting, program: &str) -> Option<(u64, u64)> {
    let candidates = sys::search::candidates(OsStr::new(program), &setting.path()).into_iter();
    let files = candidates.filter_map(|path| {
        let path = setting.working_dir().join(std::ffi::OsStr::from_bytes(&path));
        std::fs::metadata(path).ok()
    });
    let mut programs = files.filter(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    programs.next().map(|found| (found.dev(), found.ino()))
}
