//! Numbers of `"auto"` ports over edits, and definitions made again with other numbers.

use super::Folder;
use crate::config::{HashedPorts, Inputs, KeptPorts, Loaded, MovedPorts, load};
use crate::spec::{Project, ServiceName};

const ONE: &str = "[services.a]\ncommand = 'x {{ port }}'\nports = ['auto']\n";

fn kept(text: &str, kept: &KeptPorts, is_free: impl FnMut(u16) -> bool) -> Loaded {
    let folder = Folder::with(text);
    let mut source = HashedPorts::new("key", is_free).keeping(kept.clone());
    let inputs = Inputs {
        env: Vec::new(),
        euid: nix::unistd::geteuid().as_raw(),
        ..Inputs::default()
    };
    load(&folder.locate(&[], None), &inputs, &mut source).expect("valid")
}

fn number(project: &Project, service: &str) -> u16 {
    project.services[service].ports["auto"].number
}

#[test]
fn po_05_a_number_stays_whatever_comes_beside_it_and_whoever_holds_it() {
    let first = kept(ONE, &KeptPorts::default(), |_| true).project;
    let numbers = KeptPorts::default().with(&first);
    let a = number(&first, "a");
    // Its own service may hold it; another one of the same hash would get another number.
    let again = kept(ONE, &numbers, |port| port != a).project;
    assert_eq!(number(&again, "a"), a);
    let without = "[services.b]\ncommand = 'x'\nports = ['auto']\n";
    let gone = kept(without, &numbers, |_| true).project;
    assert_ne!(number(&gone, "b"), a, "what is not in the file keeps its number");
    let back = kept(&format!("{without}{ONE}"), &numbers.with(&gone), |_| true).project;
    assert_eq!((number(&back, "a"), number(&back, "b")), (a, number(&gone, "b")));
}

#[test]
fn po_05_a_declared_number_wins_over_a_kept_one_for_good() {
    let first = kept(ONE, &KeptPorts::default(), |_| true).project;
    let numbers = KeptPorts::default().with(&first);
    let a = number(&first, "a");
    let declared = format!("{ONE}[services.b]\ncommand = 'x'\nports = [{a}]\n");
    let moved = kept(&declared, &numbers, |_| true).project;
    assert_ne!(number(&moved, "a"), a);
    let numbers = numbers.with(&moved);
    assert_eq!(numbers.get("a", "auto"), Some(number(&moved, "a")));
    assert_eq!(number(&kept(ONE, &numbers, |_| true).project, "a"), number(&moved, "a"));
}

#[test]
fn po_05_a_hundred_services_get_a_hundred_numbers() {
    let text: String = (0..100)
        .map(|at| format!("[services.s{at}]\ncommand = 'x'\nports = ['auto']\n"))
        .collect();
    let project = kept(&text, &KeptPorts::default(), |port| port % 3 == 0).project;
    let numbers: std::collections::BTreeSet<u16> = project
        .services
        .values()
        .map(|service| service.ports["auto"].number)
        .collect();
    assert_eq!(numbers.len(), 100);
    assert!(
        numbers
            .iter()
            .all(|port| port % 3 == 0 && (20_000..30_000).contains(port))
    );
}

#[test]
fn po_05_a_lost_number_is_replaced_and_nothing_else() {
    let text = format!("{ONE}[services.b]\ncommand = 'x {{{{ services.a.port }}}}'\nports = ['auto']\n");
    let loaded = kept(&text, &KeptPorts::default(), |_| true);
    let (a, b) = (number(&loaded.project, "a"), number(&loaded.project, "b"));
    let mut numbers = KeptPorts::default().with(&loaded.project);
    numbers.forget("a", "auto");
    let mut source = HashedPorts::new("key", |port| port != a).keeping(numbers);
    let again = loaded
        .recipe
        .expect("it has auto ports")
        .with_ports(&mut source)
        .expect("free");
    let new = number(&again.project, "a");
    assert!(new != a && number(&again.project, "b") == b);
    let words = |service: &str| again.project.services[service].command.words[1].clone();
    assert_eq!((words("a"), words("b")), (new.to_string(), new.to_string()));
    assert_eq!(again.project.services["a"].env["PORT"], new.to_string());
    assert!(again.recipe.is_some());
}

#[test]
fn next_is_seen_by_all_that_name_the_port_and_the_definition_is_not_changed() {
    let text = "[services.web]\ncommand = 'x {{ port }}'\nports = { http = 3000 }\non_port_conflict = 'next'\n\
                [services.user]\ncommand = 'x'\nenv_file = 'e'\nenv = { URL = 'http://127.0.0.1:{{ services.web.port }}' }\n\
                [services.alone]\ncommand = 'x {{ project.name }}'\n";
    let folder = Folder::with(text);
    folder.write("e", "FROM_FILE=1\n");
    let loaded = folder.valid();
    let recipe = loaded.recipe.expect("a port may move");
    // Nothing is read anew.
    folder.write("e", "FROM_FILE=2\n");
    let web = ServiceName::new("web");
    let moved: MovedPorts = [(web.clone(), [("http".to_owned(), 3001)].into())].into();
    let service = |name: &str| {
        recipe
            .service(&ServiceName::new(name), &moved)
            .expect("valid")
            .expect("there")
    };
    let actual = service("web");
    assert_eq!(
        (actual.command.words[1].as_str(), actual.env["PORT"].as_str()),
        ("3001", "3001")
    );
    assert_eq!(
        (actual.env["PORT_HTTP"].as_str(), actual.ports["http"].number),
        ("3001", 3001)
    );
    assert!(format!("{:?}", actual.ready).contains("3001"));
    let user = service("user");
    assert_eq!(user.env["URL"], "http://127.0.0.1:3001");
    assert_eq!(user.env["FROM_FILE"], "1");
    assert_eq!(recipe.service(&web, &MovedPorts::new()).expect("valid"), None);
    assert_eq!(recipe.service(&ServiceName::new("alone"), &moved).expect("valid"), None);
    let back: MovedPorts = [(web.clone(), [("http".to_owned(), 3000)].into())].into();
    let declared = recipe.service(&web, &back).expect("valid").expect("touched");
    assert_eq!(declared, *loaded.project.services["web"]);
    assert!(
        super::services("[services.a]\ncommand = 'x'\nports = [1]\n")
            .recipe
            .is_none()
    );
}
