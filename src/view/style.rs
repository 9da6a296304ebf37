//! Whether there is colour, and which colour means what.

use std::fmt::Display;

use owo_colors::OwoColorize;

use crate::reconcile::StateName;

/// `--color`: whether to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    #[default]
    Auto,
    Always,
    Never,
}

/// Where text goes and what it may look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    /// A person looks at it, and lines can be redrawn.
    pub terminal: bool,
    /// Columns, when known.
    pub width: Option<u16>,
    /// Rows, when known: what is redrawn must not scroll away.
    pub height: Option<u16>,
}

impl Style {
    /// Black on white into a file.
    pub const PLAIN: Style = Style {
        color: false,
        terminal: false,
        width: None,
        height: None,
    };

    /// The flag wins, then `NO_COLOR`, then `CLICOLOR_FORCE`, then the terminal (no-color.org, bixense.com/clicolors). The
    /// caller reads the environment; a variable counts as set when it is neither empty nor, for `CLICOLOR_FORCE`, `0`.
    /// For `TERM=dumb` the caller says that it is no terminal.
    pub fn choose(
        choice: Choice,
        is_terminal: bool,
        no_color: bool,
        clicolor_force: bool,
        width: Option<u16>,
    ) -> Style {
        let color = match choice {
            Choice::Always => true,
            Choice::Never => false,
            Choice::Auto => !no_color && (clicolor_force || is_terminal),
        };
        Style {
            color,
            terminal: is_terminal,
            width,
            height: None,
        }
    }

    /// `error:`, before what went wrong.
    pub fn error(&self, text: impl Display) -> String {
        if self.color {
            text.red().bold().to_string()
        } else {
            text.to_string()
        }
    }

    /// `try:`, before what to do.
    pub fn hint(&self, text: impl Display) -> String {
        if self.color {
            text.bold().to_string()
        } else {
            text.to_string()
        }
    }

    /// Done, as it should be.
    pub fn good(&self, text: impl Display) -> String {
        if self.color {
            text.green().to_string()
        } else {
            text.to_string()
        }
    }

    /// Not there yet, or watch out.
    pub fn pending(&self, text: impl Display) -> String {
        if self.color {
            text.yellow().to_string()
        } else {
            text.to_string()
        }
    }

    pub fn bad(&self, text: impl Display) -> String {
        if self.color {
            text.red().to_string()
        } else {
            text.to_string()
        }
    }

    /// Runner's own words.
    pub fn dim(&self, text: impl Display) -> String {
        if self.color {
            text.dimmed().to_string()
        } else {
            text.to_string()
        }
    }

    pub fn state(&self, state: StateName, text: impl Display) -> String {
        use StateName::*;
        match state {
            Ready | Completed => self.good(text),
            Waiting | Preparing | Starting | Unhealthy | Backoff | Stopping => self.pending(text),
            Failed => self.bad(text),
            Stopped | Orphaned => self.dim(text),
        }
    }

    /// The colour of a name on the console: none of those that mean something.
    pub fn name(&self, place: usize, name: impl Display) -> String {
        if !self.color {
            return name.to_string();
        }
        match place % 6 {
            0 => name.cyan().to_string(),
            1 => name.magenta().to_string(),
            2 => name.blue().to_string(),
            3 => name.bright_cyan().to_string(),
            4 => name.bright_magenta().to_string(),
            _ => name.bright_blue().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn co_04_colour_needs_a_reason() {
        let color = |choice, terminal, no, force| Style::choose(choice, terminal, no, force, None).color;
        use Choice::*;
        assert!(color(Auto, true, false, false));
        assert!(!color(Auto, false, false, false));
        assert!(!color(Auto, true, true, false));
        assert!(color(Auto, false, false, true));
        assert!(!color(Auto, false, true, true));
        assert!(color(Always, false, true, false));
        assert!(!color(Never, true, false, true));
    }
}
