//! How a command is executed: directly, or by the shell.

use super::node::{Node, Value};
use crate::spec::Argv;

/// Characters that only a shell understands (services-toml.md, `command`).
const SHELL_SYNTAX: &str = "|&;<>()$`\\*?[]#~{}'\"\n";

/// Builtins of a POSIX shell, and reserved words: as the first word they make a string a script.
const SHELL_WORDS: &[&str] = &[
    ".", ":", "[", "alias", "bg", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export",
    "false", "fc", "fg", "getopts", "hash", "jobs", "kill", "local", "printf", "pwd", "read", "readonly", "return",
    "set", "shift", "source", "test", "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "wait",
    "!", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "then", "until",
    "while",
];

/// A checked value of the shape `Command`.
pub(super) fn argv(node: &Node, shell: &[String]) -> Argv {
    match &node.value {
        Value::Array(words) => Argv {
            words: words.iter().filter_map(Node::text).map(str::to_owned).collect(),
            shell: false,
        },
        _ => from_text(node.text().unwrap_or_default(), shell),
    }
}

fn from_text(text: &str, shell: &[String]) -> Argv {
    if needs_shell(text) {
        let script = std::iter::once(text.to_owned());
        return Argv {
            words: shell.iter().cloned().chain(script).collect(),
            shell: true,
        };
    }
    Argv {
        words: text.split_whitespace().map(str::to_owned).collect(),
        shell: false,
    }
}

/// Whether a string is a line for the shell.
pub fn needs_shell(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let first = text.split_whitespace().next().unwrap_or_default();
    text.contains(|c| SHELL_SYNTAX.contains(c)) || SHELL_WORDS.contains(&first) || is_assignment(first)
}

/// `NAME=value`.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_gets_only_what_needs_it() {
        for text in [
            "a | b", "exec x", "A=1 b", "echo hi", "a > b", "ls *", "a 'b'", "a\nb", "if x", "cd /", "~/x",
        ] {
            assert!(needs_shell(text), "{text}");
        }
        for text in [
            "node server.js",
            "  a  b\tc",
            "a --b=c",
            "1=2",
            "=x",
            "echoes",
            "a,b:c@d%e+f^g!h",
        ] {
            assert!(!needs_shell(text), "{text}");
        }
        let shell = ["bash".to_owned(), "-ec".to_owned()];
        assert_eq!(from_text(" a  b ", &shell).words, ["a", "b"]);
        assert_eq!(from_text("a; b", &shell).words, ["bash", "-ec", "a; b"]);
    }
}
