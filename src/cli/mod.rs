//! The command line: clap types and one file per verb.
//!
//! Law of the room: a verb is a client of `api` (or of `config` and `reconcile` for offline verbs) and never touches the
//! daemon or a service's process. It returns an exit code of `cli.md`; whatever it says about itself goes to stderr.

mod act;
mod args;
mod attach;
mod call;
mod check;
mod clean;
#[cfg(feature = "completions")]
mod completions;
#[cfg(not(feature = "completions"))]
#[path = "completions/absent.rs"]
mod completions;
#[cfg(feature = "convert")]
mod convert;
#[cfg(not(feature = "convert"))]
#[path = "convert/absent.rs"]
mod convert;
mod doctor;
mod down;
#[cfg(feature = "editing")]
mod edit;
#[cfg(not(feature = "editing"))]
#[path = "edit/absent.rs"]
mod edit;
mod elsewhere;
mod events;
#[cfg(feature = "source")]
mod fill;
#[cfg(not(feature = "source"))]
#[path = "fill/absent.rs"]
mod fill;
mod graph;
mod health;
mod help;
mod inspect;
mod logs;
mod ls;
mod nowhere;
mod orphans;
mod outcome;
mod plan;
mod progress;
mod project;
mod ps;
mod reach;
mod run;
mod scale;
mod schema;
#[cfg(feature = "shell")]
mod shell;
#[cfg(not(feature = "shell"))]
#[path = "shell/absent.rs"]
mod shell;
mod terminal;
mod up;
mod upgrade;
mod watch;
mod why;

use clap::Parser;

pub use args::Cli;
use args::Verb;
pub use fill::fill;
use outcome::Outcome;

/// Runs the command line and gives the exit code.
pub fn run() -> u8 {
    if completions::answered() {
        return 0;
    }
    if let Some(code) = up::in_place::of_bare_words() {
        return code;
    }
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version to stdout (code 0) and usage errors to stderr (code 2).
            let _ = error.print();
            help::hint_at_place(&error);
            if health::is_asked() && error.use_stderr() {
                return health::NOT_WELL;
            }
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    cli.global.complete(std::env::var_os(args::FILE_VARIABLE));
    // `RUNNER_PROFILES=` is what an orchestrator makes of a value that is not set.
    cli.global.profiles.retain(|profile| !profile.is_empty());
    let Some(verb) = &cli.verb else {
        return help::print_short_help();
    };
    if !matches!(verb, Verb::Up(args) if up::in_place::is_meant(args)) {
        crate::sys::signals::let_through();
    }
    let outcome = match verb {
        Verb::Up(args) => up::up(&cli.global, args),
        Verb::Down(args) => down::down(&cli.global, args),
        Verb::Clean(args) => clean::clean(&cli.global, args),
        Verb::Ps(args) => ps::ps(&cli.global, args),
        Verb::Start(args) => act::start(&cli.global, args),
        Verb::Stop(args) => act::stop(&cli.global, args),
        Verb::Restart(args) => act::restart(&cli.global, args),
        Verb::Reload(args) => act::reload(&cli.global, args),
        Verb::Kill(args) => act::kill(&cli.global, args),
        Verb::Scale(args) => scale::scale(&cli.global, args),
        Verb::Wait(args) => act::wait(&cli.global, args),
        Verb::Why(args) => why::why(&cli.global, args),
        Verb::Events(args) => events::events(&cli.global, args),
        Verb::Inspect(args) => inspect::inspect(&cli.global, args),
        Verb::Attach(args) => attach::attach(&cli.global, args),
        Verb::Run(args) => run::run(&cli.global, args),
        Verb::Ls(args) => ls::ls(&cli.global, args),
        Verb::Health(args) => health::health(&cli.global, args),
        Verb::Top(args) => watch::top(&cli.global, args),
        Verb::Logs(args) => logs::logs(&cli.global, args),
        Verb::Check(args) => project::check(&cli.global, args),
        Verb::Upgrade => upgrade::upgrade(&cli.global),
        Verb::Plan(args) => plan::plan(&cli.global, args),
        Verb::Add(args) => edit::add(&cli.global, args),
        Verb::Rm(args) => edit::rm(&cli.global, args),
        Verb::Init(args) => convert::init(&cli.global, args),
        Verb::Import(args) => convert::import(&cli.global, args),
        Verb::Graph(args) => project::graph(&cli.global, args),
        Verb::Doctor(args) => doctor::doctor(&cli.global, args),
        Verb::Schema => schema::schema(),
        Verb::Shell(args) => shell::shell(&cli.global, args),
        Verb::Allow(args) => shell::allow(&cli.global, args),
        Verb::Deny(args) => shell::deny(&cli.global, args),
        Verb::Completions(args) => completions::completions(args),
        Verb::Man(args) => completions::man(args),
        Verb::Other(words) => help::unknown_verb(words),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            failure.print(&cli.global);
            failure.code()
        }
    }
}

type Result<T> = std::result::Result<T, Outcome>;
