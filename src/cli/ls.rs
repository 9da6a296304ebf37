//! `ls`: every project that runs for this user.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;

use super::args::{Global, Ls};
use super::{Result, orphans, project, reach, terminal};
use crate::api::wire::{self, LsProject, ProjectState};
use crate::config::find::Location;
use crate::sys::places::{self, Place};
use crate::view::table;

/// A project that has not answered by then is shown as silent.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn ls(global: &Global, args: &Ls) -> Result<u8> {
    let mut projects = reach::converse(async {
        let mut asked = JoinSet::new();
        for folder in places::runtime_folders() {
            asked.spawn_local(look(folder));
        }
        Ok(asked.join_all().await)
    })?;
    let mut projects: Vec<LsProject> = projects.drain(..).flatten().collect();
    projects.sort_by(|a, b| (&a.folder, &a.name).cmp(&(&b.folder, &b.name)));
    let answer = wire::Ls { projects };
    if args.json {
        project::print_json(&answer)?;
    } else if answer.projects.is_empty() {
        if !global.quiet {
            terminal::say("no project of yours is running");
        }
    } else {
        project::print(&table::ls(&answer, &terminal::for_stdout(global)))?;
    }
    Ok(0)
}

/// `None`: nobody lives there, and nothing of anybody.
async fn look(folder: PathBuf) -> Option<LsProject> {
    match answer(&folder).await {
        Some(project) => Some(project),
        None => orphaned(folder),
    }
}

/// `None`: there is no runner, or it ended while we asked.
async fn answer(folder: &Path) -> Option<LsProject> {
    let socket = folder.join(reach::SOCKET);
    let ask = async {
        let path = socket.clone();
        // One whose queue is full must not hold up the others.
        let connecting = tokio::task::spawn_blocking(move || places::connect(&path, PATIENCE));
        let stream = match connecting.await.ok()? {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return std::future::pending().await,
            connected => connected.ok()?,
        };
        let mut client = reach::client(stream).await.ok()?;
        client.get::<wire::Project>("/v1/project").await.ok()
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Some(project)) => Some(LsProject {
            services: Some(project.services.values().sum()),
            name: project.name,
            folder: project.folder,
            socket: project.socket,
            pid: Some(project.pid),
            state: project.state,
        }),
        Ok(None) => None,
        Err(_) => Some(silent(folder, &socket)),
    }
}

/// What a runner that was killed has left.
fn orphaned(folder: PathBuf) -> Option<LsProject> {
    let socket = folder.join(reach::SOCKET);
    let orphans = orphans::in_folder(folder)?;
    let place = orphans.place()?;
    let count = orphans.living().count();
    let location = Location::of_folder(place.dir.clone(), place.name_override.clone());
    (count > 0).then(|| LsProject {
        folder: place.dir.display().to_string(),
        socket: socket.display().to_string(),
        pid: None,
        name: location.name(),
        services: u32::try_from(count).ok(),
        state: ProjectState::Orphaned,
    })
}

/// What is known without asking.
fn silent(folder: &Path, socket: &Path) -> LsProject {
    let place = Place::read(folder);
    let dir = place.as_ref().map_or(folder, |place| &place.dir);
    LsProject {
        folder: dir.display().to_string(),
        socket: socket.display().to_string(),
        pid: place.as_ref().and_then(|place| reach::holder_of(&place.state_dir)),
        name: place
            .and_then(|place| place.name_override)
            .unwrap_or_else(|| "-".to_owned()),
        services: None,
        state: ProjectState::Silent,
    }
}
