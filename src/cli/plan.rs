//! `plan`: what `up` would do now, and why. For a project that is not running: what a first `up` starts.

use super::Result;
use super::args::{Global, Plan};
use super::{call, orphans, project, reach, terminal};
use crate::api::wire;
use crate::api::wire::UpRequest;
use crate::api::wishes;
use crate::config;
use crate::config::find::Location;
use crate::reconcile::{Author, Cause, Now, Request, World};
use crate::view::table;

pub fn plan(global: &Global, args: &Plan) -> Result<u8> {
    let request = UpRequest {
        profiles: global.profiles.clone(),
        ..UpRequest::default()
    };
    let plan = foresee(global, &request)?;
    let changes = plan.steps.iter().any(|step| step.step != wire::Step::Keep);
    tell(global, &plan, args.json)?;
    Ok(if args.detailed_exitcode && changes { 2 } else { 0 })
}

/// `up --dry-run`: the same for what is named.
pub fn dry_run(global: &Global, request: &UpRequest, json: bool) -> Result<u8> {
    tell(global, &foresee(global, request)?, json)?;
    Ok(0)
}

fn tell(global: &Global, plan: &wire::Plan, json: bool) -> Result<()> {
    if json {
        project::print_json(plan)
    } else {
        project::print(&table::plan(plan, &terminal::for_stdout(global)))
    }
}

/// From the running project, which knows what runs; else what a first `up` would start.
fn foresee(global: &Global, request: &UpRequest) -> Result<wire::Plan> {
    let (location, stream) = project::locate_running(global)?;
    if let Some(stream) = stream {
        let plan = reach::converse(async {
            let mut client = reach::client(stream).await?;
            let path = path(request, &location);
            Ok(call::unless_stopped(&location, client.get(&path)).await??)
        });
        return plan.map_err(|outcome| project::rejected(global, outcome));
    }
    let loaded = project::load_for_up(global, &request.names)?;
    let names = config::select(&loaded.project, &request.names)?;
    project::check_profiles(global, &loaded.project)?;
    let asked = Request::Up {
        names,
        no_deps: request.no_deps,
        profiles: request.profiles.clone(),
    };
    // Nothing has happened yet, at whatever time.
    let now = Now { mono_ns: 0, wall_ns: 0 };
    let cause = Cause::new(Author::User, "runner up");
    let mut world = World::new(0);
    // What was asked for by hand of a runner that did not come to its end.
    if let Some(wishes) = wishes::left_in(&loaded.project.state_dir) {
        world.restore(wishes);
    }
    if let Some(orphans) = orphans::of(&location) {
        world.recall(orphans.recollection());
    }
    Ok(world.plan(now, &loaded.project, Some(asked), &cause).into())
}

fn path(request: &UpRequest, location: &Location) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(request.names.iter().map(|name| ("service", name)));
    query.extend_pairs(request.profiles.iter().map(|name| ("profile", name)));
    let files = location.files.iter().map(|file| file.display().to_string());
    query.extend_pairs(files.map(|file| ("file", file)));
    if request.no_deps {
        query.append_pair("no_deps", "1");
    }
    format!("/v1/plan?{}", query.finish())
}
