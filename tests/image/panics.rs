//! The program of an image does not unwind: what a panic of each role costs.

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use runner::sys::processes;
use serde_json::Value;

use crate::common::{eventually, stdout};
use crate::container::{Container, Image, first_process};
use crate::program;

const TWO: &str = "[project]\nstate_dir = '/tmp/state'\n\
    [services.stays]\ncommand = ['/usr/local/bin/fixture', 'wait']\n\
    [services.ends]\ncommand = ['/usr/local/bin/fixture', 'sleep', '300', 'exit', '3']\nrestart = 'no'\ndepends_on = ['stays']\n";

fn panicking(faults: &str) -> [(&str, &str); 2] {
    [("RUNNER_FAULTS", faults), ("RUNNER_FAULTS_HITS", "/tmp/hits")]
}

fn service(container: &Container, name: &str) -> Value {
    let ps = stdout(&container.exec(&["ps", "--json"]));
    let ps: Value = serde_json::from_str(&ps).unwrap_or_default();
    let mut services = ps["services"].as_array().cloned().unwrap_or_default().into_iter();
    services.find(|service| service["name"] == name).unwrap_or_default()
}

/// Names and parents of those of runner's own roles that live, numbers as they are outside.
fn roles(first: Pid) -> Vec<String> {
    let first = first.as_raw().unsigned_abs();
    let all = [first].into_iter().chain(processes::children(first));
    let names = all.filter_map(processes::stat).filter(|stat| !stat.is_zombie());
    names
        .map(|stat| stat.name)
        .filter(|name| name.starts_with("runner"))
        .collect()
}

/// `SIGCHLD` is read, children are forked, reports are written: in the middle of each of these.
#[test]
fn a_panic_of_the_guardian_costs_a_daemon_and_nothing_else() {
    for (point, hit) in [
        ("guardian.forked", 2),
        ("guardian.gate-opened", 1),
        ("guardian.gate-opened", 2),
        ("guardian.exit-seen", 1),
        ("guardian.exit-reported", 1),
    ] {
        let what = format!("a panic at hit {hit} of {point}");
        let Some(image) = Image::of(program::with_faults(), TWO) else {
            return;
        };
        let faults = format!("{point}={}*off->1*panic", hit - 1);
        let mut container = image.run_with(&panicking(&faults), &["up"]);
        let first = first_process(&container.up);
        container.up.wait_for(&format!("as {point} was told to"));
        container.up.wait_for("was started again");
        eventually(&format!("{what}: the code is known"), || {
            service(&container, "ends")["last_exit"]["code"] == 3
        });
        let stays = service(&container, "stays");
        assert_eq!(
            (&stays["state"], &stays["restarts"]),
            (&"ready".into(), &0.into()),
            "{what}: {stays}"
        );
        assert_eq!(first_process(&container.up), first, "{what}");
        assert_eq!(roles(first), ["runner-guardian", "runner-daemon"], "{what}");
        container.signal(Signal::SIGTERM);
        assert_eq!(container.up.end().code(), Some(0), "{what}: {}", container.up.text());
        let said = container.up.text();
        assert_eq!(said.matches("was started again").count(), 1, "{what}: {said}");
    }
}

#[test]
fn a_panic_beside_a_command_costs_nothing() {
    let Some(image) = Image::of(program::with_faults(), "") else {
        return;
    };
    std::fs::remove_file(image.path().join("srv/app/services.toml")).unwrap();
    let waits = ["up", "--", "/usr/local/bin/fixture", "say", "waits", "wait"];
    let mut container = image.run_with(&panicking("alone.signalled=1*panic"), &waits);
    container.up.wait_for("waits");
    container.signal(Signal::SIGCONT);
    container.signal(Signal::SIGWINCH);
    container.up.wait_for("as alone.signalled was told to");
    container.signal(Signal::SIGTERM);
    assert_eq!(container.up.end().code(), Some(143), "{}", container.up.text());
}
