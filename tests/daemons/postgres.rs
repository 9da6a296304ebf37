//! PostgreSQL by pg_ctl, stopped by SIGINT (a fast shutdown). Its own `postmaster.pid` holds more than a number:
//! `external_pid_file` is the one to follow.

use super::{as_user, folder_of, is_down, is_up, lives, number_in, pid_of, program};
use crate::common::{Project, free_port};
use runner::sys::processes;

#[test]
fn it_is_the_postmaster_and_is_shut_down_fast() {
    let port = free_port();
    let project = Project::new("");
    let folder = folder_of(&project, "run", "postgres").display().to_string();
    let pg_ctl = program(&["/usr/lib/postgresql/15/bin/pg_ctl", "/usr/lib/postgresql/17/bin/pg_ctl"]);
    let initdb = pg_ctl.with_file_name("initdb");
    let user = as_user("postgres");
    let options = format!(
        "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off \
         -c external_pid_file={folder}/db.pid"
    );
    project.write(
        "services.toml",
        &format!(
            "[services.init]\ntype = \"oneshot\"\n{user}command = [{initdb:?}, \"-D\", \"{folder}/data\", \"-A\", \"trust\", \"--no-sync\"]\n\
             [services.db]\n{user}command = [{pg_ctl:?}, \"start\", \"-D\", \"{folder}/data\", \"-l\", \"{folder}/db.log\", \"-o\", \"{options}\"]\n\
             pid_file = \"run/db.pid\"\nstop_signal = \"INT\"\nports = [{port}]\ndepends_on = [\"init\"]\n"
        ),
    );
    is_up(&project);
    let postmaster = pid_of(&project, "db");
    assert_eq!(postmaster, number_in(&project, "run/db.pid"));
    assert_eq!(processes::stat(postmaster).unwrap().name, "postgres");
    let helpers = processes::descendants(postmaster);
    assert!(!helpers.is_empty());
    assert_eq!(project.run(&["stop", "db"]).status.code(), Some(0));
    assert!(!lives(postmaster) && !helpers.into_iter().any(lives));
    let db = project.service("db");
    assert_eq!(
        (&db["state"], &db["last_exit"]["code"]),
        (&"stopped".into(), &0.into()),
        "{db}"
    );
    let log = project.read("run/db.log");
    assert!(
        log.contains("received fast shutdown request") && log.contains("database system is shut down"),
        "{log}"
    );
    is_down(&project);
}
