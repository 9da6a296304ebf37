//! Verbs of the shell integration.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Args, Debug)]
pub struct Shell {
    #[command(subcommand)]
    pub what: ShellWhat,
}

#[derive(Subcommand, Debug)]
pub enum ShellWhat {
    /// In ~/.bashrc: eval "$(runner shell bash)"
    Bash,
    /// In ~/.zshrc: eval "$(runner shell zsh)"
    Zsh,
    /// In ~/.config/fish/config.fish: runner shell fish | source
    Fish,
    /// What the hook calls in a folder of a project
    #[command(hide = true)]
    Enter {
        #[arg(long, value_name = "PID")]
        pid: u32,
        /// Where the shell has found a services.toml
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// What the hook calls outside of any project, and at the end of the shell
    #[command(hide = true)]
    Leave {
        #[arg(long, value_name = "PID")]
        pid: u32,
    },
    /// Starts or stops a project in the background, as its shells want it
    #[command(hide = true)]
    Settle {
        #[arg(value_name = "KEY")]
        key: String,
    },
}

#[derive(Args, Debug)]
pub struct Permission {
    /// The services.toml, or its folder (nothing named: that of the working folder)
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}
