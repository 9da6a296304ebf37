//! `ps`: the services and their state.

use super::Result;
use super::args::{Global, Ps};
use super::call::Call;
use super::{project, reach, terminal, watch};
use crate::api::wire;
use crate::view::table;

pub fn ps(global: &Global, args: &Ps) -> Result<u8> {
    if args.watch {
        return watch::ps(global, args.json);
    }
    let ps: wire::Ps = reach::converse(async { Call::begin(global).await?.get("/v1/services").await })?;
    if args.json {
        project::print_json(&ps);
    } else if args.names_only {
        let names: String = ps
            .services
            .iter()
            .map(|service| format!("{}\n", service.name))
            .collect();
        project::print(&names);
    } else {
        project::print(&table::ps(&ps, &terminal::for_stdout(global)));
    }
    Ok(0)
}
