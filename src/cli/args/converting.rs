//! Verbs that make a file out of others.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

#[derive(Args, Debug)]
pub struct Init {
    /// Replace a services.toml that is there
    #[arg(long)]
    pub force: bool,
    /// What was made of what, as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Import {
    /// A Procfile, a Compose or process-compose file, a supervisord.conf, a pitchfork.toml
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// What it is, where its name and text do not tell
    #[arg(long, value_name = "KIND")]
    pub kind: Option<KindArg>,
    /// Write this file instead of the services.toml beside FILE; `-` is stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
    /// What was carried over and what was not, as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    Procfile,
    Compose,
    ProcessCompose,
    Supervisord,
    Pitchfork,
}

#[cfg(feature = "convert")]
impl From<KindArg> for crate::convert::Kind {
    fn from(arg: KindArg) -> Self {
        match arg {
            KindArg::Procfile => Self::Procfile,
            KindArg::Compose => Self::Compose,
            KindArg::ProcessCompose => Self::ProcessCompose,
            KindArg::Supervisord => Self::Supervisord,
            KindArg::Pitchfork => Self::Pitchfork,
        }
    }
}
