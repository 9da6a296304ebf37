//! What was asked for by hand outlives saves, other orders and everything killed; and `--no-reload` holds.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Project, eventually, stderr};
use crate::{Running, stays, step_of};

fn three() -> String {
    edited(0)
}

fn edited(n: u32) -> String {
    stays("a", "") + &stays("b", &format!("env = {{ EDIT = \"{n}\" }}")) + &stays("c", "")
}

#[track_caller]
fn is_stopped(running: &Running, name: &str, is: bool) {
    let service = running.service(name);
    let expected = if is { "stopped" } else { "ready" };
    assert_eq!(service["state"], expected, "{service}");
}

fn send(pid: u64, signal: Signal) {
    // It may have gone by itself.
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

/// Guardian and daemon.
fn roles(running: &Running) -> (u64, u64) {
    let words = |pid: u64| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let all = running.project.processes().into_iter().map(u64::from);
    let (mut guardian, mut daemon) = (None, None);
    for pid in all.filter(|&pid| words(pid).contains("__daemon")) {
        match words(pid).contains("__guardian") {
            true => guardian = Some(pid),
            false => daemon = Some(pid),
        }
    }
    (guardian.unwrap(), daemon.unwrap())
}

/// Everything of runner's is killed, and then what it left behind, by us.
fn kill_everything(running: &Running) {
    let services: Vec<u64> = running.picture().values().filter_map(|(pid, _)| *pid).collect();
    let roles: [u64; 2] = roles(running).into();
    // The guardian is stopped first, so that it can't do anything about the other.
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        roles.iter().for_each(|&pid| send(pid, signal));
    }
    services.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
    eventually("all to be gone", || running.project.processes().is_empty());
}

#[test]
fn a_stop_by_hand_outlives_saves_other_orders_and_everything_killed() {
    let mut running = Running::up(&three());
    running.run(&["stop", "b"]);
    // A save that does not concern it, one that does, one that takes it out for a while.
    running.save(&(three() + &stays("d", "")));
    is_stopped(&running, "b", true);
    running.save(&edited(1));
    is_stopped(&running, "b", true);
    running.save(&(stays("a", "") + &stays("c", "")));
    running.save(&edited(2));
    is_stopped(&running, "b", true);
    running.run(&["up", "-d", "a"]);
    is_stopped(&running, "b", true);
    kill_everything(&running);
    let up = running.project.run(&["up", "-d", "a"]);
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
    running.follow_anew();
    is_stopped(&running, "a", false);
    is_stopped(&running, "b", true);
    // What all of it was asked for is still asked for. This `up` did not wait for it, and its end counts as any other.
    eventually("c is ready again", || running.service("c")["state"] == "ready");
    running.run(&["up", "-d"]);
    is_stopped(&running, "b", false);
    running.run(&["stop", "b"]);
    running.run(&["down"]);
    running.run(&["up", "-d"]);
    is_stopped(&running, "b", false);
    running.down();
}

#[test]
fn what_was_asked_for_by_name_stays_all_that_is_wanted() {
    let needs = stays("a", "") + &stays("b", "depends_on = [\"a\"]") + &stays("c", "");
    let mut running = Running::of(Project::new(&needs), &[], &["b"]);
    let wanted = |running: &Running| -> Vec<String> {
        let picture = running.picture();
        let up = picture.iter().filter(|(_, (pid, _))| pid.is_some());
        up.map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(wanted(&running), ["a", "b"]);
    running.save(&(needs.clone() + &stays("d", "")));
    assert_eq!(wanted(&running), ["a", "b"]);
    kill_everything(&running);
    let up = running.project.run(&["up", "-d", "d"]);
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
    // Those that were killed as well are restarted, as after any end that nobody asked for.
    eventually("what was asked for is up", || wanted(&running) == ["a", "b", "d"]);
    running.run(&["down"]);
}

#[test]
fn no_reload_holds_until_somebody_asks() {
    let mut running = Running::of(Project::new(&three()), &[], &["--no-reload"]);
    let before = running.picture();
    running.project.write("services.toml", &edited(1));
    let warned = running.hear("a word about it", |event| event["event"] == "warned");
    assert!(warned["message"].as_str().unwrap().contains("--no-reload"), "{warned}");
    assert_eq!(running.picture(), before);
    let (b, c) = (running.service("b"), running.service("c"));
    assert!(b["drift"].as_str().unwrap().contains("restart pending"), "{b}");
    assert_eq!(c["drift"], serde_json::Value::Null, "{c}");
    assert!(running.run(&["ps"]).contains("restart pending"));
    let plan = running.json(&["plan"]);
    assert_eq!(
        step_of(&plan["steps"], "b"),
        ("restart".to_owned(), vec!["env.EDIT".to_owned()])
    );
    assert_eq!(
        running.project.run(&["plan", "--detailed-exitcode"]).status.code(),
        Some(2)
    );
    // Back to what runs: nothing is pending any more.
    running.project.write("services.toml", &three());
    eventually("no drift", || running.service("b")["drift"].is_null());
    assert_eq!(
        running.project.run(&["plan", "--detailed-exitcode"]).status.code(),
        Some(0)
    );
    // A broken one is told as ever.
    running.project.write("services.toml", "broken = [");
    running.rejected();
    assert!(running.ps()["config_error"].is_string());
    running.project.write("services.toml", &edited(2));
    running.hear("a word about it", |event| event["event"] == "warned");
    assert_eq!(running.ps()["config_error"], serde_json::Value::Null);
    assert_eq!(running.picture(), before);
    running.run(&["up", "-d"]);
    running.applied();
    assert_eq!(running.picture()["b"].1, 2);
    // SIGHUP applies it too.
    running.project.write("services.toml", &edited(3));
    running.hear("a word about it", |event| event["event"] == "warned");
    send(roles(&running).0, Signal::SIGHUP);
    let applied = running.applied();
    assert_eq!(applied["cause"]["by"], "signal", "{applied}");
    assert_eq!(running.picture()["b"].1, 3);
    // And holds afterwards.
    running.project.write("services.toml", &edited(4));
    running.hear("a word about it", |event| event["event"] == "warned");
    assert_eq!(running.picture()["b"].1, 3);
    running.down();
}

#[test]
fn the_state_folder_can_not_change_while_it_runs() {
    let mut running = Running::up(&three());
    let before = running.picture();
    let moved = format!("[project]\nstate_dir = \"elsewhere\"\n{}", edited(1));
    running.project.write("services.toml", &moved);
    let rejected = running.rejected();
    let message = rejected["message"].as_str().unwrap();
    assert!(
        message.contains("state_dir") && message.contains("runner down"),
        "{message}"
    );
    assert!(running.ps()["config_error"].as_str().unwrap().contains("state_dir"));
    let up = running.project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(2), "{}", stderr(&up));
    assert!(stderr(&up).contains("state_dir"), "{}", stderr(&up));
    assert_eq!(running.picture(), before);
    running.run(&["restart", "a"]);
    running.save(&edited(1));
    assert_eq!(running.picture()["b"].1, 2);
    running.down();
}
