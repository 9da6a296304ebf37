//! What leaves its process group, and its control group where there is one (PG).

use std::path::{Path, PathBuf};

use runner::sys::machine::{self, Cgroup};

use crate::common::Project;
use crate::fixture;

/// `runner`'s folders of control groups, wherever version 2 is mounted.
fn folders_of(key: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let mut next: Vec<PathBuf> = points.filter_map(|line| Some(line.split(' ').nth(4)?.into())).collect();
    let mut found = Vec::new();
    while let Some(folder) = next.pop() {
        if folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy() == format!("{key}.runner"))
        {
            found.push(folder);
            continue;
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        next.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn pg_05_pg_08_stopped_is_only_said_when_it_is_true() {
    let project = Project::new(&format!(
        "[services.flees]\ncommand = [{0:?}, \"fork\", \"{{\", \"flee\", \"}}\", \"fork\", \"{{\", \"setsid\", \"ignore\", \"TERM\", \
         \"wait\", \"}}\", \"wait\"]\nstop_timeout = \"100ms\"\n[services.quiet]\ncommand = [{0:?}, \"wait\"]\n",
        fixture::program()
    ));
    assert!(project.run(&["up", "-d"]).status.success());
    let key = runner::config::find::key_of(&std::fs::canonicalize(project.path()).unwrap(), None);
    let grouped = matches!(machine::examine().cgroup, Cgroup::Writable { .. });
    if grouped {
        let folders = folders_of(&key);
        assert_eq!(folders.len(), 1, "{folders:?}");
        assert_eq!(names(&folders[0]), ["flees.1", "quiet.1"]);
    }
    for run in 2..5 {
        assert!(project.run(&["restart", "flees"]).status.success());
        if grouped {
            assert_eq!(names(&folders_of(&key)[0]), [format!("flees.{run}"), "quiet.1".into()]);
        }
    }
    assert!(project.run(&["stop", "flees"]).status.success());
    assert_eq!(project.service("flees")["state"], "stopped");
    // Guardian, daemon and the quiet one.
    assert_eq!(project.processes().len(), 3);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
    assert_eq!(folders_of(&key), Vec::<PathBuf>::new());
}
