//! Signals at the three roles.

use nix::sys::signal::Signal;

use crate::common::{Project, eventually};
use crate::fixture;
use crate::roles::{Roles, send};

const WEB: &str = "[services.web]\ncommand = \"echo start >> ledger; trap 'echo stop >> ledger; exit 0' TERM; echo here; while :; do sleep 1000 & wait $!; done\"\nready = { log = \"here\" }\n";

#[test]
fn sg_01_a_storm_of_signals_ends_and_restarts_nothing() {
    let project = Project::new(WEB);
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    let roles = Roles::of(&project);
    let storm = [
        Signal::SIGCHLD,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGALRM,
        Signal::SIGPIPE,
        Signal::SIGVTALRM,
        Signal::SIGIO,
        Signal::SIGTSTP,
    ];
    for _ in 0..1000 {
        for pid in roles.both() {
            for signal in storm {
                send(pid, signal);
            }
        }
    }
    assert_eq!(project.service("web")["state"], "ready");
    assert_eq!(Roles::of(&project).both(), roles.both());
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert_eq!(project.read("ledger"), "start\nstop\n");
    project.assert_nothing_is_left();
}

#[test]
fn sg_02_the_end_of_the_terminal_is_no_second_ctrl_c_and_a_third_one_harms_nobody() {
    let project = Project::new(
        "[services.deaf]\ncommand = \"trap '' TERM; echo deaf is here; while :; do sleep 1000 & wait $!; done\"\nstop_timeout = \"1d\"\n",
    );
    let mut up = project.up(&[]);
    up.wait_for("deaf is here");
    up.signal("INT");
    up.wait_for("once more to kill");
    up.signal("HUP");
    eventually("it is stopping", || project.service("deaf")["state"] == "stopping");
    up.signal("INT");
    up.wait_for("Ctrl-C again");
    // It may have ended by then.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(up.child.id() as i32), Signal::SIGINT);
    up.end();
    assert!(!up.text().contains("SIGHUP"), "{}", up.text());
    project.assert_nothing_is_left();
}

#[test]
fn sg_04_a_stopped_client_stops_nothing_else() {
    let project = Project::new(&format!(
        "{WEB}\n[services.talker]\ntype = \"oneshot\"\ncommand = \"seq 1 1000000; touch done\"\n",
    ));
    let mut up = project.up(&[]);
    up.wait_for("web ");
    up.signal("STOP");
    eventually("the talker is not blocked", || project.file("done").exists());
    assert_eq!(project.service("web")["state"], "ready");
    // Ctrl-C while it is stopped counts as soon as it goes on.
    up.signal("INT");
    up.signal("CONT");
    assert_eq!(up.end().code(), Some(0));
    assert_eq!(project.read("ledger"), "start\nstop\n");
    project.assert_nothing_is_left();
}

#[test]
fn sg_05_runner_stopped_and_continued_while_a_service_crashes_loses_and_doubles_nothing() {
    let project = Project::new(&format!(
        "[services.crash]\ncommand = [{:?}, \"ledger\", \"ledger\", \"exit\", \"3\"]\nmax_restarts = 80\nrestart_window = \"1h\"\n\
         backoff = {{ initial = \"2ms\", max = \"2ms\" }}\n[services.quiet]\ncommand = \"exec sleep 1000\"\n",
        fixture::program()
    ));
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    let roles = Roles::of(&project);
    for round in 0..1000 {
        let role = roles.both()[round % 2];
        send(role, Signal::SIGSTOP);
        std::thread::yield_now();
        send(role, Signal::SIGCONT);
    }
    eventually("it has given up", || project.service("crash")["state"] == "failed");
    let service = project.service("crash");
    assert_eq!(
        (&service["restarts"], &service["last_exit"]["code"]),
        (&80.into(), &3.into())
    );
    let ledger = project.read("ledger");
    let words: Vec<&str> = ledger.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words.len(), 2 * 81);
    assert!(words.chunks(2).all(|pair| pair == ["start", "stop"]), "{ledger}");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn sg_07_hangup_stops_a_foreground_project_and_reloads_a_detached_one() {
    let project = Project::new(WEB);
    let mut up = project.up(&[]);
    up.wait_for("here");
    up.signal("HUP");
    assert_eq!(up.end().code(), Some(0));
    assert_eq!(project.read("ledger"), "start\nstop\n");
    project.assert_nothing_is_left();

    // What SIGHUP does is not to be mistaken for what saving the file does.
    assert_eq!(project.run(&["up", "-d", "--no-reload"]).status.code(), Some(0));
    let roles = Roles::of(&project);
    project.write("services.toml", &format!("{WEB}\nbroken"));
    send(roles.guardian, Signal::SIGHUP);
    eventually("it was refused", || {
        project.read(".runner/runner.log").contains("SIGHUP")
    });
    assert_eq!(project.service("web")["state"], "ready");
    project.write(
        "services.toml",
        &format!("{WEB}\n[services.more]\ncommand = \"sleep 1000\"\n"),
    );
    send(roles.guardian, Signal::SIGHUP);
    eventually("the new service runs", || {
        let ps = project.ps();
        ps["services"]
            .as_array()
            .unwrap()
            .iter()
            .any(|service| service["name"] == "more" && service["state"] == "ready")
    });
    send(roles.guardian, Signal::SIGTERM);
    eventually("SIGTERM is `down`", || project.processes().is_empty());
    assert_eq!(project.read("ledger"), "start\nstop\n".repeat(2));
}

/// Asked at the instant in which the daemon dies, it is the next one that stops everything, and may be gone before it could say so.
#[test]
fn sg_02_a_stop_over_a_dying_daemon_is_a_stop() {
    for _ in 0..8 {
        let project = Project::new(WEB);
        let mut up = project.up(&[]);
        up.wait_for("| ready");
        let daemon = Roles::of(&project).daemon;
        up.signal("STOP");
        send(daemon, Signal::SIGKILL);
        up.signal("TERM");
        up.signal("CONT");
        assert_eq!(up.end().code(), Some(0), "{}", up.text());
        assert!(!up.text().contains("run on"), "{}", up.text());
        project.assert_nothing_is_left();
    }
}
