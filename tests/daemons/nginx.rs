//! nginx with `daemon on`, stopped by SIGQUIT, upgraded by SIGUSR2.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use runner::sys::processes;

use super::{as_user, folder_of, get, is_down, is_up, lives, number_in, pid_of, program, send};
use crate::common::{Project, eventually, free_port};

/// nginx that answers on a port.
fn nginx(user: &str) -> (Project, u16) {
    let port = free_port();
    let project = Project::new("");
    let folder = folder_of(&project, "run", "www-data").display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat();
    project.write(
        "nginx.conf",
        &format!(
            "daemon on; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log notice; events {{}}\n\
             http {{ {temporary} access_log off; server {{ listen 127.0.0.1:{port}; return 200 \"here\"; }} }}\n"
        ),
    );
    let program = program(&["/usr/sbin/nginx"]);
    project.write(
        "services.toml",
        &format!(
            "[services.web]\ncommand = [{program:?}, \"-c\", \"{{{{ project.dir }}}}/nginx.conf\"]\npid_file = \"run/nginx.pid\"\n\
             stop_signal = \"QUIT\"\nports = [{port}]\n{user}"
        ),
    );
    (project, port)
}

#[test]
fn it_is_its_master_and_is_stopped_gracefully() {
    for user in [String::new(), as_user("www-data")] {
        let (project, port) = nginx(&user);
        is_up(&project);
        let master = pid_of(&project, "web");
        assert_eq!(master, number_in(&project, "run/nginx.pid"));
        assert_eq!(processes::stat(master).unwrap().name, "nginx");
        assert!(get(port).unwrap().ends_with("here"));
        let workers = processes::descendants(master);
        assert_eq!(workers.len(), 2);
        assert_eq!(project.run(&["stop", "web"]).status.code(), Some(0));
        assert!(!lives(master) && !workers.into_iter().any(lives));
        let web = project.service("web");
        assert_eq!(
            (&web["state"], &web["last_exit"]["code"]),
            (&"stopped".into(), &0.into())
        );
        let log = project.read("run/error.log");
        assert!(
            log.contains("SIGQUIT") && log.contains("gracefully shutting down"),
            "{log}"
        );
        is_down(&project);
    }
}

#[test]
fn a_killed_master_is_seen_at_once_and_its_workers_make_way() {
    let (project, port) = nginx("");
    is_up(&project);
    let master = pid_of(&project, "web");
    let workers = processes::descendants(master);
    send(master, Signal::SIGKILL);
    eventually("another one is ready", || {
        let web = project.service("web");
        web["state"] == "ready" && web["pid"].as_u64() != Some(master.into())
    });
    let web = project.service("web");
    assert_eq!(
        (&web["restarts"], &web["last_exit"]["signal"]),
        (&1.into(), &"SIGKILL".into()),
        "{web}"
    );
    assert!(!workers.into_iter().any(lives));
    assert!(get(port).unwrap().ends_with("here"));
    is_down(&project);
}

#[test]
fn pf_08_the_upgrade_of_its_binary_is_no_restart_and_no_gap() {
    let (project, port) = nginx("");
    is_up(&project);
    let old = pid_of(&project, "web");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let mut visits = 0;
            while !over.load(Ordering::Relaxed) {
                assert!(get(port).unwrap().ends_with("here"));
                visits += 1;
            }
            visits
        });
        send(old, Signal::SIGUSR2);
        eventually("the new master is the service", || {
            let pid = pid_of(&project, "web");
            pid != old && pid == number_in(&project, "run/nginx.pid")
        });
        let new = pid_of(&project, "web");
        assert!(lives(old) && lives(new));
        send(old, Signal::SIGQUIT);
        eventually("the old master is gone", || !lives(old));
        eventually("nginx has put its file in order", || {
            !project.file("run/nginx.pid.oldbin").exists()
        });
        let web = project.service("web");
        assert_eq!(
            (&web["state"], &web["pid"], &web["run"], &web["restarts"]),
            (&"ready".into(), &new.into(), &1.into(), &0.into())
        );
        over.store(true, Ordering::Relaxed);
        assert!(visitor.join().unwrap() > 0);
        // And it is supervised: its end counts.
        send(new, Signal::SIGKILL);
        eventually("it is started again", || project.service("web")["run"] == 2);
    });
    eventually("it is ready", || project.service("web")["state"] == "ready");
    is_down(&project);
}

#[test]
fn one_that_was_started_by_hand_is_adopted_where_that_is_wanted() {
    let (project, port) = nginx("");
    let text = project.read("services.toml");
    let adopting = text.replace("\"run/nginx.pid\"", "{ path = \"run/nginx.pid\", adopt = true }");
    assert_ne!(text, adopting);
    project.write("services.toml", &adopting);
    let conf = project.file("nginx.conf").display().to_string();
    let by_hand = std::process::Command::new(program(&["/usr/sbin/nginx"]))
        .args(["-c", &conf])
        .status();
    assert!(by_hand.unwrap().success());
    eventually("it runs", || get(port).is_ok());
    let master = number_in(&project, "run/nginx.pid");
    is_up(&project);
    assert_eq!(pid_of(&project, "web"), master);
    assert_eq!(project.run(&["restart", "web"]).status.code(), Some(0));
    assert!(!lives(master));
    let web = project.service("web");
    assert_eq!(web["last_exit"]["code"], 0, "{web}");
    assert_ne!(pid_of(&project, "web"), master);
    assert!(get(port).unwrap().ends_with("here"));
    is_down(&project);
}
