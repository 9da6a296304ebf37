//! Suggestions: misspelled words, and the words of other tools.

use crate::spec::keys;
use crate::spec::{Key, TableShape};

/// Keys of Compose, Kubernetes, systemd, process-compose, supervisord and pm2, and what they are called here. A word
/// is suggested only where the table has it, of `backoff.reset_after` its first part.
const FOREIGN_KEYS: &[(&str, &[&str])] = &[
    (
        "command",
        &[
            "cmd",
            "entrypoint",
            "run",
            "exec",
            "exec_start",
            "start",
            "script",
            "args",
            "program",
        ],
    ),
    (
        "working_dir",
        &[
            "cwd",
            "dir",
            "directory",
            "workdir",
            "working_directory",
            "chdir",
            "path",
            "root",
        ],
    ),
    ("env", &["environment", "envs", "env_vars", "environment_variables"]),
    ("vars", &["variables", "var"]),
    ("env_file", &["env_files", "environment_file", "dotenv"]),
    ("clear_env", &["env_clear", "is_env_cleared"]),
    (
        "services",
        &[
            "service",
            "processes",
            "process",
            "programs",
            "daemons",
            "tasks",
            "apps",
            "jobs",
        ],
    ),
    ("defaults", &["default", "common"]),
    ("templates", &["template", "x_common", "anchors"]),
    (
        "ready",
        &[
            "readiness_probe",
            "readiness",
            "startup_probe",
            "ready_check",
            "ready_when",
            "ready_log_line",
        ],
    ),
    (
        "health",
        &[
            "healthcheck",
            "health_check",
            "liveness_probe",
            "liveness",
            "healthiness",
        ],
    ),
    (
        "stop_timeout",
        &[
            "stop_grace_period",
            "grace_period",
            "stopwaitsecs",
            "timeout_stop_sec",
            "kill_timeout",
        ],
    ),
    (
        "stop_timeout",
        &[
            "termination_grace_period_seconds",
            "shutdown_timeout",
            "timeout_seconds",
        ],
    ),
    (
        "stop_signal",
        &["stopsignal", "kill_signal", "shutdown_signal", "signal", "shutdown"],
    ),
    (
        "stop_scope",
        &["stopasgroup", "killasgroup", "kill_mode", "treekill", "parent_only"],
    ),
    ("stop_command", &["exec_stop", "stop_cmd", "shutdown_command"]),
    ("reload_command", &["exec_reload"]),
    ("start_timeout", &["timeout_start_sec", "listen_timeout"]),
    ("backoff.reset_after", &["startsecs", "min_uptime"]),
    (
        "restart",
        &[
            "restart_policy",
            "autorestart",
            "availability",
            "policy",
            "restart_on",
            "retry_policy",
        ],
    ),
    (
        "max_restarts",
        &["startretries", "retry", "start_limit_burst", "max_retries"],
    ),
    ("restart_window", &["start_limit_interval_sec", "window"]),
    (
        "backoff",
        &[
            "restart_delay",
            "restart_sec",
            "backoff_seconds",
            "exp_backoff_restart_delay",
        ],
    ),
    (
        "depends_on",
        &[
            "depends",
            "dependencies",
            "requires",
            "wants",
            "after",
            "needs",
            "links",
        ],
    ),
    (
        "log",
        &[
            "logging",
            "logs",
            "log_location",
            "logfile",
            "stdout_logfile",
            "stderr_logfile",
            "out_file",
        ],
    ),
    ("pid_file", &["pidfile", "pid_path", "is_daemon"]),
    ("tty", &["is_tty", "pty", "terminal"]),
    ("user", &["username", "run_as", "is_elevated"]),
    ("limits", &["ulimits", "ulimit", "rlimits", "limit"]),
    ("nice", &["niceness", "priority", "cpu_shares"]),
    ("replicas", &["scale", "instances", "numprocs", "count"]),
    ("memory_limit", &["mem_limit", "max_memory_restart", "memory_max"]),
    ("autostart", &["auto_start", "disabled", "enabled", "auto"]),
    ("labels", &["namespace", "tags", "groups", "tag"]),
    ("essential", &["exit_on_end", "is_main", "critical"]),
    ("secrets", &["sensitive", "masked"]),
    (
        "success_exit_codes",
        &["exitcodes", "success_exit_status", "exit_codes"],
    ),
    ("schedule", &["cron", "on_calendar", "cron_restart"]),
    ("sockets", &["socket", "listen_stream"]),
    ("prepare", &["build", "setup", "install"]),
    ("run", &["command", "cmd", "script", "exec"]),
    ("description", &["desc", "comment"]),
    ("extends", &["extend", "inherits", "template", "from"]),
    ("watch", &["develop", "watch_files", "reload_on"]),
    ("hooks", &["lifecycle", "pre_start", "post_start"]),
    ("state_dir", &["data_dir", "log_dir", "logs_dir"]),
    ("exit", &["on_exit", "exit_mode", "abort_on_container_exit"]),
    ("http", &["http_get", "url", "uri", "endpoint", "httpget"]),
    ("tcp", &["tcp_socket", "port", "connect"]),
    ("exec", &["test", "cmd", "command", "script", "run"]),
    ("log", &["log_line", "pattern", "output"]),
    ("interval", &["period_seconds", "period", "every"]),
    ("timeout", &["timeout_seconds", "deadline"]),
    ("retries", &["failure_threshold", "max_failures", "attempts"]),
    ("success_threshold", &["successes"]),
    (
        "start_period",
        &["initial_delay_seconds", "initial_delay", "delay", "grace"],
    ),
    ("condition", &["when", "state", "status"]),
    ("initial", &["delay", "min"]),
    ("factor", &["multiplier", "rate"]),
    ("paths", &["path", "files", "include"]),
    ("ignore", &["exclude", "ignore_watch"]),
    ("port", &["number", "target", "published"]),
    ("file", &["path", "location"]),
    ("max_size", &["max_bytes", "maxbytes", "size"]),
    ("max_files", &["backups", "max_file", "keep"]),
];

/// Values of other tools.
const FOREIGN_VALUES: &[(&str, &[&str])] = &[
    (
        "healthy",
        &[
            "service_healthy",
            "process_healthy",
            "process_log_ready",
            "ready",
            "running",
            "up",
        ],
    ),
    ("started", &["service_started", "process_started", "start"]),
    (
        "completed",
        &["process_completed", "exited", "finished", "done", "stopped"],
    ),
    (
        "completed_successfully",
        &[
            "service_completed_successfully",
            "process_completed_successfully",
            "success",
        ],
    ),
    (
        "always",
        &[
            "unless-stopped",
            "unless_stopped",
            "yes",
            "true",
            "on-success",
            "unexpected",
        ],
    ),
    (
        "on-failure",
        &["on_failure", "on-abnormal", "failure", "error", "onfailure"],
    ),
    (
        "no",
        &["never", "none", "false", "off", "exit_on_failure", "exit_on_end"],
    ),
    ("oneshot", &["task", "job", "one-shot", "one_shot", "batch", "once"]),
    (
        "simple",
        &[
            "service",
            "daemon",
            "forking",
            "notify",
            "exec",
            "foreground",
            "longrun",
        ],
    ),
    ("tree", &["control-group", "cgroup", "mixed", "all"]),
    ("unlimited", &["infinity", "-1", "none"]),
    ("any", &["abort-on-container-exit"]),
    ("failure", &["abort-on-container-failure"]),
];

/// What to write instead of an unknown key, as a sentence that fits at a caret.
pub(super) fn for_key(table: &'static TableShape, word: &str) -> Option<String> {
    let plain = snake(word);
    if table.key(&plain).is_some() {
        return Some(format!("write `{plain}`"));
    }
    let foreign = FOREIGN_KEYS
        .iter()
        .find(|(ours, theirs)| table.key(first_part(ours)).is_some() && theirs.contains(&plain.as_str()));
    if let Some((ours, _)) = foreign {
        return Some(format!("it is called `{ours}` here"));
    }
    if let Some(near) = nearest(&plain, table.keys.iter().map(|key| key.name)) {
        return Some(format!("did you mean `{near}`?"));
    }
    elsewhere(table, &plain)
}

/// A key that exists, but in another table.
fn elsewhere(table: &'static TableShape, word: &str) -> Option<String> {
    let has = |table: &TableShape| table.keys.iter().any(|key: &Key| key.name == word);
    if std::ptr::eq(table, &raw const keys::READY) && has(&keys::HEALTH) {
        return Some("it belongs to `health`".into());
    }
    if std::ptr::eq(table, &raw const keys::PROJECT) && has(&keys::FILE) {
        return Some("it stands at the top of the file, before the first table".into());
    }
    if has(&keys::SERVICE) {
        let is_outside = [&raw const keys::FILE, &raw const keys::PROJECT].contains(&std::ptr::from_ref(table));
        return Some(match is_outside {
            true => "it belongs into `[services.NAME]` or `[defaults]`".into(),
            false => "it is a key of the service itself".into(),
        });
    }
    if has(&keys::PROJECT) {
        return Some("it belongs into `[project]`".into());
    }
    None
}

fn first_part(path: &str) -> &str {
    path.split_once('.').map_or(path, |(first, _)| first)
}

/// What to write instead of an unknown word.
pub(super) fn for_choice(choices: &[&'static str], word: &str) -> Option<String> {
    let plain = word.trim().to_lowercase();
    let foreign = FOREIGN_VALUES
        .iter()
        .find(|(ours, theirs)| choices.contains(ours) && theirs.contains(&plain.as_str()));
    match foreign {
        Some((ours, _)) => Some(format!("it is called `{ours}` here")),
        None => nearest(&plain, choices.iter().copied()).map(|near| format!("did you mean `{near}`?")),
    }
}

/// The candidate that a typing error away from `word`, if there is one.
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    if length == 0 || length > 64 {
        return None;
    }
    let limit = (length / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= limit && distance < candidate.chars().count())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// `workingDir` and `working-dir` as `working_dir`.
fn snake(word: &str) -> String {
    let mut plain = String::with_capacity(word.len() + 4);
    let mut after_lower = false;
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && after_lower {
            plain.push('_');
        }
        after_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        plain.push(if matches!(letter, '-' | ' ' | '.') {
            '_'
        } else {
            letter.to_ascii_lowercase()
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_tools_get_our_name() {
        for (word, ours) in [
            ("cwd", "working_dir"),
            ("environment", "env"),
            ("readiness_probe", "ready"),
            ("stop_grace_period", "stop_timeout"),
            ("stopGracePeriod", "stop_timeout"),
            ("healthcheck", "health"),
            ("livenessProbe", "health"),
            ("availability", "restart"),
            ("ulimits", "limits"),
            ("workingDir", "working_dir"),
            ("restar", "restart"),
            ("depend_on", "depends_on"),
            ("startsecs", "backoff.reset_after"),
        ] {
            let hint = for_key(&keys::SERVICE, word).unwrap_or_default();
            assert!(hint.contains(&format!("`{ours}`")), "{word}: {hint}");
        }
        let hint = for_key(&keys::PREPARE, "command").unwrap_or_default();
        assert!(hint.contains("`run`"), "{hint}");
        let hint = for_key(&keys::READY, "start_timeout").unwrap_or_default();
        assert!(hint.contains("the service itself"), "{hint}");
        let hint = for_choice(&["started", "healthy"], "service_healthy").unwrap_or_default();
        assert!(hint.contains("`healthy`"));
        assert_eq!(for_key(&keys::SERVICE, "qqqqqqqq"), None);
    }

    #[test]
    fn every_foreign_word_leads_to_a_key_that_exists() {
        let tables = [
            &keys::SERVICE,
            &keys::FILE,
            &keys::PROJECT,
            &keys::HEALTH,
            &keys::BACKOFF,
            &keys::WATCH,
            &keys::PORT_TABLE,
            &keys::LOG,
            &keys::DEPENDENCY_TABLE,
            &keys::PREPARE,
        ];
        for (ours, _) in FOREIGN_KEYS {
            let first = first_part(ours);
            let key = tables.iter().find_map(|table| table.key(first)).expect(ours);
            let rest = ours[first.len()..].trim_start_matches('.');
            let has = |table: &TableShape| table.key(rest).is_some();
            assert!(
                rest.is_empty() || matches!(key.shape, crate::spec::Shape::Table(inner) if has(inner)),
                "{ours}"
            );
        }
    }
}
