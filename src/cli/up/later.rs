//! Flags of `up` that this version can't do yet: nothing that somebody typed is silently ignored.

use crate::cli::Result;
use crate::cli::args::Up;
use crate::cli::outcome::Outcome;
use crate::config;

pub fn refuse(args: &Up) -> Result<()> {
    if let Some(fault) = args.http.as_deref().and_then(config::http_fault) {
        return Err(Outcome::Usage {
            message: format!("--http: {}", fault.message),
            suggestion: fault.suggestion,
        });
    }
    let later = [(args.tui, "--tui"), (args.http.is_some(), "--http")];
    match later.iter().find(|(used, _)| *used) {
        Some((_, flag)) => Err(Outcome::usage(format!("`{flag}` is not supported yet"))),
        None => Ok(()),
    }
}
