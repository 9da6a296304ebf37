//! `inspect`: the resolved definition of a service, and its state.

use super::args::{Global, Inspect};
use super::call::Call;
use super::why::escaped;
use super::{Result, project, reach, terminal};
use crate::api::wire;
use crate::view::definition;

pub fn inspect(global: &Global, args: &Inspect) -> Result<u8> {
    let answer: wire::Inspect = reach::converse(async {
        let mut call = Call::begin(global).await?;
        let reveal = if args.reveal { "?reveal=1" } else { "" };
        call.get(&format!("/v1/services/{}{reveal}", escaped(&args.name))).await
    })?;
    if args.json {
        project::print_json(&answer)?;
    } else {
        project::print(&definition::text(&answer, &terminal::for_stdout(global)))?;
    }
    Ok(0)
}
