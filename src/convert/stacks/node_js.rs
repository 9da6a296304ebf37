//! package.json and deno.json.

use serde_json::Value as Json;

use super::{Service, Stack, Value, listening, listening_somewhere, service};
use crate::convert::folder::Folder;
use crate::convert::node::Mark;
use crate::convert::report::Report;

/// A framework by its package: what it is called, the port where nothing else is said, whether it takes PORT.
const FRAMEWORKS: &[(&str, &str, u16)] = &[
    ("next", "Next.js", 3000),
    ("nuxt", "Nuxt", 3000),
    ("astro", "Astro", 4321),
    ("@sveltejs/kit", "SvelteKit", 5173),
    ("@remix-run/serve", "Remix", 3000),
    ("@remix-run/dev", "Remix", 5173),
    ("@react-router/dev", "React Router", 5173),
    ("@solidjs/start", "SolidStart", 3000),
    ("@tanstack/start", "TanStack Start", 3000),
    ("gatsby", "Gatsby", 8000),
    ("@docusaurus/core", "Docusaurus", 3000),
    ("@angular/cli", "Angular", 4200),
    ("react-scripts", "Create React App", 3000),
    ("@vue/cli-service", "Vue CLI", 8080),
    ("vitepress", "VitePress", 5173),
    ("vite", "Vite", 5173),
    ("parcel", "Parcel", 1234),
    ("@11ty/eleventy", "Eleventy", 8080),
];

/// Servers whose port stands in their code.
const SERVERS: &[(&str, &str)] = &[
    ("@nestjs/core", "NestJS"),
    ("express", "Express"),
    ("fastify", "Fastify"),
    ("koa", "Koa"),
    ("hono", "Hono"),
    ("@hapi/hapi", "hapi"),
    ("restify", "Restify"),
    ("@feathersjs/feathers", "Feathers"),
    ("socket.io", "Socket.IO"),
    ("ws", "WebSocket"),
];

/// Servers that are started with `dev` and `start`: the first that is there.
const SCRIPTS: &[&str] = &["dev", "start:dev", "develop", "serve", "start"];

pub(super) fn package(folder: &Folder, report: &mut Report) -> Option<Stack> {
    let text = folder.texts.get("package.json")?;
    let package: Json = match serde_json::from_str(text) {
        Ok(package) => package,
        Err(error) => {
            report.file = "package.json".to_owned();
            report.lost(
                Mark::new(error.line(), error.column()),
                "",
                "",
                format!("no valid JSON: {error}"),
            );
            return None;
        }
    };
    let scripts = package.get("scripts");
    let script = |name: &str| scripts?.get(name)?.as_str().filter(|line| !line.trim().is_empty());
    let (name, line) = SCRIPTS.iter().find_map(|name| Some((*name, script(name)?)))?;
    let manager = manager(folder, &package);
    let command = format!("{manager} run {name}");
    let has = |wanted: &str| {
        ["dependencies", "devDependencies"]
            .iter()
            .any(|kind| package.get(kind).is_some_and(|all| all.get(wanted).is_some()))
    };
    let mut service = service("web", &command);
    let shown: String = line.chars().take(200).collect();
    service.comments.push(format!("`{name}` of package.json: {shown}"));
    if ["dependencies", "devDependencies"]
        .iter()
        .any(|kind| package.get(kind).is_some())
    {
        service.say("prepare", install(folder, manager), "run when these files change");
    }
    let framework = FRAMEWORKS.iter().find(|(package, _, _)| has(package));
    let server = SERVERS.iter().find(|(package, _)| has(package));
    let (service, what) = match (port_in(line), framework, server) {
        (Some(port), framework, server) => {
            let title = framework
                .map(|(_, title, _)| *title)
                .or(server.map(|(_, title)| *title));
            (patient(listening(service, port)), title.unwrap_or("Node.js"))
        }
        (None, Some((_, title, port)), _) => (patient(listening(service, *port)), *title),
        (None, None, Some((_, title))) => (listening_somewhere(service, "2m"), *title),
        (None, None, None) => (service, "Node.js"),
    };
    Some(Stack {
        file: "package.json",
        what: format!("{} {what} project ({manager})", article(what)),
        services: vec![service],
    })
}

/// The step that brings the dependencies.
fn install(folder: &Folder, manager: &str) -> Value {
    let locks = [
        "package-lock.json",
        "pnpm-lock.yaml",
        "yarn.lock",
        "bun.lock",
        "bun.lockb",
    ];
    let inputs = ["package.json"]
        .into_iter()
        .chain(locks.into_iter().filter(|lock| folder.has(lock)));
    let run = match manager == "npm" && folder.has("package-lock.json") {
        true => "npm ci".to_owned(),
        false => format!("{manager} install"),
    };
    Value::List(vec![Value::Table(vec![
        ("run".to_owned(), Value::Text(run)),
        ("inputs".to_owned(), Value::List(inputs.map(Value::text).collect())),
        ("creates".to_owned(), Value::text("node_modules")),
    ])])
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['A', 'E', 'I', 'O']) {
        "an"
    } else {
        "a"
    }
}

/// The first start builds.
fn patient(mut service: Service) -> Service {
    service.say("start_timeout", Value::text("2m"), "the first start compiles");
    service
}

/// By `packageManager`, else by the lock file.
fn manager(folder: &Folder, package: &Json) -> &'static str {
    const MANAGERS: [&str; 4] = ["pnpm", "yarn", "bun", "npm"];
    let named = package.get("packageManager").and_then(Json::as_str).unwrap_or_default();
    let named = named.split('@').next().unwrap_or_default();
    if let Some(manager) = MANAGERS.iter().find(|manager| **manager == named) {
        return manager;
    }
    let locks = [
        ("pnpm-lock.yaml", "pnpm"),
        ("yarn.lock", "yarn"),
        ("bun.lock", "bun"),
        ("bun.lockb", "bun"),
        ("package-lock.json", "npm"),
    ];
    locks
        .iter()
        .find(|(lock, _)| folder.has(lock))
        .map_or("npm", |(_, manager)| manager)
}

/// `--port 4000`, `--port=4000`, `-p 4000`, `PORT=4000`.
fn port_in(line: &str) -> Option<u16> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let number = match *word {
            "--port" | "-p" => words.get(at + 1).copied(),
            word => word.strip_prefix("--port=").or_else(|| word.strip_prefix("PORT=")),
        };
        number?.parse().ok().filter(|port| *port != 0)
    })
}

pub(super) fn deno(folder: &Folder) -> Option<Stack> {
    let file = ["deno.json", "deno.jsonc"].into_iter().find(|file| folder.has(file))?;
    let config: Json = serde_json::from_str(folder.text(file)).unwrap_or_default();
    let tasks = config.get("tasks")?;
    let task = SCRIPTS.iter().find(|task| tasks.get(**task).is_some())?;
    Some(Stack {
        file,
        what: "a Deno project".to_owned(),
        services: vec![service("web", &format!("deno task {task}"))],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_scripts() {
        for (line, port) in [
            ("next dev -p 4000", Some(4000)),
            ("vite --port=80", Some(80)),
            ("PORT=7 node x", Some(7)),
            ("mkdir -p dist", None),
            ("x --port", None),
            ("x --port 0", None),
            ("x --port 99999", None),
        ] {
            assert_eq!(port_in(line), port, "{line}");
        }
    }
}
