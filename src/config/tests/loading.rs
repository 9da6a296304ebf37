//! Which files are read, how they are merged, and which are refused.

use std::os::unix::fs::PermissionsExt;

use super::{Folder, services};
use crate::config::{HashedPorts, Inputs, load};

fn names(folder: &Folder) -> Vec<String> {
    folder
        .valid()
        .project
        .services
        .keys()
        .map(ToString::to_string)
        .collect()
}

fn one(name: &str) -> String {
    format!("[services.{name}]\ncommand = 'x'\n")
}

#[test]
fn included_files_come_first_and_in_byte_order() {
    let folder = Folder::with(&format!("include = ['b.toml', 'd/*.toml']\n{}", one("main")));
    folder.write("b.toml", one("b"));
    folder.write("d/Z.toml", one("upper"));
    folder.write("d/a.toml", one("a"));
    folder.write("d/10.toml", one("ten"));
    folder.write("d/9.toml", one("nine"));
    folder.write("d/.hidden.toml", one("hidden"));
    folder.write("d/a.toml~", one("backup"));
    assert_eq!(names(&folder), ["b", "ten", "nine", "upper", "a", "main"]);
}

#[test]
fn a_file_counts_once_and_includes_may_include() {
    let folder = Folder::with(&format!(
        "include = ['a.toml', './a.toml', 'services.toml']\n{}",
        one("main")
    ));
    folder.write("a.toml", format!("include = 'sub/b.toml'\n{}", one("a")));
    folder.write(
        "sub/b.toml",
        format!("include = ['../a.toml', 'c/*.toml']\n{}", one("b")),
    );
    folder.write("sub/c/c.toml", one("c"));
    assert_eq!(names(&folder), ["c", "b", "a", "main"]);
}

#[test]
fn a_glob_that_matches_the_local_file_leaves_it_to_its_place() {
    let folder = Folder::with(&format!("include = '*.toml'\n{}", one("web")));
    folder.write("other.toml", one("other"));
    folder.write(
        "services.local.toml",
        "[defaults]\nautostart = false\n[services.web]\ndescription = 'local'\n",
    );
    let project = folder.valid().project;
    assert_eq!(project.services["web"].description.as_deref(), Some("local"));
    assert!(!project.services["other"].autostart);
}

#[test]
fn paths_start_from_the_file_that_writes_them() {
    let folder = Folder::with(
        "include = 'sub/*.toml'\n[defaults]\nready = { file = 'ready' }\n[services.main]\ncommand = 'x'\nextends = 't'\n",
    );
    folder.write(
        "sub/a.toml",
        "[templates.t]\nlog = { file = 't.log' }\n[services.a]\ncommand = 'x'\nenv_file = 'a.env'\n\
         [services.b]\ncommand = 'x'\nworking_dir = '../other/./x'\nwait_for = 'file:gate'\n",
    );
    folder.write("sub/a.env", "A=1");
    let project = folder.valid().project;
    let root = folder.path();
    let service = |name: &str| project.services[name].clone();
    assert_eq!(service("main").working_dir, root);
    assert_eq!(service("a").working_dir, root.join("sub"));
    assert_eq!(service("a").env["A"], "1");
    assert_eq!(service("b").working_dir, root.join("sub/../other/x"));
    assert_eq!(service("b").wait_for, [crate::spec::Gate::File(root.join("sub/gate"))]);
    let ready = service("a").ready.clone().unwrap().check;
    assert_eq!(ready, crate::spec::Check::File(root.join("ready")));
    let crate::spec::LogTarget::File(log) = service("main").log.clone() else {
        panic!("a file")
    };
    assert_eq!(log.file, root.join("sub/t.log"));
    for name in ["services.toml", "sub/a.toml", "sub/a.env"] {
        assert!(project.files.contains(&root.join(name)), "{name}");
    }
}

#[test]
fn the_local_file_is_merged_deep_and_arrays_whole() {
    let folder = Folder::with(
        "[project]\nname = 'shop'\n[vars]\nregion = 'eu'\n[env]\nA = 'a'\nB = 'b'\n\
         [services.web]\ncommand = 'x {{ vars.region }}'\nports = [1, 2]\nenv = { C = 'c', D = 'd' }\nlabels = ['x', 'y']\n",
    );
    folder.write(
        "services.local.toml",
        "[vars]\nregion = 'us'\n[env]\nB = 'local'\n[services.web]\nenv = { D = 'local' }\nports = [3]\nlabels = []\n\
         working_dir = 'sub'\n[services.extra]\ncommand = 'x'\n",
    );
    assert_eq!(names(&folder), ["web", "extra"]);
    let project = folder.valid().project;
    let web = &project.services["web"];
    assert_eq!(project.name, "shop");
    assert_eq!(web.command.words, ["x", "us"]);
    let env: Vec<_> = ["A", "B", "C", "D"]
        .iter()
        .map(|name| web.env[*name].as_str())
        .collect();
    assert_eq!(env, ["a", "local", "c", "local"]);
    assert_eq!(web.ports.values().map(|port| port.number).collect::<Vec<_>>(), [3]);
    assert!(web.labels.is_empty());
    assert_eq!(web.working_dir, folder.path().join("sub"));
    // With `-f` it does not join.
    let loaded = folder.load_at(&folder.locate(&["services.toml"], None)).unwrap();
    assert_eq!(loaded.project.services.len(), 1);
}

#[test]
fn files_of_the_command_line_are_read_in_their_order() {
    let folder = Folder::new();
    folder.write("b.toml", format!("[defaults]\nautostart = false\n{}", one("b")));
    folder.write("a.toml", format!("[env]\nX = '1'\n{}", one("a")));
    let loaded = folder.load_at(&folder.locate(&["b.toml", "a.toml"], None)).unwrap();
    let names: Vec<_> = loaded.project.services.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["b", "a"]);
    assert!(!loaded.project.services["a"].autostart);
    assert_eq!(loaded.project.services["b"].env["X"], "1");
    folder.write("a.toml", one("b"));
    let problems = folder.load_at(&folder.locate(&["b.toml", "a.toml"], None)).unwrap_err();
    assert!(
        problems.to_string().contains("service `b` is defined twice"),
        "{problems}"
    );
}

#[test]
fn a_copy_has_its_own_name_and_state() {
    let folder = Folder::with(&one("web"));
    let plain = folder.load_at(&folder.locate(&[], None)).unwrap().project;
    let copy = folder.load_at(&folder.locate(&[], Some("copy"))).unwrap().project;
    assert_eq!(plain.name, folder.path().file_name().unwrap().to_str().unwrap());
    assert_eq!(copy.name, "copy");
    assert_eq!(plain.state_dir, folder.path().join(".runner"));
    assert_eq!(copy.state_dir, folder.path().join(".runner/copies/copy"));
    folder.write(
        "services.toml",
        format!("[project]\nname = 'n'\nstate_dir = 'state'\n{}", one("web")),
    );
    let copy = folder.load_at(&folder.locate(&[], Some("copy"))).unwrap().project;
    assert_eq!(
        (copy.name.as_str(), copy.state_dir),
        ("copy", folder.path().join("state/copies/copy"))
    );
}

#[test]
fn files_that_somebody_else_may_write_are_refused() {
    let allow = |folder: &Folder, name: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let folder = Folder::with(&format!("include = 'sub/a.toml'\n{}", one("web")));
    folder.write("sub/a.toml", "[services.a]\ncommand = 'x'\nenv_file = '../a.env'\n");
    folder.write("a.env", "A=1\n");
    assert!(folder.load().is_ok());
    for name in ["services.toml", "sub/a.toml", "a.env"] {
        allow(&folder, name, 0o646);
        let complaints = folder.complaints();
        assert!(
            complaints.contains("refused, because it can be written by everybody"),
            "{complaints}"
        );
        allow(&folder, name, 0o644);
    }
    allow(&folder, "sub", 0o777);
    assert!(
        folder
            .complaints()
            .contains("its folder DIR/sub can be written by everybody")
    );
    allow(&folder, "sub", 0o1777);
    assert!(folder.load().is_ok());
    // Somebody else's: root is trusted, everybody else is not.
    let inputs = Inputs {
        env: Vec::new(),
        euid: nix::unistd::geteuid().as_raw() + 1,
        ..Inputs::default()
    };
    let outcome = load(&folder.locate(&[], None), &inputs, &mut HashedPorts::new("", |_| true));
    assert_eq!(outcome.is_ok(), nix::unistd::geteuid().is_root());
}

#[test]
fn hr_01_what_is_no_text_file_is_an_error_at_its_place() {
    let folder = Folder::new();
    for (text, wanted) in [
        (&b""[..], "services.toml:1:1: no service is declared"),
        (b"\n\n# nothing\n", "services.toml:1:1: no service is declared"),
        (b"[services]\n", "services.toml:1:1: no service is declared"),
        (
            b"[services.web]\ncommand = \"\xff\"\n",
            "services.toml:2:12: not UTF-8 text",
        ),
        (b"\xff\xfe", "services.toml: not UTF-8 text"),
        (b"\x00\x01\x02", "services.toml:1:1: "),
        (b"[services.web]\ncommand = 'x'\nx", "services.toml:3:2: "),
    ] {
        folder.write("services.toml", text);
        let complaints = folder.complaints();
        assert!(complaints.contains(wanted), "{wanted}: {complaints}");
    }
    let path = folder.path().join("services.toml");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(100 * 1024 * 1024)
        .unwrap();
    assert!(folder.complaints().contains("longer than 4 MiB"));
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(folder.complaints().contains("no regular file"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(folder.complaints().contains("this is a folder"));
}

#[test]
fn hr_04_links_are_followed_and_paths_start_where_the_link_is() {
    let folder = Folder::new();
    folder.write(
        "..data/real.toml",
        "[services.web]\ncommand = 'x'\nworking_dir = 'sub'\n",
    );
    std::os::unix::fs::symlink("..data/real.toml", folder.path().join("services.toml")).unwrap();
    let project = folder.valid().project;
    assert_eq!(project.services["web"].working_dir, folder.path().join("sub"));
    std::fs::remove_file(folder.path().join("..data/real.toml")).unwrap();
    assert_eq!(folder.complaints(), "services.toml: there is no such file");
}

/// Nothing written by hand is so deep; what is must not overflow the stack.
#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for text in [
        format!("x = {}", "[".repeat(200_000)),
        format!("x = {}", "{a=".repeat(200_000)),
        format!("[services.web]\ncommand = 'x {{{{ {}no }}}}'\n", "not ".repeat(500)),
        format!("[services.web]\ncommand = 'x {{{{ no{} }}}}'\n", "+1".repeat(1000)),
        format!("[services.web]\ncommand = 'x {{{{ no{} }}}}'\n", "|e".repeat(1000)),
        format!("[services.web]\ncommand = 'x {{{{ no{} }}}}'\n", "[0]".repeat(650)),
        format!(
            "[services.web]\ncommand = 'x'\nready = {{ all = {}",
            "[{ all = ".repeat(50_000)
        ),
        format!("[{}x]\ny = 1\n", "a.".repeat(100_000)),
        format!("[services.web]\ncommand = 'x {{{{ {}1 }}}}'\n", "(".repeat(100_000)),
        format!("[services.web]\ncommand = 'x {{{{ {}1 }}}}'\n", "not ".repeat(100_000)),
        format!("[services.web]\ncommand = 'x {{{{ {}no }}}}'\n", "not ".repeat(500)),
        format!("[services.web]\ncommand = 'x {{{{ no{} }}}}'\n", "+1".repeat(1000)),
        format!("[services.web]\ncommand = 'x {{{{ no{} }}}}'\n", "|e".repeat(1000)),
        format!("[services.web]\ncommand = 'x {{{{ no{} }}}}'\n", "[0]".repeat(650)),
        format!(
            "[services.web]\ncommand = 'x'\nready = {{ log = '{}' }}\n",
            "(".repeat(100_000)
        ),
    ] {
        // The stack of a test thread is smaller than the one of `main`, so this is the harder case.
        assert!(Folder::with(&text).load().is_err());
    }
}

#[test]
fn dp_07_a_thousand_services_load_in_an_instant() {
    let mut text = String::from("[vars]\nx = 'y'\n[env]\nA = '{{ vars.x }}'\n");
    for at in 0..1000 {
        text.push_str(&format!(
            "[services.s{at}]\ncommand = 'x {{{{ port }}}}'\nports = ['auto']\n"
        ));
        if at > 0 {
            text.push_str(&format!("depends_on = ['s{}']\n", at - 1));
        }
    }
    let started = std::time::Instant::now();
    let loaded = services(&text);
    assert_eq!(loaded.project.services.len(), 1000);
    // Measured at 0.1 s without optimisation; the bound only catches what is quadratic.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    let knot = text.replace("[services.s0]\n", "[services.s0]\ndepends_on = ['s999']\n");
    let problems = Folder::with(&knot).load().unwrap_err();
    assert_eq!(problems.list.len(), 1);
}

#[test]
fn a_half_written_file_still_has_names() {
    let folder = Folder::with(
        "[defaults]\nlabels = 'all'\n[templates.t]\nprofiles = ['dev']\n\
         [services.web]\ncommand = 'x'\nrestar = 1\nextends = 't'\n\
         [services.db]\nlabels = ['back', 7]\n[services.'no name']\n[services.mail]\nprofiles = ['dev', 'test']\nport",
    );
    let names = super::super::names(&folder.locate(&[], None), nix::unistd::geteuid().as_raw());
    assert_eq!(names.services, ["web", "db", "mail"]);
    assert_eq!(names.labels, ["all", "back"]);
    assert_eq!(names.profiles, ["dev", "test"]);
}
