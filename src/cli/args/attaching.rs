//! What may be typed behind `attach`.

use clap::Args;

use crate::cli::attach::DetachKeys;
use crate::cli::completions;

#[derive(Args, Debug)]
pub struct Attach {
    #[arg(value_name = "NAME", add = completions::services())]
    pub name: String,
    /// Keys that leave it: single characters or ctrl-X, with commas between them
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = DetachKeys::parse)]
    pub detach_keys: DetachKeys,
}
