//! What may be typed. Words of `cli.md`; what belongs to a later step says so.

mod attaching;
mod completing;
mod converting;
mod editing;
mod graphing;
mod scaling;
mod shelling;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::completions;
use crate::api::boot::ConsoleFormat;
use crate::spec::ExitPolicy;
pub use attaching::Attach;
#[cfg(feature = "completions")]
pub use completing::ShellArg;
pub use completing::{Completions, Man};
pub use converting::{Import, Init};
pub use editing::{Add, Rm};
pub use graphing::{Graph, GraphFormat};
pub use scaling::Scale;
#[cfg(feature = "shell")]
pub use shelling::ShellWhat;
pub use shelling::{Permission, Shell};
use values::{cursor, duration, end, instant};

#[derive(Parser, Debug)]
#[command(
    name = "runner",
    version,
    about = "Makes the machine match services.toml, and keeps it so",
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

#[derive(Args, Debug, Clone)]
pub struct Global {
    /// Use this file instead of services.toml (repeatable: later files add to earlier ones) [env: RUNNER_FILE=A:B]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Vec<PathBuf>,
    /// Work as if started in this folder
    #[arg(short = 'C', value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
    /// A name for a second copy of the same project
    #[arg(short, long, value_name = "NAME")]
    pub project: Option<String>,
    /// Turn a profile on (repeatable)
    #[arg(
        long = "profile",
        value_name = "NAME",
        env = "RUNNER_PROFILES",
        value_delimiter = ',',
        add = completions::profiles()
    )]
    pub profiles: Vec<String>,
    /// Colours in the output
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Say less
    #[arg(short, long)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The files of `-f` where there is no `-f`, as PATH lists folders.
pub const FILE_VARIABLE: &str = "RUNNER_FILE";

impl Global {
    /// Adds what the environment says to what was typed, which wins.
    pub fn complete(&mut self, files: Option<OsString>) {
        if self.file.is_empty() {
            let files = files.unwrap_or_default();
            let named = std::env::split_paths(&files).filter(|file| !file.as_os_str().is_empty());
            self.file = named.collect();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Start what the file declares, show its output, keep it running; or apply the file to what runs
    Up(Up),
    /// Stop everything in reverse order and end runner
    Down(Down),
    /// End what a runner that was killed has left, and delete what runner keeps of the project: logs, history
    Clean(Clean),
    /// Replace the running runner by this program, without touching any service
    Upgrade,
    /// What `up` would do now, and why
    Plan(Plan),
    /// Validate the file: every problem, with its place
    Check(Check),
    /// List the services and their state
    Ps(Ps),
    /// Start services and what they need
    Start(Named),
    /// Stop services, until they are started again
    Stop(Stop),
    /// Restart services
    Restart(Named),
    /// Let services read their own configuration anew
    Reload(Named),
    /// Why a service is as it is: the chain of causes
    Why(Why),
    /// Show what services have printed
    Logs(Logs),
    /// Every transition, with its cause
    Events(Events),
    /// Wait until services are ready, stopped, completed or failed
    Wait(Wait),
    /// The resolved definition of a service, and its state
    Inspect(Inspect),
    /// Run a command in a service's folder, environment and user, with this terminal
    Run(Run),
    /// The terminal of a service with `tty = true`; ctrl-p ctrl-q leaves it
    Attach(Attach),
    /// Send a signal to the main processes of services
    Kill(Kill),
    /// Run so many replicas of a service, until the next `up`
    Scale(Scale),
    /// A live table of what services use
    Top(Top),
    /// Every project that runs for this user
    Ls(Ls),
    /// 0 when all (named) are ready or completed, else 1; says nothing
    Health(Health),
    /// Add a service to the file
    Add(Add),
    /// Take services out of the file
    Rm(Rm),
    /// Make a services.toml from what the folder holds: a Procfile, a Compose file, package.json, Cargo.toml, ...
    Init(Init),
    /// Make a services.toml from a file of another tool
    Import(Import),
    /// Show what depends on what
    Graph(Graph),
    /// Check the machine, and say which mechanism each guarantee rests on here
    Doctor(Doctor),
    /// Print the JSON schema of services.toml
    Schema,
    /// Print the lines that make a shell complete verbs, flags and live names
    Completions(Completions),
    /// Print a manual page: `runner man VERB | man -l -`
    Man(Man),
    /// Print the lines that start and stop projects as a shell enters and leaves their folders
    Shell(Shell),
    /// Let the shell integration start a project, until one of its files changes
    Allow(Permission),
    /// Do not let the shell integration start a project any more
    Deny(Permission),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Args, Debug)]
pub struct Up {
    /// Services to start (nothing named: everything that starts by itself)
    #[arg(value_name = "NAME", add = completions::names())]
    pub names: Vec<String>,
    /// Go to the background: return 0 when all are ready or completed, 1 when settled with a failure
    #[arg(short, long)]
    pub detach: bool,
    /// With -d: return at once
    #[arg(long, requires = "detach")]
    pub no_wait: bool,
    /// With -d: wait at most this long (exit code 124)
    #[arg(long, requires = "detach", value_name = "DURATION", value_parser = duration)]
    pub wait_timeout: Option<Duration>,
    /// Start only what is named, without its dependencies
    #[arg(long)]
    pub no_deps: bool,
    /// Say what would be done and do nothing (= `plan`)
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: as JSON
    #[arg(long, requires = "dry_run")]
    pub json: bool,
    /// When `up` ends by itself
    #[arg(long, value_name = "POLICY")]
    pub exit: Option<ExitArg>,
    /// End when this service ends, with its exit code
    #[arg(long, value_name = "NAME", add = completions::services())]
    pub exit_code_from: Option<String>,
    /// Apply edits of the file only when asked by another `up`
    #[arg(long)]
    pub no_reload: bool,
    #[arg(long, hide = true)]
    pub tui: bool,
    #[arg(long, hide = true)]
    pub http: Option<String>,
    /// How output is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: UpFormat,
    /// One more service, essential, with this terminal: its exit code is ours. Without a services.toml it is all there is
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UpFormat {
    /// NAME | LINE, with what happens to services in between
    Text,
    /// An object a line, as of `logs --json`; what happens goes to stderr, as of `events --json`
    Json,
}

impl From<UpFormat> for ConsoleFormat {
    fn from(format: UpFormat) -> ConsoleFormat {
        match format {
            UpFormat::Text => ConsoleFormat::Text,
            UpFormat::Json => ConsoleFormat::Json,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ExitArg {
    /// Every service has ended by itself
    All,
    /// One service has ended by itself
    Any,
    /// One service has failed for good
    Failure,
    /// Never
    Never,
}

impl From<ExitArg> for ExitPolicy {
    fn from(arg: ExitArg) -> ExitPolicy {
        match arg {
            ExitArg::All => ExitPolicy::All,
            ExitArg::Any => ExitPolicy::Any,
            ExitArg::Failure => ExitPolicy::Failure,
            ExitArg::Never => ExitPolicy::Never,
        }
    }
}

#[derive(Args, Debug)]
pub struct Down {
    /// Wait at most this long for each service, then SIGKILL
    #[arg(short, long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Instead of "runner down", where nobody typed it
    #[arg(skip)]
    pub because: Option<String>,
}

#[derive(Args, Debug)]
pub struct Clean {
    /// End what any lost runner of this user has left, of deleted folders too; logs and history stay
    #[arg(long)]
    pub all: bool,
    /// Do not ask before anything is ended or deleted
    #[arg(short, long)]
    pub yes: bool,
    /// Wait at most this long for each service, then SIGKILL
    #[arg(short, long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub struct Plan {
    #[arg(long)]
    pub json: bool,
    /// Exit code 0: nothing to do, 2: changes
    #[arg(long)]
    pub detailed_exitcode: bool,
}

#[derive(Args, Debug)]
pub struct Check {
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Named {
    /// NAME or @LABEL (nothing named: all)
    #[arg(value_name = "NAME", add = completions::names())]
    pub names: Vec<String>,
    /// Return at once instead of waiting for the result
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most this long (exit code 124)
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "no_wait")]
    pub wait_timeout: Option<Duration>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Stop {
    #[command(flatten)]
    pub named: Named,
    /// Wait at most this long for each service, then SIGKILL
    #[arg(short, long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub struct Kill {
    /// NAME or @LABEL
    #[arg(value_name = "NAME", required = true, add = completions::names())]
    pub names: Vec<String>,
    /// With or without SIG, or a number
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL")]
    pub signal: Option<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Wait {
    /// NAME or @LABEL (nothing named: all that are wanted)
    #[arg(value_name = "NAME", add = completions::names())]
    pub names: Vec<String>,
    /// What is waited for
    #[arg(long = "for", value_name = "STATE", default_value = "ready")]
    pub goal: WaitFor,
    /// Wait at most this long (exit code 124)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WaitFor {
    /// Ready, or completed for what is expected to end
    Ready,
    Stopped,
    Completed,
    Failed,
}

#[derive(Args, Debug)]
pub struct Why {
    #[arg(value_name = "NAME", add = completions::services())]
    pub name: String,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Events {
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Events after this number
    #[arg(long, value_name = "CURSOR", value_parser = cursor)]
    pub since: Option<u64>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Inspect {
    #[arg(value_name = "NAME", add = completions::services())]
    pub name: String,
    /// Show the values of secrets
    #[arg(long)]
    pub reveal: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Run {
    #[arg(value_name = "NAME", add = completions::services())]
    pub name: String,
    /// The command; nothing: the service's own
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Ls {
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Health {
    /// NAME or @LABEL (nothing named: all that are wanted)
    #[arg(value_name = "NAME", add = completions::names())]
    pub names: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Top {
    /// One object a line, each second
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Ps {
    /// A new picture at each change
    #[arg(short, long, conflicts_with = "names_only")]
    pub watch: bool,
    #[arg(long)]
    pub json: bool,
    /// Names only
    #[arg(short = 'q', long = "names")]
    pub names_only: bool,
}

#[derive(Args, Debug)]
pub struct Logs {
    /// Services (nothing named: all)
    #[arg(value_name = "NAME", add = completions::names())]
    pub names: Vec<String>,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last N lines of each service
    #[arg(short = 'n', long, value_name = "N")]
    pub tail: Option<usize>,
    /// Only what was printed since: a duration back from now (10m) or a time (RFC 3339)
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub since: Option<i64>,
    /// Only what was printed until then; ends --follow
    #[arg(long, value_name = "WHEN", value_parser = end)]
    pub until: Option<i64>,
    /// Only lines that match
    #[arg(long, value_name = "REGEX", value_parser = crate::logs::pattern)]
    pub grep: Option<regex::bytes::Regex>,
    /// Only the run before the latest one of each service
    #[arg(long, conflicts_with = "run")]
    pub previous: bool,
    /// Only the run with this number
    #[arg(long, value_name = "N")]
    pub run: Option<u32>,
    /// Only this stream
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<StreamArg>,
    /// The time of each line, in UTC
    #[arg(long)]
    pub timestamps: bool,
    /// Without `name | `
    #[arg(long)]
    pub no_prefix: bool,
    /// How lines are shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: LogFormat,
    /// The same as --format json
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StreamArg {
    Out,
    Err,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
    /// What a Kubernetes node's container runtime writes: TIME stdout|stderr F|P LINE
    Cri,
}

#[derive(Args, Debug)]
pub struct Doctor {
    #[arg(long)]
    pub json: bool,
}
