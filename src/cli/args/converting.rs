//! Verbs that make a file of others.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct Init {
    /// Replace a services.toml that is there
    #[arg(long)]
    pub force: bool,
    /// Show what would be written
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Import {
    /// A Procfile, Compose, process-compose, supervisord or pitchfork file
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    /// What it is: procfile, compose, process-compose, supervisord, pitchfork (default: by its name and content)
    #[arg(long)]
    pub kind: Option<String>,
    /// Replace a services.toml that is there
    #[arg(long)]
    pub force: bool,
    /// Show what would be written
    #[arg(long)]
    pub dry_run: bool,
}
