//! Whatever is written: no panic, and every place lies within its file.

use super::{Folder, golden_folder};
use crate::view::diagnostic;
use crate::view::style::Style;

/// xorshift64*, so that a seed replays.
pub(super) struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }
}

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{ env.X }}",
    "{{ services.db.port }}",
    "\"",
    "'",
    "\"\"\"",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "@",
    "false",
    "true",
    "0",
    "-1",
    "1e400",
    "99999999999999999999",
    "0x10",
    "2026-01-01",
    "\\u0000",
    "\\",
    "\u{e4}",
    "\u{1f600}",
    "[services.x]\n",
    "[[services]]\n",
    "[defaults]\n",
    "\"10s\"",
    "\"auto\"",
    "ports",
    "ready",
    "depends_on",
    "[]",
    "{}",
];

fn mutate(text: &str, chance: &mut Chance) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..=chance.below(4) {
        let at = chance.below(letters.len() + 1);
        let end = (at + chance.below(12)).min(letters.len());
        let piece = PIECES[chance.below(PIECES.len())].chars();
        match chance.below(5) {
            0 => drop(letters.drain(at..end)),
            1 => drop(letters.splice(at..at, piece)),
            2 => drop(letters.splice(at..end, piece)),
            3 => {
                let copy: Vec<char> = letters[at..end].to_vec();
                let to = chance.below(letters.len() + 1);
                letters.splice(to..to, copy);
            }
            _ => {
                // Values change places, so that right words stand at wrong keys.
                let (Some(from), other) = (
                    letters[at..].iter().position(|c| *c == '='),
                    chance.below(letters.len() + 1),
                ) else {
                    continue;
                };
                let line = letters[at + from..].iter().position(|c| *c == '\n').unwrap_or(0);
                let copy: Vec<char> = letters[at + from..at + from + line].to_vec();
                let Some(target) = letters[other..].iter().position(|c| *c == '=') else {
                    continue;
                };
                let length = letters[other + target..].iter().position(|c| *c == '\n').unwrap_or(0);
                letters.splice(other + target..other + target + length, copy);
            }
        }
    }
    letters.into_iter().collect()
}

fn seeds() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<String> = ["services.toml", "examples/shop/services.toml"]
        .iter()
        .map(|path| std::fs::read_to_string(root.join(path)).unwrap())
        .collect();
    for entry in std::fs::read_dir(golden_folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            texts.extend(std::fs::read_to_string(path));
        }
    }
    texts.sort();
    texts
}

#[test]
fn mutated_files_never_panic() {
    let texts = seeds();
    let folder = Folder::new();
    let rounds: u64 = std::env::var("RUNNER_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(800);
    for seed in 1..=rounds {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let text = mutate(&texts[chance.below(texts.len())], &mut chance);
        folder.write("services.toml", &text);
        let outcome = std::panic::catch_unwind(|| {
            let problems = match folder.load() {
                Ok(loaded) => loaded.warnings,
                Err(problems) => {
                    assert!(!problems.is_empty(), "an error without words");
                    problems
                }
            };
            for problem in &problems.list {
                let text = &problems.source(problem.place).text;
                let (start, end) = (problem.place.start, problem.place.end);
                assert!(start <= end && end <= text.len(), "{problem:?}");
                assert!(
                    text.is_char_boundary(start) && text.is_char_boundary(end),
                    "{problem:?}"
                );
            }
            diagnostic::problems(&problems, &Style::PLAIN)
        });
        assert!(outcome.is_ok(), "seed {seed}:\n{text}");
    }
}
