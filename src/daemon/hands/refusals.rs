//! Why something could not be started, as one of the typed reasons.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::daemon::launch::Setting;
use crate::guardian::orders::{Credentials, Stage};
use crate::reconcile::{Failure, Reason};
use crate::spec::{LogTarget, Port, Service};
use crate::sys;
use crate::sys::exec_failure::Attempt;
use crate::sys::ports::PortToCheck;
use crate::sys::users::Ids;

/// What a failed launch means. `command` is its first word; the launch is what was tried.
pub(super) fn explain(setting: &Setting, command: &str, stage: Stage, errno: i32, index: u32) -> Failure {
    let path = setting.path();
    let programs: Vec<PathBuf> = sys::search::candidates(OsStr::new(command), &path)
        .into_iter()
        .map(|program| OsString::from_vec(program).into())
        .collect();
    let ids = setting
        .credentials()
        .map(|Credentials { uid, gid, groups }| Ids { uid, gid, groups });
    sys::exec_failure::failure(&Attempt {
        stage: stage.into(),
        errno,
        index,
        command,
        programs: &programs,
        working_dir: setting.working_dir(),
        path: path.to_str(),
        user: setting.user(),
        ids: ids.as_ref(),
        limits: &setting.limits(),
    })
}

pub(super) fn check(port: &Port) -> PortToCheck {
    PortToCheck {
        number: port.number,
        protocol: port.protocol,
    }
}

pub(super) fn pid_file_refused(service: &Service, path: &Path, error: &io::Error) -> Failure {
    Failure {
        reason: Reason::OutputRefused,
        message: format!("its PID file can't be written: {}: {error}", path.display()),
        suggestion: Some(format!(
            "make the folder, or set services.{}.pid_file to a file that can be written",
            service.name
        )),
    }
}

pub(super) fn output_refused(service: &Service, error: &io::Error) -> Failure {
    let place = match &service.log {
        LogTarget::File(file) => file.file.display().to_string(),
        LogTarget::Memory(_) => "memory".to_owned(),
        LogTarget::Off | LogTarget::Inherited => "the output".to_owned(),
    };
    Failure {
        reason: Reason::OutputRefused,
        message: match error.to_string() {
            error if error.starts_with(&place) => format!("the log can't be opened: {error}"),
            error => format!("the log can't be opened: {place}: {error}"),
        },
        suggestion: Some(format!(
            "set `log.file` of services.{} to a file that can be written",
            service.name
        )),
    }
}
