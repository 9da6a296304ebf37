//! Services out of the files that languages and frameworks have.

mod node_js;
mod others;
mod python;
mod rust;

use super::draft::{Draft, Service, Value};
use super::folder::Folder;
use super::names::Names;
use super::node::Mark;
use super::report::Report;

/// What was recognised.
struct Stack {
    /// The file by which it was.
    file: &'static str,
    /// In words: "a Django project".
    what: String,
    services: Vec<Service>,
}

pub(super) fn draft(folder: &Folder) -> (Draft, Report) {
    let mut report = Report::default();
    let mut draft = Draft::default();
    let mut names = Names::default();
    let found = [
        others::rails(folder),
        others::laravel(folder),
        python::django(folder),
        python::app(folder),
        others::phoenix(folder),
        rust::cargo(folder, &mut report),
        others::go(folder),
        others::java(folder),
        node_js::package(folder, &mut report),
        node_js::deno(folder),
    ];
    let mut stacks: Vec<Stack> = found.into_iter().flatten().collect();
    if stacks.is_empty() {
        stacks.extend(others::make(folder));
    }
    for stack in stacks {
        report.file = stack.file.to_owned();
        report.note(
            Mark::NONE,
            "",
            format!("{} was recognised by {}", stack.what, stack.file),
        );
        for mut service in stack.services {
            service.name = names.take(&service.name, Mark::NONE, &mut report);
            service.comments.insert(0, format!("{}.", sentence(&stack.what)));
            draft.services.push(service);
        }
    }
    (draft, report)
}

fn sentence(what: &str) -> String {
    let mut letters = what.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn service(name: &str, command: &str) -> Service {
    let mut service = Service::new(name, Mark::NONE);
    service.set("command", Value::Template(command.to_owned()));
    service
}

/// It is ready when this port accepts connections.
fn listening(mut service: Service, port: u16) -> Service {
    service.say(
        "ports",
        Value::List(vec![Value::Number(port.into())]),
        "becomes PORT; ready when it accepts connections",
    );
    service
}

/// It is ready when it listens anywhere, which may take as long as a build.
fn listening_somewhere(mut service: Service, patience: &str) -> Service {
    service.say(
        "ready",
        Value::table([("listen", Value::Bool(true))]),
        "when it listens on any port",
    );
    service.set("start_timeout", Value::text(patience));
    service
}
