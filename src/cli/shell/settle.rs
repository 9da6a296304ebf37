//! What a shell does not wait for: the start and the stop of a project, by a process in the background.
//!
//! Whoever enters or leaves only writes down who is inside. One worker at a time looks at that for a project, does what follows
//! from it, and looks again; so it does not matter in which order they come.

use std::io::PipeReader;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::inside::{Process, Task, Wish};
use super::permit::{self, Verdict};
use super::store::Store;
use super::{in_one_line, located};
use crate::api::wire::{self, ProjectState};
use crate::cli::args::{Down, Global};
use crate::cli::outcome::Outcome;
use crate::cli::up::background;
use crate::cli::{Result, call, down, orphans, reach};
use crate::config::find::Location;
use crate::sys;
use crate::sys::detach::start_detached;

/// A prompt is not kept longer from its user, whatever a start takes.
const PATIENCE: Duration = Duration::from_secs(1);

/// A worker, by the pipe that closes with its end.
pub struct Worker(PipeReader);

impl Worker {
    /// For the project with this key.
    pub fn begin(key: &str) -> Result<Worker> {
        let (end, held) = std::io::pipe().map_err(Outcome::io("make a pipe"))?;
        let program = sys::program::own().map_err(Outcome::io("find runner's own program file"))?;
        let words = ["shell", "settle", key].map(std::ffi::OsStr::new);
        start_detached(&program, &words, &[(held.as_raw_fd(), 3)], &[])
            .map_err(Outcome::io("start runner in the background"))?;
        Ok(Worker(end))
    }

    /// Until it has done its work, or that takes too long. `true`: it has.
    pub fn wait_a_little(&self) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        // Interrupted by a Ctrl-C: as good as too long.
        matches!(poll(&mut polled, patience), Ok(count) if count > 0)
    }
}

/// Does what is to be done for a project until nothing is.
pub fn settle(global: &Global, key: &str) -> Result<()> {
    let store = Store::open()?;
    let turn = store.busy_with(key)?;
    loop {
        let todo = store.change(|record| {
            record.drop_dead(Process::is_alive);
            record.settle();
            let inside = record.projects.get(key)?;
            Some((inside.dir.clone(), inside.task()?, inside.started))
        })?;
        let Some((dir, task, before)) = todo else { break };
        let global = Global {
            directory: Some(dir.clone()),
            file: Vec::new(),
            project: None,
            quiet: true,
            ..global.clone()
        };
        let done = match task {
            Task::Up(wish) => start(&store, &global, &dir, wish, before),
            Task::Down(guardian) => stop(&global, dir, guardian).map(|()| None),
        };
        store.change(|record| {
            let Some(inside) = record.projects.get_mut(key) else {
                return;
            };
            if let Task::Up(wish) = task
                && inside.wish == Some(wish)
            {
                inside.wish = None;
            }
            match done {
                // Taken into somebody's own hands meanwhile: it stays there.
                Ok(started) if inside.started == before => inside.started = started,
                Ok(_) => {}
                Err(failure) => {
                    inside.trouble = Some(in_one_line(&failure));
                    if let Task::Down(_) = task {
                        inside.started = None;
                    }
                }
            }
        })?;
    }
    drop(turn);
    Ok(())
}

/// The guardian of what we have started, now or before; `None`: it was started by hand.
fn start(store: &Store, global: &Global, dir: &Path, wish: Wish, before: Option<Process>) -> Result<Option<Process>> {
    let location = located(dir)?;
    let runs = is_running(&location)?;
    // Only now: that may have taken its time.
    if let Verdict::Refused { why, .. } = permit::look(store, &location) {
        return Err(Outcome::failed(why));
    }
    if !runs {
        // What a killed runner has left belongs to whoever had started it.
        let is_ours = before.is_some() || orphans::of(&location).is_none();
        return Ok(background::up(global)?.filter(|_| is_ours).map(Process::of));
    }
    let ours = before.filter(|before| call::guardian_of(&location) == Some(before.pid) && before.is_alive());
    if let Some(guardian) = ours.filter(|_| wish == Wish::Apply) {
        // Not another `up`, which starts what somebody has stopped.
        guardian
            .signal(libc::SIGHUP)
            .map_err(Outcome::io("tell the runner to read its files"))?;
    }
    Ok(ours)
}

/// One that is on its way out is waited for.
fn is_running(location: &Location) -> Result<bool> {
    while let Some(stream) = reach::running(location)? {
        let stays = reach::converse(async {
            let mut client = reach::client(stream).await?;
            match call::in_time(location, client.get::<wire::Project>("/v1/project")).await {
                Ok(project) if project.state == ProjectState::Ending => {
                    client.until_closed().await;
                    Ok(false)
                }
                answer => answer.map(|_| true),
            }
        });
        match stays {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // Gone before it could answer.
            Err(failure) => match reach::running(location)? {
                Some(_) => return Err(failure),
                None => return Ok(false),
            },
        }
    }
    Ok(false)
}

fn stop(global: &Global, dir: std::path::PathBuf, guardian: Process) -> Result<()> {
    // Also where that guardian was killed: what it has left is still ours.
    match call::guardian_of(&Location::of_folder(dir, None)) == Some(guardian.pid) {
        true => {
            let args = Down {
                timeout: None,
                because: Some("the last shell has left the folder".to_owned()),
            };
            down::down(global, &args).map(drop)
        }
        false => Ok(()),
    }
}
