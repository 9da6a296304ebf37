//! The rules of the house that no compiler checks. Each list of exceptions gives its reasons.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// The walls of `src/lib.rs`: what each room may import.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "view",
            "convert",
            "guardian",
            "api",
            "logs",
            "probe",
            "sys",
            "reconcile",
            "config",
            "spec",
            "fault",
        ],
    ),
    ("view", &["api", "logs", "reconcile", "config", "spec"]),
    ("convert", &["config", "spec"]),
    (
        "daemon",
        &[
            "view",
            "guardian",
            "api",
            "logs",
            "probe",
            "sys",
            "reconcile",
            "config",
            "spec",
            "fault",
        ],
    ),
    ("guardian", &["sys", "reconcile", "spec", "fault"]),
    ("api", &["logs", "reconcile", "config", "spec", "fault"]),
    ("logs", &["sys", "reconcile", "spec", "fault"]),
    ("probe", &["sys", "reconcile", "spec"]),
    ("sys", &["reconcile", "spec"]),
    ("reconcile", &["spec"]),
    ("config", &["sys", "spec"]),
    ("spec", &[]),
    ("fault", &[]),
];

/// Rooms that may not know of a clock, a file, a thread or chance.
const PURE: &[&str] = &["spec", "reconcile", "convert"];

/// Lines before the tests. The architecture says about 400; this is where "about" ends.
const LINES: usize = 500;

/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[];

/// Files that may sleep for a fixed time, each with its reason.
const SLEEPERS: &[(&str, &str)] = &[
    (
        "tests/shop/main.rs",
        "the one polling helper: a file descriptor can't tell when a server came back",
    ),
    (
        "src/daemon/hands/memory.rs",
        "nothing tells when a tree holds more than it may, but for control groups of its own",
    ),
];

/// Licences that ask for nothing but their notice.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
    "CC0-1.0",
];

/// Crates that are there in two incompatible versions, each with its reason.
const DUPLICATES: &[(&str, &str)] = &[
    (
        "syn",
        "at build time only: the derive macros behind croner are not yet at 3",
    ),
    (
        "embedded-io",
        "never built: both are optional in postcard, and only the lock file holds them",
    ),
];

struct Source {
    /// From the repository's root, with `/`.
    path: String,
    /// Without comments and without what stands below `#[cfg(test)] mod`.
    code: String,
    /// Lines of the file above its tests, comments included.
    lines: usize,
}

impl Source {
    /// `probe` for `src/probe/http.rs`; `None` for `src/main.rs`, `src/lib.rs` and what is not in `src`.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        inside.split_once('/').map(|(room, _)| room).or(inside
            .strip_suffix(".rs")
            .filter(|room| ARROWS.iter().any(|(known, _)| known == room)))
    }

    /// Below a `#[cfg(test)] mod NAME;` of a file in `src`, or in `tests`.
    fn is_test(&self) -> bool {
        static MODULES: LazyLock<Vec<String>> = LazyLock::new(test_modules);
        let is_below = |module: &String| {
            self.path
                .strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        self.path.starts_with("tests/") || MODULES.iter().any(is_below)
    }
}

/// Paths, without an ending, of the modules of `src` that are built for tests alone.
fn test_modules() -> Vec<String> {
    let declared = Regex::new(r"#\[cfg\(test\)\]\s*(#\[.*\]\s*)*(pub(\(.*\))? )?mod (\w+);").unwrap();
    let mut modules = Vec::new();
    for source in read_all("src") {
        let folder = match source
            .path
            .strip_suffix("/mod.rs")
            .or(source.path.strip_suffix("/lib.rs"))
        {
            Some(folder) => folder,
            None => source.path.strip_suffix(".rs").unwrap(),
        };
        modules.extend(
            declared
                .captures_iter(&source.code)
                .map(|found| format!("{folder}/{}", &found[4])),
        );
    }
    modules
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read_all(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(read(path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let test_module = Regex::new(r"(?m)^#\[cfg\(test\)\]\n(#\[.*\]\n)*(pub(\(.*\))? )?mod \w+ \{").unwrap();
    let above = test_module
        .find(&text)
        .map_or(&text[..], |found| &text[..found.start()]);
    let comment = Regex::new(r"(?m)(^|[^:])//.*$").unwrap();
    Source {
        path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
        code: comment.replace_all(above, "$1").into_owned(),
        lines: above.lines().count(),
    }
}

fn is_excepted(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(excepted, _)| *excepted == name)
}

/// Fails with every complaint at once.
#[track_caller]
fn none(rule: &str, complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}

/// Every place of `pattern` in `source`, as `path: what was found`.
fn places(source: &Source, pattern: &Regex) -> Vec<String> {
    pattern
        .find_iter(&source.code)
        .map(|found| format!("{}: {}", source.path, found.as_str().trim()))
        .collect()
}

/// The rooms that `code` names after `crate::`, alone or in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let path = Regex::new(r"\bcrate::(\w+|\{[^;]*?\};)").unwrap();
    let first = Regex::new(r"(?:^\{|,)\s*(\w+)").unwrap();
    let mut rooms = BTreeSet::new();
    for found in path.captures_iter(code) {
        let name = &found[1];
        if !name.starts_with('{') {
            rooms.insert(name.to_owned());
            continue;
        }
        // Only the first words of the outermost braces are rooms.
        let mut outer = String::new();
        let mut depth = 0;
        for character in name.chars() {
            depth += i32::from(character == '{') - i32::from(character == '}');
            if depth <= 1 && character != '}' {
                outer.push(character);
            }
        }
        rooms.extend(first.captures_iter(&outer).map(|found| found[1].to_owned()));
    }
    rooms
}

#[test]
fn imports_point_down() {
    let mut complaints = Vec::new();
    for source in read_all("src").iter().filter(|source| !source.is_test()) {
        let Some(room) = source.room() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == room) else {
            complaints.push(format!("{}: room {room} has no row in ARROWS", source.path));
            continue;
        };
        for target in imports(&source.code) {
            let is_room = ARROWS.iter().any(|(known, _)| *known == target);
            if is_room && target != room && !allowed.contains(&&*target) {
                complaints.push(format!("{}: {room} imports {target}", source.path));
            }
        }
    }
    none("arrows of import only point down the table of src/lib.rs", complaints);
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::{api::{wire, x}, view}; use crate::spec::{A, B}; fn f() -> crate::sys::Pid { }";
    let rooms = imports(code);
    assert_eq!(
        rooms.iter().map(String::as_str).collect::<Vec<_>>(),
        ["api", "spec", "sys", "view"]
    );
}

#[test]
fn pure_rooms_are_pure() {
    let impure = Regex::new(
        r"(?x) \b(Instant|SystemTime|HashMap|HashSet|RandomState|OnceLock|LazyLock|thread_local)\b
             | \b(tokio|nix|rand|tracing)::
             | \bstd::(fs|env|thread|net|process|io|os)\b
             | \buse\ std::\{[^;]*\b(fs|env|thread|net|process|io|os)\b[^;]*;",
    )
    .unwrap();
    let complaints = read_all("src")
        .iter()
        .filter(|source| source.room().is_some_and(|room| PURE.contains(&room)) && !source.is_test())
        .flat_map(|source| places(source, &impure))
        .collect();
    none(
        "spec, reconcile and convert know no clock, file, environment, thread or hash order",
        complaints,
    );
}

#[test]
fn nothing_sleeps_for_a_fixed_time() {
    // Built in two pieces, so that this file is not its own culprit.
    let sleep = Regex::new(&[r"\b(thread|time)::sl", r"eep\("].concat()).unwrap();
    let mut complaints = Vec::new();
    for path in read_all("src")
        .into_iter()
        .chain(read_all("tests"))
        .map(|source| source.path)
    {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for (number, line) in text.lines().enumerate() {
            if sleep.is_match(line) && !is_excepted(SLEEPERS, &path) {
                complaints.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("wait for an event, not for a time (or say in SLEEPERS why)", complaints);
}

#[test]
fn files_are_short() {
    let complaints = read_all("src")
        .iter()
        .filter(|source| !source.is_test() && source.lines > LINES && !is_excepted(LONG, &source.path))
        .map(|source| format!("{}: {} lines", source.path, source.lines))
        .collect();
    none(
        "a file has at most 500 lines before its tests: split it by meaning",
        complaints,
    );
}

#[test]
fn nothing_unwraps() {
    let unwrap = Regex::new(r"\.unwrap\(\)").unwrap();
    let sources = read_all("src").into_iter().chain(read_all("examples"));
    let complaints = sources
        .filter(|source| !source.is_test())
        .flat_map(|source| places(&source, &unwrap))
        .collect();
    none("`expect` states the invariant, `?` passes the error on", complaints);
}

#[test]
fn the_daemon_has_no_children() {
    let process =
        Regex::new(r"\bstd::process\b|\bprocess::Command\b|\btokio::process\b|\buse std::\{[^;]*\bprocess\b").unwrap();
    let complaints = read_all("src")
        .iter()
        .filter(|source| source.room() == Some("daemon") && !source.is_test())
        .flat_map(|source| places(source, &process))
        .collect();
    none("only the guardian starts processes", complaints);
}

/// Every crate that is built for this platform, from the lock file.
fn packages() -> Vec<Value> {
    let cargo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let about = cargo(&["-vV"]);
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = cargo(&["metadata", "--offline", "--format-version=1", "--filter-platform", host]);
    let mut metadata: Value = serde_json::from_str(&metadata).unwrap();
    let built: BTreeSet<String> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .collect();
    let Value::Array(packages) = metadata["packages"].take() else {
        panic!("cargo metadata has no packages");
    };
    packages
        .into_iter()
        .filter(|package| built.contains(package["id"].as_str().unwrap()))
        .collect()
}

/// Whether an SPDX expression without nested brackets lets us choose allowed licences only.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let allowed = |name: &str| LICENCES.contains(&name.trim_matches(['(', ')', ' ']));
    expression.split(" AND ").all(|part| part.split(" OR ").any(allowed))
}

#[test]
fn licences_are_permissive() {
    let complaints = packages()
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    none("a licence outside LICENCES", complaints);
}

#[test]
fn no_crate_is_there_twice() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        // What cargo treats as compatible: the first number that is not zero, and what stands before it.
        let mut compatible = String::new();
        for number in version.split(['.', '-', '+']).take(3) {
            compatible.push_str(number);
            if number != "0" {
                break;
            }
            compatible.push('.');
        }
        versions.entry(name.to_owned()).or_default().insert(compatible);
    }
    let complaints = versions
        .iter()
        .filter(|(name, versions)| versions.len() > 1 && !is_excepted(DUPLICATES, name))
        .map(|(name, versions)| format!("{name}: {versions:?}"))
        .collect();
    none("one crate in incompatible versions (say in DUPLICATES why)", complaints);

    let gone: Vec<String> = DUPLICATES
        .iter()
        .filter(|(name, _)| versions.get(*name).is_none_or(|versions| versions.len() < 2))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    none("no longer there twice: take it out of DUPLICATES", gone);
}
