//! `check`, `graph` and `schema` as they are typed.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Project, stderr, stdout};

#[test]
fn a_valid_file_is_one_line_and_code_0() {
    let project = Project::new("[project]\nname = 'shop'\n[services.web]\ncommand = 'node server.js'\n");
    let output = project.run(&["check"]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "ok: shop with 1 service\n")
    );
    assert_eq!(stderr(&output), "");
    assert_eq!(stdout(&project.run(&["-q", "check"])), "");
}

#[test]
fn every_problem_is_shown_and_the_code_is_2() {
    let project = Project::new("include = 'more.toml'\n[services.web]\nrestar = 'no'\ncommand = 'x'\n");
    project.write("more.toml", "[services.db]\ncommand = 'x'\nstop_timeout = '5'\n");
    for verb in ["check", "plan", "graph", "up"] {
        let output = project.run(&[verb]);
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(2), ""),
            "{verb}"
        );
        let said = stderr(&output);
        for part in [
            "error: unknown key `restar`",
            " --> services.toml:3:1",
            " --> more.toml:3:16",
            "^^^ a unit is missing",
        ] {
            assert!(said.contains(part), "{verb}: {part}: {said}");
        }
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    let coloured = project.run(&["--color", "always", "check"]);
    assert!(stderr(&coloured).contains("\u{1b}["));
    let nowhere = project.run(&["-f", "none.toml", "check"]);
    assert_eq!(nowhere.status.code(), Some(2));
}

/// A closed pipe is the reader's wish, a full disk is nobody's.
#[test]
fn what_could_not_be_written_is_no_success() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let project = Project::new("[services.web]\ncommand = 'x'\n");
    for words in [
        &["schema"][..],
        &["check"],
        &["check", "--json"],
        &["plan"],
        &["graph"],
        &["doctor"],
        &["man", "up"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = project.command(words).stdout(full).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.contains("could not write to stdout: No space left"),
            "{words:?}: {said}"
        );
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = project.command(&["schema"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

/// Projects of others may run meanwhile.
#[test]
fn ls_has_a_word_for_nothing() {
    let output = Project::new("").run(&["ls"]);
    assert_eq!(output.status.code(), Some(0));
    let is_empty = stdout(&output).is_empty();
    assert_eq!(is_empty, stderr(&output).contains("no project of yours is running"));
}

#[test]
fn verbose_shows_what_is_executed_without_secrets() {
    let project = Project::new(
        "[env]\nAPI_TOKEN = 'hunter2'\n[services.web]\ncommand = 'node server.js'\nstop_command = 'kill $X'\n\
         [services.job]\ntype = 'oneshot'\ncommand = ['curl', '{{ env.API_TOKEN }}']\nready = { exec = 'test -f x' }\n",
    );
    let output = project.run(&["-v", "check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let wanted = r#"
web  command       directly      ["node", "server.js"]
web  stop_command  by the shell  ["sh", "-c", "kill $X"]
job  command       directly      ["curl", "***"]
job  ready         by the shell  ["sh", "-c", "test -f x"]
"#;
    assert!(stdout(&output).starts_with(wanted.trim_start()), "{}", stdout(&output));
    assert!(stdout(&output).contains("2 services, 1 warning"));
    assert!(
        stderr(&output).starts_with("warning: `API_TOKEN` looks like a secret"),
        "{}",
        stderr(&output)
    );
    assert!(!format!("{output:?}").contains("hunter2"));
}

#[test]
fn graph_in_every_format() {
    let project = Project::new(
        "[services.db]\ncommand = 'x'\n[services.web]\ncommand = 'x'\ndepends_on = { db = { condition = 'started', restart = true } }\n",
    );
    let shown = |format: &str| stdout(&project.run(&["graph", "--format", format]));
    assert_eq!(shown("tree"), "web\n└─ db (started, restart)\n");
    assert!(shown("dot").starts_with("digraph"));
    assert!(shown("mermaid").starts_with("graph TD"));
    assert_eq!(shown("json"), stdout(&project.run(&["graph", "--json"])));
}

#[test]
fn ap_09_an_http_address_for_everybody_is_refused_before_anything_is_started() {
    let project = Project::new("[services.a]\ncommand = \"sleep 1000\"\n");
    for (address, words) in [
        ("0.0.0.0:7070", "`0.0.0.0:7070` can be reached from other machines"),
        (":7070", "`:7070` can be reached from other machines"),
        ("localhost", "expected an address such as `127.0.0.1:7070`"),
        ("127.0.0.1:7070", "`--http` is not supported yet"),
    ] {
        let up = project.run(&["up", "-d", "--http", address]);
        assert_eq!(up.status.code(), Some(2), "{address}");
        assert!(stderr(&up).contains(words), "{address}: {}", stderr(&up));
    }
    assert!(!project.file(".runner").exists());
}
