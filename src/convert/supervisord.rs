//! supervisord: `[program:NAME]` sections.

use super::draft::{Draft, Service, Value};
use super::expand::MOST;
use super::ini::{self, Section};
use super::names::{self, Names};
use super::node::{Entry, Mark, Value as Node_};
use super::report::Report;
use super::toml_text::literal;
use super::{Fault, Input, MOST_SERVICES, words};

/// About supervisord itself.
const ITS_OWN: &[&str] = &["unix_http_server", "inet_http_server", "supervisorctl"];

pub(super) fn convert(input: &Input, report: &mut Report) -> Result<Draft, Fault> {
    let sections = ini::parse(input.text)?;
    let mut draft = Draft::default();
    let mut conversion = Conversion {
        base: input.base,
        names: Names::default(),
        groups: Vec::new(),
        report,
    };
    for section in sections.iter().filter(|section| section.name.starts_with("group:")) {
        let group = names::allowed(section.name.trim_start_matches("group:"));
        for program in section.text("programs").unwrap_or_default().split([',', '\n', ' ']) {
            conversion.groups.push((program.trim().to_owned(), group.clone()));
        }
    }
    let mut priorities: Vec<(String, String)> = Vec::new();
    for section in &sections {
        if let Some(program) = section.name.strip_prefix("program:") {
            conversion.program(section, program.trim(), &mut draft)?;
            if let Some(priority) = section.text("priority") {
                priorities.push((program.trim().to_owned(), priority.to_owned()));
            }
        } else if section.name == "supervisord" {
            conversion.whole(section, &mut draft);
        } else if section.name == "include" {
            let why = "import each of its files, or name theirs by `include` of services.toml";
            conversion.report.lost(section.at, "", "include", why);
        } else if !section.name.starts_with("group:")
            && !section.name.starts_with("rpcinterface:")
            && !section.name.starts_with("ctlplugin:")
            && !ITS_OWN.contains(&section.name.as_str())
        {
            let key = format!("[{}]", section.name);
            conversion
                .report
                .lost(section.at, "", &key, "there is no such thing here");
        }
    }
    if priorities.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        priorities.sort_by_key(|(_, priority)| priority.parse::<i64>().unwrap_or(999));
        let order: Vec<&str> = priorities.iter().map(|(name, _)| name.as_str()).collect();
        let why = format!(
            "all start at once, as `depends_on` allows; the order was {}",
            order.join(", ")
        );
        conversion.report.lost(Mark::NONE, "", "priority", why);
    }
    Ok(draft)
}

struct Conversion<'c> {
    base: &'c str,
    names: Names,
    /// Program and group.
    groups: Vec<(String, String)>,
    report: &'c mut Report,
}

/// What `%(...)s` stands for in one process.
struct Scope<'s> {
    program: &'s str,
    group: &'s str,
    number: Option<u64>,
    base: &'s str,
}

impl Conversion<'_> {
    fn whole(&mut self, section: &Section, draft: &mut Draft) {
        let scope = Scope {
            program: "",
            group: "",
            number: None,
            base: self.base,
        };
        if let Some(text) = section.text("environment") {
            match environment(text, &scope) {
                Ok(variables) => draft.env = variables,
                Err(why) => self.report.lost(section.at, "", "environment", why),
            }
        }
        for entry in &section.entries {
            if matches!(entry.key.as_str(), "user" | "umask" | "directory") {
                let why = format!(
                    "it is of supervisord itself; `[defaults]` can give services a `{}`",
                    match entry.key.as_str() {
                        "directory" => "working_dir",
                        key => key,
                    }
                );
                self.report.lost(entry.at, "", &entry.key, why);
            }
        }
    }

    fn program(&mut self, section: &Section, program: &str, draft: &mut Draft) -> Result<(), Fault> {
        let group = self
            .groups
            .iter()
            .find(|(known, _)| known == program)
            .map(|(_, group)| group.clone());
        let number = |key: &str, default: u64| -> Result<u64, Fault> {
            let Some(text) = section.text(key) else {
                return Ok(default);
            };
            let at = section.get(key).map_or(section.at, |node| node.at);
            text.parse()
                .map_err(|_| Fault::new(at, format!("`{key}` is a whole number, not `{text}`")))
        };
        let (count, first) = (number("numprocs", 1)?, number("numprocs_start", 0)?);
        if count > MOST_SERVICES as u64 {
            let at = section.get("numprocs").map_or(section.at, |node| node.at);
            return Err(Fault::new(
                at,
                format!("more than {MOST_SERVICES} processes of one program"),
            ));
        }
        let process_name = section.text("process_name").unwrap_or("%(program_name)s");
        // Where each has its own number in it, replicas would not be the same processes.
        let keys = ["command", "environment", "directory", "stdout_logfile", "user"];
        let is_numbered = count > 1
            && keys
                .iter()
                .any(|key| section.text(key).is_some_and(|text| text.contains("%(process_num)")));
        let numbers: Vec<Option<u64>> = match is_numbered {
            true => (0..count).map(|index| Some(first.saturating_add(index))).collect(),
            false => vec![None],
        };
        for number in numbers {
            let scope = Scope {
                program,
                group: group.as_deref().unwrap_or(program),
                number: number.or((count == 1).then_some(first)),
                base: self.base,
            };
            let named = match (number, expanded(process_name, &scope)) {
                (Some(number), Ok(Value::Text(name))) if name == program => format!("{name}-{number}"),
                (Some(_), Ok(Value::Text(name))) => name,
                (Some(number), _) => format!("{program}-{number}"),
                (None, _) => program.to_owned(),
            };
            let name = self.names.take(&named, section.at, self.report);
            let mut service = Service::new(name, section.at);
            if !self.keys(section, &scope, &mut service) {
                return Ok(());
            }
            if !is_numbered && count != 1 {
                service.set("replicas", Value::Number(count));
            }
            if let Some(group) = &group {
                service.set("labels", Value::texts([group.as_str()]));
            }
            draft.services.push(service);
            if draft.services.len() > MOST_SERVICES {
                return Err(Fault::new(section.at, format!("more than {MOST_SERVICES} services")));
            }
        }
        Ok(())
    }

    /// `false`: without a command there is nothing.
    fn keys(&mut self, section: &Section, scope: &Scope, service: &mut Service) -> bool {
        let name = service.name.clone();
        let Some(command) = section.text("command") else {
            self.report.lost(section.at, &name, "", "it has no command");
            return false;
        };
        let all: Result<Vec<Value>, String> =
            words::split(command).and_then(|all| all.iter().map(|word| expanded(word, scope)).collect());
        match all {
            Ok(all) => service.set("command", words::command(&all)),
            Err(why) => {
                let at = section.get("command").map_or(section.at, |node| node.at);
                self.report.lost(at, &name, "", format!("its command: {why}"));
                return false;
            }
        }
        if !self.base.is_empty() && section.text("directory").is_none() {
            service.set("working_dir", Value::text(self.base));
        }
        let mut log = Log::default();
        let mut is_policy_written = false;
        for Entry { key, at, node } in &section.entries {
            let Node_::Text(text) = &node.value else { continue };
            let is_on = || matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1");
            let seconds = || {
                text.parse::<u64>()
                    .map(Value::seconds)
                    .map_err(|_| format!("`{text}` is no number of seconds"))
            };
            let done: Result<(), String> = match key.as_str() {
                "directory" => expanded(text, scope).map(|dir| {
                    service.set(
                        "working_dir",
                        match dir {
                            Value::Text(dir) => Value::Text(words::path(self.base, &dir)),
                            dir => dir,
                        },
                    );
                }),
                "environment" => environment(text, scope).map(|all| {
                    for (name, value) in all {
                        service.env(&name, value);
                    }
                }),
                "user" => expanded(text, scope).map(|user| service.set("user", user)),
                "umask" => {
                    service.set("umask", Value::text(text));
                    Ok(())
                }
                "autostart" => {
                    if !is_on() {
                        service.set("autostart", Value::Bool(false));
                    }
                    Ok(())
                }
                "autorestart" => {
                    is_policy_written = true;
                    service.set(
                        "restart",
                        Value::text(match text.to_ascii_lowercase().as_str() {
                            "unexpected" => "on-failure",
                            _ if is_on() => "always",
                            _ => "no",
                        }),
                    );
                    Ok(())
                }
                "startsecs" => text
                    .parse::<u64>()
                    .map_err(|_| format!("`{text}` is no number of seconds"))
                    .map(|seconds| {
                        if seconds > 0 {
                            let value = Value::table([("reset_after", Value::seconds(seconds))]);
                            service.say("backoff", value, "startsecs: up this long, it counts as started");
                        }
                    }),
                "startretries" => text.parse().map_err(|_| format!("`{text}` is no number")).map(|count| {
                    service.set("max_restarts", Value::Number(count));
                    let how = "all restarts within a minute (`restart_window`) count, not only failed starts";
                    self.report.changed(*at, &name, "startretries", how);
                }),
                "stopsignal" => {
                    service.set("stop_signal", Value::text(words::signal_word(text)));
                    Ok(())
                }
                "stopwaitsecs" => seconds().map(|seconds| service.set("stop_timeout", seconds)),
                "exitcodes" => {
                    let codes: Result<Vec<u64>, _> = text.split(',').map(|code| code.trim().parse()).collect();
                    codes
                        .map_err(|_| format!("`{text}` is no list of numbers"))
                        .map(|codes| {
                            service.set(
                                "success_exit_codes",
                                Value::List(codes.into_iter().map(Value::Number).collect()),
                            );
                        })
                }
                "stdout_logfile" => log.file(text, scope),
                "stdout_logfile_maxbytes" => log.size(text),
                "stdout_logfile_backups" => {
                    text.parse()
                        .map_err(|_| format!("`{text}` is no number"))
                        .map(|count: u64| {
                            log.files = Some(count.saturating_add(1));
                        })
                }
                "stderr_logfile"
                    if !matches!(
                        text.as_str(),
                        "AUTO" | "NONE" | "/dev/stderr" | "/dev/fd/2" | "/dev/stdout" | "/dev/fd/1"
                    ) =>
                {
                    Err(
                        "both streams are in one log, each line with its stream (`runner logs --stream stderr`)"
                            .to_owned(),
                    )
                }
                "stopasgroup" | "killasgroup" if !is_on() => {
                    Err("the signal goes to the whole group (`stop_scope` says another)".to_owned())
                }
                "command"
                | "process_name"
                | "numprocs"
                | "numprocs_start"
                | "priority"
                | "redirect_stderr"
                | "stopasgroup"
                | "killasgroup"
                | "stderr_logfile"
                | "stderr_logfile_maxbytes"
                | "stderr_logfile_backups"
                | "stdout_capture_maxbytes"
                | "stderr_capture_maxbytes"
                | "serverurl" => Ok(()),
                _ => Err("there is no such thing here".to_owned()),
            };
            if let Err(why) = done {
                self.report.lost(*at, &name, key, why);
            }
        }
        if let Some(value) = log.value() {
            service.set("log", value);
        }
        if !is_policy_written {
            service.set("restart", Value::text("on-failure"));
        }
        true
    }
}

#[derive(Default)]
struct Log {
    is_off: bool,
    path: Option<Value>,
    size: Option<String>,
    files: Option<u64>,
}

impl Log {
    fn file(&mut self, text: &str, scope: &Scope) -> Result<(), String> {
        match text {
            "AUTO" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" | "syslog" => {}
            "NONE" | "/dev/null" => self.is_off = true,
            path => {
                self.path = Some(match expanded(path, scope)? {
                    Value::Text(path) => Value::Text(words::path(scope.base, &path)),
                    path => path,
                });
            }
        }
        Ok(())
    }

    fn size(&mut self, text: &str) -> Result<(), String> {
        if text.trim() == "0" {
            return if self.path.is_some() {
                Err("a log without a limit is not kept here".to_owned())
            } else {
                Ok(())
            };
        }
        self.size = Some(words::binary_size(text).ok_or_else(|| format!("`{text}` is no size"))?);
        Ok(())
    }

    fn value(self) -> Option<Value> {
        if self.is_off {
            return Some(Value::Bool(false));
        }
        let mut table = Vec::new();
        table.extend(self.path.map(|path| ("file".to_owned(), path)));
        table.extend(self.size.map(|size| ("max_size".to_owned(), Value::Text(size))));
        table.extend(self.files.map(|files| ("max_files".to_owned(), Value::Number(files))));
        (!table.is_empty()).then_some(Value::Table(table))
    }
}

/// `KEY="value",KEY2=value`: values with commas stand in quotes.
fn environment(text: &str, scope: &Scope) -> Result<Vec<(String, Value)>, String> {
    let mut all = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once('=')
            .ok_or_else(|| format!("`{rest}` is not KEY=\"value\""))?;
        let after = after.trim_start();
        let (value, tail) = match after.chars().next().filter(|quote| matches!(quote, '"' | '\'')) {
            Some(quote) => after[1..].split_once(quote).ok_or("a quote in it is not closed")?,
            None => {
                let end = after.find([',', '\n']).unwrap_or(after.len());
                after.split_at(end)
            }
        };
        all.push((
            name.trim().to_owned(),
            expanded(value.trim_end_matches([' ', '\t']), scope)?,
        ));
        rest = tail.trim_start_matches([',', '\n', ' ', '\t', '\r']);
    }
    Ok(all)
}

/// `%(NAME)s`, `%(NAME)02d` and `%%`.
fn expanded(text: &str, scope: &Scope) -> Result<Value, String> {
    let mut out = String::new();
    let mut plain = String::new();
    let mut is_template = false;
    let mut count = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        if let Some(tail) = after.strip_prefix('%') {
            plain.push('%');
            rest = tail;
            continue;
        }
        count += 1;
        if count > MOST {
            return Err(format!("more than {MOST} variables in one text"));
        }
        let inner = after.strip_prefix('(').ok_or("a `%` alone: it is written `%%`")?;
        let (name, tail) = inner.split_once(')').ok_or("`%(` without `)`")?;
        let length = tail
            .find(|c: char| c.is_ascii_alphabetic())
            .ok_or("`%(...)` without its `s` or `d`")?;
        let (width, tail) = tail.split_at(length);
        let (is_number, tail) = (tail.starts_with('d'), &tail[1..]);
        let padded = |number: u64| {
            let digits = width.trim_start_matches('0').parse::<usize>().unwrap_or(0).min(20);
            match is_number && width.starts_with('0') {
                true => format!("{number:0digits$}"),
                false => number.to_string(),
            }
        };
        if let Some(variable) = name.strip_prefix("ENV_") {
            if !variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || variable.is_empty() {
                return Err(format!("`{variable}` is no name of a variable"));
            }
            out.push_str(&literal(&std::mem::take(&mut plain)));
            out.push_str(&format!("{{{{ env.{variable} }}}}"));
            is_template = true;
        } else {
            match name {
                "program_name" => plain.push_str(scope.program),
                "group_name" => plain.push_str(scope.group),
                "process_num" => match scope.number {
                    Some(number) => plain.push_str(&padded(number)),
                    None => return Err("`%(process_num)` is a number of one of several".to_owned()),
                },
                "numprocs" => return Err("`%(numprocs)` has no counterpart".to_owned()),
                "here" => {
                    out.push_str(&literal(&std::mem::take(&mut plain)));
                    match (scope.base.is_empty(), scope.base.starts_with('/')) {
                        (true, _) => out.push_str("{{ project.dir }}"),
                        (false, true) => out.push_str(&literal(scope.base)),
                        (false, false) => out.push_str(&format!("{{{{ project.dir }}}}/{}", literal(scope.base))),
                    }
                    is_template = true;
                }
                "host_node_name" => {
                    out.push_str(&literal(&std::mem::take(&mut plain)));
                    out.push_str("{{ env.HOSTNAME }}");
                    is_template = true;
                }
                other => return Err(format!("`%({other})` has no counterpart")),
            }
        }
        rest = tail;
    }
    plain.push_str(rest);
    Ok(match is_template {
        true => Value::Template(out + &literal(&plain)),
        false => Value::Text(plain),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: Scope<'static> = Scope {
        program: "web",
        group: "all",
        number: Some(3),
        base: "",
    };

    #[test]
    fn percent_signs() {
        for (text, wanted) in [
            ("100%%", Value::text("100%")),
            ("%(program_name)s_%(process_num)02d", Value::text("web_03")),
            ("%(group_name)s-%(process_num)s", Value::text("all-3")),
            ("a%(ENV_HOME)s{{", Value::Template("a{{ env.HOME }}{{ \"{{\" }}".into())),
            ("%(here)s/x", Value::Template("{{ project.dir }}/x".into())),
        ] {
            assert_eq!(expanded(text, &SCOPE), Ok(wanted), "{text}");
        }
        for text in ["50%", "%(x", "%(x)", "%(nosuch)s", "%(ENV_)s", "%(ENV_a b)s"] {
            assert!(expanded(text, &SCOPE).is_err(), "{text}");
        }
    }

    #[test]
    fn environments() {
        let all = environment("A=\"1,2\",B='x', C=3\nD=\"4\"", &SCOPE).unwrap();
        let all: Vec<(&str, &Value)> = all.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let wanted = [("A", "1,2"), ("B", "x"), ("C", "3"), ("D", "4")].map(|(name, value)| (name, Value::text(value)));
        assert_eq!(
            all,
            wanted.iter().map(|(name, value)| (*name, value)).collect::<Vec<_>>()
        );
        assert!(environment("A=\"1", &SCOPE).is_err() && environment("A", &SCOPE).is_err());
    }
}
