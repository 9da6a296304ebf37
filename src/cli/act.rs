//! `start`, `stop`, `restart`, `reload`, `kill`, `wait`: something is asked of services, and its result is waited for.

use super::args::{Global, Kill, Named, Stop, Wait, WaitFor};
use super::call::{self, Call};
use super::outcome::Outcome;
use super::progress::Progress;
use super::reach::Start;
use super::{Result, down, orphans, project, reach, terminal};
use crate::api::wire::{self, ActRequest, Acted};
use crate::config;
use crate::config::find::Location;
use crate::reconcile::StateName;
use crate::view::acted;

pub fn start(global: &Global, args: &Named) -> Result<u8> {
    act(global, "start", request(args), args.json)
}

pub fn restart(global: &Global, args: &Named) -> Result<u8> {
    act(global, "restart", request(args), args.json)
}

pub fn reload(global: &Global, args: &Named) -> Result<u8> {
    act(global, "reload", request(args), args.json)
}

pub fn stop(global: &Global, args: &Stop) -> Result<u8> {
    if let (location, None) = project::locate_running(global)? {
        match orphans::of(&location) {
            None => return nothing_to_stop(global, &location, &args.named),
            Some(orphans) if args.named.names.is_empty() => {
                let patience = args.named.wait_timeout;
                if args.named.no_wait {
                    orphans.begin_end(&location)?;
                    return already_so(global, &location, &args.named, "everything is being stopped in");
                }
                down::end_orphans(global, &location, &orphans, args.timeout, patience)?;
                return already_so(global, &location, &args.named, "everything has stopped in");
            }
            Some(_) => take_over(global, &args.named.names)?,
        }
    }
    let request = ActRequest {
        timeout_ms: args.timeout.map(millis),
        ..request(&args.named)
    };
    act(global, "stop", request, args.named.json)
}

/// What a runner that was killed has left comes under control again, as its file and what was asked for by hand say: some of
/// it is to be stopped and the rest not, and only the file tells what the rest is.
fn take_over(global: &Global, names: &[String]) -> Result<()> {
    let loaded = project::load(global).inspect_err(|_| {
        terminal::say("`runner down` needs no file: it stops all that a runner that was killed has left");
    })?;
    config::select(&loaded.project, names)?;
    let start = Start::background(&loaded.location, &loaded.project.state_dir);
    reach::or_start(&start).map(drop)
}

/// Without a runner it is so already. A name must be one all the same, as far as the file can tell.
fn nothing_to_stop(global: &Global, location: &Location, args: &Named) -> Result<u8> {
    if let (_, Ok(loaded)) = project::read(global)? {
        config::select(&loaded.project, &args.names)?;
    }
    already_so(global, location, args, "nothing is running for")
}

fn already_so(global: &Global, location: &Location, args: &Named, words: &str) -> Result<u8> {
    if args.json {
        project::print_json(&Acted {
            outcome: wire::Outcome::Done,
            services: Vec::new(),
        })?;
    } else if !global.quiet {
        terminal::say(format_args!("{words} {}", location.dir.display()));
    }
    Ok(0)
}

pub fn kill(global: &Global, args: &Kill) -> Result<u8> {
    let request = ActRequest {
        names: args.names.clone(),
        signal: args.signal.clone(),
        ..ActRequest::default()
    };
    act(global, "kill", request, args.json)
}

fn request(args: &Named) -> ActRequest {
    ActRequest {
        names: args.names.clone(),
        wait: !args.no_wait,
        wait_timeout_ms: args.wait_timeout.map(millis),
        ..ActRequest::default()
    }
}

pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn act(global: &Global, verb: &str, request: ActRequest, json: bool) -> Result<u8> {
    let acted: Acted = reach::converse(async {
        let Call { location, mut client } = Call::begin(global).await?;
        let mut progress = Progress::new(global, json);
        progress.about(plain_names(&request.names));
        let path = format!("/v1/{verb}");
        call::wait(&location, client.post(&path, &request), &mut progress).await
    })?;
    tell(global, &acted, verb, json)
}

pub fn wait(global: &Global, args: &Wait) -> Result<u8> {
    let acted: Acted = reach::converse(async {
        let Call { location, mut client } = Call::begin(global).await?;
        let mut progress = Progress::new(global, args.json);
        progress.about(plain_names(&args.names));
        let path = wait_path(&args.names, goal(args.goal), args.timeout.map(millis));
        call::wait(&location, client.get(&path), &mut progress).await
    })?;
    tell(global, &acted, "wait", args.json)
}

fn goal(goal: WaitFor) -> &'static str {
    match goal {
        WaitFor::Ready => "ready",
        WaitFor::Stopped => "stopped",
        WaitFor::Completed => "completed",
        WaitFor::Failed => "failed",
    }
}

/// Of `GET /v1/wait`.
pub fn wait_path(names: &[String], goal: &str, timeout_ms: Option<u64>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("for", goal);
    query.extend_pairs(names.iter().map(|name| ("service", name)));
    if let Some(timeout) = timeout_ms {
        query.append_pair("timeout_ms", &timeout.to_string());
    }
    format!("/v1/wait?{}", query.finish())
}

/// With a label among them nobody here knows who is meant: then everything is shown that moves.
fn plain_names(names: &[String]) -> Vec<String> {
    match names.iter().any(|name| name.starts_with('@')) {
        true => Vec::new(),
        false => names.to_vec(),
    }
}

pub fn tell(global: &Global, acted: &Acted, verb: &str, json: bool) -> Result<u8> {
    let code = match acted.outcome {
        wire::Outcome::Asked | wire::Outcome::Done => 0,
        wire::Outcome::Failed => 1,
        wire::Outcome::TimedOut => 124,
    };
    if json {
        project::print_json(acted)?;
        return Ok(code);
    }
    let style = terminal::for_stderr(global);
    if code != 0 || !global.quiet {
        terminal::say_raw(&acted::lines(acted, verb, &style));
    }
    if acted.outcome == wire::Outcome::TimedOut {
        return Err(Outcome::TimedOut {
            message: late(acted, verb),
        });
    }
    Ok(code)
}

fn late(acted: &Acted, verb: &str) -> String {
    let is_there = |service: &&wire::Service| matches!(service.state, StateName::Ready | StateName::Completed);
    let missing = acted.services.iter().filter(|service| !is_there(service)).count();
    match (verb, missing) {
        ("stop", _) | (_, 0) => "not everything was done in time; it goes on".to_owned(),
        (_, count) => format!("{count} of {} were not there in time; it goes on", acted.services.len()),
    }
}
