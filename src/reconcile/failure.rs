//! Why something failed: a typed reason, the culprit in words, and what to do.

use serde::{Deserialize, Serialize};

/// The vocabulary of `services-toml.md`, "States".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    // before exec, permanent
    CommandNotFound,
    NotExecutable,
    BadInterpreter,
    BadFormat,
    WorkingDirMissing,
    PermissionDenied,
    UserUnknown,
    LimitRefused,
    OutputRefused,
    ArgumentListTooLong,
    // before exec, transient
    Busy,
    OutOfResources,
    // later
    PortInUse,
    ExitedEarly,
    ExitCode,
    Killed,
    OutOfMemory,
    StartTimeout,
    HealthFailed,
    PidFileTimeout,
    DependencyFailed,
    PrepareFailed,
    CrashLoop,
    MemoryLimit,
    StopFailed,
    Unknown,
}

impl Reason {
    /// Before exec and not to be retried until an edit, a `start`, or the missing thing appears at a capped try.
    pub fn is_permanent(self) -> bool {
        use Reason::*;
        match self {
            CommandNotFound | NotExecutable | BadInterpreter | BadFormat | WorkingDirMissing | PermissionDenied
            | UserUnknown | LimitRefused | OutputRefused | ArgumentListTooLong | PortInUse => true,
            Busy | OutOfResources | ExitedEarly | ExitCode | Killed | OutOfMemory | StartTimeout | HealthFailed
            | PidFileTimeout | DependencyFailed | PrepareFailed | CrashLoop | MemoryLimit | StopFailed | Unknown => {
                false
            }
        }
    }

    /// The word that file, CLI, API and page use.
    pub fn as_str(self) -> &'static str {
        use Reason::*;
        match self {
            CommandNotFound => "command_not_found",
            NotExecutable => "not_executable",
            BadInterpreter => "bad_interpreter",
            BadFormat => "bad_format",
            WorkingDirMissing => "working_dir_missing",
            PermissionDenied => "permission_denied",
            UserUnknown => "user_unknown",
            LimitRefused => "limit_refused",
            OutputRefused => "output_refused",
            ArgumentListTooLong => "argument_list_too_long",
            Busy => "busy",
            OutOfResources => "out_of_resources",
            PortInUse => "port_in_use",
            ExitedEarly => "exited_early",
            ExitCode => "exit_code",
            Killed => "killed",
            OutOfMemory => "out_of_memory",
            StartTimeout => "start_timeout",
            HealthFailed => "health_failed",
            PidFileTimeout => "pid_file_timeout",
            DependencyFailed => "dependency_failed",
            PrepareFailed => "prepare_failed",
            CrashLoop => "crash_loop",
            MemoryLimit => "memory_limit",
            StopFailed => "stop_failed",
            Unknown => "unknown",
        }
    }
}

/// One failure, as a person reads it. The last lines of output are added by whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: Reason,
    /// Fits after "failed: ": names the thing (the PATH searched, the owner of the port).
    pub message: String,
    /// Fits after "try: ".
    pub suggestion: Option<String>,
}
