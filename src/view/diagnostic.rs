//! Problems of the files, as a person reads them: each with its place, the line and a caret.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

use super::style::Style;
use crate::config::{Place, Problem, Problems, Severity, Source};

/// Columns when nobody knows how wide it is: longer lines are cut around the caret.
const USUAL_WIDTH: u16 = 140;

/// Bytes that are looked at before and after the caret of a line that is too long to be anybody's handwriting.
const BEFORE: usize = 64 * 1024;
const AFTER: usize = 400;

/// All problems, each followed by an empty line; nothing when there is none.
pub fn problems(problems: &Problems, style: &Style) -> String {
    let width = usize::from(style.width.unwrap_or(USUAL_WIDTH).max(60));
    let renderer = if style.color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(width);
    let mut out = String::new();
    for problem in &problems.list {
        let report = [group(problem, problems)];
        let shown = renderer.render(&report);
        // Without a line number there is no margin, which the arrow stands in everywhere else.
        match shown.find("\n--> ") {
            Some(arrow) => out.push_str(&format!("{}\n {}", &shown[..arrow], &shown[arrow + 1..])),
            None => out.push_str(&shown),
        }
        out.push_str("\n\n");
    }
    out
}

fn group<'p>(problem: &'p Problem, problems: &'p Problems) -> Group<'p> {
    let source = problems.source(problem.place);
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    // Beside the caret stands the label, else what to do; then that needs no line of its own.
    let label = problem.label.as_deref().or(problem.suggestion.as_deref());
    let has_caret = !source.text.is_empty() && !source.secret;
    let help = problem
        .suggestion
        .as_deref()
        .filter(|_| problem.label.is_some() || !has_caret);
    let title = level.primary_title(problem.message.as_str());
    let group = if has_caret {
        title.element(snippet(problem.place, source, label))
    } else {
        title.element(origin(problem, problems))
    };
    let notes = problem
        .notes
        .iter()
        .map(|note| Level::NOTE.message(normalize_untrusted_str(note)));
    let help = help.map(|help| Level::HELP.message(normalize_untrusted_str(help)));
    group.elements(notes).elements(help)
}

/// File, line and column alone.
fn origin<'p>(problem: &Problem, problems: &'p Problems) -> Origin<'p> {
    let source = problems.source(problem.place);
    let origin = Origin::path(normalize_untrusted_str(&source.shown));
    if source.unread {
        return origin;
    }
    let (line, column) = problems.line_column(problem.place);
    origin.line(line as usize).char_column(column as usize)
}

/// The first line of the place, so that the cost of a problem does not depend on the size of its file.
fn snippet<'p>(
    place: Place,
    source: &'p Source,
    label: Option<&'p str>,
) -> Snippet<'p, annotate_snippets::Annotation<'p>> {
    let text = source.text.as_str();
    let start = boundary(text, place.start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let end = boundary(text, place.end).clamp(start, line_end);
    let number = memchr::memchr_iter(b'\n', &text.as_bytes()[..line_start]).count() + 1;
    let from = boundary(text, line_start.max(start.saturating_sub(BEFORE)));
    let end = end.min(boundary(text, start.saturating_add(AFTER)));
    let to = boundary(text, line_end.min(end.saturating_add(AFTER)));
    let caret = (start - from)..(end - from);
    Snippet::source(&text[from..to])
        .path(normalize_untrusted_str(&source.shown))
        .line_start(number)
        .annotation(
            AnnotationKind::Primary
                .span(caret)
                .label(label.map(normalize_untrusted_str)),
        )
}

/// The start of the character that a byte belongs to.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileId;

    fn one(text: &str, start: usize, end: usize) -> Problems {
        let place = Place {
            file: FileId(0),
            start,
            end,
        };
        Problems {
            list: vec![Problem::error(place, "unknown key `restar`").suggest("did you mean `restart`?")],
            sources: vec![Source {
                path: "/p/services.toml".into(),
                shown: "services.toml".into(),
                text: text.into(),
                secret: false,
                unread: false,
            }],
            ..Problems::default()
        }
    }

    #[test]
    fn a_problem_is_shown_with_line_and_caret() {
        let text = "\n[services.web]\nrestar = \"always\"\n";
        let shown = problems(&one(text, 16, 22), &Style::PLAIN);
        let wanted = "error: unknown key `restar`\n --> services.toml:3:1\n  |\n3 | restar = \"always\"\n  | ^^^^^^ did you mean `restart`?\n\n";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn colour_is_added_and_nothing_else() {
        let color = Style {
            color: true,
            ..Style::PLAIN
        };
        let shown = problems(&one("restar = 1", 0, 6), &color);
        assert!(shown.contains("\x1b["), "{shown}");
        let plain = regex::Regex::new("\x1b\\[[0-9;]*m")
            .expect("valid")
            .replace_all(&shown, "")
            .into_owned();
        assert_eq!(plain, problems(&one("restar = 1", 0, 6), &Style::PLAIN));
    }

    /// AP-14: a file that somebody sent us does not reach the terminal.
    #[test]
    fn ap_14_control_characters_of_the_file_are_shown_as_pictures() {
        let mut list = one("\u{1b}[2J = 1", 0, 4);
        list.list[0].message = "unknown key `\u{1b}[2J`".into();
        list.sources[0].shown.push('\u{1b}');
        list.list[0].label = Some("\u{1b}[31m".into());
        list.list[0].notes.push("\u{1b}[31m".into());
        let shown = problems(&list, &Style::PLAIN);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn any_place_of_any_text_can_be_shown() {
        let long = format!("x = \"{}\"\n", "\u{e4}".repeat(5000));
        for text in [
            "",
            "\n",
            "a",
            "\u{e4}\u{f6}\n\u{fc}",
            "a\r\nb\r\n",
            "\t\tx",
            long.as_str(),
        ] {
            for start in (0..=text.len().min(20)).chain([text.len().saturating_sub(3), text.len() + 5]) {
                for end in [start, start + 1, start + 3000] {
                    assert!(problems(&one(text, start, end), &Style::PLAIN).contains("services.toml"));
                }
            }
        }
    }
}
