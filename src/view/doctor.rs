//! `doctor`: one line for each guarantee, and below it what to do.

use unicode_width::UnicodeWidthStr;

use super::escape::plain;
use super::style::Style;
use crate::api::wire::{Doctor, Finding, Grade};

/// Columns of the grade with the gap behind it.
const INDENT: usize = 6;

/// All that is at least as bad as `from`.
pub fn doctor(doctor: &Doctor, from: Grade, style: &Style) -> String {
    let shown = doctor.checks.iter().filter(|finding| finding.status >= from);
    shown.map(|finding| lines(finding, style)).collect()
}

fn lines(finding: &Finding, style: &Style) -> String {
    let grade = match finding.status {
        Grade::Ok => style.good("ok"),
        Grade::Tier => style.dim("tier"),
        Grade::Warn => style.pending("warn"),
        Grade::Bad => style.bad("bad"),
    };
    let seen = match finding.status {
        Grade::Ok => 2,
        Grade::Bad => 3,
        Grade::Tier | Grade::Warn => 4,
    };
    let gap = " ".repeat(INDENT - seen);
    let said = format!("{}: {}", plain(&finding.name), plain(&finding.detail));
    let mut out = format!("{grade}{gap}{}\n", wrapped(&said, INDENT, style));
    if let Some(suggestion) = &finding.suggestion {
        let words = wrapped(&format!("try: {}", plain(suggestion)), INDENT, style);
        let words = words
            .strip_prefix("try:")
            .map_or(words.clone(), |rest| format!("{}{rest}", style.hint("try:")));
        out.push_str(&format!("{}{words}\n", " ".repeat(INDENT)));
    }
    out
}

/// Broken between words where a terminal ends, each further line indented. A file gets it in one line.
fn wrapped(text: &str, indent: usize, style: &Style) -> String {
    let room = match style.width {
        Some(columns) if style.terminal => usize::from(columns).saturating_sub(indent).max(20),
        _ => return text.to_owned(),
    };
    let mut out = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let width = word.width();
        if used > 0 && used + 1 + width > room {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Doctor {
        let finding = |status, name: &str, suggestion: Option<&str>| Finding {
            status,
            name: name.into(),
            detail: "some words about it".into(),
            suggestion: suggestion.map(str::to_owned),
        };
        Doctor {
            checks: vec![
                finding(Grade::Ok, "kernel", None),
                finding(Grade::Tier, "stop", None),
                finding(Grade::Bad, "state", Some("make it \u{1b}[31mwritable")),
            ],
        }
    }

    #[test]
    fn a_file_gets_whole_lines() {
        let wanted = "ok    kernel: some words about it\ntier  stop: some words about it\n\
                      bad   state: some words about it\n      try: make it writable\n";
        assert_eq!(doctor(&found(), Grade::Ok, &Style::PLAIN), wanted);
        let bad = doctor(&found(), Grade::Warn, &Style::PLAIN);
        assert!(bad.starts_with("bad ") && bad.lines().count() == 2, "{bad}");
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let narrow = Style {
            color: true,
            terminal: true,
            width: Some(30),
            ..Style::PLAIN
        };
        let shown = doctor(&found(), Grade::Ok, &narrow);
        assert!(shown.contains("kernel: some words about\n      it\n"), "{shown:?}");
        assert!(shown.contains("\x1b[32mok\x1b[39m    kernel"), "{shown:?}");
        assert!(shown.contains("\x1b[1mtry:\x1b[0m make it"), "{shown:?}");
    }
}
