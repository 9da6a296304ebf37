use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::*;
use crate::spec::{WatchAction, WatchGlob};

const QUIET: Duration = Duration::from_millis(30);
const CEILING: Duration = Duration::from_secs(20);

struct Scene {
    _root: tempfile::TempDir,
    root: PathBuf,
    watching: Watching,
    seen: Receiver<Seen>,
}

fn glob(base: PathBuf, pattern: &str) -> WatchGlob {
    WatchGlob {
        base,
        pattern: pattern.to_owned(),
    }
}

impl Scene {
    /// Watches these below a fresh folder; what `before` makes is there already.
    fn new(paths: &[(&str, &str)], before: impl FnOnce(&Path)) -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("it is there");
        before(&root);
        let (tell, seen) = channel();
        let mut watching = Watching::new(Arc::new(move |told| drop(tell.send(told))));
        let watch = Watch {
            paths: paths
                .iter()
                .map(|(base, pattern)| glob(root.join(base), pattern))
                .collect(),
            ignore: vec![glob(root.clone(), "**/*.log")],
            action: WatchAction::Restart,
            debounce: QUIET,
        };
        let watched = Watched { watch, own: Vec::new() };
        watching.look_at([(ServiceName::new("web"), watched)].into());
        let scene = Scene {
            _root: dir,
            root,
            watching,
            seen,
        };
        scene.until_it_looks();
        scene
    }

    /// What is done before the folders are watched is not told.
    fn until_it_looks(&self) {
        let (done, is_done) = channel();
        let eye = self.watching.eye.as_ref().expect("it was told to look");
        eye.send(Message::Sync(done)).expect("it looks");
        is_done.recv_timeout(CEILING).expect("it has looked");
    }

    fn write(&self, path: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
        fs::write(path, "changed").expect("written");
    }

    fn next(&self) -> (String, usize) {
        match self.seen.recv_timeout(CEILING).expect("something is seen") {
            Seen::Changed { path, more, .. } => {
                let path = path.strip_prefix(&self.root).expect("it is below");
                (path.to_string_lossy().into_owned(), more)
            }
            other @ Seen::Unseen { .. } => panic!("{other:?}"),
        }
    }

    /// Nothing of the past is told after this one.
    fn only(&self, last: &str) {
        self.write(last);
        assert_eq!(self.next(), (last.to_owned(), 0));
        assert_eq!(self.seen.recv_timeout(QUIET * 3), Err(RecvTimeoutError::Timeout));
    }
}

#[test]
fn what_is_saved_is_told_once_and_what_does_not_count_is_not() {
    let scene = Scene::new(&[("src", "**/*.js")], |root| {
        fs::create_dir_all(root.join("src/deep")).expect("made");
    });
    scene.write("src/deep/a.css");
    scene.write("src/x.log");
    scene.write("b.js");
    scene.only("src/deep/a.js");
    scene.write("src/a.js");
    scene.write("src/b.js");
    assert_eq!(scene.next(), ("src/a.js".to_owned(), 1));
    // By renaming, as editors save.
    fs::write(scene.root.join("src/.new"), "changed").expect("written");
    fs::rename(scene.root.join("src/.new"), scene.root.join("src/a.js")).expect("renamed");
    assert_eq!(scene.next(), ("src/a.js".to_owned(), 0));
    fs::remove_file(scene.root.join("src/b.js")).expect("removed");
    assert_eq!(scene.next(), ("src/b.js".to_owned(), 0));
}

#[test]
fn folders_that_come_go_and_come_back_are_followed() {
    let scene = Scene::new(&[("src", ""), ("later/conf.d", "*.conf")], |root| {
        fs::create_dir_all(root.join("src")).expect("made");
    });
    scene.write("src/new/deep/a.rs");
    assert_eq!(scene.next().0, "src/new/deep/a.rs");
    scene.only("src/new/deep/b.rs");
    fs::remove_dir_all(scene.root.join("src")).expect("removed");
    assert!(scene.next().0.starts_with("src"));
    scene.write("src/new/deep/a.rs");
    assert!(scene.next().0.starts_with("src"));
    scene.only("src/new/deep/c.rs");
    // One that was not there at all.
    scene.write("later/conf.d/x.conf");
    assert_eq!(scene.next().0, "later/conf.d/x.conf");
    scene.only("later/conf.d/y.conf");
}

#[test]
fn a_stream_that_never_ends_acts_all_the_same() {
    let scene = Scene::new(&[("src", "")], |root| fs::create_dir(root.join("src")).expect("made"));
    let begin = Instant::now();
    let told = loop {
        scene.write("src/a");
        match scene.seen.try_recv() {
            Ok(seen) => break seen,
            Err(_) => assert!(begin.elapsed() < CEILING, "it waits for ever"),
        }
        std::thread::yield_now();
    };
    assert!(matches!(told, Seen::Changed { .. }), "{told:?}");
}

#[test]
fn an_edit_of_what_git_ignores_above_counts_at_once() {
    let scene = Scene::new(&[("app/src", "**")], |root| {
        fs::create_dir_all(root.join(".git")).expect("made");
        fs::create_dir_all(root.join("app/src")).expect("made");
        fs::write(root.join(".gitignore"), "*.tmp\n").expect("written");
    });
    scene.write("app/src/a.tmp");
    scene.only("app/src/a");
    fs::write(scene.root.join(".gitignore"), "*.out\n").expect("written");
    scene.only("app/src/b.tmp");
    scene.write("app/src/b.out");
    scene.only("app/src/c");
    fs::rename(scene.root.join(".gitignore"), scene.root.join("away")).expect("renamed");
    scene.only("app/src/d.out");
}

#[test]
fn a_new_file_counts_when_it_is_closed() {
    let scene = Scene::new(&[("src", "")], |root| fs::create_dir(root.join("src")).expect("made"));
    let open = fs::File::create(scene.root.join("src/open")).expect("made");
    scene.only("src/other");
    drop(open);
    assert_eq!(scene.next(), ("src/open".to_owned(), 0));
    // What is never opened.
    fs::hard_link(scene.root.join("src/open"), scene.root.join("src/again")).expect("linked");
    assert_eq!(scene.next(), ("src/again".to_owned(), 0));
    std::os::unix::fs::symlink("nowhere", scene.root.join("src/link")).expect("linked");
    assert_eq!(scene.next(), ("src/link".to_owned(), 0));
}

#[test]
fn what_git_ignores_is_not_entered_until_it_does_not() {
    let scene = Scene::new(&[("", "**")], |root| {
        fs::create_dir_all(root.join(".git")).expect("made");
        fs::create_dir_all(root.join("build")).expect("made");
        fs::write(root.join(".gitignore"), "build/\n").expect("written");
    });
    scene.write("build/a");
    scene.only("b");
    fs::write(scene.root.join(".gitignore"), "").expect("written");
    assert!(scene.next().1 <= 1);
    scene.only("build/c");
}
