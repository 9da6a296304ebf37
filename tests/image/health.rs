//! `health` as an engine's health check: 0 or 1, whatever happens, and not a word.

use crate::common::{Project, stderr, stdout};

#[track_caller]
fn health(project: &Project, words: &[&str]) -> Option<i32> {
    let output = project.run(&[&["health"], words].concat());
    assert_eq!(stdout(&output), "");
    output.status.code()
}

#[test]
fn nothing_runs_and_nothing_is_there_are_1() {
    let project = Project::new("[services.web]\ncommand = ['true']\n");
    assert_eq!(health(&project, &[]), Some(1));
    assert_eq!(stderr(&project.run(&["health"])), "");
    project.write("services.toml", "broken = [");
    assert_eq!(health(&project, &[]), Some(1));
    std::fs::remove_file(project.file("services.toml")).unwrap();
    assert_eq!(health(&project, &["nosuch"]), Some(1));
    assert_eq!(project.run(&["-C", "/nosuch", "health"]).status.code(), Some(1));
}

/// Docker keeps 2 for itself; whoever typed it reads why.
#[test]
fn words_that_it_does_not_understand_are_1_too() {
    let project = Project::new("");
    assert_eq!(health(&project, &["--nosuch"]), Some(1));
    assert!(stderr(&project.run(&["health", "--nosuch"])).contains("--nosuch"));
    assert_eq!(project.run(&["ps", "--nosuch"]).status.code(), Some(2));
    assert_eq!(project.run(&["logs", "health", "--nosuch"]).status.code(), Some(2));
    assert!(project.run(&["health", "--help"]).status.success());
}
