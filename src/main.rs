//! Parse, call the verb, exit with its code. The hidden verbs are the other roles of the same program.

use runner::api::boot::DAEMON_VERB;
use runner::{cli, daemon, guardian, sys};

fn main() {
    if std::process::id() == 1 {
        sys::signals::hold_back();
    }
    sys::names::keep_to_files();
    let mut words = std::env::args_os().skip(1);
    let code = match words.next().as_ref().and_then(|verb| verb.to_str()) {
        Some(guardian::VERB) => guardian::run_verb(words),
        Some(guardian::BARE_VERB) => guardian::run_bare(words),
        Some(daemon::FILL_VERB) => i32::from(cli::fill(words)),
        Some(DAEMON_VERB) => i32::from(daemon::main(words.next().unwrap_or_default())),
        _ => i32::from(cli::run()),
    };
    std::process::exit(code);
}
