//! Who runs on this machine, for probes that look at what the processes of a service have open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::sys::processes::{self, Stat};

/// So long one reading does for everybody: no attempt of a probe follows another sooner.
const FRESH: Duration = Duration::from_millis(50);

/// The processes of a machine are many: a thread reads them, and whoever asks meanwhile waits for the same reading.
#[derive(Debug, Default)]
pub struct Census(Mutex<Option<(Instant, Arc<Vec<Stat>>)>>);

impl Census {
    pub async fn take(&self) -> Arc<Vec<Stat>> {
        let mut last = self.0.lock().await;
        if let Some((begun, all)) = &*last
            && begun.elapsed() < FRESH
        {
            return all.clone();
        }
        let begun = Instant::now();
        let read = tokio::task::spawn_blocking(processes::all).await;
        let all = Arc::new(read.unwrap_or_default());
        *last = Some((begun, all.clone()));
        all
    }
}
