//! `graph`: what needs what, and up to which point.

use std::fmt::Write;

use crate::api::wire;
use crate::spec::{Condition, Dependency, Project, ServiceName};

#[derive(Clone, Copy)]
pub enum Format {
    Json,
    Tree,
    Dot,
    Mermaid,
}

pub fn graph(project: &Project, format: Format) -> String {
    match format {
        Format::Json => json(project),
        Format::Tree => tree(project),
        Format::Dot => dot(project),
        Format::Mermaid => mermaid(project),
    }
}

fn json(project: &Project) -> String {
    let services = project.services.iter().map(|(name, service)| wire::GraphNode {
        name: name.to_string(),
        depends_on: service
            .depends_on
            .iter()
            .map(|(target, dependency)| wire::GraphEdge {
                service: target.to_string(),
                condition: dependency.condition,
                restart: dependency.restart,
                required: dependency.required,
            })
            .collect(),
    });
    let graph = wire::Graph {
        services: services.collect(),
    };
    let mut text = serde_json::to_string_pretty(&graph).expect("our own shapes serialise");
    text.push('\n');
    text
}

/// `healthy`, `started, restart, optional`.
fn words(dependency: &Dependency) -> String {
    let mut words = match dependency.condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
        Condition::CompletedSuccessfully => "completed_successfully",
    }
    .to_owned();
    if dependency.restart {
        words.push_str(", restart");
    }
    if !dependency.required {
        words.push_str(", optional");
    }
    words
}

/// What stands deeper gets a tree of its own: a long chain stays readable, and costs no more than its length.
const DEEPEST: usize = 20;

/// A line that is still to be written.
struct Branch<'p> {
    name: &'p ServiceName,
    dependency: Option<&'p Dependency>,
    /// For each level above, whether more of it follows below.
    more: Vec<bool>,
}

/// Every service below those that need it. What a service needs is shown once; `(*)` says that it was shown above.
fn tree(project: &Project) -> String {
    let mut out = String::new();
    let mut needed = vec![false; project.services.len()];
    for service in project.services.values() {
        for target in service.depends_on.keys() {
            if let Some(index) = project.services.get_index_of(target) {
                needed[index] = true;
            }
        }
    }
    let mut roots: Vec<&ServiceName> = project
        .services
        .keys()
        .zip(&needed)
        .filter(|(_, needed)| !**needed)
        .map(|(name, _)| name)
        .collect();
    roots.reverse();
    let mut shown = vec![false; project.services.len()];
    while let Some(root) = roots.pop() {
        let mut open = vec![Branch {
            name: root,
            dependency: None,
            more: Vec::new(),
        }];
        while let Some(branch) = open.pop() {
            let (Some(index), Some(service)) = (
                project.services.get_index_of(branch.name),
                project.services.get(branch.name),
            ) else {
                continue;
            };
            let leads_on = !service.depends_on.is_empty();
            let known = leads_on && shown[index];
            let deep = leads_on && !known && branch.more.len() >= DEEPEST;
            let mark = match (known, deep) {
                (true, _) => " (*)",
                (_, true) => " (below)",
                _ => "",
            };
            write_branch(&branch, mark, &mut out);
            if deep {
                roots.push(branch.name);
            } else if leads_on && !known {
                shown[index] = true;
                let count = service.depends_on.len();
                let children = service.depends_on.iter().enumerate().map(|(at, (name, dependency))| {
                    let mut more = branch.more.clone();
                    more.push(at + 1 < count);
                    Branch {
                        name,
                        dependency: Some(dependency),
                        more,
                    }
                });
                open.extend(children.rev());
            }
        }
    }
    out
}

fn write_branch(branch: &Branch<'_>, mark: &str, out: &mut String) {
    if let Some((last, above)) = branch.more.split_last() {
        for more in above {
            out.push_str(if *more { "│  " } else { "   " });
        }
        out.push_str(if *last { "├─ " } else { "└─ " });
    }
    out.push_str(branch.name.as_str());
    if let Some(dependency) = branch.dependency {
        let _ = write!(out, " ({})", words(dependency));
    }
    out.push_str(mark);
    out.push('\n');
}

/// Names hold letters, digits, `_`, `-` and `.` only, so quotes are all the escaping there is.
fn dot(project: &Project) -> String {
    let mut out = "digraph services {\n".to_owned();
    for (name, service) in &project.services {
        let _ = writeln!(out, "  \"{name}\";");
        for (target, dependency) in &service.depends_on {
            let _ = writeln!(out, "  \"{name}\" -> \"{target}\" [label=\"{}\"];", words(dependency));
        }
    }
    out.push_str("}\n");
    out
}

/// Numbered, as some names are words of the language (`end`).
fn mermaid(project: &Project) -> String {
    let mut out = "graph TD\n".to_owned();
    let id = |name: &ServiceName| project.services.get_index_of(name).unwrap_or_default();
    for (name, service) in &project.services {
        let _ = writeln!(out, "  s{}[\"{name}\"]", id(name));
        for (target, dependency) in &service.depends_on {
            let _ = writeln!(out, "  s{} -->|{}| s{}", id(name), words(dependency), id(target));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HashedPorts, Inputs, find, load};

    fn project(text: &str) -> Project {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("services.toml");
        std::fs::write(&file, text).expect("written");
        let options = find::Options {
            files: vec![file],
            ..find::Options::default()
        };
        let around = find::Surroundings {
            cwd: "/".into(),
            home: None,
        };
        let location = find::locate(&options, &around).expect("there");
        let inputs = Inputs {
            env: Vec::new(),
            euid: nix::unistd::geteuid().as_raw(),
            state_dir: None,
            logs_in_memory: false,
            scales: Default::default(),
            edited: Vec::new(),
        };
        load(&location, &inputs, &mut HashedPorts::new("", |_| true))
            .expect("valid")
            .project
    }

    const SHOP: &str = r#"
        [services.db]
        command = "db"
        [services.migrate]
        type = "oneshot"
        command = "migrate"
        depends_on = ["db"]
        [services.web]
        command = "web"
        depends_on = { db = { restart = true, required = false }, migrate = "completed" }
        [services.mail]
        command = "mail"
        depends_on = { web = "started" }
        [services.end]
        command = "end"
    "#;

    #[test]
    fn a_tree_shows_conditions_and_nothing_twice() {
        let wanted = "\
mail
└─ web (started)
   ├─ db (healthy, restart, optional)
   └─ migrate (completed)
      └─ db (healthy)
end
";
        assert_eq!(graph(&project(SHOP), Format::Tree), wanted);
        let twice = "[services.a]\ncommand='x'\ndepends_on=['c']\n[services.b]\ncommand='x'\ndepends_on=['c']\n\
                     [services.c]\ncommand='x'\ndepends_on=['d']\n[services.d]\ncommand='x'\n";
        let wanted = "a\n└─ c (healthy)\n   └─ d (healthy)\nb\n└─ c (healthy) (*)\n";
        assert_eq!(graph(&project(twice), Format::Tree), wanted);
    }

    #[test]
    fn dp_07_a_long_chain_costs_its_length() {
        let mut text = String::from("[services.s0]\ncommand='x'\n");
        for at in 1..1000 {
            text.push_str(&format!("[services.s{at}]\ncommand='x'\ndepends_on=['s{}']\n", at - 1));
        }
        let shown = graph(&project(&text), Format::Tree);
        assert!(shown.lines().count() < 1100 && shown.len() < 100_000, "{}", shown.len());
        assert_eq!(shown.matches("s0 (").count(), 1);
    }

    #[test]
    fn other_formats_say_the_same() {
        let project = project(SHOP);
        let dot = graph(&project, Format::Dot);
        assert!(
            dot.contains("  \"web\" -> \"db\" [label=\"healthy, restart, optional\"];\n"),
            "{dot}"
        );
        let mermaid = graph(&project, Format::Mermaid);
        assert!(
            mermaid.contains("  s4[\"end\"]\n") && mermaid.contains("  s3 -->|started| s2\n"),
            "{mermaid}"
        );
        let json: serde_json::Value = serde_json::from_str(&graph(&project, Format::Json)).expect("JSON");
        let edge =
            serde_json::json!({ "service": "migrate", "condition": "completed", "restart": false, "required": true });
        assert_eq!(json["services"][2]["depends_on"][1], edge);
    }
}
