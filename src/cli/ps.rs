//! `ps`: the services and their state.

use super::args::{Global, Ps};
use super::{Result, call, orphans, project, reach, terminal, watch};
use crate::api::wire;
use crate::view::table;

pub fn ps(global: &Global, args: &Ps) -> Result<u8> {
    if args.watch {
        return watch::ps(global, args.json);
    }
    let (ps, is_lost) = look(global)?;
    if args.json {
        project::print_json(&ps)?;
    } else if args.names_only {
        let names: String = ps
            .services
            .iter()
            .map(|service| format!("{}\n", service.name))
            .collect();
        project::print(&names)?;
    } else {
        project::print(&table::ps(&ps, &terminal::for_stdout(global)))?;
        if is_lost {
            orphans::hint(global, &ps);
        }
    }
    Ok(0)
}

/// From the runner; or, where it was killed, what of it still runs (`true`).
fn look(global: &Global) -> Result<(wire::Ps, bool)> {
    let (location, stream) = project::locate_running(global)?;
    if let Some(stream) = stream {
        let ps = reach::converse(async {
            let mut client = reach::client(stream).await?;
            call::in_time(&location, client.get("/v1/services")).await
        });
        return ps.map(|ps| (ps, false));
    }
    let orphans = orphans::of(&location).filter(|orphans| !orphans.are_gone());
    let orphans = orphans.ok_or_else(|| orphans::nobody(&location))?;
    Ok((orphans.ps(global, &location), true))
}
