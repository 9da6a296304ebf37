//! `include = ["services.d/*.toml"]`.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobMatcher};

use super::LookedFor;

/// Deeper folders are not searched for `**`.
const DEEPEST: usize = 32;

/// The files that a pattern names, in byte order. A pattern without wildcards names one file, whether it is there or
/// not; a glob may match nothing. Hidden files are matched only by a pattern with the dot, so that an editor's backup
/// is not taken in.
///
/// `looked_for`: takes up every folder in which a new file could match, and what is missing on the way.
pub(super) fn expand(folder: &Path, pattern: &str, looked_for: &mut LookedFor) -> Result<Vec<PathBuf>, String> {
    if pattern.is_empty() || pattern.contains('\0') {
        return Err("this is no path".into());
    }
    let start = if pattern.starts_with('/') {
        Path::new("/")
    } else {
        folder
    };
    if !is_glob(pattern) {
        return Ok(vec![start.join(pattern)]);
    }
    let mut parts = Vec::new();
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        parts.push(match part {
            "**" => Part::AnyDepth,
            part if is_glob(part) => {
                let glob = Glob::new(part).map_err(|error| format!("no valid glob: {}", error.kind()))?;
                Part::Glob(glob.compile_matcher(), part.starts_with('.'))
            }
            part => Part::Name(part),
        });
    }
    let mut found = Vec::new();
    walk(start, &parts, DEEPEST, looked_for, &mut found);
    found.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    found.dedup();
    Ok(found)
}

enum Part<'p> {
    Name(&'p str),
    Glob(GlobMatcher, bool),
    AnyDepth,
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn walk(folder: &Path, parts: &[Part<'_>], depth: usize, looked_for: &mut LookedFor, found: &mut Vec<PathBuf>) {
    let Some((first, rest)) = parts.split_first() else {
        if folder.is_file() {
            found.push(folder.to_owned());
        } else {
            looked_for.files.insert(folder.to_owned());
        }
        return;
    };
    match first {
        Part::Name(name) => walk(&folder.join(name), rest, depth, looked_for, found),
        Part::Glob(glob, hidden) => {
            looked_for.folders.insert(folder.to_owned());
            for name in names(folder) {
                if (*hidden || !name.starts_with('.')) && glob.is_match(&name) {
                    walk(&folder.join(&name), rest, depth, looked_for, found);
                }
            }
        }
        Part::AnyDepth => {
            looked_for.folders.insert(folder.to_owned());
            walk(folder, rest, depth, looked_for, found);
            for name in names(folder).into_iter().filter(|name| !name.starts_with('.')) {
                let below = folder.join(name);
                let is_folder = below.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
                if is_folder && depth > 0 {
                    walk(&below, parts, depth - 1, looked_for, found);
                }
            }
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_sorted_and_skip_hidden_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir_all(root.join("d/e")).expect("made");
        for name in [
            "d/b.toml",
            "d/a.toml",
            "d/.a.toml.swp",
            "d/.#b.toml",
            "d/e/c.toml",
            "d/x.txt",
        ] {
            std::fs::write(root.join(name), "").expect("written");
        }
        let names = |pattern: &str| -> Vec<String> {
            let files = expand(root, pattern, &mut LookedFor::default()).expect("a glob");
            files
                .iter()
                .map(|file| file.strip_prefix(root).expect("below").display().to_string())
                .collect()
        };
        assert_eq!(names("d/*.toml"), ["d/a.toml", "d/b.toml"]);
        assert_eq!(names("**/*.toml"), ["d/a.toml", "d/b.toml", "d/e/c.toml"]);
        assert_eq!(names("d/{a,b}.toml"), ["d/a.toml", "d/b.toml"]);
        assert_eq!(names("missing.toml"), ["missing.toml"]);
        assert_eq!(names("none/*.toml"), Vec::<String>::new());
        assert!(expand(root, "d/[.toml", &mut LookedFor::default()).is_err());
        let mut looked_for = LookedFor::default();
        expand(root, "**/*.toml", &mut looked_for).expect("a glob");
        assert_eq!(
            Vec::from_iter(looked_for.folders),
            [root.to_owned(), root.join("d"), root.join("d/e")]
        );
        let mut looked_for = LookedFor::default();
        expand(root, "d/*/deep/one.toml", &mut looked_for).expect("a glob");
        assert!(looked_for.files.contains(&root.join("d/e/deep/one.toml")));
    }
}
