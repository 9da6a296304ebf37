//! A folder without a `services.toml`: what is in it says what there is to run.

use serde_json::Value as Json;

use super::draft::{Converted, Draft, Note, Service, Value};
use super::{Kind, of_file};

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// Its own name.
    pub name: String,
    /// Names of its files and folders.
    pub names: Vec<String>,
    /// Those of [`KNOWN`] that are there, with what they hold.
    pub files: Vec<(String, String)>,
}

/// Files that say something; the first ones say all.
pub const KNOWN: &[&str] = &[
    "Procfile.dev",
    "Procfile",
    "process-compose.yaml",
    "process-compose.yml",
    "pitchfork.toml",
    "supervisord.conf",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "package.json",
    "Cargo.toml",
    "manage.py",
    "pyproject.toml",
    "requirements.txt",
    "app.py",
    "main.py",
    "Gemfile",
    "config.ru",
    "go.mod",
    "composer.json",
    "artisan",
    "mix.exs",
    "index.php",
    "Makefile",
];

const SAMPLE: &str = r##"# What `runner up` is to run. All keys: `runner schema`, docs/services-toml.md.

[services.web]
command = "echo 'replace this line by what your project runs' && exec sleep 1000000"
# ports = { http = 3000 }              # the service gets PORT and PORT_HTTP, and is ready when it accepts connections
# ready = { http = "/healthz" }        # ... or when this answers
# env = { LOG_LEVEL = "debug" }
# depends_on = ["db"]
# watch = { paths = ["src/**"] }       # a saved file restarts it
# prepare = [{ run = "npm ci", inputs = ["package-lock.json"], creates = "node_modules" }]

# [services.db]
# command = "exec postgres -D data -p {{ port }}"
# ports = [5432]
# ready = { exec = "pg_isready -q -p {{ port }}" }
# stop_signal = "SIGINT"
"##;

/// Never nothing: a sample to begin with where nothing is known.
pub fn of_folder(folder: &Folder) -> Converted {
    let mut notes: Vec<Note> = Vec::new();
    for (name, text) in &folder.files {
        let Some(kind) = Kind::of(name, text).filter(|_| KNOWN.iter().position(|known| known == name) < Some(10))
        else {
            continue;
        };
        match of_file(kind, name, text) {
            Ok(mut converted) => {
                converted.explain(notes);
                return converted;
            }
            Err(broken) => notes.push(Note {
                line: broken.line,
                service: None,
                what: name.clone(),
                why: broken.message,
            }),
        }
    }
    let mut draft = Draft {
        notes,
        ..Draft::default()
    };
    let mut from = Vec::new();
    for look in [node, cargo, django, python, ruby, go, php, elixir] {
        if let Some(found) = look(folder, &mut draft) {
            from.push(found);
        }
    }
    if draft.services.is_empty()
        && let Some(found) = make(folder, &mut draft)
    {
        from.push(found);
    }
    if draft.services.is_empty() {
        draft.sample = Some(SAMPLE);
    }
    draft.finish(&from.join(" and "))
}

impl Folder {
    fn text(&self, name: &str) -> Option<&str> {
        let mut files = self.files.iter();
        files.find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

/// Not there, done again; otherwise only when its inputs change.
fn step(run: &str, inputs: &[&str], creates: &str) -> Value {
    let mut members = vec![
        ("run".to_owned(), Value::text(run)),
        (
            "inputs".to_owned(),
            Value::texts(inputs.iter().map(|input| (*input).to_owned())),
        ),
    ];
    if !creates.is_empty() {
        members.push(("creates".to_owned(), Value::text(creates)));
    }
    Value::List(vec![Value::Table(members)])
}

fn port(number: u16) -> Value {
    Value::Table(vec![("http".to_owned(), Value::Bare(number.to_string()))])
}

fn watch(paths: &[&str]) -> Value {
    let paths = Value::texts(paths.iter().map(|path| (*path).to_owned()));
    Value::Table(vec![("paths".to_owned(), paths)])
}

/// Its port, and how long it may take: these compile before they answer.
const FRAMEWORKS: &[(&str, &str, u16)] = &[
    ("next", "Next.js", 3000),
    ("nuxt", "Nuxt", 3000),
    ("astro", "Astro", 4321),
    ("@sveltejs/kit", "SvelteKit", 5173),
    ("@angular/cli", "Angular", 4200),
    ("gatsby", "Gatsby", 8000),
    ("react-scripts", "Create React App", 3000),
    ("@remix-run/dev", "Remix", 3000),
    ("vite", "Vite", 5173),
];
const SERVERS: &[&str] = &["express", "fastify", "koa", "hono", "@nestjs/core", "@hapi/hapi"];

fn node(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let package: Json = match serde_json::from_str(folder.text("package.json")?) {
        Ok(package) => package,
        Err(error) => {
            draft.note(error.line(), "", "package.json", "this is no JSON");
            return None;
        }
    };
    let script = ["dev", "start", "serve"]
        .into_iter()
        .find(|name| package["scripts"][name].is_string())?;
    let (tool, lock) = [
        ("pnpm", "pnpm-lock.yaml"),
        ("yarn", "yarn.lock"),
        ("bun", "bun.lock"),
        ("bun", "bun.lockb"),
        ("npm", "package-lock.json"),
    ]
    .into_iter()
    .find(|(_, lock)| folder.has(lock))
    .unwrap_or(("npm", ""));
    let uses = |name: &str| !package["dependencies"][name].is_null() || !package["devDependencies"][name].is_null();
    let mut service = Service::new("web");
    service.set("command", Value::Text(format!("{tool} run {script}")));
    let has_dependencies = ["dependencies", "devDependencies"]
        .iter()
        .any(|key| package[key].is_object());
    if has_dependencies {
        let install = match (tool, lock) {
            ("npm", "package-lock.json") => "npm ci".to_owned(),
            (tool, _) => format!("{tool} install"),
        };
        let inputs: Vec<&str> = ["package.json", lock]
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
        service.set("prepare", step(&install, &inputs, "node_modules"));
    }
    if let Some((_, name, number)) = FRAMEWORKS.iter().find(|(package, ..)| uses(package)) {
        service.comments.push(format!(
            "{name}: its own port; the first page is compiled when it is asked for"
        ));
        service.set("ports", port(*number));
        service.set("ready", Value::Table(vec![("http".to_owned(), Value::text("/"))]));
        service.set("start_timeout", Value::text("2m"));
    } else if SERVERS.iter().any(|package| uses(package)) {
        service
            .comments
            .push("Its server should listen on $PORT; take `ports` out if it does not".to_owned());
        service.set("ports", port(3000));
    }
    draft.services.push(service);
    Some("package.json")
}

fn cargo(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let manifest: toml::Table = folder.text("Cargo.toml")?.parse().ok()?;
    let package = manifest.get("package").and_then(|package| package.get("name"));
    let bins = manifest.get("bin").and_then(toml::Value::as_array);
    let named = bins.into_iter().flatten().filter_map(|bin| bin.get("name")?.as_str());
    let mut names: Vec<String> = named.map(str::to_owned).collect();
    if names.is_empty() {
        names.extend(package.and_then(toml::Value::as_str).map(str::to_owned));
    }
    if names.is_empty() {
        draft.note(
            0,
            "",
            "Cargo.toml",
            "a workspace: write a service for each binary, `cargo run --bin NAME`",
        );
        return None;
    }
    let is_one = names.len() == 1;
    for name in names {
        let mut service = Service::new(&name);
        let command = if is_one {
            "cargo run".to_owned()
        } else {
            format!("cargo run --bin {name}")
        };
        service
            .comments
            .push("Compiled at its start: that may take a while the first time".to_owned());
        service.set("command", Value::Text(command));
        service.set("watch", watch(&["src", "Cargo.toml"]));
        draft.services.push(service);
    }
    Some("Cargo.toml")
}

/// `.venv/bin/python`, `uv run python`, `python3`.
fn python_program(folder: &Folder, program: &str) -> String {
    if folder.has("uv.lock") {
        format!("uv run {program}")
    } else if folder.has(".venv") {
        format!(".venv/bin/{program}")
    } else if program == "python" {
        "python3".to_owned()
    } else {
        program.to_owned()
    }
}

fn django(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let text = folder.text("manage.py")?;
    text.contains("django").then_some(())?;
    let python = python_program(folder, "python");
    let mut migrate = Service::new("migrate");
    migrate.set("command", Value::Text(format!("{python} manage.py migrate --noinput")));
    migrate.set("type", Value::text("oneshot"));
    let mut web = Service::new("django");
    web.set(
        "command",
        Value::Text(format!("{python} manage.py runserver 127.0.0.1:{{{{ port }}}}")),
    );
    web.set("ports", port(8000));
    let needs = vec![("migrate".to_owned(), Value::text("completed_successfully"))];
    web.set("depends_on", Value::Table(needs));
    draft.services.extend([migrate, web]);
    Some("manage.py")
}

fn python(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let sources = [("app.py", "app"), ("main.py", "main")];
    let (file, module, text) = sources
        .into_iter()
        .find_map(|(file, module)| Some((file, module, folder.text(file)?)))?;
    let name_of = |maker: &str| {
        let line = text.lines().find(|line| line.contains(maker))?;
        let name = line.split_once('=')?.0.trim();
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        is_name.then(|| name.to_owned())
    };
    let command = if let Some(app) = name_of("FastAPI(").or_else(|| name_of("Starlette(")) {
        let uvicorn = python_program(folder, "uvicorn");
        format!("{uvicorn} {module}:{app} --reload --host 127.0.0.1 --port {{{{ port }}}}")
    } else if name_of("Flask(").is_some() {
        let flask = python_program(folder, "flask");
        format!("{flask} --app {module} run --debug --port {{{{ port }}}}")
    } else {
        return None;
    };
    let mut service = Service::new("web");
    service.set("command", Value::Text(command));
    service.set("ports", port(8000));
    draft.services.push(service);
    Some(file)
}

fn ruby(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let gemfile = folder.text("Gemfile");
    let is_rails = gemfile.is_some_and(|text| text.contains("\"rails\"") || text.contains("'rails'"));
    let (command, number, from) = match (is_rails, folder.text("config.ru")) {
        (true, _) => ("bin/rails server -b 127.0.0.1 -p {{ port }}", 3000, "Gemfile"),
        (false, Some(_)) => ("bundle exec rackup -o 127.0.0.1 -p {{ port }}", 9292, "config.ru"),
        (false, None) => return None,
    };
    let mut service = Service::new("web");
    service.set("command", Value::text(command));
    service.set("ports", port(number));
    if gemfile.is_some() {
        let inputs: &[&str] = if folder.has("Gemfile.lock") {
            &["Gemfile", "Gemfile.lock"]
        } else {
            &["Gemfile"]
        };
        service.set("prepare", step("bundle install", inputs, ""));
    }
    draft.services.push(service);
    Some(from)
}

fn go(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let module = folder
        .text("go.mod")?
        .lines()
        .find_map(|line| line.strip_prefix("module "))?;
    if !folder.has("main.go") {
        draft.note(
            0,
            "",
            "go.mod",
            "no main.go beside it: write a service for each program, `go run ./cmd/NAME`",
        );
        return None;
    }
    let mut service = Service::new(module.trim().rsplit('/').next().unwrap_or("go"));
    service.comments.push("Compiled at its start".to_owned());
    service.set("command", Value::text("go run ."));
    service.set("watch", watch(&["**/*.go", "go.mod"]));
    draft.services.push(service);
    Some("go.mod")
}

fn php(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let (command, from) = if folder.text("artisan").is_some() {
        ("php artisan serve --host=127.0.0.1 --port={{ port }}", "artisan")
    } else if folder.text("index.php").is_some() {
        ("php -S 127.0.0.1:{{ port }}", "index.php")
    } else {
        return None;
    };
    let mut service = Service::new("php");
    service.set("command", Value::text(command));
    service.set("ports", port(8000));
    if folder.text("composer.json").is_some() {
        service.set("prepare", step("composer install", &["composer.json"], "vendor"));
    }
    draft.services.push(service);
    Some(from)
}

fn elixir(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    folder.text("mix.exs")?.contains(":phoenix").then_some(())?;
    let mut service = Service::new("phoenix");
    service.set("command", Value::text("mix phx.server"));
    service.set("prepare", step("mix deps.get", &["mix.exs"], "deps"));
    service.set("ports", port(4000));
    service.set("start_timeout", Value::text("5m"));
    service.set(
        "ready",
        Value::Table(vec![("tcp".to_owned(), Value::Bare("4000".to_owned()))]),
    );
    draft.services.push(service);
    Some("mix.exs")
}

fn make(folder: &Folder, draft: &mut Draft) -> Option<&'static str> {
    let text = folder.text("Makefile")?;
    let has = |target: &&&str| text.lines().any(|line| line.starts_with(&format!("{target}:")));
    let target = ["dev", "serve", "run", "start"].iter().find(has)?;
    let mut service = Service::new("make");
    service.set("command", Value::Text(format!("make {target}")));
    draft.services.push(service);
    Some("Makefile")
}
