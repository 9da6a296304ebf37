//! A project as PID 1, and beside a command.

use nix::sys::signal::Signal;

use crate::common::{Project, eventually, stderr, stdout};
use crate::{Init, as_init, children, fixture, is_root, name};

/// Three services in a row, each noting its start and its end.
/// The child is there before the trap: a shell's child that is met by a signal between fork and exec, with the trap still in
/// place, would forget it.
fn row() -> String {
    let one = |name: &str, more: &str| {
        format!(
            "[services.{name}]\ncommand = \"sleep 1000 & trap 'echo stop {name} >> ledger; exit 0' TERM; echo start {name} >> ledger; echo {name} is here; wait\"\nready = {{ log = \"is here\" }}\n{more}\n"
        )
    };
    one("a", "") + &one("b", "depends_on = [\"a\"]") + &one("c", "depends_on = [\"b\"]")
}

const IN_ORDER: &str = "start a\nstart b\nstart c\nstop c\nstop b\nstop a\n";

#[test]
fn p1_02_term_int_and_quit_stop_everything_in_order() {
    if !is_root() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let project = Project::new(&row());
        let mut init = Init::start(&project, &["up"]);
        init.up.wait_for("c      | ready");
        init.signal(signal);
        assert_eq!(init.code(), Some(0), "{}", init.up.text());
        assert_eq!(project.read("ledger"), IN_ORDER);
        assert_eq!(init.last(), format!("runner  ended: {signal}"));
    }
}

#[test]
fn the_code_of_the_essential_service_is_ours_and_the_others_are_stopped_first() {
    if !is_root() {
        return;
    }
    let main = "[services.main]\ncommand = \"echo start main >> ledger; exit 3\"\nessential = true\nrestart = \"no\"\ndepends_on = [\"c\"]\n";
    let project = Project::new(&(row() + main));
    let mut init = Init::start(&project, &["up"]);
    assert_eq!(init.code(), Some(3), "{}", init.up.text());
    assert_eq!(project.read("ledger"), IN_ORDER.replace("stop c", "start main\nstop c"));
    assert_eq!(init.last(), "runner  ended: main failed: exit code 3");
    // As `exit_code_from` does, and 128 + n for a signal.
    let died = "[services.main]\ncommand = \"kill -USR1 $$\"\nrestart = \"no\"\ndepends_on = [\"c\"]\n";
    let project = Project::new(&(row() + died));
    let mut init = Init::start(&project, &["up", "--exit-code-from", "main"]);
    assert_eq!(init.code(), Some(128 + 10), "{}", init.up.text());
}

#[test]
fn the_end_is_bounded_and_says_what_had_to_be_killed() {
    if !is_root() {
        return;
    }
    let deaf = "[services.deaf]\ncommand = \"trap '' TERM; echo deaf is here; while :; do sleep 1000 & wait $!; done\"\nready = { log = \"is here\" }\nstop_timeout = \"200ms\"\n";
    let project = Project::new(deaf);
    let mut init = Init::start(&project, &["up"]);
    init.up.wait_for("deaf   | ready");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
    assert!(
        init.up.text().contains("deaf   | SIGKILL was needed after"),
        "{}",
        init.up.text()
    );
    // Asked again, nothing is waited for.
    let project = Project::new(&deaf.replace("200ms", "1d"));
    let mut init = Init::start(&project, &["up"]);
    init.up.wait_for("deaf   | ready");
    init.signal(Signal::SIGTERM);
    init.up.wait_for("deaf   | stopping");
    init.signal(Signal::SIGHUP);
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
}

#[test]
fn a_hangup_reads_the_file_anew() {
    if !is_root() {
        return;
    }
    let project = Project::new(&row());
    let mut init = Init::start(&project, &["up", "--no-reload"]);
    init.up.wait_for("c      | ready");
    project.write(
        "services.toml",
        &(row() + "[services.d]\ncommand = \"echo d is here; exec sleep 1000\"\n"),
    );
    init.up.wait_for("--no-reload");
    init.signal(Signal::SIGHUP);
    init.up.wait_for("d is here");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
    assert_eq!(project.read("ledger"), IN_ORDER);
}

#[test]
fn the_daemon_can_be_killed() {
    if !is_root() {
        return;
    }
    let project = Project::new(&row());
    let mut init = Init::start(&project, &["up"]);
    init.up.wait_for("c      | ready");
    let daemon = children(init.pid())
        .into_iter()
        .find(|pid| name(*pid).starts_with("runner-daemon"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.unwrap() as i32), Signal::SIGKILL).unwrap();
    init.up.wait_for("was started again; 3 services run on");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
    assert_eq!(project.read("ledger"), IN_ORDER);
}

#[test]
fn verbs_of_the_same_container_find_it() {
    if !is_root() {
        return;
    }
    let inside = format!(
        "[services.asks]\ncommand = [\"{}\", \"ps\", \"-q\"]\nrestart = \"no\"\n",
        env!("CARGO_BIN_EXE_runner")
    );
    let project = Project::new(&inside);
    let mut init = Init::start(&project, &["up"]);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
    assert!(
        init.up.seen.iter().any(|line| line == "asks   | asks"),
        "{}",
        init.up.text()
    );
}

#[test]
fn p1_07_a_command_beside_services_starts_after_them_and_ends_them() {
    for init in [false, true] {
        if init && !is_root() {
            continue;
        }
        let project = Project::new(&row());
        let words = ["up", "--", "sh", "-c", "echo start cmd >> ledger; echo bare; exit 9"];
        let output = match init {
            false => project.run(&words),
            true => as_init(&project, &words).output().unwrap(),
        };
        assert_eq!(output.status.code(), Some(9), "{}{}", stdout(&output), stderr(&output));
        assert_eq!(project.read("ledger"), IN_ORDER.replace("stop c", "start cmd\nstop c"));
        assert!(
            stdout(&output).lines().any(|line| line == "bare"),
            "not captured: {}",
            stdout(&output)
        );
        project.assert_nothing_is_left();
    }
}

#[test]
fn p1_07_only_those_that_are_named_start_with_the_command() {
    let project = Project::new(&row());
    let up = project.run(&["up", "b", "--", "sh", "-c", "exit 0"]);
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
    assert_eq!(project.read("ledger"), "start a\nstart b\nstop b\nstop a\n");
}

#[test]
fn the_code_of_the_command_is_ours_whatever_ends_it() {
    let project = Project::new(&row());
    let fixture = fixture::program().display().to_string();
    let mut up = project.up(&["--", &fixture, "say", "command is here", "wait"]);
    up.wait_for("command is here");
    let logs = project.run(&["logs", "cmd"]);
    assert!(stderr(&logs).contains("not captured"), "{}", stderr(&logs));
    up.signal("TERM");
    assert_eq!(up.end().code(), Some(143), "{}", up.text());
    assert_eq!(project.read("ledger"), IN_ORDER);
    let up = project.run(&["up", "--", "nosuch"]);
    assert_eq!(up.status.code(), Some(127), "{}{}", stdout(&up), stderr(&up));
}

#[test]
fn signals_that_mean_nothing_to_us_are_the_commands() {
    let project = Project::new(&row());
    let fixture = fixture::program().display().to_string();
    for (word, code) in [("USR1", 21), ("USR2", 22), ("WINCH", 23)] {
        let mut up = project.up(&[
            "--",
            &fixture,
            "catch",
            word,
            &code.to_string(),
            "say",
            "command is here",
            "wait",
        ]);
        up.wait_for("command is here");
        up.signal(word);
        assert_eq!(up.end().code(), Some(code), "{}", up.text());
    }
}

#[test]
fn a_name_that_is_taken_is_refused_at_its_place() {
    let project = Project::new("[services.cmd]\ncommand = \"sleep 1\"\n");
    let up = project.run(&["up", "--", "true"]);
    assert_eq!(up.status.code(), Some(2));
    assert!(stderr(&up).contains("services.toml:1:"), "{}", stderr(&up));
}

#[test]
fn who_kills_the_up_of_a_command_has_the_project_stopped_in_order() {
    let project = Project::new(&row());
    let fixture = fixture::program().display().to_string();
    let mut up = project.up(&["--", &fixture, "say", "command is here", "wait"]);
    up.wait_for("command is here");
    up.child.kill().unwrap();
    up.wait_for("another one has taken its place");
    up.wait_for("ended: `runner up` was killed");
    assert_eq!(project.read("ledger"), IN_ORDER);
    eventually("they have ended", || project.processes().is_empty());
    project.assert_nothing_is_left();
}

#[test]
fn p1_02_a_stop_is_heard_from_the_first_moment_on() {
    if !is_root() {
        return;
    }
    // At whatever step of its beginning it is met.
    for _ in 0..20 {
        let project = Project::new(&row());
        let mut init = Init::start(&project, &["up"]);
        init.signal(Signal::SIGTERM);
        assert_eq!(init.code(), Some(0), "{}", init.up.text());
        let ledger = project.read("ledger");
        let count = |word| ledger.matches(word).count();
        // Who is met between its trap and its first word says only the last one.
        assert!(count("start") <= count("stop"), "{ledger}");
        // It is not that it had to be killed.
        assert!(!init.up.text().contains("SIGKILL"), "{}", init.up.text());
    }
}

#[test]
fn the_first_process_does_not_go_to_the_background() {
    if !is_root() {
        return;
    }
    let up = as_init(&Project::new(&row()), &["up", "-d"]).output().unwrap();
    assert_eq!(up.status.code(), Some(2), "{}", stderr(&up));
}

#[test]
fn the_beginning_of_a_line_outlives_an_upgrade() {
    if !is_root() {
        return;
    }
    let runner = env!("CARGO_BIN_EXE_runner");
    let project = Project::new(&format!(
        "[services.half]\ncommand = \"printf 'no end'; exec sleep 1000\"\n\
         [services.upgrade]\ntype = \"oneshot\"\ncommand = [\"{runner}\", \"upgrade\"]\ndepends_on = [\"half\"]\n"
    ));
    let mut init = Init::start(&project, &["up"]);
    init.up.wait_for("upgrade | completed");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
    assert!(
        init.up.seen.iter().any(|line| line.ends_with("| no end")),
        "{}",
        init.up.text()
    );
}

#[test]
fn nobody_who_stops_reading_holds_up_the_end() {
    if !is_root() {
        return;
    }
    let project = Project::new("[services.loud]\ncommand = \"exec yes\"\nstop_timeout = \"200ms\"\n");
    let (reader, writer) = std::io::pipe().unwrap();
    use std::os::fd::AsFd;
    let mut command = as_init(&project, &["up"]);
    command
        .stdout(writer.try_clone().unwrap())
        .stderr(writer.try_clone().unwrap());
    let mut init = command.spawn().unwrap();
    drop(command);
    let mut roles = Vec::new();
    eventually("the pipe is full, and there is a daemon", || {
        roles = children(init.id())
            .into_iter()
            .flat_map(children)
            .filter(|pid| name(*pid).starts_with("runner-daemon"))
            .collect();
        !roles.is_empty() && !runner::sys::tty::takes_a_line(writer.as_fd())
    });
    let send = |pid: u32, signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
    let before = roles[0];
    send(before, Signal::SIGKILL);
    eventually("another daemon", || {
        let now = children(init.id()).into_iter().flat_map(children);
        now.into_iter()
            .any(|pid| pid != before && name(pid).starts_with("runner-daemon"))
    });
    send(children(init.id())[0], Signal::SIGTERM);
    assert_eq!(init.wait().unwrap().code(), Some(0));
    drop(reader);
}
