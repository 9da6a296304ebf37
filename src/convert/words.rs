//! Words that several tools share: signals, durations, paths, words of a command.

use super::draft::Value;
use super::expand;

/// By its number on Linux.
pub(super) fn signal(number: u64) -> Option<&'static str> {
    const NAMES: [&str; 15] = [
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1",
        "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",
    ];
    NAMES.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// By name or number, as it is written here.
pub(super) fn signal_word(word: &str) -> String {
    let word = word.trim();
    match word.parse().ok().and_then(signal) {
        Some(name) => name.to_owned(),
        None if word.to_ascii_uppercase().starts_with("SIG") => word.to_ascii_uppercase(),
        None => format!("SIG{}", word.to_ascii_uppercase()),
    }
}

/// Relative paths begin at the folder of the file that says them.
pub(super) fn path(base: &str, path: &str) -> String {
    let mut path = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    if base.is_empty() || path.starts_with(['/', '~']) {
        return if path.is_empty() {
            ".".to_owned()
        } else {
            path.to_owned()
        };
    }
    match path {
        "" | "." => base.to_owned(),
        path => format!("{}/{path}", base.trim_end_matches('/')),
    }
}

/// As [`path`], with the variables in it.
pub(super) fn expanded_path(base: &str, text: &str) -> Result<Value, String> {
    if text.starts_with(['$', '~']) {
        return expand::dollars(text);
    }
    expand::dollars(&path(&base.replace('$', "$$"), text))
}

/// The words of a line that no shell reads, each with its variables.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    match shlex::split(line) {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => Err("it is empty".to_owned()),
        None => Err("a quote in it is not closed".to_owned()),
    }
}

/// A command of these words: one line where that means the same.
pub(super) fn command(words: &[Value]) -> Value {
    let is_plain = |word: &str| {
        !word.is_empty() && !word.contains("{{") && !word.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    let plain: Option<Vec<&str>> = words
        .iter()
        .map(|word| match word {
            Value::Text(word) if is_plain(word) => Some(word.as_str()),
            _ => None,
        })
        .collect();
    match plain.map(|words| words.join(" ")) {
        Some(line) if !crate::config::needs_shell(&line) => Value::Text(line),
        _ => Value::List(words.to_vec()),
    }
}

/// `MB` of supervisord and docker as ours, whose `MB` is a power of 1000.
pub(super) fn binary_size(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => "",
        "k" | "kb" => "KiB",
        "m" | "mb" => "MiB",
        "g" | "gb" => "GiB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}
