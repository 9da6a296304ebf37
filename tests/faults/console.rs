//! What verbs print where nobody reads on, and where no terminal is.

use std::process::{Command, Stdio};

use crate::common::{Project, stderr, stdout};

const FILE: &str = "[services.web]\ncommand = \"printf '\\\\033[31mred\\\\033[0m\\\\nmore\\\\nhere\\\\n'; exec sleep 1000\"\nready = { log = \"here\" }\n\
                    [services.bad]\ncommand = \"nosuch-program\"\nautostart = false\n";

#[test]
fn co_01_a_follower_whose_reader_has_seen_enough_ends_with_0_also_while_nothing_happens() {
    let project = Project::new(FILE);
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    for (words, lines) in [
        ("events -f --since 0", 1),
        ("events -f --since 0 --json", 2),
        ("logs -f", 1),
        ("logs -f --json", 2),
        ("ps -w", 2),
        ("ps -w --json", 1),
        ("top", 1),
    ] {
        let runner = env!("CARGO_BIN_EXE_runner");
        let script = format!("{{ {runner} {words}; echo $? > code; }} 2> words | head -{lines}");
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", &script])
            .current_dir(project.path())
            .output()
            .unwrap();
        assert_eq!(stdout(&output).lines().count(), lines, "{words}");
        assert_eq!(project.read("code"), "0\n", "{words}");
        assert_eq!(project.read("words"), "", "{words}");
    }
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn co_04_without_a_terminal_no_verb_prints_an_escape_code() {
    let project = Project::new(FILE);
    let mut typed = 0;
    let mut check = |words: &[&str]| {
        let output = project
            .command(words)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        for text in [stdout(&output), stderr(&output)] {
            // Tabs and line ends alone are for the eye.
            let odd = text
                .chars()
                .find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t'));
            assert_eq!(odd, None, "{words:?}: {text:?}");
        }
        typed += 1;
        output.status.code()
    };
    check(&["ps"]);
    assert_eq!(check(&["up", "-d"]), Some(0));
    for words in [
        "up -d",
        "start bad",
        "ps",
        "ps -q",
        "ls",
        "plan",
        "why web",
        "why bad",
        "logs",
        "logs web --timestamps",
        "events --since 0",
        "inspect web",
        "health",
        "wait web",
        "restart web",
        "stop bad",
        "kill web -s CONT",
        "check",
        "check -v",
        "graph",
        "doctor",
        "--help",
        "up --help",
        "schema",
        "completions bash",
        "run web -- true",
    ] {
        check(&words.split(' ').collect::<Vec<_>>());
    }
    for strange in ["\x1b[31m", "@\x1b]0;title\x07", "\u{9b}31m"] {
        for verb in ["start", "why", "inspect", "logs", "wait"] {
            assert_eq!(check(&[verb, strange]), Some(3), "{verb}");
        }
        check(&["run", strange]);
        check(&["kill", "web", "-s", strange]);
        check(&["up", "-d", strange]);
        check(&[strange]);
        check(&["-C", strange, "ps"]);
        check(&["-f", strange, "ps"]);
        check(&["-p", strange, "ps"]);
        check(&["--profile", strange, "plan"]);
    }
    check(&["logs", "--since", "\x1b[31m"]);
    check(&["logs", "--grep", "(\x1b[31m"]);
    assert_eq!(check(&["down"]), Some(0));
    check(&["logs"]);
    check(&["events"]);
    assert!(typed > 60);
    project.assert_nothing_is_left();
}
