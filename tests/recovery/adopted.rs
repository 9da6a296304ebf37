//! An adopted service is one like any other (`CR-16`).

use nix::sys::signal::Signal;

use crate::common::roles::{Roles, send};
use crate::common::{Project, eventually};
use crate::loss::{LOSSES, Loss, events, is_gone, kill_both, lose, lose_while, pid, succeed, up};

const WEB: &str = "[services.web]\n\
    command = \"trap 'echo bye; exit 0' TERM; trap 'echo heard' USR1; echo start $$ >> ledger; while :; do sleep 1000 & wait $!; done\"\n\
    health = { exec = \"echo probed >> probes\", interval = \"20ms\" }\n\
    stop_command = \"echo hook >> hooks; kill -- -$(tail -n 1 ledger | cut -d ' ' -f 2)\"\n\
    restart = \"always\"\nbackoff = { initial = \"1ms\", max = \"1ms\" }\n";

fn log(project: &Project) -> String {
    project.read(".runner/logs/web.log")
}

fn lines(project: &Project, file: &str) -> usize {
    project.read(file).lines().count()
}

#[test]
fn cr_16_an_adopted_service_is_probed_logged_restarted_and_stopped_like_a_child() {
    for loss in LOSSES {
        let project = up(WEB);
        eventually("its traps are set", || lines(&project, "ledger") == 1);
        let first = pid(&project, "web");
        lose(&project, loss);
        let adopted = project.service("web");
        assert_eq!(
            (&adopted["state"], adopted["pid"].as_u64()),
            (&"ready".into(), Some(first.into())),
            "{loss:?}"
        );
        assert_eq!(adopted["adopted"], true, "{loss:?}");
        let probes = lines(&project, "probes");
        eventually(&format!("{loss:?}: it is probed"), || {
            lines(&project, "probes") > probes + 2
        });
        send(first, Signal::SIGUSR1);
        eventually(&format!("{loss:?}: it is logged"), || log(&project).contains("heard"));
        // It dies and leaves a child: the end of the whole is waited for.
        send(first, Signal::SIGKILL);
        eventually(&format!("{loss:?}: it was restarted"), || {
            lines(&project, "ledger") == 2 && project.service("web")["state"] == "ready"
        });
        assert_eq!(project.service("web")["last_exit"]["signal"], "SIGKILL", "{loss:?}");
        let second = pid(&project, "web");
        assert_ne!(first, second, "{loss:?}");
        // As its own child now; and lost once more.
        lose(&project, loss);
        assert_eq!(pid(&project, "web"), second, "{loss:?}");
        succeed(&project, &["stop", "web"]);
        assert!(is_gone(second), "{loss:?}");
        assert!(log(&project).ends_with("bye\n"), "{loss:?}: {}", log(&project));
        assert_eq!(project.read("hooks"), "hook\n", "{loss:?}");
        let stopped = project.service("web");
        assert_eq!(
            (&stopped["state"], &stopped["last_exit"]["code"]),
            (&"stopped".into(), &0.into()),
            "{loss:?}"
        );
        assert_eq!(lines(&project, "ledger"), 2, "{loss:?}: one instance after the other");
        succeed(&project, &["start", "web"]);
        eventually(&format!("{loss:?}: it is started"), || lines(&project, "ledger") == 3);
        succeed(&project, &["down"]);
        project.assert_nothing_is_left();
        let told = events(&project);
        assert!(
            told.iter().any(|event| event["event"] == "adopted"),
            "{loss:?}: {told:?}"
        );
    }
}

#[test]
fn tw_05_the_lock_is_free_at_once_when_guardian_and_daemon_are_killed() {
    let project = up(WEB);
    let service = pid(&project, "web");
    kill_both(&Roles::of(&project));
    assert!(!is_gone(service));
    let lock = runner::sys::lock::Lock::take(&project.file(".runner/lock")).unwrap();
    assert!(lock.is_some(), "somebody has inherited it");
    drop(lock);
    succeed(&project, &["up", "-d"]);
    assert_eq!(pid(&project, "web"), service);
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn marks_of_two_lives_of_the_guardian_are_never_the_same() {
    // The first run of each life of the guardian would else carry the same mark.
    let services = |names: &[&str]| {
        let one = |name: &&str| format!("[services.{name}]\ncommand = \"sleep 1000 & exec sleep 1000\"\n");
        names.iter().map(one).collect::<String>()
    };
    let project = up(&services(&["b"]));
    let kept = pid(&project, "b");
    kill_both(&Roles::of(&project));
    project.write("services.toml", &services(&["a", "b", "c"]));
    succeed(&project, &["up", "-d"]);
    assert_eq!(pid(&project, "b"), kept);
    let mark =
        |name: &str| runner::sys::processes::environment_value(pid(&project, name), runner::guardian::MARK).unwrap();
    let mut marks = ["a", "b", "c"].map(mark).to_vec();
    marks.sort();
    marks.dedup();
    assert_eq!(marks.len(), 3);
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn cr_16_twenty_losses_in_a_row_change_nothing() {
    let project = up(WEB);
    let first = pid(&project, "web");
    for round in 0..20 {
        // More than four deaths of the daemon within a minute are waited for.
        let loss = if round < 3 { Loss::Daemon } else { LOSSES[1 + round % 2] };
        lose(&project, loss);
        assert_eq!(pid(&project, "web"), first, "round {round}, {loss:?}");
    }
    assert_eq!(lines(&project, "ledger"), 1);
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn cr_16_what_an_adopted_service_notifies_is_heard() {
    const NOTIFY: &str = r#"
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def tell(words):
    try: s.sendto(words, os.environ["NOTIFY_SOCKET"])
    except OSError: pass
while not os.path.exists("go"): time.sleep(0.005)
while True:
    tell(b"READY=1\nWATCHDOG=1")
    time.sleep(0.05)
"#;
    for loss in LOSSES {
        let project = Project::new(
            "[services.web]\ncommand = [\"python3\", \"notify.py\"]\nready = { notify = true }\n\
             health = { notify = true, interval = \"2s\", retries = 1 }\n",
        );
        project.write("notify.py", NOTIFY);
        assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
        eventually("it is executed", || project.service("web")["pid"].is_u64());
        let first = pid(&project, "web");
        // The next `up` waits until it is ready.
        lose_while(&project, loss, || project.write("go", ""));
        eventually(&format!("{loss:?}: it is ready"), || {
            project.service("web")["state"] == "ready"
        });
        lose(&project, loss);
        let adopted = |project: &Project| {
            events(project)
                .iter()
                .filter(|event| event["event"] == "adopted")
                .count()
        };
        eventually("both losses are told", || adopted(&project) == 2);
        let told = events(&project).len();
        eventually(&format!("{loss:?}: its watchdog is heard"), || {
            let web = project.service("web");
            assert_eq!(
                (&web["state"], web["pid"].as_u64()),
                (&"ready".into(), Some(first.into())),
                "{loss:?}"
            );
            web["uptime_s"].as_f64().unwrap() > 6.0
        });
        assert_eq!(events(&project).len(), told, "{loss:?}: nothing has happened");
        succeed(&project, &["down"]);
    }
}
