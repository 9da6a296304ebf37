//! SE: a planted secret is found nowhere but where its service reads it.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use common::{Project, eventually, stderr, stdout};

const CANARIES: [&str; 4] = [
    "canary-of-the-env-table",
    "canary-of-the-env-file",
    "canary-of-the-shell-of-the-user",
    "canary-that-came-over-vars",
];

/// Everything below a folder, as bytes.
fn files(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push((entry.path(), std::fs::read(entry.path()).unwrap_or_default()));
        }
    }
}

fn assert_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for canary in CANARIES {
        assert!(!text.contains(canary), "{canary} in {what}:\n{text}");
    }
}

fn get(socket: &str, path: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: runner\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn se_01_a_secret_is_in_no_file_argument_list_log_answer_or_event() {
    let project = Project::new(
        r#"
[vars]
hidden = "canary-that-came-over-vars"

[defaults]
env_file = "web.env"

[services.web]
command = "trap 'exit 0' TERM; mkfifo web.fifo; exec 3<>web.fifo; read line <&3"
env = { API_TOKEN = "canary-of-the-env-table", PLAIN = "visible", DB_PASSWORD = "{{ vars.hidden }}" }
ready = { exec = "test -n '{{ env.USERS_SECRET }}'" }
health = { http = "http://127.0.0.1:1/?token={{ vars.hidden }}", interval = "50ms", on_failure = "none" }

[services.broken]
command = ["./no-such-program", "{{ vars.hidden }}"]
env = { KEY_FROM_SHELL = "{{ env.USERS_SECRET }}", DB_PASSWORD = "{{ vars.hidden }}" }

[services.waits]
command = "exit 1"
wait_for = ["file:/nowhere/canary-of-the-env-table"]
env = { API_TOKEN = "canary-of-the-env-table" }
"#,
    );
    project.write("web.env", "FILE_SECRET=canary-of-the-env-file\n");
    let typed = |words: &[&str]| {
        let mut command = project.command(words);
        command.env("USERS_SECRET", "canary-of-the-shell-of-the-user");
        let output = command.output().unwrap();
        assert_clean(&format!("runner {words:?}"), &output.stdout);
        assert_clean(&format!("runner {words:?}, stderr"), &output.stderr);
        output
    };
    let up = typed(&["up", "-d", "--wait-timeout", "1s"]);
    assert_eq!(up.status.code(), Some(124), "{}", stderr(&up));
    eventually("web is unhealthy", || project.service("web")["state"] == "unhealthy");
    // An env file is edited: its key is named, its value never.
    let seen = project.ps()["generation"].as_u64().unwrap();
    project.write("web.env", "FILE_SECRET=canary-of-the-env-file-again\n");
    eventually("the edit is applied", || {
        project.ps()["generation"].as_u64() > Some(seen)
    });
    let events = stdout(&typed(&["events"]));
    assert!(events.contains("env.FILE_SECRET changed"), "{events}");

    for words in [
        &["ps"][..],
        &["ps", "--json"],
        &["why", "web"],
        &["why", "broken", "--json"],
        &["why", "waits"],
        &["plan"],
        &["plan", "--json"],
        &["events", "--json"],
        &["inspect", "web"],
        &["inspect", "broken", "--json"],
        &["inspect", "waits", "--json"],
        &["check", "-v"],
        &["logs"],
        &["restart", "broken"],
        &["reload", "web"],
    ] {
        typed(words);
    }
    let ls: serde_json::Value = serde_json::from_slice(&typed(&["ls", "--json"]).stdout).unwrap();
    let folder = project.path().canonicalize().unwrap();
    let is_ours = |project: &&serde_json::Value| project["folder"] == folder.to_str().unwrap();
    let ours = ls["projects"].as_array().unwrap().iter().find(is_ours).unwrap();
    let socket = ours["socket"].as_str().unwrap();
    for path in [
        "/v1/project",
        "/v1/services",
        "/v1/services/web",
        "/v1/services/broken",
        "/v1/services/web/why",
        "/v1/events?since=0&follow=0",
        "/v1/plan",
        "/v1/logs",
        "/v1/openapi.json",
        "/metrics",
    ] {
        assert_clean(path, &get(socket, path));
    }
    // Who owns the socket may ask for them.
    let revealed = project.run(&["inspect", "web", "--reveal"]);
    assert!(stdout(&revealed).contains(CANARIES[0]), "{}", stderr(&revealed));
    let ran = project.run(&["run", "web", "--", "sh", "-c", "echo $API_TOKEN $FILE_SECRET"]);
    assert_eq!(stdout(&ran), "canary-of-the-env-table canary-of-the-env-file-again\n");

    // On the disk, in memory file systems, and in what `ps` of the system shows of runner.
    let mut found = Vec::new();
    files(&project.file(".runner"), &mut found);
    files(Path::new(socket).parent().unwrap(), &mut found);
    assert!(found.len() > 5, "{found:?}");
    for pid in project.processes() {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&words).contains("__daemon") {
            found.push((PathBuf::from(format!("cmdline of {pid}")), words));
        }
    }
    for (path, bytes) in &found {
        assert_clean(&path.display().to_string(), bytes);
    }
    assert!(project.run(&["down"]).status.success());
    let mut found = Vec::new();
    files(&project.file(".runner"), &mut found);
    for (path, bytes) in &found {
        assert_clean(&path.display().to_string(), bytes);
    }
    project.assert_nothing_is_left();
}
