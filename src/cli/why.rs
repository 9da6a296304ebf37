//! `why`: the chain of causes of a service's state.

use super::args::{Global, Why};
use super::call::Call;
use super::outcome::Outcome;
use super::{Result, orphans, project, reach, terminal};
use crate::api::wire;
use crate::view::{events, why};

pub fn why(global: &Global, args: &Why) -> Result<u8> {
    let answer: Result<wire::Why> = reach::converse(async {
        let mut call = Call::begin(global).await?;
        call.get(&format!("/v1/services/{}/why", escaped(&args.name))).await
    });
    let answer = match answer {
        Err(Outcome::NotRunning { .. }) => {
            let (location, _) = project::locate_running(global)?;
            let orphan = orphans::of(&location).and_then(|orphans| orphans.why(&args.name));
            orphan.ok_or_else(|| orphans::nobody(&location))?
        }
        answer => answer?,
    };
    if args.json {
        project::print_json(&answer)?;
    } else {
        let style = terminal::for_stdout(global);
        project::print(&why::text(&answer, &style))?;
        if global.verbose > 0 {
            let lines = answer.events.iter().map(|event| events::line(event, &style));
            project::print(&lines.collect::<String>())?;
        }
    }
    Ok(0)
}

/// A name as one step of a path.
pub fn escaped(name: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
