//! What a shell is answered while somebody types, by the program as the shell calls it.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use common::{Project, eventually, stderr, stdout};

const FILE: &str = "[services.web]\ncommand = 'exec sleep 1000'\nlabels = ['back', 'front']\n\
                    [services.worker]\ncommand = 'exec sleep 1000'\nprofiles = ['dev']\nlabels = 'back'\n";

/// The shell's call for the last of the words.
fn command(project: &Project, shell: &str, words: &[&str]) -> Command {
    let mut command = project.command(&[&["--", "runner"], words].concat());
    command
        .env("RUNNER_COMPLETE", shell)
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command
}

#[track_caller]
fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success());
    assert_eq!(stderr(output), "", "nothing may stand in the user's line");
    stdout(output).lines().map(str::to_owned).collect()
}

#[track_caller]
fn complete(project: &Project, words: &[&str]) -> Vec<String> {
    let mut found = lines(&command(project, "bash", words).output().unwrap());
    found.retain(|candidate| !candidate.starts_with('-'));
    found
}

#[test]
fn names_come_from_the_file_when_nothing_runs() {
    let project = Project::new(FILE);
    for verb in ["up", "logs"] {
        assert_eq!(
            complete(&project, &[verb, ""]),
            ["web", "worker", "@back", "@front"],
            "{verb}"
        );
    }
    assert_eq!(complete(&project, &["logs", "web", "wo"]), ["worker"]);
    assert_eq!(complete(&project, &["logs", "@f"]), ["@front"]);
    assert_eq!(complete(&project, &["up", "--exit-code-from", ""]), ["web", "worker"]);
    assert_eq!(complete(&project, &["--profile", ""]), ["dev"]);
    assert_eq!(
        complete(&project, &["--profile", "=", "d"]),
        ["dev"],
        "as bash breaks it"
    );
    assert!(complete(&project, &["do"]).contains(&"doctor".to_owned()));
    // Half written, and with mistakes.
    project.write("services.toml", "[services.web]\nrestar = 1\n[services.db]\ncommand = ");
    assert_eq!(complete(&project, &["up", ""]), ["web", "db"]);
}

#[test]
fn the_project_is_the_one_that_is_named_before_the_verb() {
    let project = Project::new(FILE);
    let other = Project::new("[services.other]\ncommand = 'x'\n");
    other.write("second.toml", "[services.second]\ncommand = 'x'\n");
    let dir = other.path().to_str().unwrap();
    assert_eq!(complete(&project, &["-C", dir, "up", ""]), ["other"]);
    assert_eq!(
        complete(&project, &["-C", dir, "-f", "second.toml", "up", ""]),
        ["second"]
    );
    let quoted = format!("'{dir}/second.toml'");
    assert_eq!(complete(&project, &["--file", &quoted, "logs", "-f", ""]), ["second"]);
}

#[test]
fn nothing_to_say_is_no_error() {
    let project = Project::new(FILE);
    std::fs::remove_file(project.file("services.toml")).unwrap();
    for words in [
        &["up", ""][..],
        &["-C", "/nosuch/folder", "up", ""],
        &["-p", "../x", "up", ""],
        &["-f", "nosuch.toml", "logs", ""],
    ] {
        assert_eq!(complete(&project, words), [""; 0], "{words:?}");
    }
    let unknown = command(&project, "nosuchshell", &["up", ""]).output().unwrap();
    assert_eq!(lines(&unknown), [""; 0]);
}

#[test]
fn names_of_a_running_project_are_its_own() {
    let project = Project::new(FILE);
    let copy = |words: &[&str]| project.run(&[&["-p", "copy"], words].concat());
    assert!(project.run(&["up", "-d"]).status.success());
    project.write(
        "services.toml",
        "[services.db]\ncommand = 'exec sleep 1000'\nlabels = 'store'\n",
    );
    assert!(copy(&["up", "-d"]).status.success());
    let live = lines(&command(&project, "fish", &["logs", "w"]).output().unwrap());
    assert_eq!(live, ["web\tready", "worker\tstopped"]);
    assert_eq!(
        complete(&project, &["logs", "@"]),
        ["@store"],
        "labels are those of the file"
    );
    assert_eq!(complete(&project, &["-p", "copy", "logs", "d"]), ["db"]);
    std::fs::remove_file(project.file("services.toml")).unwrap();
    assert_eq!(
        complete(&project, &["logs", ""]),
        ["web", "worker"],
        "also without its file"
    );
    assert!(copy(&["down"]).status.success());
}

/// The kernel takes the connection, and then nothing comes.
#[test]
fn a_runner_that_does_not_answer_is_not_waited_for() {
    let project = Project::new(FILE);
    let dir = std::fs::canonicalize(project.path()).unwrap();
    let key = runner::config::find::key_of(&dir, None);
    let runtime = runner::sys::places::runtime_dir(&key, &dir.join(".runner")).unwrap();
    let mute = UnixListener::bind(runtime.join("api.sock")).unwrap();
    let mut asked = command(&project, "bash", &["logs", "w"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the end of a completion", || asked.try_wait().unwrap().is_some());
    assert_eq!(lines(&asked.wait_with_output().unwrap()), ["web", "worker"]);
    // It was asked: the connection still stands in the queue.
    mute.set_nonblocking(true).unwrap();
    mute.accept().unwrap();
    drop(mute);
    std::fs::remove_dir_all(runtime).unwrap();
}

#[test]
fn every_shell_has_its_lines() {
    let project = Project::new(FILE);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = project.run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        assert!(stdout(&output).contains("RUNNER_COMPLETE"), "{shell}");
    }
    assert_eq!(project.run(&["completions", "cmd"]).status.code(), Some(2));
}

/// The lines that go into ~/.bashrc, sourced and used.
#[test]
fn bash_understands_its_lines() {
    let project = Project::new(FILE);
    let script = format!(
        "source <({} completions bash); COMP_WORDS=(runner logs w); COMP_CWORD=2; \
         _clap_complete_runner runner w logs; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        env!("CARGO_BIN_EXE_runner")
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script])
        .current_dir(project.path())
        .output()
        .unwrap();
    assert_eq!(lines(&output), ["web", "worker"]);
}

#[test]
fn every_verb_has_a_manual_page() {
    let project = Project::new(FILE);
    let page = project.run(&["man"]);
    assert!(page.status.success(), "{}", stderr(&page));
    let page = stdout(&page);
    assert!(page.contains(".TH runner 1") && page.contains("EXIT STATUS"), "{page}");
    for verb in ["up", "attach", "man", "shell"] {
        let page = stdout(&project.run(&["man", verb]));
        assert!(page.contains(&format!(".TH runner-{verb} 1")), "{page}");
    }
    assert_eq!(project.run(&["man", "nothing"]).status.code(), Some(2));
}
