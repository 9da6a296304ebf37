//! What happens to services because of others.

use crate::common::{Project, eventually};
use crate::fixture;

#[test]
fn st_07_two_hundred_services_in_ten_layers_stop_in_reverse_order() {
    let (layers, width) = (10, 20);
    let fixture = fixture::program();
    let mut services = String::new();
    for layer in 0..layers {
        let below: Vec<String> = match layer {
            0 => Vec::new(),
            _ => (0..width)
                .map(|number| format!("\"s{}-{number}\"", layer - 1))
                .collect(),
        };
        for number in 0..width {
            services.push_str(&format!(
                "[services.s{layer}-{number}]\ncommand = [{fixture:?}, \"catch\", \"TERM\", \"0\", \"ledger\", \"layer{layer}\", \"say\", \"here\", \"wait\"]\n\
                 ready = {{ log = \"here\" }}\ndepends_on = [{}]\n",
                below.join(", ")
            ));
        }
    }
    let project = Project::new(&services);
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
    let mut above: Option<(u64, u64)> = None;
    for layer in (0..layers).rev() {
        let times = |what: &str| -> Vec<u64> {
            let ledger = project.read(&format!("layer{layer}"));
            let lines = ledger.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            lines
                .filter(|words| words[0] == what)
                .map(|words| words[2].parse().unwrap())
                .collect()
        };
        let (starts, stops) = (times("start"), times("stop"));
        assert_eq!((starts.len(), stops.len()), (width, width));
        if let Some((first_start, last_stop)) = above {
            assert!(
                *starts.iter().max().unwrap() < first_start,
                "layer {layer}: starts in order"
            );
            assert!(
                *stops.iter().min().unwrap() > last_stop,
                "layer {layer}: stops in reverse order"
            );
        }
        above = Some((*starts.iter().min().unwrap(), *stops.iter().max().unwrap()));
    }
}

#[test]
fn dp_04_after_a_crash_only_those_with_restart_are_restarted_once_it_is_healthy_again() {
    let project = Project::new(
        "[services.db]\ncommand = \"echo db >> ledger; echo open; exec sleep 1000\"\nready = { log = \"open\" }\nbackoff = { initial = \"1ms\" }\n\
         [services.follower]\ncommand = \"echo follower >> ledger; echo follows; exec sleep 1000\"\nready = { log = \"follows\" }\n\
         depends_on = { db = { condition = \"healthy\", restart = true } }\n\
         [services.other]\ncommand = \"echo other >> ledger; echo on; exec sleep 1000\"\nready = { log = \"on\" }\ndepends_on = [\"db\", \"follower\"]\n",
    );
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    let pid = project.service("db")["pid"].as_u64().unwrap() as u32;
    crate::roles::send(pid, nix::sys::signal::Signal::SIGKILL);
    eventually("both are back", || {
        project.read("ledger").lines().count() == 5 && project.ps()["settled"] == true
    });
    assert_eq!(project.read("ledger"), "db\nfollower\nother\ndb\nfollower\n");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn rs_07_down_ends_a_back_off_and_nothing_starts_later() {
    let project = Project::new(
        "[services.crash]\ncommand = \"echo start >> ledger; exit 1\"\nbackoff = { initial = \"1d\", max = \"1d\" }\n\
         [services.dependent]\ncommand = \"echo never >> ledger\"\ndepends_on = { crash = \"completed_successfully\" }\n\
         [services.gated]\ncommand = \"echo never >> ledger\"\nwait_for = [\"file:nothing\"]\n",
    );
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    eventually("it is in back-off", || project.service("crash")["state"] == "backoff");
    assert_eq!(project.service("dependent")["state"], "waiting");
    assert_eq!(project.service("gated")["state"], "waiting");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert_eq!(project.read("ledger"), "start\n");
    project.assert_nothing_is_left();
}
