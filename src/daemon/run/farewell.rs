//! The end of a daemon: everything is over, or another version takes its place.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::door::remove_places;
use super::{Daemon, Inputs};
use crate::api::wire;
use crate::guardian::orders::Order;
use crate::reconcile::{Cause, Ending};
use crate::sys;

/// How long the end waits for clients to read the last words.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the answer to `upgrade` may take to be on its way.
const REPLY: Duration = Duration::from_millis(200);

impl Daemon {
    pub(super) async fn say_farewell(mut self, inputs: Inputs) -> u8 {
        let ending = self.ending.take().expect("the loop ends with one");
        let Ending { by, code, because } = ending;
        let cause = Cause::new(by, because.clone());
        let ended = wire::EventKind::Ended { code, because };
        self.story.tell_kind(sys::clock::now().wall_ns, None, 0, ended, cause);
        // The project came to its end: nothing that was wished of it is left. One that never began leaves wishes alone.
        if self.definition.project.is_some() {
            self.store.clear();
        }
        self.conclude();
        let Daemon {
            mut hands,
            boot,
            door,
            story,
            waiting,
            definition,
            showing,
            ..
        } = self;
        // Nothing more will come: followers see the end of their streams, and whoever waits or calls late is answered by
        // what is dropped here, "runner is ending".
        hands.stop_pump();
        drop((story, waiting, definition, inputs.calls, inputs.news));
        if !door.close(FAREWELL).await {
            tracing::info!("a client did not read its last words");
        }
        if let Some(showing) = showing {
            showing.finish(FAREWELL).await;
        }
        let _ = hands.guardian().queue(&Order::Finish, &[]);
        let _ = hands.guardian().flush();
        crate::fault::point!("daemon.finish-ordered");
        remove_places(&boot.runtime_dir);
        code
    }

    /// The last thing that this daemon does. What clients have asked for is answered by the next one.
    pub(super) async fn make_way(mut self, program: PathBuf, inputs: Inputs) -> u8 {
        self.conclude();
        // Whoever follows is to find its stream broken off, not ended: then it goes on with the next one. So what feeds the
        // streams is held until we are no more.
        let Daemon {
            mut hands,
            door,
            story: _story,
            waiting: _waiting,
            definition: _definition,
            ..
        } = self;
        let _ = door.close(REPLY).await;
        let program = program.into_os_string().into_vec();
        let guardian = hands.guardian();
        let _ = guardian.queue(&Order::Renew { program }, &[]);
        while matches!(guardian.flushed(), Ok(false)) {
            guardian.sent().await;
        }
        hands.stop_pump();
        drop(inputs);
        0
    }
}
