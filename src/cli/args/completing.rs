//! The verb that makes a shell complete words.

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub struct Completions {
    /// In bash: put `source <(runner completions bash)` into ~/.bashrc
    #[arg(value_name = "SHELL")]
    pub shell: ShellArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ShellArg {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

#[derive(Args, Debug)]
pub struct Man {
    /// The page of this verb; else the one of runner itself
    #[arg(value_name = "VERB")]
    pub verb: Option<String>,
}
