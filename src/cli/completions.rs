//! `completions`: what a shell asks while somebody types, with the names of the project that is meant.
//!
//! The shell calls runner again for each completion, with [`VARIABLE`] set and the words after `--`. Whatever goes wrong
//! then is kept to ourselves: the user is in the middle of a line.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{Cli, Completions, Global, Man, ShellArg};
use super::outcome::Outcome;
use super::{Result, help, project, reach};
use crate::api::wire;
use crate::config;

/// Set by the lines that [`completions`] prints, to the shell's name. Not the usual `COMPLETE`, which may mean something to
/// somebody else.
const VARIABLE: &str = "RUNNER_COMPLETE";
/// How long a running project has for its answer; the file is read meanwhile.
const PATIENCE: Duration = Duration::from_millis(200);
/// What a slow disk gets on top.
const GRACE: Duration = Duration::from_millis(50);

/// Prints the lines for a shell's start file.
pub fn completions(args: &Completions) -> Result<u8> {
    let name = match args.shell {
        ShellArg::Bash => "bash",
        ShellArg::Zsh => "zsh",
        ShellArg::Fish => "fish",
        ShellArg::Elvish => "elvish",
        ShellArg::Powershell => "powershell",
    };
    let shells = Shells::builtins();
    let shell = shells.completer(name).expect("each of our shells is built in");
    let mut lines = Vec::new();
    shell
        .write_registration(VARIABLE, "runner", "runner", &program()?, &mut lines)
        .map_err(Outcome::io("write the completions"))?;
    project::print(&String::from_utf8_lossy(&lines))?;
    Ok(0)
}

/// Prints a manual page, as roff(7).
pub fn man(args: &Man) -> Result<u8> {
    let mut command = Cli::command();
    command.build();
    let command = match &args.verb {
        None => command,
        Some(verb) => match command.find_subcommand(verb) {
            // `runner up` is what it is called in its own page, and runner-up its name.
            Some(found) => found.clone().name(format!("runner-{}", found.get_name())),
            None => return help::unknown_verb(&[verb.into()]),
        },
    };
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command).manual("Runner");
    let rendered = man.render(&mut page).and_then(|()| page.write_all(STATUS));
    rendered.map_err(Outcome::io("make the page"))?;
    project::print(&String::from_utf8_lossy(&page))?;
    Ok(0)
}

/// As docs/exit-codes-and-signals.md has it in full.
const STATUS: &[u8] = b".SH EXIT STATUS\n\
.TP\n0\ndone\n.TP\n1\nthe operation failed\n.TP\n2\nwrong usage, or an invalid file\n\
.TP\n3\nthere is no such service\n.TP\n4\nno runner is up for this project\n\
.TP\n124\ntimed out\n.TP\n130\ninterrupted while waiting; what was asked for goes on\n";

/// What the shell will call: runner by its name, or by its path when it was typed as one.
fn program() -> Result<String> {
    let typed = std::env::args_os().next().unwrap_or_default();
    if !typed.as_encoded_bytes().contains(&b'/') {
        return Ok("runner".to_owned());
    }
    let program = crate::sys::program::own().map_err(Outcome::io("find runner's own program file"))?;
    Ok(program.to_string_lossy().into_owned())
}

/// Answers a shell, if that is who calls. Costs one look at the environment otherwise.
pub fn answered() -> bool {
    let asked = std::env::var_os(VARIABLE).is_some_and(|shell| !shell.is_empty());
    if !asked || std::env::args_os().nth(1).as_deref() != Some(OsStr::new("--")) {
        return false;
    }
    let folder = std::env::current_dir().ok();
    // An error would stand in the user's line.
    let _ = CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .try_complete(without_breaks(std::env::args_os().collect()), folder.as_deref());
    true
}

/// Bash hands `--profile=x` over as three words. The one between goes; a flag that means nothing here comes in before, as the
/// place of the cursor is counted in words.
fn without_breaks(words: Vec<OsString>) -> Vec<OsString> {
    /// Runner itself, `--`, and the first word of the line.
    const BEFORE: usize = 3;
    let mut kept: Vec<OsString> = Vec::new();
    let mut gone = 0;
    for word in words {
        let is_break = word == "="
            && kept
                .last()
                .is_some_and(|last| last.as_encoded_bytes().starts_with(b"--"));
        if is_break && kept.len() >= BEFORE {
            gone += 1;
        } else {
            kept.push(word);
        }
    }
    let at = BEFORE.min(kept.len());
    kept.splice(at..at, std::iter::repeat_n(OsString::from("-v"), gone));
    kept
}

/// For every argument that takes `NAME` or `@LABEL`.
pub fn names() -> ArgValueCompleter {
    completer(|known| {
        let labels = known
            .labels
            .iter()
            .map(|label| CompletionCandidate::new(format!("@{label}")));
        services_of(known).chain(labels).collect()
    })
}

/// For every argument that takes the name of one service.
pub fn services() -> ArgValueCompleter {
    completer(|known| services_of(known).collect())
}

/// What `scale` takes.
pub fn scalable() -> ArgValueCompleter {
    completer(|known| {
        let groups = known.services.iter().filter_map(|(name, _)| name.split_once('@'));
        let groups: std::collections::BTreeSet<&str> = groups.map(|(group, _)| group).collect();
        groups
            .into_iter()
            .map(|group| CompletionCandidate::new(format!("{group}=")))
            .collect()
    })
}

pub fn profiles() -> ArgValueCompleter {
    completer(|known| known.profiles.iter().map(CompletionCandidate::new).collect())
}

fn completer(choose: fn(&Known) -> Vec<CompletionCandidate>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let Some(global) = typed() else { return Vec::new() };
        let mut candidates = choose(&known(global));
        let begins = |candidate: &CompletionCandidate| {
            let value = candidate.get_value().as_encoded_bytes();
            value.starts_with(current.as_encoded_bytes())
        };
        candidates.retain(begins);
        candidates
    })
}

/// Names that can be meant, and of services that run, their state.
#[derive(Default)]
struct Known {
    services: Vec<(String, Option<&'static str>)>,
    labels: Vec<String>,
    profiles: Vec<String>,
}

fn services_of(known: &Known) -> impl Iterator<Item = CompletionCandidate> {
    known
        .services
        .iter()
        .map(|(name, state)| CompletionCandidate::new(name).help(state.map(Into::into)))
}

/// From the running project if it answers in time, and from the file, whichever is there.
fn known(global: Global) -> Known {
    let until = Instant::now() + PATIENCE;
    let other = global.clone();
    let (live, file) = (
        in_background(move || live(&global)),
        in_background(move || declared(&other)),
    );
    let live = within(&live, until);
    let names = within(&file, until + GRACE).unwrap_or_default();
    Known {
        services: live.unwrap_or_else(|| names.services.into_iter().map(|name| (name, None)).collect()),
        labels: names.labels,
        profiles: names.profiles,
    }
}

/// What takes too long is left behind; it ends with us.
fn in_background<T: Send + 'static>(work: impl FnOnce() -> Option<T> + Send + 'static) -> Receiver<Option<T>> {
    let (answer, answered) = channel();
    std::thread::spawn(move || {
        // Nobody waits any more: as good as no answer.
        let _ = answer.send(work());
    });
    answered
}

fn within<T>(answered: &Receiver<Option<T>>, until: Instant) -> Option<T> {
    answered
        .recv_timeout(until.saturating_duration_since(Instant::now()))
        .ok()
        .flatten()
}

fn live(global: &Global) -> Option<Vec<(String, Option<&'static str>)>> {
    let (_, stream) = project::locate_running(global).ok()?;
    let stream = stream?;
    let ps: wire::Ps = reach::converse(async {
        let mut client = reach::client(stream).await?;
        Ok(client.get("/v1/services").await?)
    })
    .ok()?;
    let mut named: Vec<(String, Option<&'static str>)> = Vec::new();
    for service in ps.services {
        // Members come together; the name of them all stands before.
        if let Some((group, _)) = service.name.split_once('@')
            && !named.iter().any(|(name, _)| name == group)
        {
            named.push((group.to_owned(), None));
        }
        named.push((service.name, Some(service.state.as_str())));
    }
    Some(named)
}

fn declared(global: &Global) -> Option<config::Names> {
    let location = project::locate(global).ok()?;
    Some(config::names(&location, nix::unistd::geteuid().as_raw()))
}

/// What stands before the verb; the rest does not matter here and may be half typed.
#[derive(Parser)]
#[command(ignore_errors = true, disable_help_flag = true, disable_version_flag = true)]
struct Before {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    rest: Option<Rest>,
}

#[derive(Subcommand)]
enum Rest {
    #[command(external_subcommand)]
    Words(#[allow(dead_code)] Vec<OsString>),
}

fn typed() -> Option<Global> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    Before::try_parse_from(spoken(words)).ok().map(|before| before.global)
}

/// Words as the shell will pass them on: bash and zsh hand them over as they were typed, and bash breaks them at `=`.
fn spoken(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut spoken: Vec<OsString> = Vec::new();
    let mut goes_on = false;
    for word in words {
        match spoken.last_mut() {
            Some(last) if goes_on || word == "=" && last.as_encoded_bytes().starts_with(b"--") => {
                goes_on = word == "=" && !goes_on;
                last.push(if goes_on { word } else { bare(word) });
            }
            _ => spoken.push(bare(word)),
        }
    }
    spoken
}

/// Without quotes, and with the home folder for `~/`.
fn bare(word: OsString) -> OsString {
    let Some(text) = word.to_str() else { return word };
    if let Some(below) = text.strip_prefix("~/")
        && let Some(home) = std::env::home_dir()
    {
        return home.join(below).into_os_string();
    }
    match shlex::split(text) {
        Some(words) if words.len() == 1 => words.into_iter().map(OsString::from).collect(),
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(words: &[&str]) -> Option<Global> {
        let words = words.iter().map(OsString::from);
        Before::try_parse_from(spoken(words)).ok().map(|before| before.global)
    }

    #[test]
    fn what_stands_before_the_verb_counts() {
        let global = before(&["runner", "-C", "'a b'", "-p", "copy", "logs", "-f", "--since", "we"]).unwrap();
        assert_eq!(global.directory, Some("a b".into()));
        assert_eq!(global.project.as_deref(), Some("copy"));
        assert!(global.file.is_empty(), "`logs -f` follows, it names no file");
        let global = before(&[
            "runner",
            "--file",
            "=",
            "x/services.toml",
            "--profile",
            "=",
            "",
            "up",
            "",
        ])
        .unwrap();
        assert_eq!(global.file, [std::path::PathBuf::from("x/services.toml")]);
        for half in [
            &["runner"][..],
            &["runner", "-f"],
            &["runner", "--nosuch", "up"],
            &["runner", "--profile", ""],
        ] {
            assert!(before(half).is_some(), "{half:?}");
        }
    }

    #[test]
    fn breaks_of_bash_are_taken_out_and_the_cursor_stays() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let broken = words(&["runner", "--", "runner", "--profile", "=", "d"]);
        assert_eq!(
            without_breaks(broken),
            words(&["runner", "--", "runner", "-v", "--profile", "d"])
        );
        let whole = words(&["runner", "--", "runner", "logs", "="]);
        assert_eq!(without_breaks(whole.clone()), whole);
    }

    #[test]
    fn home_is_home() {
        let home = std::env::home_dir().unwrap();
        let global = before(&["runner", "-C", "~/shop", "up"]).unwrap();
        assert_eq!(global.directory, Some(home.join("shop")));
    }
}
