//! Broken and hostile files: an error with its place and nothing written, or a file that `check` accepts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use runner::config::find::Location;
use runner::config::{self, Edited, Inputs, Severity};
use runner::convert::{self, Complaint, Input, Kind};

use super::{SAMPLES, empty, sample, stderr};

#[test]
fn broken_files_are_refused_at_their_place_and_nothing_is_written() {
    let project = empty();
    let large = "a: x\n".repeat(300_000);
    let bomb: String = std::iter::once("services: {}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned())
        .chain((1..20).map(|level| format!("a{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(9))))
        .collect();
    let deep = format!("services:\n  a: {}", "{b: ".repeat(100_000));
    let wide = format!("services: {{a: {{command: [{}]}}}}", "x,".repeat(200_000));
    let many = format!(
        "services:\n{}",
        (0..2000)
            .map(|n| format!(" s{n}: {{command: x}}\n"))
            .collect::<String>()
    );
    let keys = format!(
        "[program:a]\n{}",
        (0..60_000).map(|n| format!("k{n}=1\n")).collect::<String>()
    );
    let files: &[(&str, &[u8], &str)] = &[
        ("Procfile", b"web: x\nno line\n", "Procfile:2:1: a line of a Procfile"),
        // `init` reads it as well and has no `--kind`.
        ("Procfile", b"no line\n", "`runner import FILE --kind compose`"),
        (
            "Procfile",
            b"web: x\nweb: y\n",
            "Procfile:2:1: `web` stands here twice (first in line 1)",
        ),
        ("Procfile", b"web: \xff\n", "Procfile:1:6: this is not UTF-8"),
        ("Procfile", b"web: a\nb: \0\n", "Procfile:2:4: a NUL byte"),
        ("Procfile", large.as_bytes(), "longer than 1024 KiB"),
        ("Procfile", b"", "nothing in it can be carried over"),
        (
            "compose.yaml",
            b"services:\n  a: [\n",
            "compose.yaml:3:1: no valid YAML",
        ),
        (
            "compose.yaml",
            b"services: 5\n",
            "compose.yaml:1:11: `services` is a table, not a number",
        ),
        ("compose.yaml", b"a: 1\n", "a Compose file has `services`"),
        (
            "compose.yaml",
            b"services:\n  a: {extends: b, command: x}\n  b: {extends: a}\n",
            "extends itself",
        ),
        (
            "compose.yaml",
            b"services: {a: {image: x}}\n",
            "compose.yaml:1:12: a: it only names an image",
        ),
        ("compose.yaml", bomb.as_bytes(), "far too large"),
        ("compose.yaml", deep.as_bytes(), "compose.yaml:2:"),
        (
            "process-compose.yaml",
            b"processes: {a: 1}\n",
            "process-compose.yaml:1:16: process `a` is a table, not a number",
        ),
        (
            "supervisord.conf",
            b"[program:a\n",
            "supervisord.conf:1:1: a section without its `]`",
        ),
        (
            "supervisord.conf",
            b"[program:a]\ncommand=x\nnumprocs=1000000\n",
            "supervisord.conf:3:1: more than",
        ),
        ("pitchfork.toml", b"[daemons.a]\nrun = 'x\n", "pitchfork.toml:2:"),
        ("pitchfork.toml", b"x = 1\n", "a pitchfork.toml has"),
        ("compose.yaml", wide.as_bytes(), "more than 5000 members"),
        (
            "compose.yaml",
            many.as_bytes(),
            "compose.yaml:502:2: more than 500 services",
        ),
        (
            "supervisord.conf",
            keys.as_bytes(),
            "supervisord.conf:502:1: more than 500 keys",
        ),
        ("flat.yaml", b"a: b\n", "neither its name nor its text says"),
        ("what", b"??\n", "neither its name nor its text says"),
    ];
    for (name, bytes, says) in files {
        std::fs::write(project.file(name), bytes).unwrap();
        let output = project.run(&["import", name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(says),
            "{name}: `{says}` is not in {}",
            stderr(&output)
        );
        assert!(!project.file("services.toml").exists(), "{name}");
    }
    for (words, says) in [
        (&["import", "nosuch"][..], "there is no file nosuch"),
        (&["import", "."], "no regular file"),
        (&["import", "nosuch/Procfile"], "there is no folder"),
        (&["-f", "x.toml", "init"], "`-f` (or RUNNER_FILE)"),
    ] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{words:?}: {}", stderr(&output));
    }
    nix::unistd::mkfifo(&project.file("Procfile.fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(project.run(&["import", "Procfile.fifo"]).status.code(), Some(2));
}

#[test]
fn what_check_refuses_is_left_out_and_reported() {
    let project = empty();
    project.write(
        "compose.yaml",
        "services:\n  \"\\e[31mred\":\n    command: x\n    stop_signal: SIGNOSUCH\n    stop_grace_period: soon\n    depends_on: [b]\n  \
         b:\n    command: y\n    depends_on: [\"\\e[31mred\"]\n    environment: {\"A=B\": 1, OK: 2}\n    env_file: nosuch.env\n",
    );
    let output = project.run(&["import", "compose.yaml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let (text, report) = (project.read("services.toml"), stderr(&output));
    assert!(project.run(&["check"]).status.success(), "{text}");
    assert!(
        !report.contains('\u{1b}') && !text.contains('\u{1b}'),
        "{report}\n{text}"
    );
    assert!(report.contains("b.A=B: this is no name"), "{report}");
    assert!(text.contains("OK = \"2\"") && text.contains("[services.b]"), "{text}");
    for lost in ["stop_signal", "stop_timeout", "env_file", "depends_on"] {
        assert!(
            report.contains(&format!("{lost}: `check` refuses it")),
            "{lost}: {report}"
        );
    }
}

/// xorshift: the same mutations every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn mutated(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let pieces: [&[u8]; 24] = [
        b"{{",
        b"}}",
        b"\"",
        b"'",
        b"'''",
        b"\n",
        b"\t",
        b"%",
        b"%(",
        b"$",
        b"${",
        b"&a ",
        b"*a",
        b"<<: ",
        b"- ",
        b": ",
        b"[",
        b"]",
        b"#",
        b"\\",
        b"\x1b",
        b"\xc3\xa9",
        b"-1",
        b"99999999999999999999",
    ];
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 => {
                let end = (at + dice.below(30)).min(bytes.len());
                bytes.drain(at..end);
            }
            1 => {
                let from = dice.below(bytes.len() + 1);
                let part = bytes[from..(from + dice.below(60)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            2 => bytes.truncate(at),
            _ => {
                let piece = pieces[dice.below(pieces.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn mutations_end_in_an_error_or_in_a_file_that_check_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::of_folder(folder.path().canonicalize().unwrap(), None);
    let mut check = |text: &str| {
        let inputs = Inputs {
            env: std::env::vars_os().collect(),
            euid: nix::unistd::geteuid().as_raw(),
            edited: vec![Edited {
                path: location.files[0].clone(),
                text: text.to_owned(),
            }],
            ..Inputs::default()
        };
        let loaded = config::load(&location, &inputs, &mut config::port_source(&location, None));
        loaded.map(drop).map_err(|problems| {
            let errors = problems
                .list
                .iter()
                .filter(|problem| problem.severity == Severity::Error);
            let complaint = |problem: &config::Problem| Complaint {
                service: problem.service.clone(),
                key: problem.key.clone(),
                message: problem.message.clone(),
                at: (problems.source(problem.place).path == location.files[0]).then_some(problem.place.start),
                file: problems.source(problem.place).shown.clone(),
            };
            errors.map(complaint).collect::<Vec<_>>()
        })
    };
    let (mut accepted, mut refused) = (0, 0);
    for (folder, file) in SAMPLES {
        let bytes = std::fs::read(sample(folder, file)).unwrap();
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64);
        for round in 0..60 {
            let bytes = mutated(&bytes, &mut dice);
            let result = catch_unwind(AssertUnwindSafe(|| {
                let text = convert::text(&bytes).ok()?;
                let input = Input {
                    shown: file,
                    text,
                    base: "",
                    dotenv: None,
                };
                let kind = Kind::by_name(file).unwrap();
                let (mut draft, mut report) = convert::convert(kind, &input).ok()?;
                let settled = convert::settled(&mut draft, &mut report, &mut check);
                Some(settled.map_err(|errors| (errors, draft.names().len())))
            }));
            let shown = String::from_utf8_lossy(&bytes);
            match result.unwrap_or_else(|_| panic!("{folder}, round {round} panics:\n{shown}")) {
                None => refused += 1,
                Some(Ok(text)) => {
                    accepted += 1;
                    check(&text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
                }
                // Nothing is left of it.
                Some(Err((_, 0))) => refused += 1,
                Some(Err((errors, _))) => panic!("{folder}, round {round}: {errors:?}\n{shown}"),
            }
        }
    }
    assert!(accepted > 50 && refused > 50, "{accepted} accepted, {refused} refused");
}
