//! A daemon that is killed between a folder's filling and the note of it knows it as runner's all the same.

use std::path::Path;
use std::process::Command;

use crate::common::{Project, eventually, stderr};

const POINT: &str = "daemon.folder-filled";

fn repository(at: &Path, page: &str) {
    let script = format!(
        "git init -q -b main . && echo {page} > page && git add page && git -c user.email=a@b -c user.name=a commit -q -m {page}"
    );
    std::fs::create_dir(at).unwrap();
    let done = Command::new("sh")
        .args(["-c", &script])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
}

fn services(project: &Project, repository: &str) -> String {
    let url = project.file(repository).display().to_string();
    // A file needs a service, and `web` is to go.
    format!(
        "[services.web]\ncommand = 'exec sleep 1000'\nworking_dir = 'site'\nsource = {{ git = '{url}' }}\n\n\
         [services.other]\ncommand = 'true'\nautostart = false\n"
    )
}

/// The daemon dies right behind the fill, and the next one goes on.
fn up_under_a_kill(project: &Project) {
    let hits = tempfile::NamedTempFile::new().unwrap();
    let mut up = project.command(&["up", "-d"]);
    up.env("RUNNER_FAULTS", format!("{POINT}=1*kill"))
        .env("RUNNER_FAULTS_HITS", hits.path());
    // Who asked may lose its answer with the daemon.
    up.output().unwrap();
    eventually("it runs", || {
        let web = project.service("web");
        assert_ne!(web["failure"]["reason"], "prepare_failed", "{web}");
        web["pid"].is_u64()
    });
    let hit = std::fs::read_to_string(hits.path()).unwrap();
    assert!(hit.lines().any(|point| point == POINT), "{hit}");
}

#[test]
fn what_was_filled_as_the_daemon_died_is_known_as_runners() {
    for is_there in [false, true] {
        let project = Project::new("");
        repository(&project.file("first"), "one");
        repository(&project.file("second"), "two");
        project.write("services.toml", &services(&project, "first"));
        if is_there {
            std::fs::create_dir(project.file("site")).unwrap();
        }
        up_under_a_kill(&project);
        assert_eq!(project.read("site/page"), "one\n");
        assert!(project.run(&["down"]).status.success());
        // The same again, where the note says what was there before.
        std::fs::remove_dir_all(project.file("site")).unwrap();
        project.write("services.toml", &services(&project, "second"));
        if is_there {
            std::fs::create_dir(project.file("site")).unwrap();
        }
        up_under_a_kill(&project);
        assert_eq!(project.read("site/page"), "two\n");
        // What runner has filled goes with the service.
        let gone = project.run(&["rm", "web", "--purge"]);
        assert!(gone.status.success(), "{}", stderr(&gone));
        assert!(!project.file("site").exists());
        assert!(project.run(&["down"]).status.success());
    }
}
