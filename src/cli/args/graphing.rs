//! `graph`.

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub struct Graph {
    #[arg(long, value_name = "FORMAT", default_value = "tree")]
    pub format: GraphFormat,
    /// The same as --format json
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Tree,
    Dot,
    Mermaid,
    Json,
}
