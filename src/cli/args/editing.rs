//! Verbs that edit the file.

use std::ffi::OsString;

use clap::Args;

use crate::cli::completions;

#[derive(Args, Debug)]
pub struct Add {
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it executes; one word with blanks in it is a line for the shell
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Rm {
    #[arg(value_name = "NAME", required = true, add = completions::services())]
    pub names: Vec<String>,
    /// Also delete its logs
    #[arg(long)]
    pub purge: bool,
}
