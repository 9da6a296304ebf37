//! `{{ ... }}` in the strings of a service.
//!
//! Only the double braces are syntax; the text around them belongs to the user and is never looked at, except to
//! know between which quotes a value is pasted into a shell command. The expressions are minijinja's.

mod whole;

use std::ops::Range;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Expression, UndefinedBehavior};

pub(super) use whole::FileFault;

use super::words;

/// Bytes of one expression: minijinja bounds the depth of brackets only, so that its length has to bound the stack.
const LONGEST: usize = 2048;

/// Where a value is pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paste {
    /// As it is.
    Plain,
    /// Into the text of a shell command: quoted, so that it stays one word (HP-20).
    Shell,
}

/// Something wrong inside of a string, by its bytes there.
#[derive(Debug)]
pub(super) struct Fault {
    pub range: Range<usize>,
    pub message: String,
    pub suggestion: Option<String>,
}

/// What a string became.
#[derive(Debug)]
pub(super) struct Rendered {
    pub text: String,
    /// Dotted names that were used, with the place of their expression.
    pub used: Vec<(String, Range<usize>)>,
}

pub(super) struct Engine {
    environment: Environment<'static>,
    /// Of files: the whole language, bounded in what it does and makes.
    whole: Environment<'static>,
}

impl Engine {
    pub fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_debug(true);
        let whole = whole::environment(&environment);
        Engine { environment, whole }
    }

    /// Checks the syntax only.
    pub fn check(&self, text: &str) -> Vec<Fault> {
        match split(text) {
            Err(fault) => vec![fault],
            Ok(pieces) => {
                let expressions = pieces.into_iter().filter_map(|piece| match piece {
                    Piece::Expression { range, source } => Some((range, source)),
                    Piece::Literal(_) => None,
                });
                expressions
                    .filter_map(|(range, source)| self.compile(source, &range).err())
                    .collect()
            }
        }
    }

    /// Renders one string with the names of one service.
    pub fn render(&self, text: &str, names: &Value, paste: Paste) -> Result<Rendered, Vec<Fault>> {
        let pieces = split(text).map_err(|fault| vec![fault])?;
        let mut out = String::with_capacity(text.len());
        let mut used = Vec::new();
        let mut faults = Vec::new();
        let mut shell = ShellState::default();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => {
                    shell.read(literal);
                    out.push_str(literal);
                }
                Piece::Expression { range, source } => match self.evaluate(source, &range, names, &mut used) {
                    Ok(value) if paste == Paste::Shell => out.push_str(&shell.quote(&value)),
                    Ok(value) => out.push_str(&value),
                    Err(fault) => faults.push(fault),
                },
            }
        }
        if faults.is_empty() {
            Ok(Rendered { text: out, used })
        } else {
            Err(faults)
        }
    }

    fn compile<'e>(&'e self, source: &'e str, range: &Range<usize>) -> Result<Expression<'e, 'e>, Fault> {
        if source.len() > LONGEST {
            return Err(Fault {
                range: range.clone(),
                message: format!("this template is longer than {LONGEST} bytes"),
                suggestion: Some("put parts of it into `[vars]`".into()),
            });
        }
        let compiled = self.environment.compile_expression(source);
        compiled.map_err(|error| syntax_fault(range.clone(), &error))
    }

    fn evaluate(
        &self,
        source: &str,
        range: &Range<usize>,
        names: &Value,
        used: &mut Vec<(String, Range<usize>)>,
    ) -> Result<String, Fault> {
        let fault = |message: String, suggestion: Option<String>| Fault {
            range: range.clone(),
            message,
            suggestion,
        };
        let expression = self.compile(source, range)?;
        let mut mentioned: Vec<String> = expression.undeclared_variables(true).into_iter().collect();
        mentioned.extend(subscripts_of_env(source));
        mentioned.sort();
        let value = expression.eval(names.clone());
        let undefined = match &value {
            Ok(value) => value.is_undefined(),
            Err(error) => error.kind() == minijinja::ErrorKind::UndefinedError,
        };
        let mut unknown: Vec<_> = mentioned
            .iter()
            .filter_map(|name| unknown_name(names, name, source))
            .collect();
        // minijinja lets `not x`, `x or y` and the like pass, which would hide a misspelled name.
        if undefined || (!unknown.is_empty() && !is_optional(source)) {
            // `services.my-db` mentions `db` as well; the part before the minus explains it.
            unknown.sort_by_key(|(_, hint)| !hint.as_ref().is_some_and(|hint| hint.starts_with(MINUS)));
            let (message, suggestion) = unknown
                .into_iter()
                .next()
                .unwrap_or_else(|| (format!("`{}` is not defined", source.trim()), None));
            return Err(fault(message, suggestion.or_else(|| Some(OPTIONAL.into()))));
        }
        let value = value.map_err(|error| fault(format!("template: {}", reason(&error)), None))?;
        used.extend(mentioned.into_iter().map(|name| (name, range.clone())));
        if !is_name(source)
            && let Some(output) = mentioned_output(source)
        {
            let message =
                format!("`{output}` is not known before its service runs, so nothing can be done with it here");
            return Err(fault(
                message,
                Some("`{{ services.NAME.outputs.NAME }}`, without anything else".into()),
            ));
        }
        match value.kind() {
            ValueKind::String | ValueKind::Number | ValueKind::Bool => Ok(value.to_string()),
            kind => Err(fault(
                format!(
                    "this is {}, and only text, numbers and truth values can be pasted",
                    kind_words(kind)
                ),
                Some("pick one of its members, or join them: `| join(\" \")`".into()),
            )),
        }
    }
}

/// Whether the expression itself asks if something is defined.
fn is_optional(source: &str) -> bool {
    let mut words = source.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| matches!(word, "default" | "d" | "defined" | "undefined"))
}

fn kind_words(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a table",
        ValueKind::None => "nothing",
        ValueKind::Bytes => "bytes",
        _ => "something else",
    }
}

/// `env.NAME` for every `env["NAME"]`, which minijinja does not tell.
fn subscripts_of_env(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, opening) in source.match_indices("env[") {
        let rest = source[at + opening.len()..].trim_start();
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
        let name = quote
            .and_then(|quote| rest[1..].split_once(quote))
            .map(|(name, _)| name);
        found.extend(name.map(|name| format!("env.{name}")));
    }
    found
}

const MINUS: &str = "`-` means minus here";
const OPTIONAL: &str = "`| default(\"...\")` makes it optional";

pub(super) fn has_template(text: &str) -> bool {
    text.contains("{{")
}

/// Nothing but a name, in one of the ways to say it.
fn is_name(source: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "_.-@[]\"'".contains(letter);
    source.trim().chars().all(is_part)
}

/// The output that an expression mentions, in any of the ways to say it.
fn mentioned_output(source: &str) -> Option<&str> {
    let has_words = source.contains("services") && source.contains("outputs");
    has_words.then(|| source.trim())
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

fn syntax_fault(range: Range<usize>, error: &minijinja::Error) -> Fault {
    Fault {
        range,
        message: format!("this template can't be read: {}", reason(error)),
        suggestion: Some("write `{{ \"{{\" }}` for two literal braces".into()),
    }
}

/// The first part of a dotted name that does not exist, and what may have been meant.
fn unknown_name(names: &Value, dotted: &str, source: &str) -> Option<(String, Option<String>)> {
    let mut value = names.clone();
    let mut path = String::new();
    for part in dotted.split('.') {
        let next = value.get_attr(part).unwrap_or(Value::UNDEFINED);
        let parent = path.clone();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(part);
        if next.is_undefined() {
            // A function, or a method of a value.
            let is_called = source.contains(&format!("{part}("));
            if is_called || !matches!(value.kind(), ValueKind::Map | ValueKind::Undefined) {
                return None;
            }
            let known: Vec<String> = value
                .try_iter()
                .map(|keys| keys.map(|key| key.to_string()).collect())
                .unwrap_or_default();
            let hint = of_members(names, &parent, part).or_else(|| meant(&parent, part, &known));
            return Some((format!("`{path}` is not defined"), hint));
        }
        value = next;
    }
    None
}

/// What is not the same for all replicas of a service has to be asked of one of them.
fn of_members(names: &Value, parent: &str, part: &str) -> Option<String> {
    let (group, below) = match parent.strip_prefix("services.")?.split_once('.') {
        Some((group, "ports")) => (group, format!(".ports.{part}")),
        Some(_) => return None,
        None => (parent.strip_prefix("services.")?, format!(".{part}")),
    };
    let member = format!("{group}@");
    let mut services = names.get_attr("services").ok()?.try_iter().ok()?;
    let first = services.find_map(|name| {
        name.as_str()
            .filter(|name| name.starts_with(&member))
            .map(str::to_owned)
    })?;
    Some(format!(
        "`{group}` has several replicas, and this is not the same for all of them: name one, as in \
         `services[\"{first}\"]{below}`"
    ))
}

fn meant(parent: &str, part: &str, known: &[String]) -> Option<String> {
    let dashed = known.iter().find(|name| name.starts_with(&format!("{part}-")));
    if let Some(dashed) = dashed.filter(|_| !parent.is_empty()) {
        return Some(format!("{MINUS}; write `{parent}[\"{dashed}\"]`"));
    }
    match (parent, part) {
        ("", "port") => return Some("this service declares no `ports`".into()),
        (_, "outputs") if parent.starts_with("services.") => {
            let service = parent.trim_start_matches("services.");
            return Some(format!(
                "it takes `depends_on = [\"{service}\"]`, and `outputs` of {service} that say what to look for"
            ));
        }
        ("", "instance" | "index") => return Some("only a service with `replicas` has it".into()),
        _ => {}
    }
    if let Some(near) = words::nearest(part, known.iter().map(String::as_str)) {
        return Some(format!("did you mean `{near}`?"));
    }
    match (parent, known.len()) {
        ("", _) => Some(
            "there are env, vars, project, service, port, ports and services; a variable of the environment is `env.NAME`"
                .into(),
        ),
        // The environment is long, and nobody's business.
        ("env", _) | (_, 0 | 13..) => None,
        (_, 1) => Some(format!("there is only `{}`", known[0])),
        _ => Some(format!("there are {}", known.join(", "))),
    }
}

enum Piece<'t> {
    Literal(&'t str),
    Expression { range: Range<usize>, source: &'t str },
}

/// Splits at `{{` and the matching `}}`; braces and quotes inside of an expression are understood.
fn split(text: &str) -> Result<Vec<Piece<'_>>, Fault> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find("{{").map(|at| from + at) {
        if open > from {
            pieces.push(Piece::Literal(&text[from..open]));
        }
        let inner = open + 2;
        let Some(length) = expression_length(&text[inner..]) else {
            return Err(Fault {
                range: open..(open + 2),
                message: "`{{` without `}}`".into(),
                suggestion: Some("write `{{ \"{{\" }}` for two literal braces".into()),
            });
        };
        pieces.push(Piece::Expression {
            range: open..(inner + length + 2),
            source: &text[inner..inner + length],
        });
        from = inner + length + 2;
    }
    if from < text.len() {
        pieces.push(Piece::Literal(&text[from..]));
    }
    Ok(pieces)
}

fn expression_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut quote) = (0, 0_usize, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, _) => {}
        }
        at += 1;
    }
    None
}

/// Which quotes the shell is inside of, after the text read so far.
#[derive(Debug)]
struct ShellState {
    /// Innermost last; never empty. A substitution in double quotes begins afresh.
    nesting: Vec<Quotes>,
    /// The next character is escaped.
    escaped: bool,
    /// A `#` here would begin a comment.
    word_start: bool,
    comment: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    None,
    Parenthesis,
    Backtick,
    Single,
    Double,
}

impl Default for ShellState {
    fn default() -> Self {
        ShellState {
            nesting: vec![Quotes::None],
            escaped: false,
            word_start: true,
            comment: false,
        }
    }
}

impl ShellState {
    fn inside(&self) -> Quotes {
        *self.nesting.last().expect("the outermost level is never left")
    }

    fn read(&mut self, literal: &str) {
        let mut before = ' ';
        for letter in literal.chars() {
            self.step(letter, before);
            before = letter;
        }
    }

    fn step(&mut self, letter: char, before: char) {
        if self.comment {
            self.comment = letter != '\n';
            return;
        }
        if std::mem::take(&mut self.escaped) {
            self.word_start = false;
            return;
        }
        match (self.inside(), letter) {
            (Quotes::Single, '\'') | (Quotes::Double, '"') | (Quotes::Backtick, '`') => self.leave(),
            (Quotes::Single, _) => {}
            (_, '\\') => self.escaped = true,
            (Quotes::Double, '(') if before == '$' => self.nesting.push(Quotes::Parenthesis),
            (_, '`') => self.nesting.push(Quotes::Backtick),
            (Quotes::Double, _) => {}
            (_, '\'') => self.nesting.push(Quotes::Single),
            (_, '"') => self.nesting.push(Quotes::Double),
            (_, '(') => self.nesting.push(Quotes::Parenthesis),
            (Quotes::Parenthesis, ')') => self.leave(),
            (_, '#') if self.word_start => self.comment = true,
            _ => {}
        }
        self.word_start = letter.is_whitespace() || matches!(letter, ';' | '&' | '|' | '(');
    }

    fn leave(&mut self) {
        if self.nesting.len() > 1 {
            self.nesting.pop();
        }
    }

    /// The value in a form that the shell reads back as exactly this text.
    fn quote(&mut self, value: &str) -> String {
        self.word_start = false;
        self.escaped = false;
        match self.inside() {
            Quotes::Single => value.replace('\'', "'\\''"),
            Quotes::Double => value
                .chars()
                .flat_map(|letter| {
                    let escape = matches!(letter, '"' | '\\' | '$' | '`').then_some('\\');
                    escape.into_iter().chain(Some(letter))
                })
                .collect(),
            Quotes::None | Quotes::Parenthesis | Quotes::Backtick => match shlex::try_quote(value) {
                Ok(quoted) => quoted.into_owned(),
                // A NUL byte: refused when the rendered text is checked.
                Err(_) => value.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn shell(text: &str, x: &str) -> String {
        let names = context! { x };
        Engine::new().render(text, &names, Paste::Shell).expect("valid").text
    }

    #[test]
    fn only_double_braces_are_syntax() {
        let names = context! { port => 80 };
        let text = "{% if %} {# x #} ${A} {a,b} {{ port }} {{ \"{{\" }} {{ {\"a\": \"}}\"}[\"a\"] }}";
        let rendered = Engine::new().render(text, &names, Paste::Plain).expect("valid");
        assert_eq!(rendered.text, "{% if %} {# x #} ${A} {a,b} 80 {{ }}");
    }

    #[test]
    fn undefined_names_are_errors_with_a_suggestion() {
        let services = context! { db => context! { port => 1 } };
        let names = context! { services, vars => context! { region => "eu" } };
        let engine = Engine::new();
        for (text, message, hint) in [
            ("{{ vars.regoin }}", "`vars.regoin` is not defined", "`region`"),
            ("{{ services.bd.port }}", "`services.bd` is not defined", "`db`"),
            ("{{ nope }}", "`nope` is not defined", "env.NAME"),
            (
                "{{ services.db.outputs.url }}",
                "`services.db.outputs` is not defined",
                "depends_on = [\"db\"]",
            ),
            ("{{ 1 +", "`{{` without `}}`", "literal"),
            ("{{ .Names }}", "this template can't be read", "literal"),
            ("{{ services }}", "this is", "join"),
        ] {
            let faults = engine.render(text, &names, Paste::Plain).expect_err(text);
            assert!(faults[0].message.starts_with(message), "{}", faults[0].message);
            let suggestion = faults[0].suggestion.clone().unwrap_or_default();
            assert!(suggestion.contains(hint), "{suggestion}");
        }
        for text in [
            "{{ not nope }}",
            "{{ vars.nope or \"x\" }}",
            "{{ \"a\" if nope else \"b\" }}",
            "{{ env[\"NOPE\"] }}",
        ] {
            assert!(engine.render(text, &names, Paste::Plain).is_err(), "{text}");
        }
        for (text, wanted) in [
            ("{{ nope | default(\"x\") }}", "x"),
            ("{{ \"a\" if vars.nope is defined else \"b\" }}", "b"),
            ("{{ vars.region | upper }}", "EU"),
            ("{{ range(3) | join(\"-\") }}", "0-1-2"),
            ("{{ vars[\"region\"] ~ services[\"db\"].port }}", "eu1"),
            ("{{ vars.region[0] }}", "e"),
        ] {
            assert_eq!(engine.render(text, &names, Paste::Plain).expect(text).text, wanted);
        }
    }

    /// What the shell makes of every kind of place is the value itself.
    #[test]
    fn hp_20_a_pasted_value_is_one_word_wherever_it_stands() {
        let evil = "a'b\"c $(echo no) `echo no` \\ ; # *";
        for text in [
            "printf %s {{ x }}",
            "printf %s \"{{ x }}\"",
            "printf %s '{{ x }}'",
            "printf %s \"$(printf %s {{ x }})\"",
            "printf %s \"$(printf %s \"{{ x }}\")\"",
            "# don't\nprintf %s {{ x }}",
            "printf %s `printf %s x`\\'{{ x }} | cut -c 3-",
        ] {
            let script = shell(text, evil);
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .expect("sh runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said.trim_end_matches('\n'), evil, "{script}");
        }
    }
}
