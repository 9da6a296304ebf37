//! Files in the shape that real projects use, and what becomes of them. `RUNNER_BLESS=1` writes the outcomes anew.

use std::path::{Path, PathBuf};

use super::*;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/convert/samples")
}

const NAMES: [&str; 5] = [
    "Procfile",
    "compose.yaml",
    "process-compose.yaml",
    "supervisord.conf",
    "pitchfork.toml",
];

fn shown(name: &str, text: &str) -> String {
    let kind = Kind::of(name, text).expect("its kind is known");
    shown_outcome(of_file(kind, name, text))
}

fn shown_outcome(outcome: Result<Converted, Broken>) -> String {
    let converted = match outcome {
        Ok(converted) => converted,
        Err(broken) => return format!("{broken:?}\n"),
    };
    let note = |note: &Note| {
        let service = note.service.as_deref().unwrap_or("-");
        format!("# {:?} {service}: {}: {}\n", note.line, note.what, note.why)
    };
    format!(
        "{}\n{}",
        converted.text(),
        converted.notes().iter().map(note).collect::<String>()
    )
}

fn golden(name: &str, found: &str) {
    let path = samples().join(name);
    if std::env::var_os("RUNNER_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(wanted, found, "{name}: RUNNER_BLESS=1 writes it anew");
}

#[test]
fn files_of_others_become_ours() {
    for name in NAMES {
        let text = std::fs::read_to_string(samples().join(name)).unwrap();
        golden(&format!("{name}.golden"), &shown(name, &text));
    }
}

#[test]
fn a_kind_is_told_by_name_or_content() {
    for (name, text, kind) in [
        ("Procfile.dev", "", Some(Kind::Procfile)),
        ("docker-compose.override.yml", "services:\n", Some(Kind::Compose)),
        ("stack.yaml", "processes:\n", Some(Kind::ProcessCompose)),
        ("stack.yaml", "kind: Pod\n", None),
        ("app.conf", "[program:x]\ncommand=x\n", Some(Kind::Supervisord)),
        ("other.toml", "[daemons.x]\n", Some(Kind::Pitchfork)),
        ("README", "", None),
    ] {
        assert_eq!(Kind::of(name, text), kind, "{name}");
    }
}

#[test]
fn broken_files_say_where() {
    for (kind, text, line, wanted) in [
        (Kind::Procfile, "web: x\nno colon here\n", Some(2), "NAME: COMMAND"),
        (Kind::Procfile, "# nothing\n", None, "no process"),
        (Kind::Procfile, "web: x\0y\n", Some(1), "NUL"),
        (Kind::Compose, "services:\n  web:\n\tcommand: x\n", Some(3), "no YAML"),
        (
            Kind::Compose,
            "services:\n  web: { command: x, command: y }\n",
            Some(2),
            "twice",
        ),
        (Kind::Compose, "services: []\n", None, "no `services`"),
        (Kind::Compose, "", None, "empty"),
        (Kind::Compose, "services: { a: { image: x } }", None, "only an image"),
        (Kind::Compose, "services: { a: *b }", Some(1), ""),
        (
            Kind::ProcessCompose,
            "processes: { a: { working_dir: x } }",
            None,
            "`command`",
        ),
        (Kind::Supervisord, "[program:x\n", Some(1), "without `]`"),
        (Kind::Supervisord, "command=x\n", Some(1), "before the first"),
        (Kind::Supervisord, "[program:x]\ncommand\n", Some(2), "key = value"),
        (Kind::Pitchfork, "[daemons.x]\nrun = \n", Some(2), "no TOML"),
    ] {
        let broken = of_file(kind, "file", text).expect_err(text);
        assert_eq!(broken.line, line, "{text}: {broken:?}");
        assert!(broken.message.contains(wanted), "{text}: {broken:?}");
    }
}

#[test]
fn bombs_are_found_out() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let broken = of_file(Kind::Compose, "bomb", &bomb).expect_err("a bomb");
    assert!(broken.message.contains("more than"), "{broken:?}");
    let deep = format!("services: {}", "[".repeat(100_000));
    assert!(of_file(Kind::Compose, "deep", &deep).is_err());
    let deep = (0..5000)
        .map(|level| format!("{}a:\n", " ".repeat(level)))
        .collect::<String>();
    assert!(of_file(Kind::Compose, "deep", &deep).is_err());
}

/// Whatever is done to a file: an answer, and no panic.
#[test]
fn torn_files_are_answered() {
    let mut seed = 1_u64;
    let mut next = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    for name in NAMES {
        let text = std::fs::read_to_string(samples().join(name)).unwrap();
        let kind = Kind::of(name, &text).unwrap();
        for _ in 0..400 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes.truncate(at),
                    1 => drop(bytes.splice(at..at, b"\n  - {[&*!|>%@'\"".iter().skip(next(14)).take(2).copied())),
                    2 if !bytes.is_empty() => bytes[at] = next(128) as u8,
                    _ => drop(bytes.drain(at..(at + next(20)).min(bytes.len()))),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let answer = of_file(kind, name, &text);
            if let Ok(converted) = answer {
                let made = converted.text();
                assert!(made.parse::<toml::Table>().is_ok(), "{text}\n---\n{made}");
            }
        }
    }
}

/// A name, files with what they hold, and others that are there.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

fn folder(files: &[(&str, &str)], others: &[&str]) -> String {
    let names = files.iter().map(|(name, _)| *name).chain(others.iter().copied());
    let holds = Folder {
        name: "shop".to_owned(),
        names: names.map(str::to_owned).collect(),
        files: files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    };
    shown_outcome(Ok(of_folder(&holds)))
}

#[test]
fn folders_are_known_by_what_they_hold() {
    let mut all = String::new();
    let cases: &[Case] = &[
        ("nothing", &[], &["README.md"]),
        (
            "next",
            &[(
                "package.json",
                "{\"scripts\":{\"dev\":\"next dev\"},\"dependencies\":{\"next\":\"15\"}}",
            )],
            &["pnpm-lock.yaml"],
        ),
        (
            "express",
            &[(
                "package.json",
                "{\"scripts\":{\"start\":\"node server.js\"},\"dependencies\":{\"express\":\"5\"}}",
            )],
            &["package-lock.json"],
        ),
        (
            "plain node",
            &[("package.json", "{\"scripts\":{\"start\":\"node server.js\"}}")],
            &[],
        ),
        ("broken node", &[("package.json", "{")], &[]),
        ("cargo", &[("Cargo.toml", "[package]\nname = \"tool\"\n")], &["src"]),
        (
            "cargo with bins",
            &[(
                "Cargo.toml",
                "[package]\nname = \"x\"\n[[bin]]\nname = \"api\"\n[[bin]]\nname = \"worker\"\n",
            )],
            &[],
        ),
        ("workspace", &[("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n")], &[]),
        (
            "django",
            &[("manage.py", "from django.core.management import x")],
            &[".venv"],
        ),
        (
            "fastapi",
            &[("main.py", "from fastapi import FastAPI\napi = FastAPI()\n")],
            &["uv.lock"],
        ),
        ("flask", &[("app.py", "app = Flask(__name__)\n")], &[]),
        ("rails", &[("Gemfile", "gem \"rails\"\n")], &["Gemfile.lock"]),
        ("rack", &[("config.ru", "run App\n"), ("Gemfile", "gem 'rack'\n")], &[]),
        (
            "go",
            &[("go.mod", "module example.org/me/shop\n\ngo 1.24\n")],
            &["main.go"],
        ),
        ("go without main", &[("go.mod", "module x\n")], &[]),
        ("laravel", &[("artisan", "#!"), ("composer.json", "{}")], &[]),
        ("php", &[("index.php", "<?php")], &[]),
        ("phoenix", &[("mix.exs", "{:phoenix, \"~> 1.7\"}")], &[]),
        ("make", &[("Makefile", "build:\n\techo\nrun: build\n\t./x\n")], &[]),
        (
            "procfile first",
            &[
                ("Procfile", "web: ./x\n"),
                ("package.json", "{\"scripts\":{\"dev\":\"x\"}}"),
            ],
            &[],
        ),
        (
            "compose of images",
            &[
                ("compose.yaml", "services: { db: { image: x } }\n"),
                (
                    "package.json",
                    "{\"scripts\":{\"dev\":\"vite\"},\"devDependencies\":{\"vite\":\"7\"}}",
                ),
            ],
            &[],
        ),
    ];
    for (name, files, others) in cases {
        all.push_str(&format!("=== {name}\n{}\n", folder(files, others)));
    }
    golden("folders.golden", &all);
}
