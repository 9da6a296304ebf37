//! `init` and `import`: what becomes of files that look like those of real projects, of broken ones, and of folders.
//!
//! `RUNNER_BLESS=1 cargo test --test convert samples` writes what is expected anew.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod stacks;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::Project;

/// Folder and file; beside it stand the services.toml and the words that are expected.
const SAMPLES: &[(&str, &str)] = &[
    ("procfile", "Procfile"),
    ("rails", "Procfile.dev"),
    ("compose", "compose.yaml"),
    ("api", "docker-compose.yml"),
    ("process-compose", "process-compose.yaml"),
    ("minimal", "process-compose.yml"),
    ("supervisord", "supervisord.conf"),
    ("pitchfork", "pitchfork.toml"),
];

fn sample(folder: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/convert/samples")
        .join(folder)
        .join(file)
}

/// A project without a services.toml.
fn empty() -> Project {
    let project = Project::new("");
    std::fs::remove_file(project.file("services.toml")).unwrap();
    project
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn same(path: &Path, wanted: &str) {
    if std::env::var_os("RUNNER_BLESS").is_some() {
        std::fs::write(path, wanted).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        wanted,
        "{}",
        path.display()
    );
}

#[test]
fn samples_become_files_that_check_accepts_and_reports_that_say_the_rest() {
    for (folder, file) in SAMPLES {
        let project = empty();
        for other in [file, &".env", &"api.env"] {
            if let Ok(text) = std::fs::read_to_string(sample(folder, other)) {
                project.write(other, &text);
            }
        }
        let output = project.run(&["import", file]);
        assert!(output.status.success(), "{folder}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
        same(&sample(folder, "expected.toml"), &project.read("services.toml"));
        same(&sample(folder, "report.txt"), &stderr(&output));
        let checked = project.run(&["check"]);
        assert!(checked.status.success(), "{folder}: {}", stderr(&checked));
        // The same by `init`, by `-o -`, and with the kind said.
        let written = project.read("services.toml");
        let shown = project.run(&["import", file, "-o", "-"]);
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), written, "{folder}");
        let again = project.run(&["init"]);
        assert_eq!(again.status.code(), Some(2), "{folder}");
        assert!(stderr(&again).contains("services.toml already"), "{}", stderr(&again));
        assert_eq!(project.read("services.toml"), written);
        let forced = project.run(&["init", "--force"]);
        assert!(forced.status.success(), "{folder}: {}", stderr(&forced));
        let body = |text: &str| text.split_once('\n').unwrap().1.to_owned();
        assert_eq!(body(&project.read("services.toml")), body(&written), "{folder}");
    }
}

#[test]
fn a_file_in_another_folder_keeps_its_paths_and_its_env() {
    let project = empty();
    std::fs::create_dir_all(project.file("deploy/web")).unwrap();
    project.write("deploy/Procfile", "web: ./serve $PORT\n");
    project.write("deploy/.env", "PORT=4000\n");
    let output = project.run(&["import", "deploy/Procfile", "-o", "services.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = project.read("services.toml");
    for wanted in [
        "env_file = [\"deploy/.env\"]",
        "working_dir = \"deploy\"",
        "ports = [4000]",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    project.write(
        "deploy/compose.yaml",
        "services: {a: {command: x, working_dir: ./web, env_file: ../deploy/.env}}",
    );
    let output = project.run(&["import", "deploy/compose.yaml", "-o", "-"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("working_dir = \"web\"") && text.contains("env_file = \"../deploy/.env\""),
        "{text}"
    );
    let output = project.run(&["import", "deploy/compose.yaml", "-o", "services.toml", "--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = project.read("services.toml");
    assert!(text.contains("working_dir = \"deploy/web\""), "{text}");
}

#[test]
fn the_report_is_there_as_json() {
    let project = empty();
    project.write("odd.txt", "services:\n  a b:\n    command: x\n    tty: true\n");
    let output = project.run(&["import", "odd.txt", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["kind"], "compose");
    assert_eq!(report["from"], "odd.txt");
    assert_eq!(report["services"][0]["name"], "a-b");
    assert!(report["written"].as_str().unwrap().ends_with("/services.toml"));
    let lost = report["remarks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|remark| remark["kind"] == "lost")
        .unwrap();
    assert_eq!(
        (&lost["line"], &lost["column"], &lost["key"]),
        (&4.into(), &5.into(), &"tty".into())
    );
    assert_eq!(
        project.run(&["import", "odd.txt", "-o", "-", "--json"]).status.code(),
        Some(2)
    );
}

#[test]
fn what_init_makes_of_a_procfile_runs() {
    let project = empty();
    let port = common::free_port();
    project.write(".env", &format!("PORT={port}\nGREETING=hello there\n"));
    project.write(
        "Procfile",
        "web: exec python3 -m http.server $PORT --bind 127.0.0.1\nworker: echo \"$GREETING {{x}}\" && exec sleep 1000\n",
    );
    let output = project.run(&["init"]);
    assert!(output.status.success(), "{}", stderr(&output));
    runs(&project, &["web", "worker"]);
    assert!(
        project.read(".runner/logs/worker.log").contains("hello there {{x}}"),
        "{}",
        project.read("services.toml")
    );
    let down = project.run(&["down"]);
    assert!(down.status.success(), "{}", stderr(&down));
    project.assert_nothing_is_left();
}

#[test]
fn what_init_makes_of_a_makefile_or_of_nothing_runs() {
    let project = empty();
    project.write("Makefile", "all:\n\techo no\ndev: all\n\texec sleep 1000\n");
    let output = project.run(&["init"]);
    assert!(output.status.success(), "{}", stderr(&output));
    runs(&project, &["app"]);
    assert!(project.run(&["down"]).status.success());

    let project = empty();
    let output = project.run(&["init"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("this is a sample"), "{}", stderr(&output));
    assert!(project.read("services.toml").starts_with("# A sample"));
    runs(&project, &["web"]);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn what_init_makes_of_a_package_runs() {
    let project = empty();
    let port = common::free_port();
    let package = format!(r#"{{"scripts": {{"dev": "next dev --port {port}"}}, "dependencies": {{"next": "15"}}}}"#);
    project.write("package.json", &package);
    // In the place of npm, which would need its network.
    std::fs::create_dir(project.file("tools")).unwrap();
    let npm = "#!/bin/sh\n[ \"$*\" = install ] && exec mkdir node_modules\n[ \"$*\" = 'run dev' ] && exec python3 -m http.server \"$PORT\" --bind 127.0.0.1\n";
    project.write("tools/npm", npm);
    std::fs::set_permissions(project.file("tools/npm"), PermissionsExt::from_mode(0o755)).unwrap();
    let output = project.run(&["init"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let path = format!("{}:{}", project.file("tools").display(), std::env::var("PATH").unwrap());
    let up = project
        .command(&["up", "-d", "--wait-timeout", "60s"])
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        up.status.success(),
        "{}\n{}",
        stderr(&up),
        project.read("services.toml")
    );
    let web = project.service("web");
    assert_eq!(web["state"], "ready", "{web}");
    assert!(
        project.file("node_modules").is_dir(),
        "what it needs was installed first"
    );
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[track_caller]
fn runs(project: &Project, names: &[&str]) {
    let up = project.run(&["up", "-d", "--wait-timeout", "60s"]);
    assert!(
        up.status.success(),
        "{}\n{}",
        stderr(&up),
        project.read("services.toml")
    );
    for name in names {
        assert_eq!(project.service(name)["state"], "ready", "{name}");
    }
}
