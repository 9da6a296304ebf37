//! What differs between two versions of one service, and what it costs.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::keys::compare_service;
use super::probe::{Check, Probe};
use super::replica::Rollout;
use super::schedule::Schedule;
use super::service::{
    Backoff, Change, Dependency, Gate, Kind, Limit, LogTarget, PidFile, Port, PortConflict, Protocol, Resource,
    Restart, Rung, Service, StopScope, SupervisorExit,
};
use super::setup::{Hooks, PrepareStep, RenderedFile, Source};
use super::watch::Watch;
use super::written::{Written, size_text};
use super::{Argv, Bytes, OutputName, ServiceName};

/// One difference, named as in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `command`, `env.PORT`, `health.interval`, `ports.http`.
    pub field: String,
    pub class: Change,
    /// `10s -> 5s`, where both are short and no secret. Values of the environment and commands never appear.
    pub from_to: Option<String>,
}

impl Service {
    /// What an edit from `self` to `other` changes, in the order of the reference.
    ///
    /// Resolved values are compared, so that an edit which means the same is no difference.
    pub fn differences(&self, other: &Service) -> Vec<Difference> {
        let mut differences = Vec::new();
        compare_service(self, other, &mut differences);
        differences
    }
}

/// `1m30s`, `500ms`, `0s`: the shortest form that `config` reads back as the same duration, down to nanoseconds.
pub fn duration_text(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    let units: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    for (unit, nanoseconds) in units {
        let count = rest / nanoseconds;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= nanoseconds;
        }
    }
    text
}

/// Adds the differences of one key.
pub(super) fn field<T: Compare + ?Sized>(
    name: &str,
    class: Option<Change>,
    old: &T,
    new: &T,
    out: &mut Vec<Difference>,
) {
    let class = class.expect("every key that decides a field has a class");
    let before = out.len();
    let path = name.to_owned();
    old.compare(new, &mut Report { path, class, out });
    if name == "umask" {
        // Written in octal, so that a decimal number would mislead.
        out[before..]
            .iter_mut()
            .for_each(|difference| difference.from_to = None);
    }
}

/// Where differences are noted down.
pub(super) struct Report<'a> {
    path: String,
    class: Change,
    out: &'a mut Vec<Difference>,
}

impl Report<'_> {
    fn note(&mut self, from_to: Option<String>) {
        self.out.push(Difference {
            field: self.path.clone(),
            class: self.class,
            from_to,
        });
    }

    fn shown(&mut self, old: impl Display, new: impl Display) {
        self.note(Some(format!("{old} -> {new}")));
    }

    fn at<T: Compare + ?Sized>(&mut self, key: &str, old: &T, new: &T) {
        let parent = self.path.len();
        self.path.push('.');
        self.path.push_str(key);
        old.compare(new, self);
        self.path.truncate(parent);
    }

    /// As [`Report::at`], with a name that replaces the path.
    fn named<T: Compare + ?Sized>(&mut self, name: &str, old: &T, new: &T) {
        let path = std::mem::replace(&mut self.path, name.to_owned());
        old.compare(new, self);
        self.path = path;
    }
}

/// How values of one type differ.
pub(super) trait Compare {
    fn compare(&self, other: &Self, report: &mut Report<'_>);
}

/// Types whose values are short and may be shown.
macro_rules! shown {
    ($($kind:ty => |$value:ident| $text:expr;)*) => {$(
        impl Compare for $kind {
            fn compare(&self, other: &Self, report: &mut Report<'_>) {
                if self != other {
                    let text = |$value: &$kind| $text.to_string();
                    report.shown(text(self), text(other));
                }
            }
        }

        impl Compare for Option<$kind> {
            fn compare(&self, other: &Self, report: &mut Report<'_>) {
                if self != other {
                    let text = |value: &Option<$kind>| value.as_ref().map_or("none".to_owned(), |$value| $text.to_string());
                    report.shown(text(self), text(other));
                }
            }
        }
    )*};
}

shown! {
    bool => |value| value;
    u32 => |value| value;
    i32 => |value| value;
    Bytes => |value| size_text(*value);
    f64 => |value| value;
    Duration => |value| duration_text(*value);
    Kind => |value| match value { Kind::Simple => "simple", Kind::Oneshot => "oneshot" };
    Restart => |value| match value { Restart::No => "no", Restart::OnFailure => "on-failure", Restart::Always => "always" };
    SupervisorExit => |value| match value { SupervisorExit::Keep => "keep", SupervisorExit::Stop => "stop" };
    StopScope => |value| match value { StopScope::Tree => "tree", StopScope::Group => "group", StopScope::Process => "process" };
    PortConflict => |value| match value { PortConflict::Fail => "fail", PortConflict::Next => "next", PortConflict::Kill => "kill" };
    Rollout => |value| match value { Rollout::Rolling => "rolling", Rollout::All => "all" };
    super::Signal => |value| value;
}

/// Where a number came from is no difference.
impl Compare for Port {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        let text = |port: &Port| match port.protocol {
            Protocol::Tcp => port.number.to_string(),
            Protocol::Udp => format!("{}/udp", port.number),
        };
        let (old, new) = (text(self), text(other));
        if old != new {
            report.shown(old, new);
        } else if self.shared != other.shared {
            report.note(None);
        }
    }
}

/// Types that are only said to differ: long, or perhaps secret.
macro_rules! hidden {
    ($($kind:ty),* $(,)?) => {$(
        impl Compare for $kind {
            fn compare(&self, other: &Self, report: &mut Report<'_>) {
                if self != other {
                    report.note(None);
                }
            }
        }
    )*};
}

hidden!(
    String,
    Option<String>,
    PathBuf,
    Limit,
    Dependency,
    LogTarget,
    Option<PidFile>,
    Option<Watch>,
    Option<Source>,
    Vec<u8>,
    Vec<String>,
    Vec<Gate>,
);

/// As `hidden!`, for types that the file can say in several ways: they differ if they are written differently.
macro_rules! hidden_as_written {
    ($($kind:ty),* $(,)?) => {$(
        impl Compare for $kind {
            fn compare(&self, other: &Self, report: &mut Report<'_>) {
                if self != other && self.written() != other.written() {
                    report.note(None);
                }
            }
        }
    )*};
}

hidden_as_written!(Argv, Option<Argv>, Check, Vec<PrepareStep>);

impl Compare for Option<Schedule> {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        let text = |schedule: &Option<Schedule>| schedule.as_ref().map_or("none", Schedule::text).to_owned();
        match self.written() == other.written() {
            true => {}
            false if text(self) == text(other) => report.note(None),
            false => report.shown(text(self), text(other)),
        }
    }
}

impl Compare for Hooks {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        report.at("pre_start", &self.pre_start, &other.pre_start);
        report.at("post_ready", &self.post_ready, &other.post_ready);
        report.at("pre_stop", &self.pre_stop, &other.pre_stop);
        report.at("post_stop", &self.post_stop, &other.post_stop);
        report.at("on_failure", &self.on_failure, &other.on_failure);
    }
}

/// Its content is not shown: it may hold a secret.
impl Compare for RenderedFile {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        if self.content != other.content {
            report.note(None);
            // What others tell is only given to a run when it is started.
            let known = OutputName::all_in(&self.content).collect::<Vec<_>>();
            let is_known = OutputName::all_in(&other.content).all(|name| known.contains(&name));
            let is_live = self.reload && other.reload && is_known;
            if let Some(difference) = report.out.last_mut().filter(|_| is_live) {
                difference.class = Change::Live;
            }
        } else if self.reload != other.reload {
            let class = std::mem::replace(&mut report.class, Change::Live);
            report.at("reload", &self.reload, &other.reload);
            report.class = class;
        }
    }
}

/// Tables: key by key. The order of keys is not a difference.
fn compare_maps<K, V: Compare>(
    old: &IndexMap<K, V>,
    new: &IndexMap<K, V>,
    report: &mut Report<'_>,
    name: impl Fn(&K) -> String,
) where
    K: std::hash::Hash + Eq,
{
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let mut lonely: Vec<&K> = gone.collect();
    for (key, value) in new {
        match old.get(key) {
            Some(before) => report.at(&name(key), before, value),
            None => lonely.push(key),
        }
    }
    for key in lonely {
        let parent = report.path.len();
        report.path.push('.');
        report.path.push_str(&name(key));
        report.note(None);
        report.path.truncate(parent);
    }
}

impl<V: Compare> Compare for IndexMap<String, V> {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        compare_maps(self, other, report, String::clone);
    }
}

impl Compare for IndexMap<ServiceName, Dependency> {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        compare_maps(self, other, report, ServiceName::to_string);
    }
}

impl Compare for IndexMap<Resource, Limit> {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        compare_maps(self, other, report, |resource| format!("{resource:?}").to_lowercase());
    }
}

impl Compare for Option<Probe> {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        match (self, other) {
            (Some(old), Some(new)) => old.compare(new, report),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => report.note(None),
        }
    }
}

impl Compare for Probe {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        if self.check != other.check {
            match (kind_of(&self.check), kind_of(&other.check)) {
                (old, new) if old == new => report.at(new, &self.check, &other.check),
                _ => report.note(None),
            }
        }
        report.at("interval", &self.interval, &other.interval);
        report.at("timeout", &self.timeout, &other.timeout);
        report.at("retries", &self.retries, &other.retries);
        report.at("success_threshold", &self.success_threshold, &other.success_threshold);
        report.at("start_period", &self.start_period, &other.start_period);
        if self.restart_on_failure != other.restart_on_failure {
            let word = |restart: bool| if restart { "restart" } else { "none" };
            let parent = report.path.len();
            report.path.push_str(".on_failure");
            report.shown(word(self.restart_on_failure), word(other.restart_on_failure));
            report.path.truncate(parent);
        }
    }
}

pub(super) fn kind_of(check: &Check) -> &'static str {
    match check {
        Check::Http(_) => "http",
        Check::Tcp(_) => "tcp",
        Check::Exec(_) => "exec",
        Check::Log(_) => "log",
        Check::File(_) => "file",
        Check::Notify => "notify",
        Check::Listen | Check::Binds(_) => "listen",
        Check::All(_) => "all",
        Check::Any(_) => "any",
    }
}

impl Compare for Backoff {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        report.at("initial", &self.initial, &other.initial);
        report.at("factor", &self.factor, &other.factor);
        report.at("max", &self.max, &other.max);
        report.at("jitter", &self.jitter, &other.jitter);
        report.at("reset_after", &self.reset_after, &other.reset_after);
    }
}

/// A ladder of one rung is what `stop_signal` and `stop_timeout` say.
impl Compare for Vec<Rung> {
    fn compare(&self, other: &Self, report: &mut Report<'_>) {
        match (self.as_slice(), other.as_slice()) {
            ([old], [new]) => {
                report.named("stop_signal", &old.signal, &new.signal);
                report.named("stop_timeout", &old.wait, &new.wait);
            }
            (old, new) if old != new => {
                let path = std::mem::replace(&mut report.path, "stop".into());
                report.note(None);
                report.path = path;
            }
            _ => {}
        }
    }
}
