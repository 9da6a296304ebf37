//! `plan`: what `up` would do now, and why. For a project that is not running: what a first `up` starts.

use super::Result;
use super::args::{Global, Plan};
use super::{project, reach, terminal};
use crate::api::wire;
use crate::reconcile::{Intent, World};
use crate::view::table;

pub fn plan(global: &Global, args: &Plan) -> Result<u8> {
    let loaded = project::load(global)?;
    if reach::running(&loaded.location)?.is_some() {
        return Err(super::outcome::Outcome::usage(
            "`plan` against a running project is not supported yet",
        ));
    }
    let plan = World::new(0).plan(&loaded.project);
    let plan = wire::Plan {
        generation: 0,
        steps: plan
            .steps
            .into_iter()
            .map(|step| wire::PlanStep {
                service: step.service.to_string(),
                step: match step.intent {
                    Intent::Start => wire::Step::Start,
                    Intent::Restart => wire::Step::Restart,
                    Intent::Live => wire::Step::Live,
                    Intent::Stop => wire::Step::Stop,
                    Intent::Keep => wire::Step::Keep,
                },
                fields: step.fields,
                because: step.because,
            })
            .collect(),
    };
    let changes = plan.steps.iter().any(|step| step.step != wire::Step::Keep);
    if args.json {
        project::print_json(&plan);
    } else {
        project::print(&table::plan(&plan, &terminal::for_stdout(global)));
    }
    Ok(if args.detailed_exitcode && changes { 2 } else { 0 })
}
