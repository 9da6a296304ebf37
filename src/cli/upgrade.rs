//! `upgrade`: guardian and daemon make way for this program; no service is touched.

use super::args::Global;
use super::call::{Call, in_time};
use super::outcome::Outcome;
use super::{Result, reach, terminal};
use crate::api::wire::{self, UpgradeAnswer, UpgradeRequest};

pub fn upgrade(global: &Global) -> Result<u8> {
    let program = crate::sys::program::own().map_err(Outcome::io("find runner's own program file"))?;
    let canonical = std::fs::canonicalize(&program).unwrap_or_else(|_| program.clone());
    reach::converse(async {
        let Call { location, mut client } = Call::begin(global).await?;
        let request = UpgradeRequest {
            program,
            state_version: wire::STATE_VERSION,
        };
        let answer = client.post::<UpgradeAnswer>("/v1/upgrade", &request);
        let before = in_time(&location, answer).await?;
        client.until_closed().await;
        // The socket is held open all the time: whoever answers next is the new one.
        let mut call = Call::begin(global).await?;
        let project: wire::Project = call.get("/v1/project").await?;
        let runs = std::fs::read_link(format!("/proc/{}/exe", project.pid));
        if runs.is_ok_and(|runs| runs != canonical) {
            return Err(Outcome::Failed {
                message: format!("runner could not become {} and goes on as it was", canonical.display()),
                suggestion: Some("what stood in the way is in runner.log, in the state folder".to_owned()),
            });
        }
        if !global.quiet {
            let (old, new) = (before.version, project.version);
            terminal::say(format_args!(
                "runner  {old} has made way for {new}; no service was touched"
            ));
        }
        Ok(0)
    })
}
