//! `init` and `import` on the built binary: what they write can be run.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::path::Path;

use common::{Project, stderr, stdout};

/// A folder without a services.toml.
fn folder(files: &[(&str, &str)]) -> Project {
    let project = Project::new("");
    std::fs::remove_file(project.file("services.toml")).unwrap();
    for (name, text) in files {
        project.write(name, text);
    }
    project
}

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/convert/samples")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_procfile_project_is_initialised_run_and_stopped() {
    let project = folder(&[
        (
            "Procfile",
            "web: exec python3 -m http.server --bind 127.0.0.1 $PORT\nworker: echo working on $QUEUE; exec sleep 1000\n",
        ),
        (".env", "QUEUE=mails\n"),
    ]);
    let init = project.run(&["init"]);
    assert!(init.status.success(), "{}", stderr(&init));
    assert!(stderr(&init).contains("has web, worker"), "{}", stderr(&init));
    // Its own number may be taken here.
    let toml = project
        .read("services.toml")
        .replace("ports = [5000]", "ports = [\"auto\"]");
    project.write("services.toml", &toml);
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
    assert_eq!(project.service("web")["state"], "ready");
    assert!(stdout(&project.run(&["logs", "worker"])).contains("working on mails"));
    // What is there is not replaced.
    let again = project.run(&["init"]);
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    assert_eq!(project.read("services.toml"), toml);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn every_kind_becomes_a_file_that_check_accepts() {
    for name in [
        "Procfile",
        "compose.yaml",
        "process-compose.yaml",
        "supervisord.conf",
        "pitchfork.toml",
    ] {
        let project = folder(&[("theirs", &sample(name))]);
        project.write(name, &sample(name));
        let dry = project.run(&["import", name, "--dry-run"]);
        assert!(dry.status.success(), "{name}: {}", stderr(&dry));
        assert!(!project.file("services.toml").exists());
        let import = project.run(&["import", name]);
        assert!(import.status.success(), "{name}: {}", stderr(&import));
        assert_eq!(project.read("services.toml"), stdout(&dry));
        let check = Project::run(&project, &["check"]);
        // A variable that has to be there is said to be missing where it is used, as Compose does.
        let words = stderr(&check);
        assert!(check.status.success(), "{name}: {words}");
    }
}

#[test]
fn what_check_would_refuse_is_taken_out_and_told() {
    let project = folder(&[(
        "compose.yaml",
        "services:\n  web:\n    command: sleep 1\n    env_file: nothing.env\n    ports: [80, 80]\n  api:\n    command: sleep 2\n    ports: [80]\n",
    )]);
    let import = project.run(&["import", "compose.yaml"]);
    assert!(import.status.success(), "{}", stderr(&import));
    let words = stderr(&import);
    assert!(
        words.contains("not carried over: web: env_file") && words.contains("nothing.env"),
        "{words}"
    );
    assert!(
        project.run(&["check"]).status.success(),
        "{}",
        project.read("services.toml")
    );
}

#[test]
fn a_broken_file_is_told_with_its_place_and_nothing_is_written() {
    for (name, text, words) in [
        ("Procfile", "web: x\nbroken\n", "Procfile:2:"),
        ("compose.yaml", "services:\n\tweb: x\n", "compose.yaml:2:"),
        ("unknown", "hello\n", "--kind"),
        ("Procfile", "web: \u{1b}[2J\u{7}\n\u{1b}x\n", "Procfile:2:"),
    ] {
        let project = folder(&[(name, text)]);
        let import = project.run(&["import", name]);
        assert_eq!(import.status.code(), Some(2), "{}", stderr(&import));
        assert!(
            stderr(&import).contains(words) && !stderr(&import).contains('\u{1b}'),
            "{}",
            stderr(&import)
        );
        assert!(!project.file("services.toml").exists());
    }
    let project = folder(&[]);
    std::fs::write(project.file("Procfile"), b"web: \xff\n").unwrap();
    let import = project.run(&["import", "Procfile"]);
    assert!(
        stderr(&import).contains("not UTF-8 text, in line 1"),
        "{}",
        stderr(&import)
    );
    nix::unistd::mkfifo(&project.file("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let import = project.run(&["import", "pipe", "--kind", "procfile"]);
    assert!(stderr(&import).contains("no regular file"), "{}", stderr(&import));
}

#[test]
fn an_empty_folder_gets_a_sample_that_runs() {
    let project = folder(&[]);
    let init = project.run(&["init"]);
    assert!(
        init.status.success() && stderr(&init).contains("sample"),
        "{}",
        stderr(&init)
    );
    assert!(project.run(&["check"]).status.success());
    assert!(project.run(&["up", "-d"]).status.success());
    assert!(project.run(&["down"]).status.success());
}
