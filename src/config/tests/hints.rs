//! What is suggested in the place of a value: that it is what was meant, and that it is accepted.

use std::os::unix::fs::PermissionsExt;

use super::Folder;

/// The suggestion at the only problem.
#[track_caller]
fn suggested(text: &str) -> String {
    let problems = Folder::with(text).load().expect_err(text);
    assert_eq!(problems.list.len(), 1, "{text}: {problems}");
    problems.list[0].suggestion.clone().unwrap_or_default()
}

#[test]
fn a_value_of_the_wrong_type_is_suggested_as_it_is_accepted() {
    for (key, wrong, right) in [
        ("ports", "'3000'", "3000"),
        ("ports", "{ http = '3000' }", "3000"),
        ("max_restarts", "'5'", "5"),
        ("essential", "'yes'", "true"),
        ("autostart", "'off'", "false"),
        ("log", "'x.log'", "{ file = \"x.log\" }"),
        ("log", "'no'", "false"),
        ("replicas", "'3'", "3"),
        ("replicas", "'blue'", "[\"blue\"]"),
        ("prepare", "'npm ci'", "[{ run = \"npm ci\" }]"),
        ("prepare", "'echo \"x\"'", "[{ run = 'echo \"x\"' }]"),
        ("watch", "'src'", "{ paths = \"src\" }"),
        ("start_timeout", "5", "\"5s\""),
        ("start_timeout", "'10 s'", "\"10s\""),
        ("depends_on", "'db'", "[\"db\"]"),
        ("success_exit_codes", "3", "[3]"),
        ("success_exit_codes", "'3'", "[3]"),
    ] {
        let file =
            |value: &str| format!("[services.db]\ncommand = 'x'\n[services.web]\ncommand = 'x'\n{key} = {value}\n");
        let said = suggested(&file(wrong));
        assert_eq!(said, format!("did you mean `{right}`?"), "{key} = {wrong}");
        Folder::with(&file(right)).valid();
    }
}

#[test]
fn a_part_of_a_value_is_suggested_alone() {
    let web = |keys: &str| suggested(&format!("[services.web]\ncommand = 'x'\n{keys}\n"));
    assert_eq!(web("ports = ['3000']"), "did you mean `3000`?");
    assert_eq!(web("ports = ['8080:80']"), "only the port that it listens on: `80`");
    assert_eq!(
        web("ports = '127.0.0.1:8080:80'"),
        "only the port that it listens on: `80`"
    );
    assert_eq!(web("limits = { nofile = '65536' }"), "did you mean `65536`?");
    assert_eq!(web("ports = ['70000']"), "");
    assert_eq!(web("prepare = [{ command = 'x' }]"), "it is called `run` here");
    let shell = |shell: &str| suggested(&format!("[project]\nshell = {shell}\n[services.web]\ncommand = 'x'\n"));
    assert_eq!(shell("'bash'"), "did you mean `[\"bash\", \"-c\"]`?");
    assert_eq!(shell("'bash -ec'"), "did you mean `[\"bash\", \"-ec\"]`?");
}

#[test]
fn a_file_that_everybody_may_write_is_told_how_to_close_it() {
    let folder = Folder::with("[services.web]\ncommand = 'x'\n");
    let file = folder.path().join("services.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let problems = folder.load().expect_err("refused");
    let wanted = format!("`chmod go-w {}`", file.display());
    assert_eq!(problems.list[0].suggestion, Some(wanted), "{problems}");
}
