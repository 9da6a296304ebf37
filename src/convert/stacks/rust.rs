//! Cargo.toml.

use toml::Table;

use super::{Stack, Value, listening_somewhere, service};
use crate::convert::folder::Folder;
use crate::convert::names;
use crate::convert::node::Mark;
use crate::convert::report::Report;

/// Crates of programs that listen.
const SERVERS: &[&str] = &[
    "axum",
    "actix-web",
    "rocket",
    "warp",
    "hyper",
    "poem",
    "salvo",
    "tide",
    "tonic",
    "leptos_axum",
    "loco-rs",
    "ntex",
    "pingora",
];

/// It compiles first.
const PATIENCE: &str = "10m";

pub(super) fn cargo(folder: &Folder, report: &mut Report) -> Option<Stack> {
    let text = folder.texts.get("Cargo.toml")?;
    report.file = "Cargo.toml".to_owned();
    let manifest: Table = match toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            let at = error
                .span()
                .map_or(Mark::NONE, |span| Mark::of_bytes(text.as_bytes(), span.start));
            report.lost(at, "", "", format!("no valid TOML: {}", error.message()));
            return None;
        }
    };
    let package = manifest.get("package").and_then(|package| package.as_table());
    let Some(package) = package else {
        if manifest.contains_key("workspace") {
            report.lost(
                Mark::NONE,
                "",
                "workspace",
                "of a workspace only the package in its root is looked at: `runner add NAME -- cargo run -p PACKAGE`",
            );
        }
        return None;
    };
    let name = package.get("name").and_then(|name| name.as_str()).unwrap_or_default();
    let mut programs: Vec<String> = Vec::new();
    let mut add = |program: &str| {
        let is_name = !program.is_empty() && program.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if is_name && !programs.iter().any(|known| known == program) && programs.len() < 50 {
            programs.push(program.to_owned());
        }
    };
    if folder.has("src/main.rs") {
        add(name);
    }
    for program in manifest
        .get("bin")
        .and_then(|programs| programs.as_array())
        .into_iter()
        .flatten()
    {
        add(program.get("name").and_then(|name| name.as_str()).unwrap_or_default());
    }
    for file in folder.below("src/bin") {
        add(file.strip_suffix(".rs").unwrap_or(file));
    }
    let default = package.get("default-run").and_then(|name| name.as_str());
    let first = default.map(str::to_owned).or_else(|| programs.first().cloned())?;
    let dependencies = manifest.get("dependencies").and_then(|all| all.as_table());
    let is_server = dependencies.is_some_and(|all| SERVERS.iter().any(|server| all.contains_key(*server)));
    let count = programs.len();
    let services = programs.iter().map(|program| {
        let command = match count {
            1 => "cargo run".to_owned(),
            _ => format!("cargo run --bin {program}"),
        };
        let mut service = service(&names::allowed(program), &command);
        if is_server && *program == first {
            service = listening_somewhere(service, PATIENCE);
        }
        if *program != first {
            service.say(
                "autostart",
                Value::Bool(false),
                "one of several programs: started by name",
            );
        }
        service
    });
    let services: Vec<_> = services.collect();
    (!services.is_empty()).then(|| Stack {
        file: "Cargo.toml",
        what: "a Rust program".to_owned(),
        services,
    })
}
