//! Which paths count for one service.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::logs;
use crate::spec::WatchGlob;
use crate::sys::files::is_draft_of;

pub const GITIGNORE: &str = ".gitignore";

/// Globs, ready to be asked.
pub struct Globs(Vec<(WatchGlob, Option<GlobMatcher>)>);

impl Globs {
    pub fn new(globs: &[WatchGlob]) -> Globs {
        let matcher = |glob: &WatchGlob| {
            let built = GlobBuilder::new(&glob.pattern).literal_separator(true).build();
            // An empty pattern is its base; that all others are globs is checked by `config`.
            built
                .ok()
                .filter(|_| !glob.pattern.is_empty())
                .map(|built| built.compile_matcher())
        };
        Globs(globs.iter().map(|glob| (glob.clone(), matcher(glob))).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &WatchGlob> {
        self.0.iter().map(|(glob, _)| glob)
    }

    /// Whether one of them matches it or a folder that it is in.
    pub fn cover(&self, path: &Path) -> bool {
        self.0
            .iter()
            .any(|(glob, matcher)| match (path.strip_prefix(&glob.base), matcher) {
                (Err(_), _) => false,
                (Ok(_), None) => true,
                (Ok(below), Some(matcher)) => below
                    .ancestors()
                    .filter(|part| !part.as_os_str().is_empty())
                    .any(|part| matcher.is_match(part)),
            })
    }

    /// It stands there letter by letter.
    fn names(&self, path: &Path) -> bool {
        self.iter().any(|glob| glob.pattern.is_empty() && glob.base == path)
    }

    /// Whether something below this folder may count.
    pub fn lead_into(&self, folder: &Path) -> bool {
        let may_reach = |glob: &WatchGlob| match folder.strip_prefix(&glob.base) {
            Ok(below) => glob.depth().is_none_or(|depth| below.components().count() < depth),
            Err(_) => false,
        };
        self.iter().any(may_reach) || self.cover(folder)
    }
}

/// What no watch sees: version control, and the files by which editors save.
pub fn is_of_a_tool(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let swap = || {
        let dot = name.iter().rposition(|&byte| byte == b'.');
        dot.is_some_and(|dot| name.starts_with(b".") && matches!(&name[dot..], [b'.', b's', b'w', _]))
    };
    matches!(name, b".git" | b".hg" | b".svn" | b".jj" | b"4913" | b".DS_Store")
        || name.ends_with(b"~")
        || name.starts_with(b".#")
        || name.starts_with(b"#") && name.ends_with(b"#")
        || name.starts_with(b".goutputstream-")
        || swap()
}

/// The `.gitignore` files of the folders that are looked at, and of those above them up to their repository.
#[derive(Default)]
pub struct Ignores(BTreeMap<PathBuf, Option<Gitignore>>);

impl Ignores {
    /// Reads what stands in this folder, if that was not done yet.
    pub fn read(&mut self, folder: &Path) {
        if self.0.contains_key(folder) {
            return;
        }
        let file = folder.join(GITIGNORE);
        let found = file.is_file().then(|| {
            let mut builder = GitignoreBuilder::new(folder);
            // A line that git does not understand ignores nothing there either.
            let _ = builder.add(file);
            builder.build().ok()
        });
        self.0.insert(folder.to_owned(), found.flatten());
    }

    /// What stands in this folder has changed.
    pub fn read_again(&mut self, folder: &Path) {
        if self.0.remove(folder).is_some() {
            self.read(folder);
        }
    }

    /// As [`Ignores::read`], for the folders above as well, up to the one that holds the repository. The answer: which.
    pub fn read_above<'a>(&mut self, folder: &'a Path) -> Vec<&'a Path> {
        let root = folder.ancestors().find(|above| above.join(".git").exists());
        let is_inside = |above: &&Path| root.is_some_and(|root| above.starts_with(root));
        let folders: Vec<&Path> = folder.ancestors().take_while(is_inside).collect();
        for above in &folders {
            self.read(above);
        }
        folders
    }

    fn hide(&self, path: &Path, is_folder: bool) -> bool {
        let files = path.ancestors().skip(1).filter_map(|above| self.0.get(above)?.as_ref());
        for file in files {
            match file.matched(path, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

/// What counts for one service.
pub struct Sieve {
    pub paths: Globs,
    ignore: Globs,
    /// Runner's own: its state, the service's log, PID file and rendered files.
    own: Vec<PathBuf>,
}

impl Sieve {
    pub fn new(paths: &[WatchGlob], ignore: &[WatchGlob], own: Vec<PathBuf>) -> Sieve {
        Sieve {
            paths: Globs::new(paths),
            ignore: Globs::new(ignore),
            own,
        }
    }

    /// Whether a change of it counts.
    pub fn takes(&self, path: &Path, ignores: &Ignores) -> bool {
        self.paths.cover(path) && !self.leaves_out(path, false, ignores)
    }

    /// Whether to look into a folder.
    pub fn enters(&self, folder: &Path, ignores: &Ignores) -> bool {
        self.paths.lead_into(folder) && !self.leaves_out(folder, true, ignores)
    }

    fn leaves_out(&self, path: &Path, is_folder: bool, ignores: &Ignores) -> bool {
        let own = |own: &PathBuf| path.starts_with(own) || logs::is_file_of(own, path) || is_draft_of(own, path);
        if self.own.iter().any(own) || self.ignore.cover(path) {
            return true;
        }
        // What somebody names letter by letter is meant, whatever git thinks of it.
        !self.paths.names(path) && (path.file_name().is_some_and(is_of_a_tool) || ignores.hide(path, is_folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(base: &str, pattern: &str) -> WatchGlob {
        WatchGlob {
            base: base.into(),
            pattern: pattern.into(),
        }
    }

    #[test]
    fn a_glob_is_what_it_matches_and_all_below() {
        let globs = Globs::new(&[glob("/p/src", ""), glob("/p", "*.toml"), glob("/p/web", "**/*.js")]);
        for path in [
            "/p/src",
            "/p/src/a/b.rs",
            "/p/x.toml",
            "/p/web/a.js",
            "/p/web/b/c/d.js",
            "/p/d.toml/below",
        ] {
            assert!(globs.cover(Path::new(path)), "{path}");
        }
        for path in ["/p", "/p/srcs/a", "/p/a/x.toml", "/p/web/a.css", "/q/src/a"] {
            assert!(!globs.cover(Path::new(path)), "{path}");
        }
        for folder in ["/p", "/p/src/deep/er", "/p/web", "/p/web/any/where"] {
            assert!(globs.lead_into(Path::new(folder)), "{folder}");
        }
        for folder in ["/p/other", "/", "/q"] {
            assert!(!globs.lead_into(Path::new(folder)), "{folder}");
        }
    }

    #[test]
    fn what_tools_write_beside_a_file_is_none_of_it() {
        for name in [
            ".a.js.swp",
            ".a.swx",
            "4913",
            "a.js~",
            ".#a.js",
            "#a.js#",
            ".git",
            ".goutputstream-XY12",
        ] {
            assert!(is_of_a_tool(OsStr::new(name)), "{name}");
        }
        for name in ["a.js", "swp", "a.swp", ".env", "#a", "14913", ".gitignore"] {
            assert!(!is_of_a_tool(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_nearest_gitignore_has_the_last_word_and_a_literal_path_is_meant() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(root.join(".git")).expect("made");
        std::fs::create_dir_all(root.join("src/gen")).expect("made");
        std::fs::write(root.join(GITIGNORE), "*.tmp\n/build/\n.env\n").expect("written");
        std::fs::write(root.join("src/.gitignore"), "!keep.tmp\ngen/\n").expect("written");
        let mut ignores = Ignores::default();
        ignores.read_above(&root.join("src"));
        let base = root.display().to_string();
        let own = vec![root.join("src/web.log")];
        let paths = [glob(&base, "**"), glob(&format!("{base}/.env"), "")];
        let sieve = Sieve::new(&paths, &[glob(&base, "**/*.md")], own);
        for path in [
            "src/a.js",
            "src/keep.tmp",
            ".env",
            "b/build",
            "src/web.logic.js",
            "src/web.log.txt",
        ] {
            assert!(sieve.takes(&root.join(path), &ignores), "{path}");
        }
        for path in [
            "a.tmp",
            "src/a.tmp",
            "src/x/README.md",
            "src/web.log",
            "src/web.log.1",
            ".git",
        ] {
            assert!(!sieve.takes(&root.join(path), &ignores), "{path}");
        }
        assert!(!sieve.enters(&root.join("build"), &ignores));
        assert!(!sieve.enters(&root.join("src/gen"), &ignores));
        assert!(sieve.enters(&root.join("src/other"), &ignores));
    }
}
