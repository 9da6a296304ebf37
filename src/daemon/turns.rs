//! The steps of one service are run by one preparation at a time: not by two replicas of it at once, nor beside those that a
//! killed runner has left.
//!
//! Within the daemon a mutex gives the turns. Against other processes there is a lock on a file, which steps hold open as well
//! (it is their stdin). It can't be waited for without a thread; there is one for each service at most, whoever comes and goes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::preparation::blocking;

/// By the file that is locked.
#[derive(Default)]
pub struct Turns(RefCell<HashMap<PathBuf, Arc<Mutex<Slot>>>>);

/// The thread that waits for the lock on behalf of whoever has the turn.
type Slot = Option<oneshot::Receiver<io::Result<File>>>;

/// As long as it is kept, nobody else has it.
pub struct Turn {
    pub lock: Arc<File>,
    _slot: OwnedMutexGuard<Slot>,
}

impl Turns {
    /// Dropped at any time, somebody else's turn comes. `waits` is called if it has to be waited for. `None`: nothing can be
    /// locked here.
    pub async fn wait(&self, path: PathBuf, waits: impl FnOnce()) -> Option<Turn> {
        let slot = self.0.borrow_mut().entry(path.clone()).or_default().clone();
        let mut waits = Some(waits);
        let mut slot = match slot.clone().try_lock_owned() {
            Ok(slot) => slot,
            Err(_) => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                slot.lock_owned().await
            }
        };
        if slot.is_none() {
            let at = path.clone();
            match blocking(move || try_lock(&at)).await {
                Ok(Some(file)) => return Some(turn(file, slot)),
                Ok(None) => {}
                Err(_) => return None,
            }
            let (sink, locked) = oneshot::channel();
            std::thread::Builder::new()
                .spawn(move || drop(sink.send(wait_for_lock(&path))))
                .ok()?;
            *slot = Some(locked);
        }
        if let Some(waits) = waits.take() {
            waits();
        }
        // Where we are dropped here, whoever comes next goes on with it.
        let locked = slot.as_mut()?.await;
        *slot = None;
        Some(turn(locked.ok()?.ok()?, slot))
    }
}

fn turn(file: File, slot: OwnedMutexGuard<Slot>) -> Turn {
    Turn {
        lock: Arc::new(file),
        _slot: slot,
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).open(path)
}

fn wait_for_lock(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    file.lock()?;
    Ok(file)
}

/// `None`: somebody else has it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
    }

    #[tokio::test]
    async fn any_number_wait_by_one_thread_and_each_has_its_turn() {
        let bed = tempfile::tempdir().unwrap();
        let path = bed.path().join("prepared/web.lock");
        let foreign = wait_for_lock(&path).unwrap();
        let (turns, before) = (Turns::default(), threads());
        let told = Cell::new(0);
        // Those that are stopped leave nothing behind but the one thread.
        for _ in 0..1000 {
            let mut wait = std::pin::pin!(turns.wait(path.clone(), || told.set(told.get() + 1)));
            let looked = tokio::time::timeout(std::time::Duration::ZERO, &mut wait).await;
            assert!(looked.is_err());
        }
        let waiting = std::iter::repeat_with(|| turns.wait(path.clone(), || {})).take(1000);
        let mut all = Box::pin(each_in_turn(waiting.collect()));
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(1), &mut all)
                .await
                .is_err()
        );
        // Other tests have theirs, and a thread of the runtime's looks first.
        assert!(threads() < before + 100, "{} and then {}", before, threads());
        drop(foreign);
        assert_eq!(all.await, 1000);
        assert!(told.get() >= 999);
    }

    /// Each takes its turn and gives it back.
    async fn each_in_turn<F: Future<Output = Option<Turn>>>(all: Vec<F>) -> usize {
        let had = Rc::new(Cell::new(0));
        let mut all: Vec<_> = all.into_iter().map(|one| Some(Box::pin(one))).collect();
        std::future::poll_fn(|context| {
            for one in &mut all {
                if let Some(wait) = one
                    && wait.as_mut().poll(context).is_ready()
                {
                    had.set(had.get() + 1);
                    *one = None;
                }
            }
            match all.iter().all(Option::is_none) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        had.get()
    }
}
