//! `add` and `rm`: the file is edited as a person would, and a running project follows.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use common::{Project, eventually, stderr};

const FILE: &str = "# Ours.\n\n# The database.\n[services.db]\ncommand = 'exec sleep 1000'   # for now\n\n\
                    # The front.\n[services.web]\ncommand = 'exec sleep 1000'\ndepends_on = ['db']\n";

fn names(project: &Project) -> Vec<String> {
    let ps = project.ps();
    let services = ps["services"].as_array().unwrap();
    services
        .iter()
        .map(|service| service["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_running_project_starts_what_is_added_and_stops_what_is_taken_out() {
    let project = Project::new(FILE);
    let run = |words: &[&str]| {
        let output = project.run(words);
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    };
    run(&["up", "-d"]);
    let before = (
        project.service("db")["pid"].clone(),
        project.service("web")["pid"].clone(),
    );
    run(&["add", "worker", "--", "sh", "-c", "echo works; exec sleep 1000"]);
    let worker = "[services.worker]\ncommand = [\"sh\", \"-c\", \"echo works; exec sleep 1000\"]\n";
    assert_eq!(project.read("services.toml"), format!("{FILE}\n{worker}"));
    eventually("it runs", || {
        names(&project).contains(&"worker".to_owned()) && project.service("worker")["state"] == "ready"
    });
    assert_eq!(
        before,
        (
            project.service("db")["pid"].clone(),
            project.service("web")["pid"].clone()
        )
    );
    eventually("it has printed", || {
        project.read(".runner/logs/worker.log") == "works\n"
    });

    let refused = project.run(&["rm", "db"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("nothing was written"), "{}", stderr(&refused));
    assert_eq!(project.read("services.toml"), format!("{FILE}\n{worker}"));

    run(&["rm", "worker", "--purge"]);
    assert_eq!(project.read("services.toml"), FILE);
    assert!(!project.file(".runner/logs/worker.log").exists());
    assert!(project.file(".runner/logs/web.log").exists());
    eventually("it is gone", || !names(&project).contains(&"worker".to_owned()));
    run(&["rm", "web"]);
    assert_eq!(
        project.read("services.toml"),
        "# Ours.\n\n# The database.\n[services.db]\ncommand = 'exec sleep 1000'   # for now\n"
    );
    eventually("it is gone as well", || names(&project) == ["db"]);
    run(&["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn what_an_edit_would_break_is_not_written() {
    let project = Project::new(FILE);
    for (words, says) in [
        (
            &["add", "web", "--", "x"][..],
            "there is a service `web` already, in line 8 of services.toml",
        ),
        (&["add", "a b", "--", "x"], "a name holds letters"),
        (&["add", "x", "--", "echo {{ nosuch }}", "y"], ""),
        (&["rm", "nosuch"], "there is no service `nosuch`"),
        (&["rm", "web", "db"], "no service is declared"),
    ] {
        let output = project.run(words);
        let refused = !output.status.success();
        assert_eq!(refused, !says.is_empty(), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{words:?}: {}", stderr(&output));
        if refused {
            assert_eq!(project.read("services.toml"), FILE, "{words:?}");
        }
        project.write("services.toml", FILE);
    }
}

#[test]
fn what_is_needed_is_told_where_it_stands() {
    let text = "[services.web]\ncommand = 'x'\n\n[services.worker]\ncommand = 'y'\ndepends_on = ['web']\n";
    let project = Project::new(text);
    let output = project.run(&["rm", "web"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [
        "error: web can't be taken out: worker needs it\n --> services.toml:6:15\n",
        "6 | depends_on = ['web']\n  |               ^^^^^",
        "nothing was written: with this edit",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("only service"), "{said}");
    assert_eq!(project.read("services.toml"), text);
}

/// What can't be read must not be written over.
#[test]
fn a_file_that_is_broken_is_told_as_it_is() {
    let web = "[services.web]\ncommand = 'x'\n";
    let (rm, add) = (&["rm", "last"][..], &["add", "more", "--", "sleep", "{{ nosuch"][..]);
    for (words, rest) in [
        (rm, "[services.last\n"),
        (add, "[services.last\n"),
        (add, "env = { A = ['x'\n"),
        (add, "nice = 'x'\n"),
    ] {
        let text = format!("{web}{rest}");
        let project = Project::new(&text);
        let output = project.run(words);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(" --> services.toml:3:"), "{words:?}: {said}");
        assert!(
            said.contains("not valid as it is") && !said.contains("more"),
            "{words:?}: {said}"
        );
        assert_eq!(project.read("services.toml"), text);
    }
    let project = Project::new(web);
    let file = project.file("services.toml");
    std::fs::write(&file, b"# \xff\n[services.web]\ncommand = 'x'\n").unwrap();
    let output = project.run(&["add", "more", "--", "x"]);
    assert!(stderr(&output).contains("not UTF-8"), "{}", stderr(&output));
    assert!(std::fs::read(&file).unwrap().starts_with(b"# \xff"));
}

#[test]
fn a_service_goes_out_of_the_file_that_defines_it_and_a_first_one_makes_the_file() {
    let project = Project::new("include = ['more.toml']\n[services.web]\ncommand = 'x'\n");
    project.write(
        "more.toml",
        "[services.db]\ncommand = 'y'\n\n[services.cache]\ncommand = 'z'\n",
    );
    project.write("services.local.toml", "[services.db]\nnice = 5\n");
    assert!(project.run(&["rm", "db"]).status.success());
    assert_eq!(project.read("more.toml"), "[services.cache]\ncommand = 'z'\n");
    assert_eq!(project.read("services.local.toml"), "");

    std::fs::create_dir(project.file("empty")).unwrap();
    assert!(
        project
            .run(&["-C", "empty", "add", "one", "--", "sleep", "5"])
            .status
            .success()
    );
    // The nearest project is the one above.
    assert!(
        project
            .read("services.toml")
            .ends_with("[services.one]\ncommand = \"sleep 5\"\n")
    );
    let alone = tempfile::tempdir().unwrap();
    let made = project
        .command(&["add", "one", "--", "sleep", "5"])
        .current_dir(alone.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    assert_eq!(
        std::fs::read_to_string(alone.path().join("services.toml")).unwrap(),
        "[services.one]\ncommand = \"sleep 5\"\n"
    );
}

/// No event is waited for between the save and the question.
#[test]
fn who_saves_and_asks_in_one_breath_is_answered_by_what_was_saved() {
    let project = Project::new(FILE);
    assert!(project.run(&["up", "-d"]).status.success());
    let mut file = FILE.to_owned();
    for number in 0..3 {
        let before = project.service("web")["pid"].clone();
        file = file.replacen(
            "command = 'exec sleep 1000'\ndepends",
            &format!("command = 'exec sleep 1000'\nenv = {{ N = '{number}' }}\ndepends"),
            1,
        );
        file = file.replace(&format!("env = {{ N = '{}' }}\n", number - 1), "");
        project.write("services.toml", &file);
        let waited = project.run(&["wait", "web"]);
        assert!(waited.status.success(), "{}", stderr(&waited));
        assert_ne!(project.service("web")["pid"], before, "{number}");
    }
    project.write(
        "services.toml",
        &format!("{file}\n[services.new]\ncommand = 'exec sleep 1000'\n"),
    );
    let restarted = project.run(&["restart", "new"]);
    assert!(restarted.status.success(), "{}", stderr(&restarted));
    // What ends services counts after a second of quiet.
    project.write("services.toml", &file);
    assert_eq!(project.run(&["wait", "new", "--timeout", "20s"]).status.code(), Some(3));
    // What is broken is known to be, and nobody waits for it.
    project.write("services.toml", "[services.web]\ncommand = 'exec\n");
    assert!(project.run(&["wait", "web"]).status.success());
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}
