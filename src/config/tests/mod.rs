//! Whole files, from text to problems or to a project.

mod changes;
mod fuzz;
mod golden;
mod hints;
mod loading;
mod masking;
mod meaning;
mod numbers;
mod replicas;
mod setup;
mod written;

use std::path::{Path, PathBuf};

use super::find::{self, Location};
use super::{HashedPorts, Inputs, Loaded, Problems, Scales, load};
use crate::spec::Service;

/// A project in a folder of its own.
pub(super) struct Folder {
    folder: tempfile::TempDir,
    /// The environment in which it is started.
    pub env: Vec<(&'static str, &'static str)>,
    pub logs_in_memory: bool,
    pub scales: Scales,
}

impl Folder {
    pub fn new() -> Self {
        Folder {
            folder: tempfile::tempdir().unwrap(),
            env: Vec::new(),
            logs_in_memory: false,
            scales: Scales::default(),
        }
    }

    pub fn with(text: &str) -> Self {
        let folder = Folder::new();
        folder.write("services.toml", text);
        folder
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn locate(&self, files: &[&str], project: Option<&str>) -> Location {
        let options = find::Options {
            files: files.iter().map(PathBuf::from).collect(),
            directory: None,
            project: project.map(str::to_owned),
        };
        let around = find::Surroundings {
            cwd: self.path(),
            home: None,
        };
        find::locate(&options, &around).unwrap()
    }

    pub fn load_at(&self, location: &Location) -> Result<Loaded, Problems> {
        let inputs = Inputs {
            env: self
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            euid: nix::unistd::geteuid().as_raw(),
            state_dir: None,
            logs_in_memory: self.logs_in_memory,
            scales: self.scales.clone(),
            edited: Vec::new(),
        };
        load(location, &inputs, &mut HashedPorts::new("key", |_| true))
    }

    pub fn load(&self) -> Result<Loaded, Problems> {
        self.load_at(&self.locate(&[], None))
    }

    /// The project, which must be valid.
    #[track_caller]
    pub fn valid(&self) -> Loaded {
        match self.load() {
            Ok(loaded) => loaded,
            Err(problems) => panic!("{problems}"),
        }
    }

    /// One line for each problem of a project that must be invalid.
    #[track_caller]
    pub fn complaints(&self) -> String {
        let shown = self.load().expect_err("invalid").to_string();
        shown.replace(&self.path().display().to_string(), "DIR")
    }
}

#[track_caller]
pub(super) fn services(text: &str) -> Loaded {
    Folder::with(text).valid()
}

/// The only service of a file, as checked.
#[track_caller]
pub(super) fn service(keys: &str) -> Service {
    let loaded = services(&format!("[services.web]\n{keys}"));
    Service::clone(&loaded.project.services["web"])
}

pub(super) fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/golden")
}
