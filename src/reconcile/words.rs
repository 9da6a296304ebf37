//! Failures, causes and blockers in words for a person at the terminal.

use std::time::Duration;

use super::fact::ExitStatus;
use super::failure::{Failure, Reason};
use crate::spec::{Check, Condition, Kind, Schedule, Service, Signal, TcpTarget};

pub(super) fn exit(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(signal) => format!("killed by {signal}"),
        ExitStatus::Unknown => "ended, how is not known".to_owned(),
    }
}

/// `1m30s`, `500ms`, `0s`.
pub(super) fn duration(length: Duration) -> String {
    let (seconds, millis) = (length.as_secs(), length.subsec_millis());
    let mut words = String::new();
    for (unit, name) in [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (millis.into(), "ms"),
    ] {
        if unit > 0 {
            words.push_str(&format!("{unit}{name}"));
        }
    }
    if words.is_empty() { "0s".to_owned() } else { words }
}

/// Of what rests until its time, beside what an `up` would do.
pub(super) fn scheduled(spec: &Service) -> String {
    let text = spec.schedule.as_ref().map_or("", Schedule::text);
    format!("scheduled ({text})")
}

/// `1st`, `2nd`, `3rd`, `4th`, `11th`.
pub(super) fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// `1 try`, `3 tries`.
pub(super) fn count(number: u32, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `once`, `3 times`.
pub(super) fn times(number: u32) -> String {
    match number {
        1 => "once".to_owned(),
        number => format!("{number} times"),
    }
}

/// What a probe looks at, as in "waiting for http :3000/healthz".
pub(super) fn check(check: &Check) -> String {
    match check {
        Check::Http(http) => {
            let local = ["http://127.0.0.1", "http://localhost"]
                .iter()
                .find_map(|host| http.url.strip_prefix(host));
            format!("http {}", local.unwrap_or(&http.url))
        }
        Check::Tcp(target) => format!("tcp {}", tcp(target)),
        Check::Exec(argv) => format!("exec: {}", argv.display()),
        Check::Log(pattern) => format!("log: {pattern}"),
        Check::File(path) => format!("file {}", path.display()),
        Check::Notify => "notify".to_owned(),
        Check::Listen => "a listening socket".to_owned(),
        Check::Binds(port) => format!("a listening socket of its own on :{port}"),
        Check::All(checks) => join(checks, " and "),
        Check::Any(checks) => join(checks, " or "),
    }
}

fn join(checks: &[Check], word: &str) -> String {
    checks.iter().map(check).collect::<Vec<_>>().join(word)
}

fn tcp(target: &TcpTarget) -> String {
    if ["127.0.0.1", "localhost", ""].contains(&target.host.as_str()) {
        format!(":{}", target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    }
}

/// Fits between the name of a dependency and "(its state)".
pub(super) fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "to be started",
        Condition::Healthy => "to be ready",
        Condition::Completed => "to complete",
        Condition::CompletedSuccessfully => "to complete successfully",
    }
}

/// A run that ended in a way that is no success. `had_to_get_ready`: it had a readiness probe left to pass.
pub(super) fn ended(service: &Service, status: ExitStatus, out_of_memory: bool, had_to_get_ready: bool) -> Failure {
    let mut message = exit(status);
    let reason = match status {
        _ if out_of_memory => {
            message = "killed by the kernel: out of memory".to_owned();
            Reason::OutOfMemory
        }
        _ if had_to_get_ready => {
            message.push_str(" before it was ready");
            Reason::ExitedEarly
        }
        ExitStatus::Code(_) => Reason::ExitCode,
        ExitStatus::Signal(_) => Reason::Killed,
        ExitStatus::Unknown => Reason::Unknown,
    };
    let suggestion = match (reason, status) {
        (Reason::OutOfMemory, _) => {
            Some("give the machine or the container more memory, or let it use less".to_owned())
        }
        (_, ExitStatus::Code(127)) if service.command.shell => Some(format!(
            "the shell did not find a command of `{}`",
            service.command.display()
        )),
        (_, ExitStatus::Code(126)) if service.command.shell => Some(format!(
            "the shell could not execute a command of `{}`",
            service.command.display()
        )),
        (_, ExitStatus::Signal(signal)) if signal == Signal::KILL => {
            Some("somebody sent SIGKILL, or the kernel was out of memory (see `dmesg`)".to_owned())
        }
        // It has said everything where it was typed.
        _ if service.is_command_line() => None,
        _ => Some(format!("see `runner logs {}`", service.name)),
    };
    Failure {
        reason,
        message,
        suggestion,
    }
}

/// A stopping service whose main process is no more.
pub(super) fn left_others() -> String {
    "its main process has ended, others that it started still run".to_owned()
}

/// A simple service whose process exited well and left others running.
pub(super) fn daemonised(service: &Service, status: ExitStatus) -> Failure {
    if service.followed_pid_file().is_some() {
        return Failure {
            reason: Reason::ExitedEarly,
            message: format!("{}, but it left processes running", exit(status)),
            suggestion: Some(format!("see `runner logs {}`", service.name)),
        };
    }
    Failure {
        reason: Reason::ExitedEarly,
        message: format!(
            "{}, but it left processes running: it put itself into the background",
            exit(status)
        ),
        suggestion: Some(format!(
            "let services.{0}.command stay in the foreground (nginx: `-g 'daemon off;'`, redis: `--daemonize no`), or name the \
             file that it writes its number to as services.{0}.pid_file",
            service.name
        )),
    }
}

/// What was started has put itself into the background, as a service with a PID file may.
pub(super) fn background(status: ExitStatus) -> String {
    format!("it went into the background ({})", exit(status))
}

/// A main process that is waited for. Fits after "waiting for ".
pub(super) fn awaited(service: &Service, doubt: Option<&str>) -> Option<String> {
    let path = service.followed_pid_file()?.display();
    Some(match doubt {
        Some(doubt) => format!("pid_file {path} ({doubt})"),
        None => format!("pid_file {path}"),
    })
}

/// The PID file did not name the main process in time. `status`: of the launcher, if it has ended.
pub(super) fn pid_file_timeout(
    service: &Service,
    limit: Duration,
    status: Option<ExitStatus>,
    doubt: Option<&str>,
) -> Failure {
    let path = service.followed_pid_file().map(|path| path.display().to_string());
    let path = path.unwrap_or_default();
    let launcher = status.map_or(String::new(), |status| format!("{}; ", background(status)));
    let doubt = doubt.unwrap_or("it was not written");
    Failure {
        reason: Reason::PidFileTimeout,
        message: format!(
            "{launcher}{path} has named none of its processes within {}: {doubt}",
            duration(limit)
        ),
        suggestion: Some(format!(
            "let services.{}.pid_file be the file that `{}` writes, or let it stay in the foreground",
            service.name, service.command.words[0]
        )),
    }
}

/// A service that promises a daemon by its PID file has left none.
pub(super) fn no_daemon(service: &Service, status: ExitStatus) -> Failure {
    Failure {
        reason: Reason::ExitedEarly,
        message: format!(
            "{}, and nothing that it started still runs, although its `pid_file` announces a daemon",
            exit(status)
        ),
        suggestion: Some(format!(
            "see `runner logs {0}`, and the log of {0} itself",
            service.name
        )),
    }
}

pub(super) fn start_timeout(service: &Service, limit: Duration, last: Option<&str>, attempts: u32) -> Failure {
    let waited_for = match (&service.ready, last) {
        (Some(probe), Some(last)) => format!(
            ": {} ({last}, {})",
            check(&probe.check),
            count(attempts, "try", "tries")
        ),
        (Some(probe), None) => format!(": {}", check(&probe.check)),
        (None, _) => String::new(),
    };
    Failure {
        reason: Reason::StartTimeout,
        message: format!("not ready within {}{waited_for}", duration(limit)),
        suggestion: Some(format!(
            "see `runner logs {0}`, or raise `start_timeout` of services.{0}",
            service.name
        )),
    }
}

pub(super) fn exec_hangs(service: &Service, limit: Duration) -> Failure {
    Failure {
        reason: Reason::StartTimeout,
        message: format!("the program was not executed within {}", duration(limit)),
        suggestion: Some(format!(
            "is the file system that holds `{}` answering?",
            service.command.words[0]
        )),
    }
}

pub(super) fn took_too_long(service: &Service, limit: Duration) -> Failure {
    Failure {
        reason: Reason::StartTimeout,
        message: format!("still running after its `timeout` of {}", duration(limit)),
        suggestion: Some(format!(
            "see `runner logs {0}`, or raise `timeout` of services.{0}",
            service.name
        )),
    }
}

pub(super) fn still_starting(service: &Service, after: Duration, last: Option<&str>) -> String {
    let probe = service
        .ready
        .as_ref()
        .map_or(String::new(), |probe| format!(", waiting for {}", check(&probe.check)));
    let last = last.map_or(String::new(), |last| format!(" ({last})"));
    format!("still starting after {}{probe}{last}", duration(after))
}

pub(super) fn unhealthy(service: &Service, last: Option<&str>) -> String {
    let what = service
        .health
        .as_ref()
        .map_or(String::new(), |probe| check(&probe.check));
    let tries = service.health.as_ref().map_or(1, |probe| probe.retries);
    let last = last.unwrap_or("no answer");
    match tries {
        1 => format!("{what} failed ({last})"),
        tries => format!("{what} failed {tries} times in a row ({last})"),
    }
}

pub(super) fn health_failed(service: &Service, message: String) -> Failure {
    Failure {
        reason: Reason::HealthFailed,
        message,
        suggestion: Some(format!("see `runner logs {}`", service.name)),
    }
}

pub(super) fn memory_limit(service: &Service, bytes: u64, limit: u64) -> Failure {
    let amount = |bytes: u64| match bytes as f64 / 1e6 {
        small if small < 10.0 => format!("{small:.1} MB"),
        large => format!("{large:.0} MB"),
    };
    Failure {
        reason: Reason::MemoryLimit,
        message: format!(
            "its processes held {} of memory, more than {} (memory_limit)",
            amount(bytes),
            amount(limit)
        ),
        suggestion: Some(format!(
            "look for a leak, or raise `memory_limit` of services.{}",
            service.name
        )),
    }
}

pub(super) fn stop_failed(leftovers: &[String]) -> Failure {
    let what = if leftovers.is_empty() {
        "its processes".to_owned()
    } else {
        leftovers.join(", ")
    };
    Failure {
        reason: Reason::StopFailed,
        message: format!("still there after SIGKILL: {what}"),
        suggestion: Some(
            "it hangs in the kernel, often on a lost disk or network mount; it is killed again from time to time"
                .to_owned(),
        ),
    }
}

pub(super) fn crash_loop(restarts: u32, last: &Failure) -> Failure {
    Failure {
        reason: Reason::CrashLoop,
        message: format!(
            "it ends again and again, restarted {}; last: {}",
            times(restarts),
            last.message
        ),
        suggestion: last.suggestion.clone(),
    }
}

pub(super) fn gave_up(service: &Service, last: &Failure) -> Failure {
    let max = service.max_restarts.unwrap_or(0);
    if max == 0 {
        return last.clone();
    }
    Failure {
        reason: Reason::CrashLoop,
        message: format!(
            "it ended {} within {} (max_restarts = {max}); last: {}",
            times(max.saturating_add(1)),
            duration(service.restart_window),
            last.message
        ),
        suggestion: last.suggestion.clone(),
    }
}

/// `culprit` failed for good, so a service that needs it can't start.
pub(super) fn dependency_failed(culprit: &str, why: &str) -> Failure {
    Failure {
        reason: Reason::DependencyFailed,
        message: format!("needs {culprit}, which {why}"),
        suggestion: Some(format!(
            "see `runner logs {culprit}`; it starts once {culprit} is there after all"
        )),
    }
}

/// The role of a run, for the cause of a completed service.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Simple => "ended by itself",
        Kind::Oneshot => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::sim::build;

    #[test]
    fn durations_read_like_the_file() {
        let words: Vec<String> = [0, 500, 10_000, 90_000, 3_600_000]
            .map(Duration::from_millis)
            .map(duration)
            .into();
        assert_eq!(words, ["0s", "500ms", "10s", "1m30s", "1h"]);
    }

    #[test]
    fn every_exit_names_itself() {
        let service = build::service("web");
        let failure = ended(&service, ExitStatus::Signal(Signal::from_number(11)), false, false);
        assert_eq!(
            (failure.reason, failure.message.as_str()),
            (Reason::Killed, "killed by SIGSEGV")
        );
        let failure = ended(&service, ExitStatus::Code(3), false, true);
        assert_eq!(
            (failure.reason, failure.message.as_str()),
            (Reason::ExitedEarly, "exit code 3 before it was ready")
        );
        assert_eq!(
            ended(&service, ExitStatus::Signal(Signal::KILL), true, false).reason,
            Reason::OutOfMemory
        );
    }
}
