//! Many at once: orphans and signals.

use nix::sys::signal::Signal;

use crate::common::{Project, eventually};
use crate::{Init, fixture, is_root, zombies};

/// As in `tests/recovery`: the everyday number, or as many as somebody wants to see.
fn number(name: &str, everyday: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(everyday)
}

#[test]
fn p1_01_orphans_are_reaped_and_no_exit_code_is_stolen() {
    if !is_root() {
        return;
    }
    let fixture = fixture::program().display().to_string();
    let orphans = number("RUNNER_ORPHANS", 10_000);
    // Meanwhile others end with codes of their own, over and over.
    let mut file = format!(
        "[services.storm]\ncommand = [\"{fixture}\", \"orphans\", \"{orphans}\", \"say\", \"storm is over\", \"wait\"]\nready = {{ log = \"is over\" }}\n"
    );
    for code in 40..44 {
        file += &format!(
            "[services.ends{code}]\ncommand = [\"{fixture}\", \"sleep\", \"5\", \"exit\", \"{code}\"]\nbackoff = {{ initial = \"1ms\", factor = 1.0, jitter = 0.0 }}\n"
        );
    }
    let project = Project::new(&file);
    let mut init = Init::start(&project, &["up", "--log-format", "text"]);
    init.up.wait_for("storm is over");
    let pid = init.pid();
    eventually("no zombie is left", || zombies(pid) == 0);
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0));
    let mut ends = 0;
    for line in &init.up.seen {
        let Some((name, words)) = line.split_once(" | ") else {
            continue;
        };
        let Some(code) = name.trim().strip_prefix("ends") else {
            continue;
        };
        if words.contains("exit code") {
            assert!(words.contains(&format!("exit code {code}")), "{line}");
            ends += 1;
        }
        assert!(!words.contains("not known"), "{line}");
    }
    assert!(ends > 20, "{ends} ends were seen");
}

#[test]
fn sg_01_a_storm_of_signals_at_pid_1() {
    if !is_root() {
        return;
    }
    let project = Project::new("[services.web]\ncommand = \"echo web is here; exec sleep 1000\"\n");
    let mut init = Init::start(&project, &["up"]);
    init.up.wait_for("| ready");
    let signals = [
        Signal::SIGCHLD,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGALRM,
        Signal::SIGPIPE,
        Signal::SIGCONT,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
    ];
    let pid = nix::unistd::Pid::from_raw(init.pid() as i32);
    for _ in 0..10_000 {
        for signal in signals {
            nix::sys::signal::kill(pid, signal).unwrap();
        }
    }
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(0), "{}", init.up.text());
    assert_eq!(init.up.text().matches("| started").count(), 1, "{}", init.up.text());
}
