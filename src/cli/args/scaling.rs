//! `scale`.

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::cli::completions;

#[derive(Args, Debug)]
pub struct Scale {
    /// The service, and how many of it are to run
    #[arg(value_name = "NAME=N", value_parser = pair, add = completions::scalable())]
    pub replicas: (String, u32),
    /// Return at once instead of waiting for the result
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most this long (exit code 124)
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "no_wait")]
    pub wait_timeout: Option<Duration>,
    #[arg(long)]
    pub json: bool,
}

fn pair(text: &str) -> Result<(String, u32), String> {
    let (name, count) = text.split_once('=').ok_or("say how many, as in `web=3`")?;
    if name.is_empty() {
        return Err("say of which service, as in `web=3`".to_owned());
    }
    let count = count
        .parse()
        .map_err(|_| format!("`{count}` is no number of replicas"))?;
    Ok((name.to_owned(), count))
}
