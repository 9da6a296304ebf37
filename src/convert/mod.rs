//! Files of other tools, and folders without any, become a `services.toml`.
//!
//! Law of the room: pure, from text to text. It knows what other tools mean; whether what it writes is valid is for `config`
//! to say. What can't be carried over is told, with its place, and never guessed.

mod compose;
mod draft;
mod folder;
mod ini;
mod pitchfork;
mod process_compose;
mod procfile;
mod supervisord;
mod words;
mod yaml;

pub use draft::{Converted, Note};
pub use folder::{Folder, KNOWN, of_folder};

/// A file that can be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Procfile,
    Compose,
    ProcessCompose,
    Supervisord,
    Pitchfork,
}

/// Nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// From 1; `None`: it is about the whole file.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: String,
}

impl Broken {
    fn at(line: usize, message: impl Into<String>) -> Broken {
        Broken {
            line: Some(line),
            column: None,
            message: message.into(),
        }
    }

    fn whole(message: impl Into<String>) -> Broken {
        Broken {
            line: None,
            column: None,
            message: message.into(),
        }
    }
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::Procfile,
        Kind::Compose,
        Kind::ProcessCompose,
        Kind::Supervisord,
        Kind::Pitchfork,
    ];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Procfile => "procfile",
            Kind::Compose => "compose",
            Kind::ProcessCompose => "process-compose",
            Kind::Supervisord => "supervisord",
            Kind::Pitchfork => "pitchfork",
        }
    }

    /// By the name of the file, else by what it holds.
    pub fn of(name: &str, text: &str) -> Option<Kind> {
        let lower = name.to_ascii_lowercase();
        let has_line = |begin: &str| text.lines().any(|line| line.starts_with(begin));
        if lower.starts_with("procfile") || lower.ends_with(".procfile") {
            Some(Kind::Procfile)
        } else if lower.starts_with("process-compose") || lower.ends_with("yml") || lower.ends_with("yaml") {
            match has_line("processes:") {
                true => Some(Kind::ProcessCompose),
                false => has_line("services:").then_some(Kind::Compose),
            }
        } else if lower.starts_with("pitchfork") && lower.ends_with(".toml") || has_line("[daemons.") {
            Some(Kind::Pitchfork)
        } else if has_line("[program:") {
            Some(Kind::Supervisord)
        } else {
            None
        }
    }
}

/// Takes a file over. `name`: as people know it.
///
/// # Errors
/// It can't be read as what it should be.
pub fn of_file(kind: Kind, name: &str, text: &str) -> Result<Converted, Broken> {
    if let Some(line) = text.lines().position(|line| line.contains('\0')) {
        return Err(Broken::at(line + 1, "a NUL byte: this is no such file"));
    }
    let draft = match kind {
        Kind::Procfile => procfile::draft(text)?,
        Kind::Compose => compose::draft(text)?,
        Kind::ProcessCompose => process_compose::draft(text)?,
        Kind::Supervisord => supervisord::draft(text)?,
        Kind::Pitchfork => pitchfork::draft(text)?,
    };
    Ok(draft.finish(name))
}

#[cfg(test)]
mod tests;
