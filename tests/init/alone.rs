//! `up -- CMD` without a file: as `tini -- CMD`.

use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::common::{Project, Up, stderr, stdout};
use crate::{Init, as_init, fixture, is_root};

/// A folder without a file.
fn bare() -> Project {
    let project = Project::new("");
    std::fs::remove_file(project.file("services.toml")).unwrap();
    project
}

#[test]
fn p1_07_the_code_of_the_command_is_ours() {
    let project = bare();
    for code in 0..=255 {
        let up = project.run(&["up", "--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!((up.status.code(), stderr(&up)), (Some(code), String::new()));
    }
    for (signal, code) in [("KILL", 137), ("SEGV", 139), ("TERM", 143)] {
        let up = project.run(&["up", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(up.status.code(), Some(code));
    }
    if is_root() {
        let up = as_init(&project, &["up", "--", "sh", "-c", "exit 200"])
            .output()
            .unwrap();
        assert_eq!(up.status.code(), Some(200), "{}", stderr(&up));
    }
}

#[test]
fn what_can_not_be_executed_is_said_with_the_code_of_a_shell() {
    let project = bare();
    let up = project.run(&["up", "--", "nosuch"]);
    assert_eq!(up.status.code(), Some(127));
    assert!(stderr(&up).contains("nosuch was not found"), "{}", stderr(&up));
    project.write("script", "#!/nosuch/interpreter\n");
    let up = project.run(&["up", "--", "./script"]);
    assert_eq!(up.status.code(), Some(126));
    assert!(stderr(&up).contains("try: "), "{}", stderr(&up));
}

#[test]
fn the_descriptors_are_the_commands_own_and_nothing_is_left_in_the_folder() {
    let project = bare();
    let mut command = project.command(&["up", "--", "sh", "-c", "cat; echo told >&2; pwd"]);
    let mut up = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    up.stdin.take().unwrap().write_all(b"\xff\0 whatever").unwrap();
    let output = up.wait_with_output().unwrap();
    let folder = project.path().canonicalize().unwrap();
    let expected = [b"\xff\0 whatever", folder.as_os_str().as_encoded_bytes(), b"\n"].concat();
    assert_eq!(output.stdout, expected);
    assert_eq!(stderr(&output), "told\n");
    assert_eq!(std::fs::read_dir(project.path()).unwrap().count(), 0);
}

#[test]
fn every_signal_reaches_the_command() {
    let project = bare();
    let fixture = fixture::program().display().to_string();
    for (signal, code) in [
        (Signal::SIGHUP, 11),
        (Signal::SIGUSR1, 12),
        (Signal::SIGUSR2, 13),
        (Signal::SIGWINCH, 14),
        (Signal::SIGINT, 15),
        (Signal::SIGQUIT, 16),
        (Signal::SIGTERM, 17),
        (Signal::SIGALRM, 18),
    ] {
        let word = &signal.as_str()[3..];
        let words = [
            "up",
            "--",
            &fixture,
            "catch",
            word,
            &code.to_string(),
            "say",
            "here",
            "wait",
        ];
        let mut up = Up::start(project.command(&words));
        up.wait_for("here");
        up.signal(word);
        assert_eq!(up.end().code(), Some(code), "{signal}");
        if is_root() {
            let mut init = Init::start(&project, &words);
            init.up.wait_for("here");
            init.signal(signal);
            assert_eq!(init.code(), Some(code), "{signal} to PID 1");
        }
    }
}

#[test]
fn p1_04_what_the_command_leaves_is_ended_where_we_are_no_init() {
    let project = bare();
    let left = "(trap '' HUP; exec sleep 1000) & setsid sh -c 'sleep 1000 & exit' & wait %2; echo $!; exit 5";
    let up = project.run(&["up", "--", "sh", "-c", left]);
    assert_eq!(up.status.code(), Some(5), "{} {}", stdout(&up), stderr(&up));
    project.assert_nothing_is_left();
}

#[test]
fn p1_08_a_service_that_reaps_by_itself_changes_nothing() {
    let project = bare();
    let words = "import signal, os, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(50):\n    os.fork() or os._exit(1)\nsys.exit(44)";
    let up = project.run(&["up", "--", "python3", "-c", words]);
    assert_eq!(up.status.code(), Some(44), "{}", stderr(&up));
}

#[test]
fn without_a_file_and_without_a_command_it_is_said_what_to_do() {
    let project = bare();
    let up = project.run(&["up"]);
    assert_eq!(up.status.code(), Some(2));
    assert!(
        stderr(&up).contains("services.toml") && stderr(&up).contains("try: "),
        "{}",
        stderr(&up)
    );
    let up = project.run(&["up", "-d", "--", "true"]);
    assert_eq!(up.status.code(), Some(2));
    assert!(stderr(&up).contains("-d"), "{}", stderr(&up));
    let up = project.run(&["up", "web", "--", "true"]);
    assert_eq!(up.status.code(), Some(2), "names need a file");
}

#[test]
fn an_ignored_sigchld_is_no_loss() {
    let project = bare();
    let mut command = Command::new("python3");
    let words =
        "import signal, os, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])";
    command.args([
        "-c",
        words,
        env!("CARGO_BIN_EXE_runner"),
        "up",
        "--",
        "sh",
        "-c",
        "exit 6",
    ]);
    assert_eq!(command.current_dir(project.path()).status().unwrap().code(), Some(6));
}

#[test]
fn what_was_ignored_stays_ignored() {
    let project = bare();
    let ignores = "trap '' HUP; exec \"$0\" up -- sh -c 'kill -HUP $$; exit 3'";
    let mut command = Command::new("sh");
    command
        .args(["-c", ignores, env!("CARGO_BIN_EXE_runner")])
        .current_dir(project.path());
    assert_eq!(command.status().unwrap().code(), Some(3), "as under nohup");
}
