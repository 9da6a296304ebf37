//! Folders that are deleted or full while runner lives (`CR-08`, `CR-10`).

use nix::sys::signal::Signal;

use crate::common::roles::{Roles, send};
use crate::common::{Project, eventually, stderr};
use crate::loss::{Loss, events, lose, pid, runtime_folder, succeed, up};
use crate::output::SmallDisk;

const WEB: &str = "[services.web]\n\
    command = \"trap 'echo heard' USR1; echo start >> ledger; while :; do sleep 1000 & wait $!; done\"\n\
    backoff = { initial = \"10ms\", max = \"10ms\" }\n";

fn is_told(project: &Project, words: &str) -> usize {
    let warnings = events(project).into_iter().filter(|event| event["event"] == "warned");
    warnings
        .filter(|event| event["message"].as_str().unwrap().contains(words))
        .count()
}

#[track_caller]
fn is_heard(project: &Project, what: &str) {
    let count = || project.read(".runner/logs/web.log").matches("heard").count();
    let before = count();
    send(pid(project, "web"), Signal::SIGUSR1);
    eventually(what, || count() > before);
}

#[test]
fn cr_10_a_deleted_runtime_folder_is_made_again_and_told() {
    let project = up(WEB);
    eventually("it runs", || project.read("ledger") == "start\n");
    let (folder, service) = (runtime_folder(&project), pid(&project, "web"));
    std::fs::remove_dir_all(&folder).unwrap();
    eventually("it is there again", || project.run(&["ps"]).status.success());
    assert_eq!(is_told(&project, "was deleted and is made again"), 1);
    let second = project.run(&["up", "-d"]);
    assert!(stderr(&second).contains("joined"), "{}", stderr(&second));
    is_heard(&project, "it is logged");
    // The next daemon finds neither the old socket nor the names of the FIFOs.
    lose(&project, Loss::Daemon);
    eventually("it is reached again", || project.run(&["ps"]).status.success());
    assert_eq!(pid(&project, "web"), service);
    is_heard(&project, "it is logged by the next daemon");
    assert_eq!(project.read("ledger"), "start\n");
    succeed(&project, &["restart", "web"]);
    assert!(
        folder.join("records/web.json").exists(),
        "what is started now has a record again"
    );
    let service = pid(&project, "web");
    lose(&project, Loss::Both);
    assert_eq!(pid(&project, "web"), service);
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn cr_10_without_its_state_folder_a_lost_daemon_is_replaced_all_the_same() {
    let project = up(WEB);
    let service = pid(&project, "web");
    std::fs::remove_dir_all(project.file(".runner")).unwrap();
    lose(&project, Loss::Daemon);
    assert_eq!(pid(&project, "web"), service);
    let second = project.run(&["up", "-d"]);
    assert!(stderr(&second).contains("joined"), "{}", stderr(&second));
    Roles::of(&project);
    succeed(&project, &["down"]);
    eventually("the roles are gone", || project.processes().is_empty());
}

#[test]
fn tw_04_a_lock_that_is_deleted_while_it_is_held_lets_no_second_runner_in() {
    let project = up(WEB);
    let roles = Roles::of(&project);
    for _ in 0..3 {
        std::fs::remove_file(project.file(".runner/lock")).unwrap();
        let second = project.run(&["up", "-d"]);
        assert!(stderr(&second).contains("joined"), "{}", stderr(&second));
        assert_eq!(Roles::of(&project).both(), roles.both());
    }
    assert_eq!(project.read("ledger"), "start\n");
    succeed(&project, &["down"]);
    eventually("the roles are gone", || project.processes().is_empty());
}

#[test]
fn cr_08_a_full_runtime_folder_stops_nothing_and_is_told_once() {
    let project = up(&format!("{WEB}[services.rest]\ncommand = \"sleep 1000\"\n"));
    let folder = runtime_folder(&project);
    succeed(&project, &["down"]);
    let Some(small) = SmallDisk::at(folder, "256k") else {
        return;
    };
    succeed(&project, &["up", "-d"]);
    // Each end and each start gives back and takes a page: until there is none for the book.
    eventually("it is told", || {
        small.fill();
        succeed(&project, &["stop", "rest"]);
        assert_eq!(project.service("rest")["state"], "stopped");
        // No run without a record: it is tried again until there is room.
        project.run(&["start", "rest", "--no-wait"]);
        is_told(&project, "degraded") > 0
    });
    send(pid(&project, "web"), Signal::SIGKILL);
    eventually("its end is seen", || !project.service("web")["last_exit"].is_null());
    let spells = || (is_told(&project, "degraded"), is_told(&project, "is written again"));
    let (degraded, well) = spells();
    assert!(
        degraded <= well + 1,
        "told once, as long as it lasts: {degraded} and {well}"
    );
    small.free();
    for name in ["web", "rest"] {
        eventually("it runs again", || project.service(name)["state"] == "ready");
    }
    eventually("it is told that it is well", || {
        let (degraded, well) = spells();
        degraded == well
    });
    let (web, rest) = (pid(&project, "web"), pid(&project, "rest"));
    lose(&project, Loss::Both);
    assert_eq!((pid(&project, "web"), pid(&project, "rest")), (web, rest));
    succeed(&project, &["down"]);
    drop(small);
    project.assert_nothing_is_left();
}

#[test]
fn cr_08_a_full_state_folder_stops_nothing_and_what_was_asked_for_is_kept_when_there_is_room() {
    let project = Project::new(&format!(
        "[project]\nstate_dir = \"small/state\"\n{WEB}[services.rest]\ncommand = \"sleep 1000\"\n"
    ));
    let Some(small) = SmallDisk::at(project.file("small"), "256k") else {
        return;
    };
    succeed(&project, &["up", "-d"]);
    small.fill();
    succeed(&project, &["stop", "rest"]);
    send(pid(&project, "web"), Signal::SIGKILL);
    eventually("it is started again", || project.read("ledger") == "start\nstart\n");
    lose(&project, Loss::Daemon);
    assert_eq!(project.service("rest")["state"], "stopped");
    small.free();
    // Something happens, and what could not be written is tried again.
    send(pid(&project, "web"), Signal::SIGKILL);
    eventually("what was asked for is on the disk", || {
        project.read("small/state/wishes.json").contains("\"rest\"")
    });
    lose(&project, Loss::Guardian);
    assert_eq!(project.service("rest")["state"], "stopped");
    succeed(&project, &["down"]);
    drop(small);
    project.assert_nothing_is_left();
}
