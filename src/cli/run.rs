//! `run NAME [-- CMD...]`: a one-off command in the service's folder, environment and user, with our terminal.
//!
//! It is the user's own process, not the project's: this process becomes it.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use base64::Engine;

use super::args::{Global, Run};
use super::call::{self, Call};
use super::outcome::Outcome;
use super::{Result, reach};
use crate::api::wire::{RunAnswer, RunRequest};
use crate::sys::becoming::become_like;
use crate::sys::users::Ids;

pub fn run(global: &Global, args: &Run) -> Result<u8> {
    let words = args.command.iter().map(|word| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| Outcome::usage("a word of the command is no UTF-8"))
    });
    let request = RunRequest {
        name: args.name.clone(),
        command: words.collect::<Result<_>>()?,
    };
    let answer: RunAnswer = reach::converse(async {
        let Call { location, mut client } = Call::begin(global).await?;
        call::in_time(&location, client.post("/v1/run", &request)).await
    })?;
    become_it(answer)
}

/// Returns only if it can't.
fn become_it(answer: RunAnswer) -> Result<u8> {
    let ids = answer.credentials.map(|(uid, gid, groups)| Ids { uid, gid, groups });
    become_like(&answer.limits, answer.nice, answer.umask, ids.as_ref())
        .map_err(Outcome::io("take on the user and the limits of the service"))?;
    std::env::set_current_dir(&answer.working_dir)
        .map_err(Outcome::io(format_args!("go to {}", answer.working_dir)))?;
    let mut why = std::io::Error::from_raw_os_error(libc::ENOENT);
    for program in &answer.programs {
        let mut command = Command::new(program);
        command.env_clear();
        for entry in &answer.env_base64 {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(entry)
                .unwrap_or_default();
            let Some(at) = memchr::memchr(b'=', &bytes) else {
                continue;
            };
            let (name, value) = (bytes[..at].to_vec(), bytes[at + 1..].to_vec());
            command.env(std::ffi::OsString::from_vec(name), std::ffi::OsString::from_vec(value));
        }
        if let Some(name) = answer.argv.first() {
            command.arg0(name);
        }
        let error = command.args(answer.argv.iter().skip(1)).exec();
        // As execvp(3): the first that is there decides.
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            why = error;
            break;
        }
    }
    let name = answer.argv.first().map_or("", String::as_str);
    Err(Outcome::Failed {
        message: format!("could not execute `{name}`: {why}"),
        suggestion: Some("the PATH is the service's, as `runner inspect` shows it".to_owned()),
    })
}
