//! `prepare`, `source`, `files` and `hooks`.

use super::{Folder, service};
use crate::spec::WatchGlob;

#[test]
fn steps_are_seen_from_where_they_run_and_files_from_their_file() {
    let folder = Folder::new();
    folder.write("conf/a.toml", "[services.web]\ncommand = 'x'\nworking_dir = 'app'\nprepare = [{ run = 'npm ci && x', inputs = ['lock.json', 'src/*.js'], creates = 'node_modules' }]\nfiles = { 'out/a.conf' = { content = '' }, '/etc/b.conf' = { content = '' } }\n");
    folder.write("services.toml", "include = ['conf/*.toml']\n");
    let web = folder.valid().project.services["web"].clone();
    let at = |name: &str| folder.path().join(name);
    let step = &web.prepare[0];
    assert_eq!(step.run.words, ["sh", "-c", "npm ci && x"]);
    assert_eq!(step.creates, Some(at("conf/app/node_modules")));
    let glob = |base: &str, pattern: &str| WatchGlob {
        base: at(base),
        pattern: pattern.to_owned(),
    };
    assert_eq!(
        step.inputs,
        [glob("conf/app/lock.json", ""), glob("conf/app/src", "*.js")]
    );
    let paths: Vec<&String> = web.files.keys().collect();
    assert_eq!(paths, [at("conf/out/a.conf").to_str().unwrap(), "/etc/b.conf"]);
}

#[test]
fn a_file_is_the_whole_language_with_the_names_of_its_service() {
    let folder = Folder::new();
    folder.write("a.j2", "{%- macro twice(x) %}{{ x }}{{ x }}{% endmacro -%}\n{% for name, port in ports | items %}{{ name }}={{ port }} {% endfor %}{{ twice(env.WORD) }} {{ vars.html }}\n{% raw %}{{ }}{% endraw %}\n");
    folder.write(
        "services.toml",
        "[vars]\nhtml = '<b>'\n[env]\nWORD = 'w'\n[services.web]\ncommand = 'x'\nports = { http = 80, admin = 81 }\nfiles = { 'x.html' = { template = 'a.j2' } }\n",
    );
    let web = folder.valid().project.services["web"].clone();
    let file = web.files.values().next().unwrap();
    assert_eq!(file.content, "admin=81 http=80 ww <b>\n{{ }}\n");
}

#[test]
fn a_service_without_templates_elsewhere_has_names_in_its_files() {
    let web = service(
        "command = 'x'\nfiles = { 'a' = { content = '{% if service == \"web\" %}{{ project.name | length > 0 }}{% endif %}' } }",
    );
    assert_eq!(web.files.values().next().unwrap().content, "true");
}

#[cfg(feature = "source")]
#[test]
fn a_password_is_no_part_of_what_people_see() {
    let folder = Folder::with(
        "[services.web]\ncommand = 'x'\nworking_dir = 'site'\nsource = { git = 'https://me:pw@host/a.git', rev = 'v1' }\n",
    );
    let loaded = folder.load().unwrap();
    assert!(loaded.warnings.to_string().contains("can be seen by every user"));
    use crate::spec::Source;
    let source = loaded.project.services["web"].source.clone().unwrap();
    assert_eq!(source.text(), "https://host/a.git at v1");
    assert_eq!(Source::Archive("/a.zip".into()).text(), "/a.zip");
}

#[test]
fn an_edit_of_a_reloaded_file_is_live() {
    use crate::spec::Change;
    let with = |content: &str, reload: bool| {
        service(&format!(
            "command = 'x'\nreload_signal = 'HUP'\nfiles = {{ '/srv/a' = {{ content = '{content}', reload = {reload} }} }}"
        ))
    };
    let class = |old: (&str, bool), new: (&str, bool)| {
        // Each is in a folder of its own.
        let differences = with(old.0, old.1).differences(&with(new.0, new.1));
        let of_files = differences
            .into_iter()
            .filter(|difference| difference.field.starts_with("files"));
        of_files.map(|difference| difference.class).collect::<Vec<_>>()
    };
    assert_eq!(class(("1", true), ("2", true)), [Change::Live]);
    assert_eq!(class(("1", false), ("2", false)), [Change::Restart]);
    assert_eq!(class(("1", true), ("2", false)), [Change::Restart]);
    assert_eq!(class(("1", true), ("1", false)), [Change::Live]);
    assert_eq!(class(("1", true), ("1", true)), []);
    // What others tell is given to a run when it is started.
    let with_output = |content: &str| {
        let mut service = with("", true);
        let file = service.files.values_mut().next().unwrap();
        let [url, key] = ["url", "key"].map(|output| {
            let service = crate::spec::ServiceName::new("tunnel");
            let output = output.to_owned();
            crate::spec::OutputName { service, output }.placeholder()
        });
        file.content = content.replace("URL", &url).replace("KEY", &key);
        service
    };
    let class = |old: &str, new: &str| {
        let differences = with_output(old).differences(&with_output(new));
        let mut of_files = differences
            .into_iter()
            .filter(|difference| difference.field.starts_with("files"));
        of_files.next().map(|difference| difference.class)
    };
    assert_eq!(class("a URL", "b URL"), Some(Change::Live));
    assert_eq!(class("a URL", "b"), Some(Change::Live));
    assert_eq!(class("a URL", "a URL KEY"), Some(Change::Restart));
    // What a process was started with tells the same.
    let started = with("1", true).fingerprint("salt");
    let names = |started: crate::spec::Fingerprint, now| {
        let differences = started.differences(&now).into_iter();
        differences
            .map(|difference| difference.field)
            .filter(|field| field.starts_with("files"))
            .collect::<Vec<_>>()
    };
    assert!(started.is_live_edit(&with("2", true)));
    assert_eq!(names(started, with("2", true)), [""; 0]);
    assert_eq!(
        names(with("1", false).fingerprint("salt"), with("2", false)),
        ["files./srv/a"]
    );
}
