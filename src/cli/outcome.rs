//! How a verb fails, and what a person reads then.

use super::args::Global;
use super::terminal;
use crate::api::client;
use crate::api::wire::Refusal;
use crate::config::Unknown;
use crate::view::escape;

/// Few kinds; the kind sets the exit code.
#[derive(Debug)]
pub enum Outcome {
    /// Wrong usage or an invalid file: 2.
    Usage {
        message: String,
        suggestion: Option<String>,
    },
    /// An invalid file whose problems are already rendered: 2.
    Invalid { rendered: String },
    /// 3.
    NoSuchService {
        message: String,
        suggestion: Option<String>,
    },
    /// No runner is up for this project: 4. What one that was killed has left, in words.
    NotRunning { folder: String, orphans: Vec<String> },
    /// The operation failed: 1.
    Failed {
        message: String,
        suggestion: Option<String>,
    },
    /// 124.
    TimedOut { message: String },
    /// Ctrl-C while waiting: 130.
    Interrupted,
}

impl Outcome {
    pub fn usage(message: impl Into<String>) -> Outcome {
        Outcome::Usage {
            message: message.into(),
            suggestion: None,
        }
    }

    pub fn failed(message: impl Into<String>) -> Outcome {
        Outcome::Failed {
            message: message.into(),
            suggestion: None,
        }
    }

    /// For an operating-system error of runner's own doing: "could not `what`: …".
    pub fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Outcome {
        move |error| Outcome::failed(format!("could not {what}: {error}"))
    }

    pub fn code(&self) -> u8 {
        match self {
            Outcome::Usage { .. } | Outcome::Invalid { .. } => 2,
            Outcome::NoSuchService { .. } => 3,
            Outcome::NotRunning { .. } => 4,
            Outcome::Failed { .. } => 1,
            Outcome::TimedOut { .. } => 124,
            Outcome::Interrupted => 130,
        }
    }

    pub fn print(&self, global: &Global) {
        let (message, suggestion) = match self {
            Outcome::Invalid { rendered } => return terminal::say_raw(rendered),
            Outcome::Usage { message, suggestion }
            | Outcome::NoSuchService { message, suggestion }
            | Outcome::Failed { message, suggestion } => (message.clone(), suggestion.clone()),
            Outcome::NotRunning { folder, orphans } if !orphans.is_empty() => (
                format!(
                    "no runner is up for {folder}, but of one that was killed there still run: {}",
                    orphans.join(", ")
                ),
                Some("`runner up -d` takes over what runs, as it is; `runner down` stops it".to_owned()),
            ),
            Outcome::NotRunning { folder, .. } => (
                format!("no runner is up for {folder}"),
                Some("start it with `runner up`, or `runner up -d` to keep it in the background".to_owned()),
            ),
            Outcome::TimedOut { message } => (message.clone(), None),
            Outcome::Interrupted => ("interrupted: what was asked for goes on".to_owned(), None),
        };
        let style = terminal::for_stderr(global);
        // Whatever was typed or comes from a file may be in it.
        let shown = |text: &str| {
            let lines = text.split('\n').map(|line| escape::line(line, style.color));
            lines.collect::<Vec<_>>().join("\n")
        };
        terminal::say(format_args!("{} {}", style.error("error:"), shown(&message)));
        if let Some(suggestion) = suggestion {
            terminal::say(format_args!("{} {}", style.hint("try:"), shown(&suggestion)));
        }
    }
}

impl From<client::Error> for Outcome {
    fn from(error: client::Error) -> Outcome {
        match error {
            client::Error::Refused(Refusal {
                status: 404,
                detail,
                suggestion,
                title,
            }) if title == "no such service" => Outcome::NoSuchService {
                message: detail,
                suggestion,
            },
            client::Error::Refused(Refusal {
                status: 400 | 422,
                detail,
                suggestion,
                title,
            }) => Outcome::Usage {
                message: format!("{title}: {detail}"),
                suggestion,
            },
            client::Error::Refused(refusal) => Outcome::Failed {
                message: format!("{}: {}", refusal.title, refusal.detail),
                suggestion: refusal.suggestion,
            },
            client::Error::Lost(how) | client::Error::Broken(how) => {
                Outcome::failed(format!("the conversation with runner broke off: {how}"))
            }
        }
    }
}

impl From<Unknown> for Outcome {
    fn from(Unknown { message, suggestion }: Unknown) -> Self {
        Outcome::NoSuchService { message, suggestion }
    }
}
