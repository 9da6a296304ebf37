//! `upgrade`: guardian and daemon make way for this program; no service is touched.

use super::args::Global;
use super::call::{Call, in_time};
use super::outcome::Outcome;
use super::{Result, reach, terminal};
use crate::api::wire::{self, UpgradeAnswer, UpgradeRequest};

pub fn upgrade(global: &Global) -> Result<u8> {
    let program = std::env::current_exe().map_err(Outcome::io("find runner's own program file"))?;
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
        if !global.quiet {
            let (old, new) = (before.version, project.version);
            terminal::say(format_args!(
                "runner  {old} has made way for {new}; no service was touched"
            ));
        }
        Ok(0)
    })
}
