//! HR-16: the other files that a project is made of; and values that nobody may be told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{Project, eventually};
use crate::foretold::Picture;
use crate::{Running, stays, step_of, steps};

/// What an edit of some file has restarted.
#[track_caller]
fn restarts(running: &mut Running, way: &str, expected: &[&str], edit: impl FnOnce(&Project)) {
    let before = running.picture();
    edit(&running.project);
    let applied = running.applied();
    assert_eq!(restarted(&before, &running.picture()), expected, "{way}: {applied}");
}

/// Those in both pictures that are other processes now.
fn restarted(before: &Picture, after: &Picture) -> Vec<String> {
    let same = |(name, pid): (&String, &(Option<u64>, u64))| {
        let changed = after.get(name).is_some_and(|after| after != pid);
        changed.then(|| name.clone())
    };
    before.iter().filter_map(same).collect()
}

#[test]
fn hr_16_included_files_count_and_new_ones_that_match() {
    let project = Project::new(&format!(
        "include = [\"more/*.toml\", \"*/deep/one.toml\"]\n{}",
        stays("main", "")
    ));
    fs::create_dir(project.file("more")).unwrap();
    project.write("more/a.toml", &stays("a", ""));
    let mut running = Running::of(project, &[], &[]);
    restarts(&mut running, "an included file", &["a"], |project| {
        project.write("more/a.toml", &stays("a", "umask = \"022\""));
    });
    restarts(&mut running, "a new one", &[], |project| {
        project.write("more/b.toml", &stays("b", ""))
    });
    assert!(running.picture()["b"].0.is_some());
    restarts(&mut running, "the new one is edited", &["b"], |project| {
        project.write("more/b.toml", &stays("b", "umask = \"022\""));
    });
    restarts(&mut running, "a new folder on the way", &[], |project| {
        fs::create_dir_all(project.file("other/deep")).unwrap();
        project.write("other/deep/one.toml", &stays("c", ""));
    });
    assert!(running.picture()["c"].0.is_some());
    let before = running.picture();
    fs::remove_file(running.project.file("more/b.toml")).unwrap();
    let applied = running.applied();
    assert_eq!(step_of(&applied["steps"], "b").0, "stop");
    let after = running.picture();
    assert_eq!((after["main"], after.get("b")), (before["main"], None));
    running.down();
}

#[test]
fn hr_16_of_a_folder_on_the_way_that_comes_before_its_file() {
    let project = Project::new(&format!("include = [\"*/one.toml\"]\n{}", stays("main", "")));
    let mut running = Running::of(project, &[], &[]);
    fs::create_dir(running.project.file("other")).unwrap();
    // The folder was seen, and nothing in it.
    running.save_in_vain(&running.project.read("services.toml"));
    running.project.write("other/one.toml", &stays("c", ""));
    let applied = running.applied();
    assert_eq!(step_of(&applied["steps"], "c").0, "start");
    running.down();
}

#[test]
fn hr_16_the_local_file_may_appear_change_and_go() {
    let mut running = Running::up(&(stays("a", "") + &stays("b", "")));
    let local = "services.local.toml";
    restarts(&mut running, "it appears", &["a"], |project| {
        project.write(local, "[services.a]\nenv = { X = \"1\" }\n");
    });
    restarts(&mut running, "it changes", &["a"], |project| {
        project.write(local, "[services.a]\nenv = { X = \"2\" }\n");
    });
    restarts(&mut running, "it goes", &["a"], |project| {
        fs::remove_file(project.file(local)).unwrap()
    });
    running.down();
}

#[test]
fn hr_16_an_env_file_restarts_those_whose_values_changed_and_shows_no_value() {
    let services = stays("a", "env_file = \"a.env\"")
        + &stays("b", "env_file = { path = \"b.env\", required = false }")
        + &stays("both", "env_file = [\"a.env\", { path = \"b.env\", required = false }]")
        + &stays("neither", "")
        + &stays(
            "wins",
            "env_file = \"a.env\"\nenv = { PLAIN = \"its own\", OTHER = \"its own\" }",
        );
    let project = Project::new(&services);
    project.write("a.env", "PLAIN=first-value\nOTHER=x\n");
    let mut up = project.up(&["--exit", "never"]);
    up.wait_for("ready");
    let mut running = Running::follow(project, &[]);
    running.comes_up();
    let before = running.picture();
    running
        .project
        .write("a.env", "# a comment\nPLAIN=second-value\nOTHER=x\n");
    let applied = running.applied();
    let fields = |name: &str| step_of(&applied["steps"], name);
    let restart = ("restart".to_owned(), vec!["env.PLAIN".to_owned()]);
    assert_eq!((fields("a"), fields("both")), (restart.clone(), restart), "{applied}");
    assert_eq!(restarted(&before, &running.picture()), ["a", "both"]);
    // One that was not there.
    let before = running.picture();
    running.project.write("b.env", "API_TOKEN=third-value\n");
    let applied = running.applied();
    assert_eq!(step_of(&applied["steps"], "b").1, ["env.API_TOKEN"]);
    assert_eq!(restarted(&before, &running.picture()), ["b", "both"]);
    // `.env` is everybody's; who has its own value does not care.
    restarts(
        &mut running,
        ".env appears",
        &["a", "b", "both", "neither"],
        |project| {
            project.write(".env", "OTHER=fourth-value\nPLAIN=fourth-value\n");
            project.write("a.env", "PLAIN=second-value\n");
        },
    );
    // One that is broken: its line is not shown.
    running.project.write("b.env", "API_TOKEN=\"fifth-value\n");
    let rejected = running.rejected();
    assert!(
        rejected["message"].as_str().unwrap().starts_with("b.env:1:"),
        "{rejected}"
    );
    up.wait_for("b.env:1:");
    let why = running.run(&["why", "b"]) + &running.run(&["why", "b", "--json"]) + &running.run(&["events"]);
    let plan = running.project.run(&["plan"]);
    running.run(&["down"]);
    up.end();
    let history: Vec<String> = fs::read_dir(running.project.file(".runner"))
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path()).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    let heard: Vec<String> = running.seen.iter().map(ToString::to_string).collect();
    let places = [
        ("console", up.text()),
        ("events", heard.concat()),
        ("history", history.concat()),
        ("why", why),
        (
            "plan",
            String::from_utf8_lossy(&[plan.stdout, plan.stderr].concat()).into_owned(),
        ),
    ];
    for (place, text) in places {
        for value in ["first", "second", "third", "fourth", "fifth"] {
            assert!(!text.contains(&format!("{value}-value")), "{value} on {place}:\n{text}");
        }
    }
    assert!(history.concat().contains("API_TOKEN"), "the keys are told");
}

#[test]
fn hr_16_one_file_that_can_not_be_read_holds_up_all_of_it() {
    let project = Project::new(&format!(
        "include = [\"more/*.toml\"]\n{}{}",
        stays("a", "env_file = \"a.env\""),
        stays("b", "")
    ));
    fs::create_dir(project.file("more")).unwrap();
    project.write("more/c.toml", &stays("c", ""));
    project.write("a.env", "X=1\n");
    let mut running = Running::of(project, &[], &[]);
    let before = running.picture();
    let shut = |project: &Project, name: &str, open: bool| {
        // Root reads everything: for it, what others may write is what can't be used.
        let mode = if open { 0o644 } else { 0o666 };
        fs::set_permissions(project.file(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let edited = running.project.read("services.toml") + "\n[env]\nY = \"1\"\n";
    for name in ["more/c.toml", "a.env"] {
        match name {
            "a.env" => fs::remove_file(running.project.file(name)).unwrap(),
            _ => shut(&running.project, name, false),
        }
        running.project.write("services.toml", &edited);
        let rejected = running.rejected();
        assert!(rejected["message"].as_str().unwrap().contains(name), "{rejected}");
        assert_eq!(running.picture(), before, "{name}");
        match name {
            "a.env" => running.project.write(name, "X=1\n"),
            _ => {
                running
                    .project
                    .write("services.toml", &edited.replace("\n[env]\nY = \"1\"\n", ""));
                shut(&running.project, name, true);
                running.hear("all to be good", |event| event["event"] == "config_applied");
                assert_eq!(running.picture(), before);
            }
        }
    }
    let applied = running.applied();
    assert_eq!(steps(&applied["steps"]).len(), 3, "{applied}");
    eventually("all are there", || {
        running.picture().values().all(|(pid, run)| pid.is_some() && *run == 2)
    });
    running.down();
}
