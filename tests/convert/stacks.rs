//! What a folder is taken for.

use super::{empty, stderr};

struct Folder {
    files: &'static [(&'static str, &'static str)],
    /// Parts of the services.toml.
    makes: &'static [&'static str],
}

const FOLDERS: &[Folder] = &[
    Folder {
        files: &[
            (
                "package.json",
                r#"{"scripts": {"build": "next build", "dev": "next dev"}, "dependencies": {"next": "15"}}"#,
            ),
            ("pnpm-lock.yaml", ""),
        ],
        makes: &[
            "[services.web]",
            "command = \"pnpm run dev\"",
            "ports = [3000]",
            "start_timeout = \"2m\"",
            "Next.js",
        ],
    },
    Folder {
        files: &[
            (
                "package.json",
                r#"{"packageManager": "yarn@4.1.0", "scripts": {"dev": "vite --port 4444"}, "devDependencies": {"vite": "6"}}"#,
            ),
            ("package-lock.json", "{}"),
        ],
        makes: &["command = \"yarn run dev\"", "ports = [4444]"],
    },
    Folder {
        files: &[(
            "package.json",
            r#"{"scripts": {"start": "node server.js {{x}}"}, "dependencies": {"express": "5"}}"#,
        )],
        makes: &[
            "command = \"npm run start\"",
            "ready = { listen = true }",
            "An Express project",
        ],
    },
    Folder {
        files: &[
            ("package.json", r#"{"scripts": {"dev": "tsc --watch"}}"#),
            ("bun.lock", ""),
        ],
        makes: &["command = \"bun run dev\""],
    },
    Folder {
        files: &[("deno.json", r#"{"tasks": {"dev": "deno run main.ts"}}"#)],
        makes: &["command = \"deno task dev\""],
    },
    Folder {
        files: &[
            (
                "Cargo.toml",
                "[package]\nname = \"shop\"\ndefault-run = \"server\"\n[dependencies]\naxum = \"0.8\"\n",
            ),
            ("src/bin/server.rs", "fn main() {}"),
            ("src/bin/tool.rs", "fn main() {}"),
            ("src/lib.rs", ""),
        ],
        makes: &[
            "command = \"cargo run --bin server\"",
            "ready = { listen = true }",
            "start_timeout = \"10m\"",
            "command = \"cargo run --bin tool\"\nautostart = false",
        ],
    },
    Folder {
        files: &[
            ("Cargo.toml", "[package]\nname = \"one\"\n"),
            ("src/main.rs", "fn main() {}"),
        ],
        makes: &["[services.one]\ncommand = \"cargo run\""],
    },
    Folder {
        files: &[("manage.py", ""), ("uv.lock", "")],
        makes: &["uv run python manage.py runserver {{ port }}", "ports = [8000]"],
    },
    Folder {
        files: &[("main.py", "from fastapi import FastAPI\n\napi = FastAPI(title=\"x\")\n")],
        makes: &["python3 -m uvicorn main:api --reload --port {{ port }}"],
    },
    Folder {
        files: &[("app.py", "app = Flask(__name__)\n"), (".venv/bin/python", "")],
        makes: &[
            ".venv/bin/python -m flask --app app:app run --debug --port {{ port }}",
            "ports = [5000]",
        ],
    },
    Folder {
        files: &[
            ("bin/rails", ""),
            ("Gemfile", "gem \"rails\"\ngem 'sidekiq'\n"),
            ("package.json", r#"{"scripts": {"build": "x"}}"#),
        ],
        makes: &[
            "bin/rails server -p {{ port }}",
            "[services.worker]\ncommand = \"bundle exec sidekiq\"",
        ],
    },
    Folder {
        files: &[("config.ru", ""), ("Gemfile", "gem 'puma'\n")],
        makes: &["bundle exec puma -p {{ port }}"],
    },
    Folder {
        files: &[
            ("go.mod", "module x\n"),
            ("main.go", "http.ListenAndServe()"),
            ("cmd/tool/main.go", ""),
        ],
        makes: &[
            "go run .",
            "ready = { listen = true }",
            "[services.tool]\ncommand = \"go run ./cmd/tool\"",
        ],
    },
    Folder {
        files: &[
            ("artisan", ""),
            ("composer.json", "{}"),
            (
                "package.json",
                r#"{"scripts": {"dev": "vite"}, "devDependencies": {"vite": "6"}}"#,
            ),
        ],
        makes: &[
            "php artisan serve --port={{ port }}",
            "[services.web-2]\ncommand = \"npm run dev\"",
        ],
    },
    Folder {
        files: &[("mix.exs", "{:phoenix, \"~> 1.7\"}")],
        makes: &["command = \"mix phx.server\"", "ports = [4000]"],
    },
    Folder {
        files: &[("build.gradle", "id 'org.springframework.boot'"), ("gradlew", "")],
        makes: &["./gradlew bootRun", "ports = [8080]"],
    },
    Folder {
        files: &[("justfile", "build:\n  x\nrun:\n  y\n")],
        makes: &["command = \"just run\""],
    },
    Folder {
        files: &[
            ("compose.yaml", "services: {db: {image: postgres}}"),
            ("go.mod", ""),
            ("main.go", ""),
        ],
        makes: &["command = \"go run .\""],
    },
    Folder {
        files: &[
            ("package.json", "{ \"scripts\": [1,"),
            ("Makefile", "VAR := x\nrun:=1\n"),
        ],
        makes: &["# A sample"],
    },
];

#[test]
fn folders_are_taken_for_what_they_are() {
    for Folder { files, makes } in FOLDERS {
        let project = empty();
        for (path, text) in *files {
            std::fs::create_dir_all(project.file(path).parent().unwrap()).unwrap();
            project.write(path, text);
        }
        let output = project.run(&["init"]);
        let (name, text) = (files[0].0, project.read("services.toml"));
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        for part in *makes {
            assert!(
                text.contains(part),
                "{name}: `{part}` is not in\n{text}\n{}",
                stderr(&output)
            );
        }
        let checked = project.run(&["check"]);
        assert!(checked.status.success(), "{name}: {}\n{text}", stderr(&checked));
    }
}
