//! What an edit of the file means for a running service.

use super::Folder;
use crate::spec::{Change, LogMemory, LogTarget};

/// The differences as `field class from_to`.
fn edit(old: &str, new: &str) -> Vec<String> {
    let folder = Folder::new();
    let [old, new] = [old, new].map(|keys| {
        folder.write("services.toml", format!("[services.web]\ncommand = 'x'\n{keys}"));
        folder.valid().project.services["web"].clone()
    });
    let differences = old.differences(&new);
    let line = |difference: &crate::spec::Difference| {
        let class = match difference.class {
            Change::Restart => "restart",
            Change::Live => "live",
        };
        format!(
            "{} {class} {}",
            difference.field,
            difference.from_to.as_deref().unwrap_or_default()
        )
    };
    differences
        .iter()
        .map(|difference| line(difference).trim_end().to_owned())
        .collect()
}

#[test]
fn hr_08_what_means_the_same_is_no_change() {
    for (old, new) in [
        ("", "# comment\n\n"),
        ("env = { A = 1, B = 2 }", "env = { B = \"2\", A = '1' }"),
        ("", "stop_signal = 'term'\nstop_timeout = '10s'\nrestart = 'on-failure'"),
        ("stop_timeout = '60s'", "stop = [['SIGTERM', '1m']]"),
        ("ports = [80]", "ports = 80"),
        (
            "limits = { nofile = 1, core = 2 }",
            "limits = { core = 2, nofile = { soft = 1 } }",
        ),
        (
            "ready = { tcp = 80 }",
            "ready = { tcp = '127.0.0.1:80', interval = '10s' }",
        ),
        ("", "working_dir = '.'"),
        ("pid_file = 'a.pid'", "pid_file = { path = './a.pid' }"),
        ("", "pid_file = false"),
    ] {
        assert_eq!(edit(old, new), Vec::<String>::new(), "{old} -> {new}");
    }
}

#[test]
fn hr_08_live_keys_do_not_restart() {
    for (old, new, wanted) in [
        ("", "description = 'x'", &["description live"][..]),
        ("", "restart = 'always'", &["restart live on-failure -> always"]),
        (
            "",
            "max_restarts = 3\nrestart_window = '5m'",
            &["max_restarts live none -> 3", "restart_window live 1m -> 5m"],
        ),
        ("", "log = { max_files = 2 }", &["log live"]),
        (
            "",
            "backoff = { initial = '1s' }",
            &["backoff.initial live 500ms -> 1s"],
        ),
        (
            "health = { tcp = 1 }",
            "health = { tcp = 1, interval = '5s', retries = 1 }",
            &["health.interval live 10s -> 5s", "health.retries live 3 -> 1"],
        ),
        ("health = { tcp = 1 }", "health = { tcp = 2 }", &["health.tcp live"]),
        ("health = { tcp = 1 }", "", &["health live"]),
        ("ready = { tcp = 1 }", "ready = { exec = 'y' }", &["ready live"]),
        (
            "",
            "stop_signal = 'INT'\nstop_timeout = '1s'",
            &["stop_signal live SIGTERM -> SIGINT", "stop_timeout live 10s -> 1s"],
        ),
        ("", "stop = [['INT', '1s'], ['TERM', '1s']]", &["stop live"]),
        (
            "",
            "labels = ['a']\nprofiles = ['b']\nessential = true\non_supervisor_exit = 'stop'",
            &[
                "profiles live",
                "essential live false -> true",
                "on_supervisor_exit live keep -> stop",
                "labels live",
            ],
        ),
        (
            "type = 'oneshot'",
            "type = 'oneshot'\ntimeout = '1m'",
            &["timeout live none -> 1m"],
        ),
    ] {
        assert_eq!(edit(old, new), wanted, "{old} -> {new}");
    }
}

#[test]
fn keys_of_the_process_restart_and_show_no_value_of_the_environment() {
    for (old, new, wanted) in [
        (
            "env = { A = 'secret1', B = 'b' }",
            "env = { A = 'secret2', C = 'c' }",
            &["env.A restart", "env.B restart", "env.C restart"][..],
        ),
        ("", "clear_env = true", &["clear_env restart false -> true"]),
        ("", "user = 'www'", &["user restart"]),
        (
            "",
            "umask = '022'\nnice = 5",
            &["umask restart", "nice restart none -> 5"],
        ),
        ("", "limits = { nofile = 1 }", &["limits.nofile restart"]),
        ("", "working_dir = 'sub'", &["working_dir restart"]),
        ("", "pid_file = 'a.pid'", &["pid_file restart"]),
        (
            "pid_file = 'a.pid'",
            "pid_file = { path = 'a.pid', adopt = true }",
            &["pid_file restart"],
        ),
        (
            "",
            "type = 'oneshot'\nrestart = 'on-failure'",
            &["type restart simple -> oneshot"],
        ),
    ] {
        let found = edit(old, new);
        assert_eq!(found, wanted, "{old} -> {new}");
        assert!(!found.concat().contains("secret"));
    }
    let found = edit("ports = { http = 80 }", "ports = { http = 81 }");
    assert!(found.contains(&"ports.http restart 80 -> 81".to_owned()), "{found:?}");
    assert!(found.contains(&"env.PORT restart".to_owned()), "{found:?}");
}

#[test]
fn without_files_a_log_is_in_memory_unless_it_names_its_file() {
    let mut folder = Folder::with(
        "[services.plain]\ncommand = 'a'\n[services.sized]\ncommand = 'a'\nlog = { max_size = '1MB', max_files = 9, console = false }\n\
         [services.kept]\ncommand = 'a'\nlog = { file = 'kept.log' }\n[services.off]\ncommand = 'a'\nlog = false\n",
    );
    folder.logs_in_memory = true;
    let project = folder.valid().project;
    let memory = |max_size, console| LogTarget::Memory(LogMemory { max_size, console });
    assert_eq!(project.services["plain"].log, memory(256 << 10, true));
    assert_eq!(project.services["sized"].log, memory(1_000_000, false));
    assert!(
        matches!(&project.services["kept"].log, LogTarget::File(log) if log.file == folder.path().join("kept.log"))
    );
    assert_eq!(project.services["off"].log, LogTarget::Off);
    // To and from a file is an edit of `log`, applied live.
    folder.logs_in_memory = false;
    let differences = project.services["plain"].differences(&folder.valid().project.services["plain"]);
    let fields: Vec<_> = differences.iter().map(|one| (one.field.as_str(), one.class)).collect();
    assert_eq!(fields, [("log", Change::Live)]);
}
