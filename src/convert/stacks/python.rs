//! Django, FastAPI, Flask, Streamlit.

use super::{Stack, listening, service};
use crate::convert::folder::Folder;

/// What a command of the project's environment begins with.
fn python(folder: &Folder) -> &'static str {
    if folder.has("uv.lock") {
        "uv run python"
    } else if folder.has("poetry.lock") {
        "poetry run python"
    } else if folder.has("Pipfile") {
        "pipenv run python"
    } else if folder.has(".venv/bin/python") {
        ".venv/bin/python"
    } else if folder.has("venv/bin/python") {
        "venv/bin/python"
    } else {
        "python3"
    }
}

pub(super) fn django(folder: &Folder) -> Option<Stack> {
    folder.has("manage.py").then(|| {
        let web = service("web", &format!("{} manage.py runserver {{{{ port }}}}", python(folder)));
        Stack {
            file: "manage.py",
            what: "a Django project".to_owned(),
            services: vec![listening(web, 8000)],
        }
    })
}

/// Files that an application is usually in, and the module each is.
const APPS: &[(&str, &str)] = &[
    ("main.py", "main"),
    ("app.py", "app"),
    ("wsgi.py", "wsgi"),
    ("app/main.py", "app.main"),
    ("app/__init__.py", "app"),
    ("src/main.py", "src.main"),
];

pub(super) fn app(folder: &Folder) -> Option<Stack> {
    if folder.has("manage.py") {
        return None;
    }
    let python = python(folder);
    let stack = |file, what: &str, web| Stack {
        file,
        what: what.to_owned(),
        services: vec![web],
    };
    for (file, module) in APPS {
        let text = folder.text(file);
        if let Some(name) = made_by(text, "FastAPI(").or_else(|| made_by(text, "Starlette(")) {
            let command = format!("{python} -m uvicorn {module}:{name} --reload --port {{{{ port }}}}");
            return Some(stack(
                file,
                "a FastAPI project",
                listening(service("web", &command), 8000),
            ));
        }
        if let Some(name) = made_by(text, "Flask(") {
            let command = format!("{python} -m flask --app {module}:{name} run --debug --port {{{{ port }}}}");
            return Some(stack(
                file,
                "a Flask project",
                listening(service("web", &command), 5000),
            ));
        }
        if text.lines().any(|line| line.starts_with("import streamlit")) {
            let command =
                format!("{python} -m streamlit run {file} --server.headless true --server.port {{{{ port }}}}");
            return Some(stack(
                file,
                "a Streamlit project",
                listening(service("web", &command), 8501),
            ));
        }
    }
    let file = ["app.py", "main.py"].into_iter().find(|file| folder.has(file))?;
    Some(stack(
        file,
        "a Python program",
        service("app", &format!("{python} {file}")),
    ))
}

/// `app` of `app = FastAPI(`, at the begin of a line.
fn made_by<'t>(text: &'t str, call: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (name, made) = line.split_once('=')?;
        let name = name.split(':').next().unwrap_or(name).trim_end();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_made = made
            .trim_start()
            .trim_start_matches("fastapi.")
            .trim_start_matches("flask.")
            .starts_with(call);
        (is_made && !name.is_empty() && name.chars().all(is_name)).then_some(name)
    })
}
