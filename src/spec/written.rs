//! A checked service as the file would say it: its keys in the order of the reference, its values in the file's forms.
//!
//! Read again it means the same. What it means is written, not how it came about: the words that are executed, the
//! number of an `"auto"` port, absolute paths, every default. `{{` stands for itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::common::Bytes;
use super::compare::{duration_text, kind_of};
use super::keys::{SERVICE, write_service};
use super::outputs::as_template;
use super::probe::{Check, HttpCheck, Probe, StatusPattern, TcpTarget};
use super::replica::Rollout;
use super::schedule::Schedule;
use super::service::{
    Backoff, Dependency, Gate, Kind, Limit, LogTarget, PidFile, PidFileMode, Port, PortConflict, Protocol, Resource,
    Restart, Rung, Service, StopScope, SupervisorExit,
};
use super::setup::{Hooks, PrepareStep, RenderedFile, Source};
use super::shape::{Key, Shape};
use super::watch::{Watch, WatchGlob};
use super::{Argv, ServiceName, Signal};

impl Service {
    /// The table `[services.NAME]`.
    pub fn written(&self) -> Value {
        let mut out = Map::new();
        write_service(self, &mut out);
        // A `ready` that stands there limits the start to 60 s unless told otherwise; the default one does not.
        if self.ready_is_default {
            out.shift_remove("ready");
        }
        if self.schedule.is_none() {
            out.shift_remove("run_at_start");
        }
        Value::Object(out)
    }
}

/// Writes what one key decides.
pub(super) fn field<T: Written>(name: &str, value: &T, out: &mut Map<String, Value>) {
    value.write(SERVICE.key(name).expect("it is declared there"), out);
}

/// How values of one type are written.
pub(super) trait Written {
    /// `None`: the key is left out.
    fn written(&self) -> Option<Value>;

    fn write(&self, key: &Key, out: &mut Map<String, Value>) {
        if let Some(value) = self.written() {
            out.insert(key.name.to_owned(), fitted(value, &key.shape));
        }
    }
}

/// A value in the form of its key, where one type stands for several.
fn fitted(value: Value, shape: &Shape) -> Value {
    match (shape, value) {
        (Shape::Octal, Value::Number(bits)) => json!(format!("{:03o}", bits.as_u64().unwrap_or_default())),
        // `ready` and `health` are one type, but some of its numbers are for one of them only.
        (Shape::Table(table), Value::Object(mut members)) => {
            members.retain(|name, _| table.key(name).is_some());
            Value::Object(members)
        }
        (_, value) => value,
    }
}

/// Types whose serialised form is that of the file.
macro_rules! as_serialised {
    ($($kind:ty),* $(,)?) => {$(
        impl Written for $kind {
            fn written(&self) -> Option<Value> {
                Some(json!(self))
            }
        }
    )*};
}

// An empty list of exit codes says something: none is a success.
as_serialised!(
    bool,
    u32,
    i32,
    f64,
    Vec<u8>,
    Kind,
    Restart,
    StopScope,
    SupervisorExit,
    PortConflict,
    Rollout,
    Dependency,
);

impl<T: Written> Written for Option<T> {
    fn written(&self) -> Option<Value> {
        self.as_ref()?.written()
    }
}

impl Written for PathBuf {
    fn written(&self) -> Option<Value> {
        Some(path(self))
    }
}

fn path(path: &Path) -> Value {
    json!(path.to_string_lossy())
}

impl Written for Duration {
    fn written(&self) -> Option<Value> {
        Some(duration(*self))
    }
}

fn duration(duration: Duration) -> Value {
    json!(duration_text(duration))
}

impl Written for Bytes {
    fn written(&self) -> Option<Value> {
        Some(json!(size_text(*self)))
    }
}

/// `10MB`, `1MiB`, `4097B`: in the largest unit that makes it a whole number.
pub(super) fn size_text(bytes: Bytes) -> String {
    const UNITS: [(&str, Bytes); 8] = [
        ("TiB", 1 << 40),
        ("TB", 1_000_000_000_000),
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("KB", 1_000),
    ];
    let unit = UNITS.iter().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size));
    let (unit, size) = unit.unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / size)
}

impl Written for Signal {
    fn written(&self) -> Option<Value> {
        Some(json!(self.to_string()))
    }
}

impl Written for Schedule {
    fn written(&self) -> Option<Value> {
        Some(match self.tz() {
            Some(tz) => json!({ "cron": self.text(), "tz": tz }),
            None => json!(self.text()),
        })
    }
}

impl Written for Argv {
    fn written(&self) -> Option<Value> {
        Some(self.words.iter().map(|word| json!(as_template(word))).collect())
    }
}

impl Written for String {
    fn written(&self) -> Option<Value> {
        Some(json!(as_template(self)))
    }
}

impl Written for Vec<String> {
    fn written(&self) -> Option<Value> {
        (!self.is_empty()).then(|| json!(self))
    }
}

/// A table, unless it is empty.
fn table<'t, V: Written + 't>(entries: impl Iterator<Item = (String, &'t V)>) -> Option<Value> {
    let members: Map<String, Value> = entries
        .filter_map(|(name, value)| Some((name, value.written()?)))
        .collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

impl<V: Written> Written for IndexMap<String, V> {
    fn written(&self) -> Option<Value> {
        table(self.iter().map(|(name, value)| (name.clone(), value)))
    }
}

impl<V: Written> Written for IndexMap<ServiceName, V> {
    fn written(&self) -> Option<Value> {
        table(self.iter().map(|(name, value)| (name.to_string(), value)))
    }
}

impl Written for IndexMap<Resource, Limit> {
    fn written(&self) -> Option<Value> {
        table(
            self.iter()
                .map(|(resource, limit)| (format!("{resource:?}").to_lowercase(), limit)),
        )
    }
}

impl Written for Watch {
    fn written(&self) -> Option<Value> {
        let globs = |globs: &[WatchGlob]| globs.iter().map(WatchGlob::text).collect::<Vec<_>>();
        let mut members = Map::new();
        members.insert("paths".to_owned(), json!(globs(&self.paths)));
        if !self.ignore.is_empty() {
            members.insert("ignore".to_owned(), json!(globs(&self.ignore)));
        }
        members.insert("action".to_owned(), json!(self.action.text()));
        members.insert("debounce".to_owned(), duration(self.debounce));
        Some(Value::Object(members))
    }
}

impl Written for Vec<PrepareStep> {
    fn written(&self) -> Option<Value> {
        let step = |step: &PrepareStep| {
            let mut members = Map::from_iter([("run".to_owned(), json!(step.run.words))]);
            if !step.inputs.is_empty() {
                let inputs: Vec<_> = step.inputs.iter().map(WatchGlob::text).collect();
                members.insert("inputs".to_owned(), json!(inputs));
            }
            if let Some(creates) = &step.creates {
                members.insert("creates".to_owned(), path(creates));
            }
            Value::Object(members)
        };
        (!self.is_empty()).then(|| self.iter().map(step).collect())
    }
}

impl Written for Source {
    fn written(&self) -> Option<Value> {
        Some(match self {
            Source::Git { url, rev: None } => json!({ "git": url }),
            Source::Git { url, rev: Some(rev) } => json!({ "git": url, "rev": rev }),
            Source::Archive(file) => json!({ "archive": path(file) }),
        })
    }
}

impl Written for RenderedFile {
    fn written(&self) -> Option<Value> {
        Some(json!({ "content": as_template(&self.content), "reload": self.reload }))
    }
}

impl Written for Hooks {
    fn written(&self) -> Option<Value> {
        table(self.each().map(|(key, argv)| (key.to_owned(), argv)))
    }
}

impl Written for Limit {
    fn written(&self) -> Option<Value> {
        let value = |limit: Option<u64>| limit.map_or(json!("unlimited"), |number| json!(number));
        Some(if self.soft == self.hard {
            value(self.soft)
        } else {
            json!({ "soft": value(self.soft), "hard": value(self.hard) })
        })
    }
}

impl Written for Port {
    fn written(&self) -> Option<Value> {
        if self.protocol == Protocol::Tcp && !self.shared {
            return Some(json!(self.number));
        }
        Some(json!({ "port": self.number, "protocol": self.protocol, "shared": self.shared }))
    }
}

impl Written for Vec<Gate> {
    fn written(&self) -> Option<Value> {
        let gates = self.iter().map(|gate| match gate {
            Gate::Tcp(target) => format!("tcp://{}", target_text(target)),
            Gate::Http(url) => url.clone(),
            Gate::File(path) => format!("file:{}", path.display()),
        });
        (!self.is_empty()).then(|| gates.collect())
    }
}

fn target_text(TcpTarget { host, port }: &TcpTarget) -> String {
    if host.contains(':') {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

impl Written for Backoff {
    fn written(&self) -> Option<Value> {
        Some(json!({
            "initial": duration(self.initial),
            "factor": self.factor,
            "max": duration(self.max),
            "jitter": self.jitter,
            "reset_after": duration(self.reset_after),
        }))
    }
}

/// A ladder of one rung is what `stop_signal` and `stop_timeout` say.
impl Written for Vec<Rung> {
    fn written(&self) -> Option<Value> {
        Some(
            self.iter()
                .map(|rung| json!([rung.signal.to_string(), duration(rung.wait)]))
                .collect(),
        )
    }

    fn write(&self, _: &Key, out: &mut Map<String, Value>) {
        if let [rung] = self.as_slice() {
            field("stop_signal", &rung.signal, out);
            field("stop_timeout", &rung.wait, out);
        } else if let Some(ladder) = self.written() {
            out.insert("stop".to_owned(), ladder);
        }
    }
}

impl Written for PidFile {
    fn written(&self) -> Option<Value> {
        let file = path(&self.path);
        Some(match self.mode {
            PidFileMode::Follow => file,
            PidFileMode::Adopt => json!({ "path": file, "adopt": true }),
            PidFileMode::Write => json!({ "path": file, "write": true }),
        })
    }
}

impl Written for LogTarget {
    fn written(&self) -> Option<Value> {
        Some(match self {
            LogTarget::Off | LogTarget::Inherited => json!(false),
            LogTarget::File(log) => json!({
                "file": path(&log.file),
                "max_size": size_text(log.max_size),
                "max_files": log.max_files,
                "console": log.console,
            }),
            LogTarget::Memory(log) => json!({
                "max_size": size_text(log.max_size),
                "console": log.console,
            }),
        })
    }
}

impl Written for Probe {
    fn written(&self) -> Option<Value> {
        let mut members = check(&self.check);
        let numbers = [
            ("interval", duration(self.interval)),
            ("timeout", duration(self.timeout)),
            ("retries", json!(self.retries)),
            ("success_threshold", json!(self.success_threshold)),
            ("start_period", duration(self.start_period)),
            (
                "on_failure",
                json!(if self.restart_on_failure { "restart" } else { "none" }),
            ),
        ];
        members.extend(numbers.map(|(name, value)| (name.to_owned(), value)));
        Some(Value::Object(members))
    }
}

impl Written for Check {
    fn written(&self) -> Option<Value> {
        Some(Value::Object(check(self)))
    }
}

/// The key that says what is checked.
fn check(check: &Check) -> Map<String, Value> {
    let value = match check {
        Check::Http(http) => self::http(http),
        Check::Tcp(target) => json!(target_text(target)),
        Check::Exec(argv) => json!(argv.words),
        Check::Log(pattern) => json!(pattern),
        Check::File(file) => path(file),
        // Only a default probe asks for the port, and that is not written.
        Check::Notify | Check::Listen | Check::Binds(_) => json!(true),
        Check::All(checks) | Check::Any(checks) => checks.iter().map(self::check).map(Value::Object).collect(),
    };
    Map::from_iter([(kind_of(check).to_owned(), value)])
}

fn http(http: &HttpCheck) -> Value {
    let status = http.status.iter().map(|pattern| match pattern {
        StatusPattern::Exact(status) => json!(status),
        StatusPattern::Class(class) => json!(format!("{class}xx")),
    });
    let mut members = Map::from_iter([
        ("url".to_owned(), json!(http.url)),
        ("method".to_owned(), json!(http.method)),
        ("status".to_owned(), status.collect()),
    ]);
    if !http.headers.is_empty() {
        members.insert("headers".to_owned(), json!(http.headers));
    }
    if let Some(body) = &http.body {
        members.insert("body".to_owned(), json!(body));
    }
    if !http.json.is_empty() {
        members.insert("json".to_owned(), json!(http.json));
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_and_short() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1024, "1KiB"),
            (10_000_000, "10MB"),
            (1 << 20, "1MiB"),
            (1_000_001, "1000001B"),
            (3 << 40, "3TiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
