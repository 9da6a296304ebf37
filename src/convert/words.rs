//! Words, durations and signals as other tools write them.

use super::draft::Value;

/// Text that is no template to runner.
pub(super) fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// A line for the shell, whatever it holds.
pub(super) fn shell_line(text: &str) -> Value {
    Value::Text(literal(text.trim()))
}

/// A line that its tool splits itself, without a shell: as words where a shell would see more in it.
pub(super) fn split_line(text: &str) -> Value {
    const SHELL: &str = "|&;<>()$`\\*?[]#~{}'\"\n=";
    if !text.contains(|letter| SHELL.contains(letter)) {
        return Value::text(text.trim());
    }
    match shlex::split(text) {
        Some(words) => Value::texts(words.iter().map(|word| literal(word))),
        None => shell_line(text),
    }
}

/// Seconds, or a duration with units, as runner takes it. `None`: it is neither.
pub(super) fn duration(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds_text(seconds);
    }
    let mut rest = text;
    let mut out = String::new();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        if number.is_empty() || number.contains('.') || !matches!(unit, "ns" | "us" | "ms" | "s" | "m" | "h" | "d") {
            return None;
        }
        out.push_str(number);
        out.push_str(unit);
        rest = next;
    }
    (!out.is_empty()).then_some(out)
}

fn seconds_text(seconds: f64) -> Option<String> {
    if !(0.0..=1e9).contains(&seconds) {
        return None;
    }
    let millis = (seconds * 1e3).round() as u64;
    Some(match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    })
}

/// `TERM`, `SIGTERM`, `15`.
pub(super) fn signal(text: &str) -> Option<String> {
    let text = text.trim();
    let found = match text.parse::<i32>() {
        Ok(number) => Some(crate::spec::Signal::from_number(number))
            .filter(|signal| crate::spec::Signal::from_name(&signal.to_string()).is_some()),
        Err(_) => crate::spec::Signal::from_name(text),
    };
    found.map(|signal| signal.to_string())
}

/// `$VAR`, `${VAR}`, `${VAR:-x}`, `${VAR:?x}` and `$$`, as Compose reads them, as templates of runner. What it can't say stays
/// as it is, and comes back as the second part.
pub(super) fn interpolated(text: &str) -> (String, Option<String>) {
    let text = literal(text);
    let (mut out, mut odd) = (String::new(), None);
    let mut rest = text.as_str();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if let Some((inside, next)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            let end = inside.find(|letter| !is_name(letter)).unwrap_or(inside.len());
            let (name, operator) = inside.split_at(end);
            let template = match operator {
                _ if name.is_empty() => None,
                "" => Some(format!("{{{{ env.{name} | default(\"\") }}}}")),
                operator => {
                    let default = operator.strip_prefix(":-").or_else(|| operator.strip_prefix('-'));
                    let is_needed = operator.starts_with(":?") || operator.starts_with('?');
                    match default.filter(|default| !default.contains(['"', '\\', '$', '{'])) {
                        Some(default) => Some(format!("{{{{ env.{name} | default(\"{default}\") }}}}")),
                        None => is_needed.then(|| format!("{{{{ env.{name} }}}}")),
                    }
                }
            };
            match template {
                Some(template) => out.push_str(&template),
                None => {
                    odd = Some(format!("${{{inside}}}"));
                    out.push_str(&format!("${{{inside}}}"));
                }
            }
            rest = next;
        } else {
            let end = after.find(|letter| !is_name(letter)).unwrap_or(after.len());
            match &after[..end] {
                "" => out.push('$'),
                name => out.push_str(&format!("{{{{ env.{name} | default(\"\") }}}}")),
            }
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    (out, odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_others_are_durations_of_ours() {
        for (text, ours) in [
            ("10", Some("10s")),
            ("0.25", Some("250ms")),
            ("1m30s", Some("1m30s")),
            ("500ms", Some("500ms")),
            ("-1", None),
            ("1.5m", None),
            ("soon", None),
            ("", None),
            ("5 s", None),
        ] {
            assert_eq!(duration(text).as_deref(), ours, "{text}");
        }
    }

    #[test]
    fn variables_become_templates() {
        for (text, ours) in [
            (
                "a $X ${Y} $$Z",
                "a {{ env.X | default(\"\") }} {{ env.Y | default(\"\") }} $Z",
            ),
            (
                "${X:-8080}${X-a b}",
                "{{ env.X | default(\"8080\") }}{{ env.X | default(\"a b\") }}",
            ),
            ("${X:?say it}", "{{ env.X }}"),
            ("{{ x }} $", "{{ \"{{\" }} x }} $"),
        ] {
            assert_eq!(interpolated(text), (ours.to_owned(), None), "{text}");
        }
        assert_eq!(
            interpolated("${X:+y}"),
            ("${X:+y}".to_owned(), Some("${X:+y}".to_owned()))
        );
        assert_eq!(interpolated("${ "), ("${ ".to_owned(), None));
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal("QUIT").as_deref(), Some("SIGQUIT"));
        assert_eq!(signal("2").as_deref(), Some("SIGINT"));
        assert_eq!(signal("nothing"), None);
    }
}
