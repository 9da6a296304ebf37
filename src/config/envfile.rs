//! Env files, in the grammar of Compose.
//!
//! `NAME=value` or `NAME: value`, `export` before it, `#` comments, values bare, in single quotes (literal) or in double
//! quotes (with escapes), both over several lines; `$NAME`, `${NAME}` and the forms with `:-`, `-`, `:+`, `+`, `:?` and
//! `?` in bare and double-quoted values; `$$` is a dollar. A name alone takes its value from the environment. The
//! environment wins over what the file itself defines above, as in Compose.

use indexmap::IndexMap;
use std::ops::Range;

/// A fault by its bytes in the file. Never holds a value: these are often secrets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EnvFault {
    pub range: Range<usize>,
    pub message: String,
}

/// What a file sets where the environment is empty; what is wrong in it is left out.
pub fn env_file(text: &str) -> IndexMap<String, String> {
    parse(text, &|_| None).0
}

/// All variables of a file in its order; with all faults.
pub(super) fn parse(text: &str, outside: &dyn Fn(&str) -> Option<String>) -> (IndexMap<String, String>, Vec<EnvFault>) {
    let mut parser = Parser {
        text,
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
        variables: IndexMap::new(),
        faults: Vec::new(),
        outside,
    };
    while parser.at < text.len() {
        parser.line();
    }
    (parser.variables, parser.faults)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    variables: IndexMap<String, String>,
    faults: Vec<EnvFault>,
    outside: &'t dyn Fn(&str) -> Option<String>,
}

/// Substitutions inside of defaults of substitutions.
const DEEPEST: usize = 32;

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Bytes up to the end of the line, without it.
    fn line_length(&self) -> usize {
        self.rest().find('\n').unwrap_or(self.rest().len())
    }

    fn fault(&mut self, range: Range<usize>, message: impl Into<String>) {
        self.faults.push(EnvFault {
            range,
            message: message.into(),
        });
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
    }

    fn skip_line(&mut self) {
        self.at = (self.at + self.line_length() + 1).min(self.text.len());
    }

    fn line(&mut self) {
        self.skip_blanks();
        let line = &self.rest()[..self.line_length()];
        if line.trim().is_empty() || line.starts_with('#') {
            return self.skip_line();
        }
        if let Some(after) = line
            .strip_prefix("export")
            .filter(|after| after.starts_with([' ', '\t']))
        {
            self.at += line.len() - after.len();
            self.skip_blanks();
        }
        let start = self.at;
        let line = &self.rest()[..self.line_length()];
        let length = line.find(['=', ':']).unwrap_or(line.len());
        let name = line[..length].trim();
        let alone = length == line.len();
        let name = if alone {
            name.split(" #").next().unwrap_or(name).trim()
        } else {
            name
        };
        if let Some(message) = name_fault(name) {
            self.fault(start..start + line.trim_end().len().max(1), message);
            return self.skip_line();
        }
        if alone {
            if let Some(value) = (self.outside)(name) {
                self.variables.insert(name.to_owned(), value);
            }
            return self.skip_line();
        }
        let name = name.to_owned();
        self.at += length + 1;
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if let Some(value) = self.value() {
            self.variables.insert(name, value);
        }
    }

    fn value(&mut self) -> Option<String> {
        let start = self.at;
        let rest = self.rest();
        match rest.as_bytes().first() {
            Some(b'\'') => {
                let Some(length) = rest[1..].find('\'') else {
                    return self.unclosed("'");
                };
                self.at += length + 2;
                self.end_of_line();
                Some(rest[1..=length].to_owned())
            }
            Some(b'"') => {
                let Some(length) = closing_quote(&rest[1..]) else {
                    return self.unclosed("\"");
                };
                self.at += length + 2;
                self.end_of_line();
                self.expand(start + 1, &rest[1..=length], true)
            }
            _ => {
                let line = &rest[..self.line_length()];
                let end = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
                let bare = if line.starts_with('#') {
                    ""
                } else {
                    line[..end].trim_end()
                };
                self.skip_line();
                self.expand(start, bare, false)
            }
        }
    }

    fn unclosed(&mut self, quote: &str) -> Option<String> {
        self.fault(self.at..self.at + 1, format!("this {quote} is not closed"));
        self.at = self.text.len();
        None
    }

    /// After a closing quote only a comment may follow.
    fn end_of_line(&mut self) {
        let start = self.at;
        let tail = self.rest()[..self.line_length()].trim();
        if !tail.is_empty() && !tail.starts_with('#') {
            self.fault(
                start..start + self.line_length(),
                "unexpected text after the closing quote",
            );
        }
        self.skip_line();
    }

    fn expand(&mut self, start: usize, text: &str, quoted: bool) -> Option<String> {
        match self.expanded(text, quoted, DEEPEST) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(start..start + text.len(), message);
                None
            }
        }
    }

    fn lookup(&self, name: &str) -> Option<String> {
        (self.outside)(name).or_else(|| self.variables.get(name).cloned())
    }

    fn expanded(&self, text: &str, quoted: bool, depth: usize) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            out.push_str(&rest[..at]);
            let special = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            if special == b'\\' {
                rest = escape(rest, quoted, &mut out);
            } else if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let length = closing_brace(after).ok_or("`${` without `}`")?;
                out.push_str(&self.substitute(&after[..length], quoted, depth)?);
                rest = &after[length + 1..];
            } else {
                let length = name_length(rest);
                if length == 0 {
                    out.push('$');
                } else {
                    out.push_str(&self.lookup(&rest[..length]).unwrap_or_default());
                    rest = &rest[length..];
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The inside of `${...}`.
    fn substitute(&self, inside: &str, quoted: bool, depth: usize) -> Result<String, String> {
        let (name, operator) = inside.split_at(name_length(inside));
        if name.is_empty() {
            return Err("`${}` needs the name of a variable".into());
        }
        if depth == 0 {
            return Err("too many `${}` inside of each other".into());
        }
        let value = self.lookup(name);
        let (present, operator) = match operator.strip_prefix(':') {
            Some(operator) => (value.as_ref().is_some_and(|value| !value.is_empty()), operator),
            None => (value.is_some(), operator),
        };
        let word = |skip: usize| self.expanded(&operator[skip..], quoted, depth - 1);
        match operator.as_bytes().first() {
            None if inside.len() == name.len() => Ok(value.unwrap_or_default()),
            Some(b'-') if present => Ok(value.unwrap_or_default()),
            Some(b'-') => word(1),
            Some(b'+') if present => word(1),
            Some(b'+') => Ok(String::new()),
            Some(b'?') if present => Ok(value.unwrap_or_default()),
            Some(b'?') => Err(format!("`{name}` is required: {}", word(1)?)),
            _ => Err("after the name there may be :-, -, :+, +, :? or ?".into()),
        }
    }
}

/// After a backslash; returns what is left.
fn escape<'r>(rest: &'r str, quoted: bool, out: &mut String) -> &'r str {
    let Some(letter) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    match letter {
        '$' => out.push('$'),
        'n' if quoted => out.push('\n'),
        'r' if quoted => out.push('\r'),
        't' if quoted => out.push('\t'),
        '"' | '\\' | '\'' if quoted => out.push(letter),
        _ => {
            out.push('\\');
            out.push(letter);
        }
    }
    &rest[letter.len_utf8()..]
}

fn name_length(text: &str) -> usize {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c| !good(c)).unwrap_or(text.len())
}

fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a name is missing before the `=`".into());
    }
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
    (!name.chars().all(good)).then(|| "expected NAME=value".into())
}

fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let outside = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let (variables, faults) = parse(text, &outside);
        assert_eq!(faults, [], "{text}");
        variables.into_iter().collect()
    }

    #[test]
    fn the_grammar_of_compose() {
        for (text, value) in [
            ("A=1", "1"),
            ("export A=1 # one", "1"),
            ("  A = 1  ", "1"),
            ("A: 1", "1"),
            ("A=", ""),
            ("A=#", ""),
            ("A=a#b", "a#b"),
            ("A='a $HOME \\n' # c", "a $HOME \\n"),
            ("A=\"a\\n\\\"$HOME\\\" \\$x $$\"", "a\n\"/root\" $x $"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A='two\nlines'", "two\nlines"),
            ("A=${HOME}/x", "/root/x"),
            ("A=${NO:-d}", "d"),
            ("A=${NO-d}", "d"),
            ("A=${NO:-${HOME:-x}}", "/root"),
            ("A=${HOME:+set}", "set"),
            ("A=${NO:+set}", ""),
            ("A=$NO.x", ".x"),
            ("A=a$", "a$"),
            ("\u{feff}A=1\r\n", "1"),
            ("# c\n\nA=1\n", "1"),
        ] {
            assert_eq!(read(text), [("A".to_owned(), value.to_owned())], "{text}");
        }
        let two = read("A=1\nB=\"$A${A}\"\nHOME\nNOPE\n");
        assert_eq!(two[1].1, "11");
        assert_eq!(two[2], ("HOME".into(), "/root".into()));
        assert_eq!(two.len(), 3);
    }

    #[test]
    fn faults_have_places_and_do_not_end_the_reading() {
        for (text, at, message) in [
            ("A=1\n=2\nB=3", 4, "a name is missing"),
            ("A=1\nnot this\nB=3", 4, "expected NAME=value"),
            ("B=3\nA=\"x", 6, "this \" is not closed"),
            ("A='x' y\nB=3", 5, "unexpected text"),
            ("A=${x\nB=3", 2, "`${` without `}`"),
            ("A=${X:?say it}\nB=3", 2, "`X` is required: say it"),
            ("A=${X!}\nB=3", 2, "after the name"),
        ] {
            let (variables, faults) = parse(text, &|_| None);
            assert_eq!(faults.len(), 1, "{text}");
            assert_eq!(faults[0].range.start, at, "{text}");
            assert!(faults[0].message.starts_with(message), "{}", faults[0].message);
            assert_eq!(variables.get("B").map(String::as_str), Some("3"), "{text}");
        }
    }
}
