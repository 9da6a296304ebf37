//! php-fpm with `daemonize = yes`, stopped by SIGQUIT.

use super::{as_user, folder_of, is_down, is_up, lives, number_in, pid_of, program};
use crate::common::{Project, free_port};
use runner::sys::processes;

#[test]
fn it_is_its_master_and_is_stopped_gracefully() {
    let port = free_port();
    let project = Project::new("");
    let folder = folder_of(&project, "run", "www-data").display().to_string();
    project.write(
        "fpm.conf",
        &format!(
            "[global]\npid = {folder}/fpm.pid\nerror_log = {folder}/fpm.log\ndaemonize = yes\n\
             [www]\nlisten = 127.0.0.1:{port}\npm = static\npm.max_children = 2\n"
        ),
    );
    let program = program(&["/usr/sbin/php-fpm8.2", "/usr/sbin/php-fpm8.4"]);
    project.write(
        "services.toml",
        &format!(
            "[services.php]\ncommand = [{program:?}, \"-y\", \"{{{{ project.dir }}}}/fpm.conf\"]\npid_file = \"run/fpm.pid\"\n\
             stop_signal = \"QUIT\"\nports = [{port}]\n{}",
            as_user("www-data")
        ),
    );
    is_up(&project);
    let master = pid_of(&project, "php");
    assert_eq!(master, number_in(&project, "run/fpm.pid"));
    let workers = processes::descendants(master);
    assert_eq!(workers.len(), 2);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert_eq!(project.run(&["stop", "php"]).status.code(), Some(0));
    assert!(!lives(master) && !workers.into_iter().any(lives));
    let php = project.service("php");
    assert_eq!(
        (&php["state"], &php["last_exit"]["code"]),
        (&"stopped".into(), &0.into()),
        "{php}"
    );
    let log = project.read("run/fpm.log");
    assert!(log.contains("Finishing ..."), "{log}");
    is_down(&project);
}
