//! `up` without a client: as PID 1, and with a command behind `--`.
//!
//! This process becomes the guardian, in its session and with its descriptors, and its daemon shows what there is to see.
//! A command without a project needs neither: it is run as by an init that does nothing else.

use std::ffi::OsString;
use std::io::IsTerminal;

use super::super::args::{Global, Up, UpFormat};
use super::super::outcome::Outcome;
use super::super::reach::{self, Start};
use super::super::{Result, project, terminal};
use super::given::Given;
use crate::api::boot::Console;
use crate::api::wire::UpRequest;
use crate::config;
use crate::config::command_line;
use crate::config::find::{self, CommandLine};
use crate::guardian::alone;
use crate::view::words;

pub fn is_meant(args: &Up) -> bool {
    !args.detach && !args.dry_run && (reach::is_init() || !args.command.is_empty())
}

/// `up -- CMD` and no more, in a folder without a project: what stands in an image's ENTRYPOINT. Known before the command line is
/// taken apart, which costs as much as all the rest (`benches/init.rs`).
pub fn of_bare_words() -> Option<u8> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != "up" || words.next()? != "--" || std::env::var_os("RUNNER_FILE").is_some() {
        return None;
    }
    let command: Vec<OsString> = words.collect();
    let around = project::around(&find::Options::default()).ok();
    if command.is_empty() || around.is_some_and(|around| find::locate(&find::Options::default(), &around).is_ok()) {
        return None;
    }
    // What goes wrong is said by the long way.
    u8::try_from(alone::run(&command).ok()?).ok()
}

/// Comes back only with an error, or with the code of a command that needs no project.
pub fn up(global: &Global, args: &Up, given: Given) -> Result<u8> {
    let mut location = match project::locate(global) {
        Err(_) if is_alone(global, args) => {
            let code = alone::run(&args.command).map_err(Outcome::io("start the command"))?;
            return Ok(u8::try_from(code).unwrap_or(1));
        }
        found => found?,
    };
    location.command = command_line(global, args)?;
    let loaded = project::load_at(global, location)?;
    for words in [&args.names[..], args.exit_code_from.as_slice()] {
        config::select(&loaded.project, words)?;
    }
    project::check_profiles(global, &loaded.project)?;
    let given = given.for_services(&loaded.project);
    let style = terminal::for_stdout(global);
    let named = !args.names.is_empty() && !args.command.is_empty();
    let start = Start {
        location: &loaded.location,
        state_dir: &loaded.project.state_dir,
        foreground: true,
        colour: style.color,
        ends: false,
        given: &given,
        console: Some(Console {
            up: UpRequest {
                names: args
                    .names
                    .iter()
                    .cloned()
                    .chain(named.then(|| command_line::NAME.to_owned()))
                    .collect(),
                no_deps: args.no_deps,
                profiles: global.profiles.clone(),
                exit: args.exit.map(Into::into),
                exit_code_from: args.exit_code_from.clone(),
                no_reload: args.no_reload,
                ..UpRequest::default()
            },
            format: args.log_format.into(),
            colour: style.color,
            quiet: global.quiet,
            terminal: std::io::stdin().is_terminal()
                || std::io::stdout().is_terminal()
                || std::io::stderr().is_terminal(),
            init: reach::is_init(),
        }),
    };
    if !global.quiet && args.log_format == UpFormat::Text {
        let services = words::count(loaded.project.services.len() as u64, "service");
        let files = super::file_names(&loaded.location);
        terminal::say(format_args!("runner  {}: {services} from {files}", loaded.project.name));
    }
    match reach::or_start(&start)? {
        reach::Reached::Started { .. } => Err(Outcome::failed("this process did not become the guardian")),
        reach::Reached::Joined(_) => Err(Outcome::Failed {
            message: "a runner is up for this project already".to_owned(),
            suggestion: Some(
                "`runner run NAME -- CMD` runs a command beside it, in the place of one of its services; `-p NAME` starts a second copy"
                    .to_owned(),
            ),
        }),
    }
}

/// Nothing says that there is a project.
fn is_alone(global: &Global, args: &Up) -> bool {
    !args.command.is_empty()
        && args.names.is_empty()
        && global.file.is_empty()
        && global.directory.is_none()
        && global.project.is_none()
}

fn command_line(global: &Global, args: &Up) -> Result<Option<CommandLine>> {
    if args.command.is_empty() {
        return Ok(None);
    }
    let text = |word: &OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            let shown = word.to_string_lossy();
            Outcome::usage(format!(
                "`{shown}` is not UTF-8: beside a services.toml the words behind `--` have to be"
            ))
        })
    };
    Ok(Some(CommandLine {
        words: args.command.iter().map(text).collect::<Result<_>>()?,
        working_dir: std::env::current_dir().map_err(Outcome::io("find the working folder"))?,
        umask: crate::sys::places::own_umask(),
        names: args.names.clone(),
        profiles: global.profiles.clone(),
    }))
}
