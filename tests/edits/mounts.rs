//! Configuration that is mounted: a ConfigMap is swapped as a whole, by one rename of `..data`; and what the environment says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::common::{Project, stderr, stdout};
use crate::{Running, stays, steps};

/// A volume as the kubelet writes it: a folder for each version, `..data` which leads to the one that counts, and a link for
/// each name.
struct Volume<'a> {
    at: &'a Path,
    version: u32,
}

impl<'a> Volume<'a> {
    fn new(at: &'a Path, files: &[(&str, &str)]) -> Volume<'a> {
        fs::create_dir(at).unwrap();
        let mut volume = Volume { at, version: 0 };
        volume.swap(files);
        volume
    }

    /// All of it is another one, at one instant; then names come and go, and the old version goes.
    fn swap(&mut self, files: &[(&str, &str)]) {
        let (old, new) = (format!("..v{}", self.version), format!("..v{}", self.version + 1));
        self.version += 1;
        fs::create_dir(self.at.join(&new)).unwrap();
        for (name, text) in files {
            fs::write(self.at.join(&new).join(name), text).unwrap();
        }
        symlink(&new, self.at.join("..data_tmp")).unwrap();
        fs::rename(self.at.join("..data_tmp"), self.at.join("..data")).unwrap();
        for (name, _) in files {
            if self.at.join(name).symlink_metadata().is_err() {
                symlink(format!("..data/{name}"), self.at.join(name)).unwrap();
            }
        }
        for entry in fs::read_dir(self.at).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let is_link = entry.file_type().unwrap().is_symlink();
            if is_link && !name.starts_with("..") && !files.iter().any(|(file, _)| *file == name) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        if self.version > 1 {
            fs::remove_dir_all(self.at.join(old)).unwrap();
        }
    }
}

const PLACE: &[&str] = &["-f", "config/services.toml"];

/// The services whose process or definition an edit has changed, with the kind of step.
fn changed(applied: &Value) -> Vec<(String, String)> {
    let steps = steps(&applied["steps"]).into_iter();
    let steps = steps.map(|(name, (step, _))| (name, step));
    steps.filter(|(_, step)| step != "keep").collect()
}

fn main_file(n: u32) -> String {
    format!(
        "include = [\"../services.d/*.toml\"]\n{}{}",
        stays(
            "web",
            &format!("env_file = [\"../env/web.env\"]\nenv = {{ EDIT = \"{n}\" }}")
        ),
        stays("still", "")
    )
}

#[test]
fn en_config_map_swaps_are_taken_whole_once_and_only_when_they_are_good() {
    let project = Project::new("");
    fs::remove_file(project.file("services.toml")).unwrap();
    let at = project.path().to_owned();
    let (config, dropped, env) = (at.join("config"), at.join("services.d"), at.join("env"));
    let mut config = Volume::new(&config, &[("services.toml", &main_file(0))]);
    let mut dropped = Volume::new(&dropped, &[("a.toml", &stays("a", ""))]);
    let mut env = Volume::new(&env, &[("web.env", "COLOUR=red\n")]);
    let mut running = Running::of(project, PLACE, &[]);
    let pair = |name: &str, step: &str| (name.to_owned(), step.to_owned());

    config.swap(&[("services.toml", &main_file(1))]);
    assert_eq!(changed(&running.applied()), [pair("web", "restart")]);
    dropped.swap(&[("a.toml", &stays("a", "umask = \"027\"")), ("b.toml", &stays("b", ""))]);
    // A name of a new file comes after the swap: it may be seen with it or after it.
    let applied = running.applied();
    assert_eq!(changed(&applied)[0], pair("a", "restart"));
    if !running.picture().contains_key("b") {
        running.applied();
    }
    env.swap(&[("web.env", "COLOUR=blue\n")]);
    assert_eq!(changed(&running.applied()), [pair("web", "restart")], "each once");
    let before = running.picture();

    config.swap(&[("services.toml", "[services.web]\ncommand = 7\n")]);
    let rejected = running.rejected();
    assert!(rejected["problems"][0]["line"] == 2, "{rejected}");
    assert_eq!(running.picture(), before, "the last good one is in force");
    assert!(running.ps()["config_error"].is_string());
    config.swap(&[("services.toml", &main_file(2))]);
    let applied = running.applied();
    assert_eq!(changed(&applied), [pair("web", "restart")]);
    assert_eq!(running.picture()["still"], before["still"]);
    env.swap(&[]);
    running.rejected();
    env.swap(&[("web.env", "COLOUR=green\n")]);
    assert_eq!(changed(&running.applied()), [pair("web", "restart")]);

    dropped.swap(&[("b.toml", &stays("b", ""))]);
    let applied = running.hear("a to be taken away", |event| {
        event["event"] == "config_applied" && !changed(event).is_empty()
    });
    assert_eq!(changed(&applied), [pair("a", "stop")]);
    running.down();
}

#[test]
fn the_environment_may_name_the_files_and_what_is_typed_wins() {
    let project = Project::new(&stays("here", ""));
    project.write("one.toml", &stays("one", ""));
    project.write("two.toml", &stays("two", "profiles = [\"more\"]"));
    let plan = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = project.command(&[words, &["plan"]].concat());
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&output);
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("+ ")?.split(' ').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let both = ("RUNNER_FILE", "one.toml:two.toml");
    assert_eq!(plan(&[], &[]), ["here"]);
    assert_eq!(plan(&[], &[("RUNNER_FILE", "")]), ["here"]);
    assert_eq!(plan(&[], &[both]), ["one"]);
    assert_eq!(plan(&[], &[both, ("RUNNER_PROFILES", "more")]), ["one", "two"]);
    assert_eq!(plan(&["-f", "services.toml"], &[both]), ["here"]);
    let missing = project
        .command(&["check"])
        .env("RUNNER_FILE", "nosuch.toml")
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("nosuch.toml"), "{}", stderr(&missing));
}

#[test]
fn a_folder_without_a_file_says_what_to_do() {
    let project = Project::new("");
    fs::remove_file(project.file("services.toml")).unwrap();
    let up = project.run(&["up"]);
    assert_eq!(up.status.code(), Some(2));
    let said = stderr(&up);
    assert!(said.contains("no services.toml in") && said.contains("try:"), "{said}");
}
