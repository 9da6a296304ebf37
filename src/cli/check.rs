//! `check`: every problem of the files, with its place; `-v` also shows how each command will be executed.

use crate::api::wire;
use crate::config::{Loaded, Problems, ShownCommand};
use crate::view::diagnostic;
use crate::view::style::Style;

/// What `check` says: data for stdout, words for stderr, exit code.
pub struct Answer {
    pub out: String,
    pub err: String,
    pub code: u8,
}

/// In words. Colours are of stderr, where the problems go.
pub fn words(loaded: &Result<Loaded, Problems>, verbose: bool, quiet: bool, style: &Style) -> Answer {
    match loaded {
        Err(problems) => Answer {
            out: String::new(),
            err: diagnostic::problems(problems, style),
            code: 2,
        },
        Ok(loaded) => {
            let mut out = if verbose {
                commands(&loaded.commands)
            } else {
                String::new()
            };
            if !quiet {
                out.push_str(&summary(loaded));
            }
            Answer {
                out,
                err: diagnostic::problems(&loaded.warnings, style),
                code: 0,
            }
        }
    }
}

/// The shape of `check --json`.
pub fn json(loaded: &Result<Loaded, Problems>) -> (wire::Check, u8) {
    let (problems, code) = match loaded {
        Ok(loaded) => (&loaded.warnings, 0),
        Err(problems) => (problems, 2),
    };
    let problems = wire::problems(problems);
    (wire::Check { problems }, code)
}

fn summary(loaded: &Loaded) -> String {
    let services = loaded.project.services.len();
    let plural = if services == 1 { "" } else { "s" };
    let warnings = match loaded.warnings.list.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    format!(
        "ok: {} with {services} service{plural}{warnings}\n",
        loaded.project.name
    )
}

/// One line for each command: whose, which key, how, and the words that are executed, as an array of the file.
fn commands(commands: &[ShownCommand]) -> String {
    let width = |of: fn(&ShownCommand) -> &str| commands.iter().map(|row| of(row).len()).max().unwrap_or(0);
    let (names, keys) = (width(|row| row.service.as_str()), width(|row| row.key));
    let mut out = String::new();
    for row in commands {
        let how = if row.argv.shell { "by the shell" } else { "directly" };
        let words: Vec<String> = row.argv.words.iter().map(|word| format!("{word:?}")).collect();
        out.push_str(&format!(
            "{:names$}  {:keys$}  {how:12}  [{}]\n",
            row.service,
            row.key,
            words.join(", ")
        ));
    }
    out
}
