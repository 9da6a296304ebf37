//! Every bad file of `golden/` with the problems that it shows. A case is `NAME.toml`, or a folder `NAME` with a
//! `services.toml`; `NAME.txt` is what must be shown. `RUNNER_BLESS=1` writes these anew.

use std::path::Path;

use super::{Folder, golden_folder};
use crate::view::diagnostic;
use crate::view::style::Style;

fn copy(from: &Path, below: &Path, folder: &Folder) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            copy(&path, below, folder);
        } else {
            let name = path.strip_prefix(below).unwrap().to_str().unwrap();
            folder.write(name, std::fs::read(&path).unwrap());
        }
    }
}

fn shown(case: &Path) -> String {
    let folder = Folder::new();
    if case.is_dir() {
        copy(case, case, &folder);
    } else {
        folder.write("services.toml", std::fs::read(case).unwrap());
    }
    let problems = match folder.load() {
        Ok(loaded) => {
            let shown = diagnostic::problems(&loaded.warnings, &Style::PLAIN);
            return format!("{shown}valid\n");
        }
        Err(problems) => problems,
    };
    for problem in &problems.list {
        let text = &problems.source(problem.place).text;
        assert!(
            problem.place.start <= problem.place.end && problem.place.end <= text.len(),
            "{problem:?}"
        );
    }
    let shown = diagnostic::problems(&problems, &Style::PLAIN);
    shown.replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn bad_files_show_what_is_wrong_with_them() {
    let bless = std::env::var_os("RUNNER_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(golden_folder()).unwrap() {
        let case = entry.unwrap().path();
        if case.extension().is_some_and(|extension| extension == "txt") {
            continue;
        }
        count += 1;
        let expected = case.with_extension("txt");
        let shown = shown(&case);
        if bless {
            std::fs::write(&expected, &shown).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != shown {
            wrong.push(format!("{}:\n{shown}", expected.display()));
        }
    }
    assert!(count > 10, "the cases were found");
    assert!(
        wrong.is_empty(),
        "RUNNER_BLESS=1 writes them anew\n{}",
        wrong.join("\n")
    );
}
