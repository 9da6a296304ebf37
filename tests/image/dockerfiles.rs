//! The Dockerfiles of the examples, as far as they can be checked without a Docker engine.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// One instruction, with its continued lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Instruction {
    word: String,
    rest: String,
}

/// All that ours use, of what there is (Dockerfile reference).
const KNOWN: &[&str] = &[
    "FROM",
    "WORKDIR",
    "COPY",
    "RUN",
    "USER",
    "VOLUME",
    "EXPOSE",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ENTRYPOINT",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each with its instructions.
fn all() -> Vec<(PathBuf, Vec<Instruction>)> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(root().join("examples")).unwrap().flatten() {
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().ends_with("Dockerfile") {
                let text = std::fs::read_to_string(file.path()).unwrap();
                found.push((file.path(), parse(&text)));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found.len(), 4, "{found:?}");
    found
}

fn parse(text: &str) -> Vec<Instruction> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let instructions = joined.lines().map(str::trim).filter(|line| !line.is_empty());
    instructions
        .map(|line| {
            let (word, rest) = line.split_once(' ').unwrap();
            Instruction {
                word: word.to_owned(),
                rest: rest.split_whitespace().collect::<Vec<_>>().join(" "),
            }
        })
        .collect()
}

#[track_caller]
fn rest_of<'i>(instructions: &'i [Instruction], word: &str) -> &'i str {
    let mut found = instructions.iter().filter(|instruction| instruction.word == word);
    let one = found.next().unwrap_or_else(|| panic!("no {word}"));
    assert_eq!(found.next(), None);
    &one.rest
}

/// The exec form: a JSON array of strings.
#[track_caller]
fn words(text: &str) -> Vec<String> {
    let Value::Array(words) = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")) else {
        panic!("{text} is not in exec form")
    };
    words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
fn lines_are_joined_and_comments_are_not_instructions() {
    let parsed = parse("# FROM x\nFROM a AS b\n\nRUN one \\\n  # within\n    && two\n");
    let shown: Vec<_> = parsed
        .iter()
        .map(|one| (one.word.as_str(), one.rest.as_str()))
        .collect();
    assert_eq!(shown, [("FROM", "a AS b"), ("RUN", "one && two")]);
}

#[test]
fn every_instruction_is_known_and_every_source_is_there() {
    for (path, instructions) in all() {
        let mut stages = Vec::new();
        for Instruction { word, rest } in &instructions {
            let place = format!("{}: {word} {rest}", path.display());
            assert!(KNOWN.contains(&word.as_str()), "{place}");
            if word == "FROM" {
                stages.extend(rest.split_once(" AS ").map(|(_, name)| name.to_owned()));
            }
            if word != "COPY" {
                continue;
            }
            let (flags, mut paths): (Vec<_>, Vec<_>) = rest.split(' ').partition(|word| word.starts_with("--"));
            let target = paths.pop().unwrap();
            assert!(!paths.is_empty(), "{place}");
            assert!(
                paths.len() == 1 || target.ends_with('/'),
                "several go into a folder: {place}"
            );
            match flags.iter().find_map(|flag| flag.strip_prefix("--from=")) {
                Some(stage) => assert!(stages.iter().any(|known| known == stage), "{place}"),
                None => {
                    for source in paths {
                        assert!(root().join(source).exists(), "{place}");
                    }
                }
            }
        }
    }
}

#[test]
fn each_builds_with_the_documented_command_and_starts_runner_as_pid_1() {
    let page = std::fs::read_to_string(root().join("docs/images.md")).unwrap();
    for (path, instructions) in all() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        assert!(page.contains(&name), "docs/images.md names {name}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(&format!("docker build --file {name} ")),
            "{name} says how it is built"
        );

        let build = instructions
            .iter()
            .find(|one| one.word == "RUN" && one.rest.starts_with("cargo "))
            .unwrap();
        let command = build.rest.split(" --bin").next().unwrap();
        assert!(page.contains(&format!("\n{command} ")), "docs/images.md: {command}");

        assert!(rest_of(&instructions, "ENTRYPOINT").starts_with('['), "{name}");
        let entrypoint = words(rest_of(&instructions, "ENTRYPOINT"));
        assert_eq!(entrypoint.last().unwrap(), "up");
        assert!(entrypoint[0].ends_with("runner"), "{entrypoint:?}");
        // Where there is no shell there may be no PATH either.
        let is_bare = !instructions.iter().any(|one| one.rest.starts_with("debian:"));
        assert_eq!(entrypoint[0].starts_with('/'), is_bare, "{entrypoint:?}");

        let (_, check) = rest_of(&instructions, "HEALTHCHECK").split_once(" CMD ").unwrap();
        assert_eq!(words(check), [entrypoint[0].as_str(), "health"]);
        assert_eq!(rest_of(&instructions, "STOPSIGNAL"), "SIGTERM");
        assert_eq!(rest_of(&instructions, "EXPOSE"), "8080");
    }
}

/// A file that is in the folder and not copied is missed at run time only.
#[test]
fn all_that_a_services_toml_names_is_copied() {
    for (path, instructions) in all() {
        let folder = path.parent().unwrap();
        let copied: Vec<PathBuf> = instructions
            .iter()
            .filter(|one| one.word == "COPY" && !one.rest.contains("--from="))
            .flat_map(|one| one.rest.split(' '))
            .map(|word| root().join(word))
            .collect();
        let not_for_it = |name: &str| name == "README.md" || name.ends_with("Dockerfile");
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            let is_there = copied.iter().any(|copied| *copied == file.path());
            let name = file.file_name().into_string().unwrap();
            // What a run in the folder itself has left is ignored by git.
            assert!(
                is_there || not_for_it(&name) || name.starts_with('.') || name == "data" || name == "run",
                "{}: {name} is not copied",
                path.display()
            );
        }
    }
}
