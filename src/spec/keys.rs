//! Every key of `services.toml`, declared once.

use super::service::{Change, Service};
use super::shape::{Key, Shape, TableShape};
use super::{Difference, compare, written};

const R: Option<Change> = Some(Change::Restart);
const L: Option<Change> = Some(Change::Live);

const ANY_INT: i64 = i64::MAX;

/// Declares the keys of a service. `=> field` names the field of [`Service`] that the key decides; a group of keys
/// that decide one field together names it once.
macro_rules! service_keys {
    ($($name:literal $class:ident $default:literal [$shape:expr] $doc:literal $(=> $field:ident)?;)*) => {
        /// The keys of `[services.NAME]`, `[defaults]` and `[templates.NAME]`.
        pub static SERVICE: TableShape = TableShape {
            name: "service",
            keys: &[$(Key { name: $name, class: $class, shape: $shape, default: $default, doc: $doc }),*],
        };

        /// Compares what the keys decide, in the order of the declaration.
        pub(super) fn compare_service(old: &Service, new: &Service, out: &mut Vec<Difference>) {
            $($(compare::field($name, $class, &old.$field, &new.$field, out);)?)*
        }

        /// Writes what the keys decide, in the order of the declaration.
        pub(super) fn write_service(service: &Service, out: &mut serde_json::Map<String, serde_json::Value>) {
            $($(written::field($name, &service.$field, out);)?)*
        }
    };
}

const N: Option<Change> = None;

service_keys! {
    "command" R "" [Shape::Command] "What is executed; the only key that every service needs. An array is executed directly. A string is executed by `project.shell` if it holds shell syntax (any of ``|&;<>()$`\\*?[]#~{}'\"`` or a newline) or begins with a shell builtin, a reserved word or `NAME=value`; else it is split on blanks and executed directly." => command;
    "working_dir" R "the folder of the file that first defines the service" [Shape::Path] "Where it runs. Relative to the file that names it." => working_dir;
    "env" R "" [Shape::Map(&Shape::EnvValue)] "Environment of this service; wins over everything else." => env;
    "env_file" R "" [Shape::OneOrList(&ENV_FILE)] "Files in the grammar of Compose's env files. `{ path, required = false }` may be missing.";
    "clear_env" R "false" [Shape::Bool] "Start from an empty environment instead of the captured one." => clear_env;
    "user" R "runner's" [Shape::EnvValue] "Name or number of the user. Probes, hooks, prepare steps and stop commands run as the same user." => user;
    "group" R "the user's" [Shape::EnvValue] "Name or number of the group." => group;
    "umask" R "inherited" [Shape::Octal] "Permission bits that new files of the service lack." => umask;
    "nice" R "inherited" [Shape::Integer(-20, 19)] "Scheduling priority, -20 (most favourable) to 19." => nice;
    "limits" R "inherited" [Shape::MapOf(RESOURCES, &LIMIT)] "Resource limits of setrlimit(2): a number for both, or `{ soft, hard }`; `\"unlimited\"` lifts it." => limits;
    "tty" R "false" [Shape::Bool] "Give it a pseudo-terminal, which `runner attach` shows; see [attach](attach.md). What it prints is one stream then. Not with `log = false`." => tty;
    "type" R "simple" [Shape::Choice(&["simple", "oneshot"])] "`oneshot`: expected to end." => kind;
    "success_exit_codes" L "[0]" [Shape::List(&Shape::Integer(0, 255))] "Exit codes that count as success." => success_exit_codes;
    "timeout" L "none" [Shape::Duration] "Oneshot: how long one run may take." => timeout;
    "schedule" L "" [SCHEDULE] "Oneshot: when it runs. A cron line or `\"every 30m\"`, local time, or `{ cron, tz }`. A run that is still going is not doubled, missed runs collapse into one. See [schedules](schedules.md)." => schedule;
    "run_at_start" L "false" [Shape::Bool] "Oneshot with a `schedule`: run at `up` as well." => run_at_start;
    "ports" R "" [Shape::Any(&[Shape::Map(&PORT), Shape::OneOrList(&PORT)])] "The ports it listens on: `[3000]`, `{ http = 3000 }`. `\"auto\"` is a free one, allocated when the file is loaded, that stays the same for this project, service and name over restarts and reboots. `{ port, protocol = \"udp\" }`, `{ port, shared = true }` (several replicas bind it with SO_REUSEPORT)." => ports;
    "on_port_conflict" L "fail" [Shape::Choice(&["fail", "next", "kill"])] "A declared port is taken: `fail` names the owner and starts when it is gone, `next` takes the next free port, `kill` ends the owner first (SIGTERM, after `stop_timeout` SIGKILL), if it is of the service's user and no runner's. See [ports](ports.md)." => on_port_conflict;
    "sockets" R "" [Shape::List(&Shape::Word)] "Names of its `ports` that runner binds and hands over (sd_listen_fds(3): LISTEN_FDS, from descriptor 3 on), so that no connection is refused while it restarts. See [sockets](sockets.md)." => sockets;
    "pid_file" R "" [Shape::Any(&[Shape::Path, Shape::Table(&PID_FILE)])] "For a program that puts itself into the background: it writes this file, and the process that the file names is the service. Relative to `working_dir`. `{ path, write = true }`: runner writes it for a service in the foreground. `{ path, adopt = true }`: a live process of the same user and executable that something else started may be taken over. See [PID files](pid-files.md)." => pid_file;
    "start_timeout" L "60s with a `ready` probe" [Shape::Duration] "From exec to ready; after it the start has failed." => start_timeout;
    "ready" L "the declared TCP ports accept connections" [Shape::Table(&READY)] "Readiness probe; ends at its first success. Without it and without ports (those of `sockets` are none): ready as soon as executed." => ready;
    "health" L "" [Shape::Table(&HEALTH)] "Liveness probe from ready on. `retries` failures in a row = `unhealthy` and, unless `on_failure = \"none\"`, it is stopped and counts as failed." => health;
    "depends_on" L "" [Shape::Any(&[Shape::List(&Shape::Word), Shape::Map(&DEPENDENCY)])] "A list (= `healthy` for a simple service, `completed_successfully` for a oneshot) or a table `{ db = \"healthy\" }`, `{ db = { condition, restart, required } }`." => depends_on;
    "wait_for" L "" [Shape::OneOrList(&Shape::Text)] "Gates outside the file: `\"tcp://host:5432\"`, `\"http://...\"`, `\"file:path\"`." => wait_for;
    "restart" L "on-failure; oneshot: no" [Shape::Choice(&["no", "on-failure", "always"])] "When it is started again after it has ended. A oneshot may have `no` or `on-failure`." => restart;
    "backoff" L "" [Shape::Table(&BACKOFF)] "The delay before a restart." => backoff;
    "max_restarts" L "no limit" [Shape::Integer(0, u32::MAX as i64)] "More than this many within `restart_window` = `failed`." => max_restarts;
    "restart_window" L "60s" [Shape::Duration] "See `max_restarts`." => restart_window;
    "stop_signal" L "SIGTERM" [Shape::Signal] "Asks it to stop." => stop;
    "stop_timeout" L "10s" [Shape::Duration] "Grace after `stop_signal`; then SIGKILL.";
    "stop" L "" [Shape::List(&Shape::Tuple(&[Shape::Signal, Shape::Duration]))] "The ladder form of the two: `[[\"SIGINT\", \"5s\"], [\"SIGTERM\", \"10s\"]]`.";
    "stop_command" L "none" [Shape::Command] "Runs before the stop signal." => stop_command;
    "stop_scope" L "tree" [Shape::Choice(&["tree", "group", "process"])] "`tree`: the stop signal goes to the process group, SIGKILL to it and to every descendant that left it. `group`, `process`: both to no more than that. With a `pid_file` that the service writes, the stop signal goes to the process that it names." => stop_scope;
    "reload_signal" L "" [Shape::Signal] "Used by `runner reload NAME` and by `action = \"reload\"`; goes to the main process." => reload_signal;
    "reload_command" L "" [Shape::Command] "Instead of a signal: a command with the service's environment and user; it fails with any exit code but 0." => reload_command;
    "watch" L "" [Shape::Table(&WATCH)] "Restart, reload or signal it when files change; honours `.gitignore`. See [watch](watch.md)." => watch;
    "prepare" R "" [Shape::List(&Shape::Table(&PREPARE))] "Steps before a start, in order: each is skipped while its command and its `inputs` are unchanged and what it `creates` exists. See [preparing](preparing.md)." => prepare;
    "source" R "" [Shape::Table(&SOURCE)] "Fills `working_dir`, once, before everything else: `{ git = \"https://...\", rev = \"main\" }` or `{ archive = \"site.zip\" }`. See [preparing](preparing.md#source)." => source;
    "files" R "" [Shape::Map(&Shape::Table(&RENDERED))] "Rendered config files by their path, relative to the file that names them. Whole minijinja here; written atomically before the start, only when changed. See [preparing](preparing.md#files)." => files;
    "hooks" L "" [Shape::Table(&HOOKS)] "Commands with the service's environment and user at the turns of its life. See [preparing](preparing.md#hooks)." => hooks;
    "replicas" L "none: one, named as the service" [Shape::Any(&[Shape::Integer(0, 1000), Shape::List(&Shape::Word)])] "`3`, or named instances `[\"8.2\", \"8.3\"]`; members are `web@1`, `php@8.2`. Changing it starts or stops only the difference. See [replicas](replicas.md).";
    "rollout" L "rolling" [Shape::Choice(&["rolling", "all"])] "How an edit or a `restart` reaches several replicas: one at a time, the next when it is ready, or all at once. See [replicas](replicas.md)." => rollout;
    "autostart" L "true" [Shape::Bool] "`false`: started only by name or as a dependency." => autostart;
    "profiles" L "" [Shape::OneOrList(&Shape::Word)] "Started only when one of them is on (`--profile`, `RUNNER_PROFILES`)." => profiles;
    "essential" L "false" [Shape::Bool] "When it has ended with no restart due, everything is stopped and its exit code is ours." => essential;
    "on_supervisor_exit" L "keep" [Shape::Choice(&["keep", "stop"])] "When guardian and daemon were both killed. `keep`: it lives on, and the next `up` goes on with it. `stop`: the next verb that starts runner ends it first; `up` then starts it anew. See [recovery](recovery.md)." => on_supervisor_exit;
    "log" L "" [Shape::Any(&[Shape::Bool, Shape::Table(&LOG)])] "Where the output goes; `false`: nowhere." => log;
    "outputs" L "" [Shape::Map(&Shape::Regex)] "What its log tells, by name: the first match in what this run prints, or of its first group. Shown by `ps`; `services.NAME.outputs.NAME` in others' `env`, array `command` and `files`. See [outputs](outputs.md)." => outputs;
    "secrets" L "" [Shape::OneOrList(&Shape::Text)] "Globs over names of env keys whose values are never shown, besides `*TOKEN*`, `*SECRET*`, `*PASSWORD*` and `*KEY*`." => secrets;
    "memory_limit" L "none" [Shape::Size] "It has failed (`memory_limit`), and is restarted, when the processes of its tree hold more memory than this, as `ps` shows it: what is resident, looked at every 5 s." => memory_limit;
    "description" L "" [Shape::Text] "Free text." => description;
    "labels" L "" [Shape::OneOrList(&Shape::Word)] "`labels = [\"backend\"]` selects in every verb as `@backend`." => labels;
    "extends" N "" [Shape::Word] "A `[templates.NAME]` to start from.";
}

/// Names of `limits`, as in setrlimit(2) in lower case.
pub const RESOURCES: &[&str] = &[
    "as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack",
];

const LIMIT_VALUE: Shape = Shape::Any(&[Shape::Integer(0, ANY_INT), Shape::Choice(&["unlimited"])]);
const LIMIT: Shape = Shape::Any(&[
    Shape::Integer(0, ANY_INT),
    Shape::Choice(&["unlimited"]),
    Shape::Table(&LIMIT_TABLE),
]);
const ENV_FILE: Shape = Shape::Any(&[Shape::Path, Shape::Table(&ENV_FILE_TABLE)]);
const SCHEDULE: Shape = Shape::Any(&[Shape::Cron, Shape::Table(&SCHEDULE_TABLE)]);
const PORT_NUMBER: Shape = Shape::Any(&[Shape::Integer(1, 65535), Shape::Choice(&["auto"])]);
const PORT: Shape = Shape::Any(&[
    Shape::Integer(1, 65535),
    Shape::Choice(&["auto"]),
    Shape::Table(&PORT_TABLE),
]);
const CONDITION: Shape = Shape::Choice(&["started", "healthy", "completed", "completed_successfully"]);
const DEPENDENCY: Shape = Shape::Any(&[CONDITION, Shape::Table(&DEPENDENCY_TABLE)]);
const HTTP: Shape = Shape::Any(&[Shape::Text, Shape::Table(&HTTP_TABLE)]);
const TCP: Shape = Shape::Any(&[Shape::Integer(1, 65535), Shape::Text]);
const STATUS: Shape = Shape::Any(&[Shape::Integer(100, 599), Shape::Text]);

/// Declares one nested table.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident $title:literal: $($name:literal $default:literal [$shape:expr] $text:literal;)*) => {
        $(#[$doc])*
        pub static $table: TableShape = TableShape {
            name: $title,
            keys: &[$(Key { name: $name, class: None, shape: $shape, default: $default, doc: $text }),*],
        };
    };
}

table! {
    /// The file itself.
    FILE "file":
    "include" "" [Shape::OneOrList(&Shape::Word)] "Globs of further files, in byte order of their names, relative to this one. They come before the file that names them.";
    "project" "" [Shape::Table(&PROJECT)] "The project as a whole.";
    "env" "" [Shape::Map(&Shape::EnvValue)] "Environment of every service. In the main and the local file only.";
    "vars" "" [Shape::Map(&Shape::Free)] "Values for templates: `{{ vars.NAME }}`.";
    "defaults" "" [Shape::Table(&SERVICE)] "Any service key; a service's own key wins. In the main and the local file only.";
    "templates" "" [Shape::Map(&Shape::Table(&SERVICE))] "Services to start from with `extends`, never started themselves.";
    "services" "" [Shape::Map(&Shape::Table(&SERVICE))] "What is to run, by name.";
}

table! {
    PROJECT "project":
    "name" "the folder's name" [Shape::Word] "Name of the project.";
    "exit" "all in the foreground, never detached" [Shape::Choice(&["all", "any", "failure", "never"])] "When `runner up` ends by itself: when every, any, or a failed service has ended with no restart due.";
    "exit_code_from" "" [Shape::Word] "When this service ends, everything ends, with its code.";
    "http" "off" [Shape::Word] "Optional HTTP listener (web page and API), `\"127.0.0.1:7070\"`.";
    "shell" "[\"sh\", \"-c\"]" [Shape::List(&Shape::Word)] "What executes commands that hold shell syntax.";
    "state_dir" ".runner" [Shape::Path] "Logs and history.";
    "env_file" "`.env` beside the file, if there is one" [Shape::OneOrList(&ENV_FILE)] "Env files of every service; `[]` for none.";
    "webhooks" "" [Shape::List(&Shape::Table(&WEBHOOK))] "URLs that are told about events.";
}

table! {
    WEBHOOK "webhook":
    "url" "" [Shape::Word] "Where to POST.";
    "events" "all" [Shape::List(&Shape::Word)] "Names of events.";
}

table! {
    ENV_FILE_TABLE "env_file":
    "path" "" [Shape::Path] "The file.";
    "required" "true" [Shape::Bool] "`false`: it may be missing.";
}

table! {
    LIMIT_TABLE "limit":
    "soft" "as hard" [LIMIT_VALUE] "What is enforced; the service may raise it up to `hard`.";
    "hard" "as soft" [LIMIT_VALUE] "The ceiling.";
}

table! {
    SCHEDULE_TABLE "schedule":
    "cron" "" [Shape::Cron] "When.";
    "tz" "local time" [Shape::Zone] "Time zone of the cron line.";
}

table! {
    PORT_TABLE "port":
    "port" "" [PORT_NUMBER] "The number, or `\"auto\"`.";
    "protocol" "tcp" [Shape::Choice(&["tcp", "udp"])] "Protocol.";
    "shared" "false" [Shape::Bool] "Several replicas bind it with SO_REUSEPORT.";
}

table! {
    PID_FILE "pid_file":
    "path" "" [Shape::Path] "The file, relative to `working_dir`.";
    "write" "false" [Shape::Bool] "Runner writes it for a foreground service.";
    "adopt" "false" [Shape::Bool] "A live process of the same user and executable may be taken over.";
}

table! {
    DEPENDENCY_TABLE "dependency":
    "condition" "`healthy`, of a oneshot `completed_successfully`" [CONDITION] "What must be true before the start.";
    "restart" "false" [Shape::Bool] "Restart with the dependency.";
    "required" "true" [Shape::Bool] "`false`: its final failure does not fail this one.";
}

table! {
    BACKOFF "backoff":
    "initial" "500ms" [Shape::Duration] "Before the first restart in a row.";
    "factor" "2.0" [Shape::Number(1.0, 1000.0)] "Each further delay is this many times the one before.";
    "max" "30s" [Shape::Duration] "At most.";
    "jitter" "0.1" [Shape::Number(0.0, 1.0)] "Varied by at most this part of itself.";
    "reset_after" "10s" [Shape::Duration] "Being ready this long forgets earlier failures.";
}

table! {
    WATCH "watch":
    "paths" "" [Shape::OneOrList(&Shape::Text)] "Globs, relative to the file. What one matches counts, and everything below it: `src` is the whole folder.";
    "ignore" "" [Shape::OneOrList(&Shape::Text)] "Globs that are not looked at, besides what `.gitignore` names; one without `/` counts in every folder.";
    "action" "restart" [Shape::Text] "`restart`, `reload` or the name of a signal.";
    "debounce" "200ms" [Shape::Duration] "Quiet time before acting.";
}

table! {
    PREPARE "prepare":
    "run" "" [Shape::Command] "The step. Any exit code but 0 is a failure.";
    "inputs" "" [Shape::OneOrList(&Shape::Text)] "Globs of the files that it depends on, relative to `working_dir`; a folder counts with everything below it.";
    "creates" "" [Shape::Path] "What it makes, relative to `working_dir`: not there, done again.";
}

table! {
    SOURCE "source":
    "git" "" [Shape::Text] "URL of a repository.";
    "rev" "" [Shape::Text] "Branch, tag or commit; default: the repository's own.";
    "archive" "" [Shape::Path] "A zip or tar.gz file.";
}

table! {
    RENDERED "rendered_file":
    "template" "" [Shape::Path] "File with the template.";
    "content" "" [Shape::Verbatim] "The template itself.";
    "reload" "false" [Shape::Bool] "A change reloads the service instead of restarting it.";
}

table! {
    HOOKS "hooks":
    "pre_start" "" [Shape::Command] "Before each start, after `prepare`; if it fails, the start has failed.";
    "post_ready" "" [Shape::Command] "When it has become ready.";
    "pre_stop" "" [Shape::Command] "Before `stop_command` and the stop signal, within `stop_timeout`.";
    "post_stop" "" [Shape::Command] "When nothing of a run is left, however it ended, within `stop_timeout`; `stopped` is said after it.";
    "on_failure" "" [Shape::Command] "When it has failed with no restart due, and when a crash loop begins.";
}

table! {
    LOG "log":
    "file" "STATE_DIR/logs/NAME.log" [Shape::Path] "The file.";
    "max_size" "10MB" [Shape::Size] "A new file is begun before this would be passed.";
    "max_files" "5" [Shape::Integer(1, 10_000)] "Kept files, the current one included.";
    "console" "true" [Shape::Bool] "Shown on the console of `up`.";
}

table! {
    HTTP_TABLE "http":
    "url" "" [Shape::Text] "`\"/path\"` (first port) or a URL.";
    "method" "GET" [Shape::Choice(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])] "Method.";
    "headers" "" [Shape::Map(&Shape::Text)] "Headers to send.";
    "status" "[\"2xx\", \"3xx\"]" [Shape::OneOrList(&STATUS)] "Accepted answers: `200` or `\"2xx\"`.";
    "body" "" [Shape::Regex] "Must match in the first 64 KiB of the body.";
    "json" "" [Shape::Map(&Shape::Json)] "Fields that the body must hold; a key may be a dotted path.";
}

/// Declares the tables that hold a probe: the kinds, and what else stands beside them.
macro_rules! probe_table {
    ($(#[$doc:meta])* $table:ident $title:literal: $($name:literal $default:literal [$shape:expr] $text:literal;)*) => {
        table! {
            $(#[$doc])* $table $title:
            "http" "" [HTTP] "`\"/path\"` (first port), a URL, or a table. Redirects and proxies are not followed.";
            "tcp" "" [TCP] "A port, or `\"host:port\"`.";
            "exec" "" [Shape::Command] "A command that ends with 0; killed as a tree at its timeout.";
            "log" "" [Shape::Regex] "A line of its output matches (`ready` only).";
            "file" "" [Shape::Path] "The path exists.";
            "notify" "" [Shape::True] "The sd_notify protocol: `READY=1`, `STATUS=`, `MAINPID=`, `WATCHDOG=1`.";
            "listen" "" [Shape::True] "The service's own tree has a listening socket.";
            "all" "" [Shape::List(&Shape::Table(&CHECK))] "All of these.";
            "any" "" [Shape::List(&Shape::Table(&CHECK))] "At least one of these.";
            $($name $default [$shape] $text;)*
        }
    };
}

probe_table! {
    /// One member of `all` or `any`.
    CHECK "check":
}

probe_table! {
    READY "ready":
    "interval" "10s" [Shape::Duration] "Ceiling of the time between attempts, which begins at 50 ms.";
    "timeout" "3s" [Shape::Duration] "One attempt as a whole.";
    "success_threshold" "1" [Shape::Integer(1, 1_000_000)] "Successes in a row that count as success.";
    "start_period" "0s" [Shape::Duration] "Failures within this time after the start do not count.";
}

probe_table! {
    HEALTH "health":
    "interval" "10s" [Shape::Duration] "From the end of one attempt to the next.";
    "timeout" "3s" [Shape::Duration] "One attempt as a whole.";
    "retries" "3" [Shape::Integer(1, 1_000_000)] "Failures in a row that make it unhealthy.";
    "success_threshold" "1" [Shape::Integer(1, 1_000_000)] "Successes in a row that count as success.";
    "start_period" "0s" [Shape::Duration] "Failures within this time after ready do not count.";
    "on_failure" "restart" [Shape::Choice(&["restart", "none"])] "`none`: only shown.";
}

/// Keys of a probe table that say what is checked; exactly one of them stands in each.
pub const PROBE_KINDS: &[&str] = &["http", "tcp", "exec", "log", "file", "notify", "listen", "all", "any"];
