//! What a folder holds, and what its services could be.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::node::Mark;
use super::report::Report;
use super::{Kind, stacks};

/// What was looked at, by paths relative to the folder.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    pub entries: BTreeSet<String>,
    /// Of those files of [`Folder::READ`] that are there and can be read.
    pub texts: BTreeMap<String, String>,
}

impl Folder {
    /// Whose text decides something.
    pub const READ: &[&str] = &[
        "package.json",
        "deno.json",
        "deno.jsonc",
        "Cargo.toml",
        "pyproject.toml",
        "requirements.txt",
        "Pipfile",
        "app.py",
        "main.py",
        "wsgi.py",
        "app/main.py",
        "app/__init__.py",
        "src/main.py",
        "Gemfile",
        "go.mod",
        "main.go",
        "composer.json",
        "mix.exs",
        "pom.xml",
        "build.gradle",
        "build.gradle.kts",
        "Makefile",
        "makefile",
        "GNUmakefile",
        "justfile",
    ];
    /// Whose entries decide something.
    pub const LISTED: &[&str] = &["", "src", "src/bin", "bin", "cmd", ".venv/bin", "venv/bin", "public"];

    pub(super) fn has(&self, path: &str) -> bool {
        self.entries.contains(path)
    }

    pub(super) fn text(&self, path: &str) -> &str {
        self.texts.get(path).map_or("", String::as_str)
    }

    /// Names right below one of [`Folder::LISTED`].
    pub(super) fn below<'f>(&'f self, folder: &'f str) -> impl Iterator<Item = &'f str> {
        self.entries
            .iter()
            .filter_map(move |path| path.strip_prefix(folder)?.strip_prefix('/'))
            .filter(|name| !name.contains('/'))
    }
}

#[derive(Debug)]
pub enum Found {
    /// Files of other tools, the likeliest first.
    Files(Vec<(String, Kind)>),
    /// What the folder is made of.
    Stacks(Box<Draft>, Report),
    /// A sample, which says so.
    Nothing(Box<Draft>),
}

/// Files of other tools that are taken for what they are by their names, in this order.
const FILES: &[(&str, Kind)] = &[
    ("pitchfork.toml", Kind::Pitchfork),
    ("process-compose.yaml", Kind::ProcessCompose),
    ("process-compose.yml", Kind::ProcessCompose),
    ("Procfile.dev", Kind::Procfile),
    ("Procfile", Kind::Procfile),
    ("supervisord.conf", Kind::Supervisord),
    ("supervisor.conf", Kind::Supervisord),
    ("compose.yaml", Kind::Compose),
    ("compose.yml", Kind::Compose),
    ("docker-compose.yaml", Kind::Compose),
    ("docker-compose.yml", Kind::Compose),
];

/// What could be made of a folder; `without_files`: nothing of these could be.
pub fn look(folder: &Folder, without_files: bool) -> Found {
    let files: Vec<(String, Kind)> = FILES
        .iter()
        .filter(|(name, _)| !without_files && folder.has(name))
        .map(|(name, kind)| ((*name).to_owned(), *kind))
        .collect();
    if !files.is_empty() {
        return Found::Files(files);
    }
    let (draft, report) = stacks::draft(folder);
    if draft.services.is_empty() {
        return Found::Nothing(Box::new(sample()));
    }
    Found::Stacks(Box::new(draft), report)
}

fn sample() -> Draft {
    use super::draft::{Service, Value};
    let mut web = Service::new("web", Mark::NONE);
    web.comments = [
        "A service: a name and a command. Change this one, or take it out and add yours:",
        "  runner add NAME -- CMD",
    ]
    .map(str::to_owned)
    .to_vec();
    web.say(
        "command",
        Value::text("while true; do date; sleep 10; done"),
        "a line with shell syntax goes through `sh -c`",
    );
    web.comments.extend(
        [
            "",
            "What most services have besides (without the `#`):",
            "  working_dir = \"web\"",
            "  ports = [3000]                             # becomes PORT; ready when it accepts connections",
            "  env = { LOG_LEVEL = \"debug\" }              # a .env beside this file is read as well",
            "  depends_on = [\"db\"]                        # starts when db is ready",
            "  ready = { http = \"/healthz\" }",
            "  watch = { paths = [\"src\"] }                # restarts when these change",
        ]
        .map(str::to_owned),
    );
    Draft {
        services: vec![web],
        ..Draft::default()
    }
}
