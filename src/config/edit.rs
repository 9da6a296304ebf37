//! Edits of the files that keep their comments and layout: what `add` and `rm` write. Text in, text out; whether the result is
//! valid says [`load`](super::load) over [`Edited`] before anything is written.

use std::ops::Range;

use toml_edit::{Array, Document, DocumentMut, Item, Table, Value};

use super::command;
use super::document::{self, Edited};
use super::find::Location;
use super::problem::{Problems, Sink};

/// The files of a project as they are, in the order in which they are merged.
///
/// # Errors
/// What is wrong with them when one that is there can't be understood: nothing is to be written over that.
pub fn files(location: &Location, euid: u32) -> Result<Vec<Edited>, Problems> {
    let mut location = location.clone();
    location.files.retain(|file| file.exists());
    let mut sink = Sink::new(&location.dir);
    document::read(&location, euid, &[], &mut sink);
    let is_broken = sink.has_broken();
    let problems = sink.into_problems();
    if is_broken {
        return Err(problems);
    }
    let edited = |source: &super::Source| Edited {
        path: source.path.clone(),
        text: source.text.clone(),
    };
    Ok(problems.sources.iter().map(edited).collect())
}

/// What files without some services are not valid for, told of the files as they are (`before`).
pub fn needed(mut problems: Problems, before: &[Edited], gone: &[String]) -> Problems {
    for problem in &mut problems.list {
        let source = &problems.sources[problem.place.file.0 as usize];
        let Some(file) = before.iter().find(|file| file.path == source.path) else {
            continue;
        };
        let place = &mut problem.place;
        let at = place_before(&file.text, &source.text, place.start..place.end);
        (place.start, place.end) = (at.start, at.end);
        // A line that stands there twice may lead anywhere.
        let named = file.text.get(at).unwrap_or_default().trim_matches(['"', '\'']);
        let base = named.split_once('@').map_or(named, |(base, _)| base);
        if gone.iter().any(|gone| gone == base) {
            let by = problem.service.as_deref().unwrap_or("the project");
            problem.message = format!("{base} can't be taken out: {by} needs it");
            problem.suggestion = None;
        }
    }
    for source in &mut problems.sources {
        if let Some(file) = before.iter().find(|file| file.path == source.path) {
            source.text.clone_from(&file.text);
        }
    }
    problems
}

/// Where something stood before other lines were taken out.
fn place_before(before: &str, after: &str, at: Range<usize>) -> Range<usize> {
    if before.get(..at.end) == after.get(..at.end) {
        return at;
    }
    let line_start = after[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let rest = &after[line_start..];
    // With lines taken out above and below, what is left of the line finds it.
    let line = rest.lines().next().unwrap_or_default();
    let start = match before.ends_with(rest) {
        true => Some(before.len() - rest.len()),
        false => before.find(line),
    };
    match start {
        Some(start) => start + (at.start - line_start)..(start + (at.end - line_start)).min(before.len()),
        None => 0..0,
    }
}

/// The line in which a service is defined there, from 1.
pub fn line_of(text: &str, name: &str) -> Option<usize> {
    let document = Document::parse(text).ok()?;
    let services = document.get("services")?.as_table_like()?;
    let (key, item) = services.get_key_value(name)?;
    let at = key
        .span()
        .or_else(|| item.span())
        .unwrap_or(Range { start: 0, end: 0 })
        .start;
    Some(text[..at].matches('\n').count() + 1)
}

/// With one more service at the end.
pub fn added(text: &str, name: &str, words: &[String]) -> String {
    let mut out = text.to_owned();
    if !out.is_empty() {
        if !out.ends_with('\n') {
            out.push('\n');
        }
        if !out.ends_with("\n\n") {
            out.push('\n');
        }
    }
    let key = toml_edit::Key::new(name);
    out.push_str(&format!(
        "[services.{}]\ncommand = {}\n",
        key.display_repr(),
        written(words)
    ));
    out
}

/// One word is a line as somebody would write it; of several words it is sure only as an array that each arrives as typed.
fn written(words: &[String]) -> Value {
    let escaped = |word: &String| word.replace("{{", "{{ \"{{\" }}");
    match words {
        [line] => Value::from(escaped(line)),
        words if words.iter().all(|word| is_plain(word)) && !command::needs_shell(&words.join(" ")) => {
            Value::from(words.join(" "))
        }
        words => Value::Array(words.iter().map(escaped).collect::<Array>()),
    }
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.contains("{{") && !word.chars().any(char::is_whitespace)
}

/// Without the service, its sub-tables and the comment that stands right above it. `None`: it is not defined there.
pub fn removed(text: &str, name: &str) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let services = document.get_mut("services")?.as_table_like_mut()?;
    let gone = services.remove(name)?;
    let kept = kept_above(&gone);
    if services.is_empty() && !is_written(document.get("services")?) {
        document.remove("services");
    }
    if let Some((position, comment)) = kept {
        match next_after(document.as_table_mut(), position) {
            Some(next) => {
                let own = prefix(next);
                next.decor_mut().set_prefix(comment + &own);
            }
            None => {
                let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
                document.set_trailing(comment + &trailing);
            }
        }
    }
    let left = document.to_string();
    // What was first in the file had no blank line above it.
    Some(match text.starts_with('\n') {
        true => left,
        false => left.trim_start_matches('\n').to_owned(),
    })
}

/// A `[services]` of its own line.
fn is_written(services: &Item) -> bool {
    services.as_table().is_some_and(|table| !table.is_implicit())
}

/// What stands above its header with a blank line between: that is about more than it.
fn kept_above(gone: &Item) -> Option<(isize, String)> {
    let table = gone.as_table()?;
    let above = prefix(table);
    let end = above.rfind("\n\n")? + 1;
    let comment = above.get(..end)?.to_owned();
    (!comment.trim().is_empty()).then_some((table.position()?, comment))
}

fn prefix(table: &Table) -> String {
    let text = table.decor().prefix().and_then(|prefix| prefix.as_str());
    text.unwrap_or_default().to_owned()
}

/// The table whose header is the next one in the file.
fn next_after(table: &mut Table, position: isize) -> Option<&mut Table> {
    let mut found: Option<&mut Table> = None;
    let mut todo: Vec<&mut Table> = vec![table];
    while let Some(table) = todo.pop() {
        let is_next = table.position().is_some_and(|at| at > position);
        let is_nearer = found.as_ref().is_none_or(|best| best.position() > table.position());
        if is_next && is_nearer && !table.is_implicit() {
            // Its sub-tables stand behind it.
            found = Some(table);
            continue;
        }
        for (_, item) in table.iter_mut() {
            match item {
                Item::Table(inner) => todo.push(inner),
                Item::ArrayOfTables(tables) => todo.extend(tables.iter_mut()),
                Item::None | Item::Value(_) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# The shop.\n\n[project]\nname = \"shop\" # ours\n\n# --- databases ---\n\n# The one.\n[services.db]\ncommand = \"db\"\n\n\
                        [services.db.env]\nA = \"1\"\n\n# The front.\n[services.web]\ncommand   =   \"web\"   # as is\n# the end\n";

    #[test]
    fn a_service_goes_with_all_that_is_its_own_and_nothing_else() {
        assert_eq!(
            removed(FILE, "db").unwrap(),
            "# The shop.\n\n[project]\nname = \"shop\" # ours\n\n# --- databases ---\n\n# The front.\n[services.web]\ncommand   =   \"web\"   # as is\n# the end\n"
        );
        assert_eq!(
            removed(FILE, "web").unwrap(),
            "# The shop.\n\n[project]\nname = \"shop\" # ours\n\n# --- databases ---\n\n# The one.\n[services.db]\ncommand = \"db\"\n\n\
             [services.db.env]\nA = \"1\"\n# the end\n"
        );
        assert_eq!(
            removed("[services.a]\nx = 1\n\n[services.b]\n", "a").unwrap(),
            "[services.b]\n"
        );
        assert_eq!(removed(FILE, "nosuch"), None);
    }

    #[test]
    fn what_is_left_is_found_where_it_stood() {
        let before = "[a]\nx = 1\n\n[b]\ny = 2\n\n[c]\nz = 3\n";
        for after in [
            "[b]\ny = 2\n\n[c]\nz = 3\n",
            "[a]\nx = 1\n\n[b]\ny = 2\n",
            "[b]\ny = 2\n",
        ] {
            let at = after.find("2").unwrap();
            assert_eq!(&before[place_before(before, after, at..at + 1)], "2", "{after}");
        }
        assert_eq!(place_before(before, "q = 7\n", 4..5), 0..0);
    }

    #[test]
    fn it_is_found_in_every_way_of_writing() {
        for text in [
            "services = { web = { command = 'x' } }\n",
            "services.web.command = 'x'\n",
            "[services]\nweb.command = 'x'\n",
            "[services]\nweb = { command = 'x' }\n",
        ] {
            assert!(line_of(text, "web").is_some(), "{text}");
            let left = removed(text, "web").unwrap();
            assert!(!left.contains("web"), "{left}");
        }
        assert_eq!(line_of(FILE, "web"), Some(16));
    }

    #[test]
    fn what_is_added_stands_at_the_end_and_all_else_is_as_it_was() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let added = |text, these: &[&str]| added(text, "web", &words(these));
        assert_eq!(
            added("", &["npm", "run", "dev"]),
            "[services.web]\ncommand = \"npm run dev\"\n"
        );
        assert_eq!(added("a = 1", &["x"]), "a = 1\n\n[services.web]\ncommand = \"x\"\n");
        assert_eq!(added("a = 1\n\n", &["x"]), "a = 1\n\n[services.web]\ncommand = \"x\"\n");
        assert_eq!(added("", &["a && b"]), "[services.web]\ncommand = \"a && b\"\n");
        assert_eq!(
            added("", &["echo", "a b"]),
            "[services.web]\ncommand = [\"echo\", \"a b\"]\n"
        );
        assert_eq!(
            added("", &["echo", "$HOME"]),
            "[services.web]\ncommand = [\"echo\", \"$HOME\"]\n"
        );
        assert_eq!(
            added("", &["echo", "{{"]),
            "[services.web]\ncommand = [\"echo\", '{{ \"{{\" }}']\n"
        );
    }
}
