//! The static program in a root that holds nothing else, read-only, as somebody whom no file knows.

use nix::sys::signal::Signal;

use crate::common::{free_port, stderr, stdout};
use crate::container::Image;

#[test]
fn en_01_probes_of_its_own_ports_need_no_resolver_and_health_answers() {
    let (web, other) = (free_port(), free_port());
    let Some(image) = Image::new(&format!(
        "[project]\nstate_dir = '/tmp/state'\n[services.web]\ncommand = ['/usr/local/bin/http', '{web}']\n\
         ready = {{ http = 'http://localhost:{web}/' }}\nhealth = {{ http = 'http://localhost:{web}/', interval = '1s' }}\n\
         [services.other]\ncommand = ['/usr/local/bin/fixture', 'hold', '{other}', 'wait']\nready = {{ tcp = 'localhost:{other}' }}\n\
         depends_on = ['web']\n\
         [services.late]\ncommand = ['/usr/local/bin/fixture', 'wait']\nautostart = false\n"
    )) else {
        return;
    };
    let mut container = image.run(&["up"]);
    container.up.wait_for(&format!("(tcp :{other})"));
    let health = container.exec(&["health"]);
    assert_eq!((health.status.code(), stderr(&health)), (Some(0), String::new()));
    assert_eq!(stdout(&health), "");
    assert_eq!(container.exec(&["health", "late"]).status.code(), Some(1));
    let ps = container.exec(&["ps"]);
    assert!(stdout(&ps).contains("web") && ps.status.success(), "{}", stderr(&ps));

    container.signal(Signal::SIGTERM);
    assert_eq!(container.up.end().code(), Some(0), "{}", container.up.text());
}

#[test]
fn p1_02_the_code_of_what_is_essential_is_the_containers() {
    let Some(image) = Image::new(
        "[project]\nstate_dir = '/tmp/state'\n[services.main]\ncommand = ['/usr/local/bin/fixture', 'sleep', '100', 'exit', '3']\nessential = true\nrestart = 'no'\n\
         [services.side]\ncommand = ['/usr/local/bin/fixture', 'say', 'beside', 'wait']\n",
    ) else {
        return;
    };
    let mut container = image.run(&["up"]);
    assert_eq!(container.up.end().code(), Some(3), "{}", container.up.text());
    assert!(container.up.text().contains("beside"));
}

/// nsswitch.conf of the image names a library that ends whoever loads it: a static program must not load any.
#[test]
fn libraries_for_names_are_not_loaded() {
    let Some(image) = Image::new(
        "[project]\nstate_dir = '/tmp/state'\n[services.web]\ncommand = ['/usr/local/bin/fixture', 'wait']\nuser = 'nosuchuser'\n",
    ) else {
        return;
    };
    let trap = "void __attribute__((constructor)) trap(void) { __builtin_trap(); }";
    let library = crate::fixture::compile("libnss_trap", trap, &["-shared", "-nostdlib", "-fPIC"]);
    image.write(
        "etc/nsswitch.conf",
        "passwd: files trap\ngroup: files trap\nhosts: files trap\n",
    );
    image.write("etc/passwd", "root:x:0:0::/:/none\n");
    std::fs::create_dir(image.path().join("lib")).unwrap();
    std::fs::copy(library, image.path().join("lib/libnss_trap.so.2")).unwrap();
    let mut container = image.run_as(0, &["up", "--exit", "failure"]);
    let status = container.up.end();
    let said = container.up.text();
    assert!(said.contains("there is no user `nosuchuser`"), "{said}");
    assert_eq!(status.code(), Some(1), "{said}");
}

/// What is left out says so, with the code of wrong usage.
#[test]
fn a_verb_that_is_not_in_this_build_says_so() {
    let runner = std::process::Command::new(crate::program::runner())
        .args(["completions", "bash"])
        .output()
        .unwrap();
    assert_eq!(runner.status.code(), Some(2));
    let said = stderr(&runner);
    assert!(
        said.contains("`completions` is not in this build") && said.contains("feature `completions`"),
        "{said}"
    );
}

const HAS_SIDE: &str = "[project]\nstate_dir = '/tmp/state'\n[services.side]\ncommand = ['/usr/local/bin/fixture', 'say', 'beside', 'wait']\n";

#[test]
fn p1_07_the_code_of_a_command_is_the_containers_with_and_without_a_file() {
    let Some(image) = Image::new(HAS_SIDE) else { return };
    let ends = [
        "up",
        "--",
        "/usr/local/bin/fixture",
        "say",
        "of the command",
        "exit",
        "200",
    ];
    let mut with = image.run(&ends);
    assert_eq!(with.up.end().code(), Some(200), "{}", with.up.text());
    assert!(with.up.text().contains("of the command"), "{}", with.up.text());

    std::fs::remove_file(image.path().join("srv/app/services.toml")).unwrap();
    let mut without = image.run(&ends);
    assert_eq!(without.up.end().code(), Some(200), "{}", without.up.text());
    assert_eq!(without.up.text(), "of the command");
}

#[test]
fn p1_02_sigterm_reaches_a_command_with_and_without_a_file() {
    let Some(image) = Image::new(HAS_SIDE) else { return };
    let waits = ["up", "--", "/usr/local/bin/fixture", "say", "waits", "wait"];
    for _ in 0..2 {
        let mut container = image.run(&waits);
        container.up.wait_for("waits");
        container.signal(Signal::SIGTERM);
        assert_eq!(container.up.end().code(), Some(143), "{}", container.up.text());
        let _ = std::fs::remove_file(image.path().join("srv/app/services.toml"));
    }
}
