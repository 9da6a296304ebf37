//! Help, and what to say to words that are not understood.

use std::ffi::OsString;

use clap::CommandFactory;

use super::args::Cli;
use super::outcome::Outcome;
use super::terminal;
use crate::config;

/// What stands behind the verb and belongs before it.
pub fn hint_at_place(error: &clap::Error) {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let command = Cli::command();
    let is_it = |arg: &&clap::Arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        [long, short].into_iter().flatten().any(|flag| flag == *word)
    };
    let global = command
        .get_arguments()
        .find(is_it)
        .filter(|_| error.kind() == ErrorKind::UnknownArgument);
    if global.is_some() {
        terminal::say(format_args!(
            "\n`{word}` comes before the verb: `runner {word} ... VERB`"
        ));
    }
}

/// A verb of which this build knows only the name.
#[cfg_attr(
    all(feature = "completions", feature = "convert", feature = "editing", feature = "shell"),
    expect(dead_code, reason = "a full build has every verb")
)]
pub fn left_out(verb: &str, feature: &str) -> Outcome {
    Outcome::Usage {
        message: format!("`{verb}` is not in this build of runner, which was made without the feature `{feature}`"),
        suggestion: Some("a runner that was built with everything can, from outside of the image".to_owned()),
    }
}

pub fn print_short_help() -> u8 {
    // A closed stdout is the reader's wish.
    let _ = Cli::command().print_help();
    0
}

/// `help`, `help VERB`: what `--help` says.
fn help_of(words: &[OsString]) -> super::Result<u8> {
    let Some(verb) = words.first() else {
        return Ok(print_short_help());
    };
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(verb) {
        Some(verb) => {
            let _ = verb.print_long_help();
            Ok(0)
        }
        None => unknown_verb(std::slice::from_ref(verb)),
    }
}

/// Verbs of the contract that later steps bring.
const LATER: &[&str] = &["tui", "open", "export"];

/// Words that other tools use.
const OTHERS: &[(&str, &str)] = &[
    ("exec", "run"),
    ("status", "ps"),
    ("config", "check"),
    ("diff", "plan"),
    ("delete", "rm"),
];

pub fn unknown_verb(words: &[OsString]) -> super::Result<u8> {
    let word = words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    if word == "help" {
        return help_of(&words[1..]);
    }
    if LATER.contains(&word.as_str()) {
        return Err(Outcome::usage(format!("`runner {word}` is not supported yet")));
    }
    if let Some((_, ours)) = OTHERS.iter().find(|(theirs, _)| *theirs == word) {
        return Err(Outcome::Usage {
            message: format!("there is no verb `{word}`"),
            suggestion: Some(format!("`runner {ours}`")),
        });
    }
    let command = Cli::command();
    let known = command.get_subcommands().map(clap::Command::get_name);
    let near = config::nearest(&word, known.chain(OTHERS.iter().map(|(theirs, _)| *theirs)));
    let ours = |near| {
        OTHERS
            .iter()
            .find(|(theirs, _)| *theirs == near)
            .map_or(near, |(_, ours)| *ours)
    };
    Err(Outcome::Usage {
        message: format!("there is no verb `{word}`"),
        suggestion: Some(match near {
            Some(near) => format!("`runner {}`", ours(near)),
            None => "`runner --help` lists the verbs".to_owned(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_verb_that_is_near_is_suggested() {
        for (word, wanted) in [
            ("bogus", "`runner --help` lists the verbs"),
            ("lgos", "`runner logs`"),
            ("statsu", "`runner ps`"),
            ("exec", "`runner run`"),
        ] {
            let Err(Outcome::Usage { suggestion, .. }) = unknown_verb(&[word.into()]) else {
                panic!("{word} is no verb");
            };
            assert_eq!(suggestion.as_deref(), Some(wanted), "{word}");
        }
    }
}
