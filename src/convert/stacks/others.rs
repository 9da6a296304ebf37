//! Ruby, PHP, Elixir, Go, Java, and Makefiles.

use super::{Stack, Value, listening, listening_somewhere, service};
use crate::convert::folder::Folder;

pub(super) fn rails(folder: &Folder) -> Option<Stack> {
    let gems = folder.text("Gemfile");
    let has_gem = |gem: &str| {
        gems.lines().any(|line| {
            let line = line.trim_start();
            line.starts_with(&format!("gem \"{gem}\"")) || line.starts_with(&format!("gem '{gem}'"))
        })
    };
    if folder.has("bin/rails") {
        let web = service("web", "bin/rails server -p {{ port }}");
        let mut services = vec![listening(web, 3000)];
        if has_gem("sidekiq") {
            services.push(service("worker", "bundle exec sidekiq"));
        }
        return Some(Stack {
            file: "bin/rails",
            what: "a Rails project".to_owned(),
            services,
        });
    }
    folder.has("config.ru").then(|| {
        let command = match has_gem("puma") {
            true => "bundle exec puma -p {{ port }}",
            false => "bundle exec rackup -p {{ port }}",
        };
        Stack {
            file: "config.ru",
            what: "a Rack application".to_owned(),
            services: vec![listening(service("web", command), 9292)],
        }
    })
}

pub(super) fn laravel(folder: &Folder) -> Option<Stack> {
    if folder.has("artisan") {
        let web = service("web", "php artisan serve --port={{ port }}");
        return Some(Stack {
            file: "artisan",
            what: "a Laravel project".to_owned(),
            services: vec![listening(web, 8000)],
        });
    }
    (folder.has("composer.json") && folder.has("public/index.php")).then(|| Stack {
        file: "public/index.php",
        what: "a PHP project".to_owned(),
        services: vec![listening(service("web", "php -S 127.0.0.1:{{ port }} -t public"), 8000)],
    })
}

pub(super) fn phoenix(folder: &Folder) -> Option<Stack> {
    let project = folder.texts.get("mix.exs")?;
    let (what, web) = match project.contains(":phoenix") {
        true => {
            let mut web = listening(service("web", "mix phx.server"), 4000);
            web.say("start_timeout", Value::text("5m"), "the first start compiles");
            ("a Phoenix project", web)
        }
        false => ("an Elixir project", service("app", "mix run --no-halt")),
    };
    Some(Stack {
        file: "mix.exs",
        what: what.to_owned(),
        services: vec![web],
    })
}

/// What a Go program says that listens.
const LISTENS: &[&str] = &[
    "ListenAndServe",
    "net.Listen",
    "gin.",
    "echo.New",
    "fiber.New",
    "grpc.NewServer",
];

pub(super) fn go(folder: &Folder) -> Option<Stack> {
    if !folder.has("go.mod") {
        return None;
    }
    let mut services = Vec::new();
    if folder.has("main.go") {
        let app = service("app", "go run .");
        let listens = LISTENS.iter().any(|word| folder.text("main.go").contains(word));
        services.push(if listens { listening_somewhere(app, "5m") } else { app });
    }
    for program in folder.below("cmd").take(50) {
        let is_plain = program
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if is_plain {
            let mut command = service(program, &format!("go run ./cmd/{program}"));
            if !services.is_empty() {
                command.say(
                    "autostart",
                    Value::Bool(false),
                    "one of several programs: started by name",
                );
            }
            services.push(command);
        }
    }
    (!services.is_empty()).then(|| Stack {
        file: "go.mod",
        what: "a Go program".to_owned(),
        services,
    })
}

pub(super) fn java(folder: &Folder) -> Option<Stack> {
    let gradle = ["build.gradle", "build.gradle.kts"]
        .into_iter()
        .find(|file| folder.has(file));
    let (file, command) = match (folder.has("pom.xml"), gradle) {
        (true, _) if folder.has("mvnw") => ("pom.xml", "./mvnw spring-boot:run"),
        (true, _) => ("pom.xml", "mvn spring-boot:run"),
        (false, Some(file)) if folder.has("gradlew") => (file, "./gradlew bootRun"),
        (false, Some(file)) => (file, "gradle bootRun"),
        (false, None) => return None,
    };
    let is_spring = ["spring-boot", "springframework.boot"]
        .iter()
        .any(|word| folder.text(file).contains(word));
    is_spring.then(|| {
        let mut web = listening(service("web", command), 8080);
        web.say("start_timeout", Value::text("5m"), "the first start compiles");
        Stack {
            file,
            what: "a Spring Boot project".to_owned(),
            services: vec![web],
        }
    })
}

/// Targets that run something, the likeliest first.
const TARGETS: &[&str] = &["dev", "run", "serve", "start"];

pub(super) fn make(folder: &Folder) -> Option<Stack> {
    let files = [
        ("GNUmakefile", "make"),
        ("makefile", "make"),
        ("Makefile", "make"),
        ("justfile", "just"),
    ];
    files.into_iter().find_map(|(file, program)| {
        let has_target = |target: &&&str| {
            let is_rule = |line: &str| {
                let rest = line.strip_prefix(**target)?.trim_start();
                rest.strip_prefix(':').map(|rest| !rest.starts_with('='))
            };
            folder.text(file).lines().any(|line| is_rule(line) == Some(true))
        };
        let target = TARGETS.iter().find(has_target)?;
        Some(Stack {
            file,
            what: format!("a {file} with a target `{target}`"),
            services: vec![service("app", &format!("{program} {target}"))],
        })
    })
}
