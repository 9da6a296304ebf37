//! `replicas`: members, their names and numbers, and how many there are.

use super::{Folder, services};
use crate::config::{Cleared, HashedPorts, KeptPorts, Loaded, Scales, names, select};
use crate::spec::{Check, Condition, Group, Rollout, Scaled, Service, ServiceName};

fn refused(text: &str) -> String {
    Folder::with(text).complaints()
}

fn service<'l>(loaded: &'l Loaded, name: &str) -> &'l Service {
    &loaded.project.services[name]
}

fn all(loaded: &Loaded) -> Vec<&str> {
    loaded.project.services.keys().map(ServiceName::as_str).collect()
}

fn number(service: &Service, port: &str) -> u16 {
    service.ports[port].number
}

#[test]
fn members_are_services_in_the_files_order_and_know_who_they_are() {
    let loaded = services(
        "[services.db]\ncommand = 'db'\n\
         [services.web]\ncommand = ['x', '{{ service }}', '{{ instance }}', '{{ index }}', '{{ port }}']\nreplicas = 2\n\
         ports = { http = 'auto' }\nrollout = 'all'\n\
         [services.php]\ncommand = 'php{{ instance }}'\nreplicas = ['8.2', '8.3']\n",
    );
    assert_eq!(all(&loaded), ["db", "web@1", "web@2", "php@8.2", "php@8.3"]);
    let (first, second) = (service(&loaded, "web@1"), service(&loaded, "web@2"));
    let words = |instance: &str, index: &str, service: &Service| {
        let port = number(service, "http").to_string();
        [String::from("x"), "web".into(), instance.into(), index.into(), port]
    };
    assert_eq!(first.command.words, words("1", "0", first));
    assert_eq!(second.command.words, words("2", "1", second));
    assert_ne!(number(first, "http"), number(second, "http"));
    assert_eq!(first.env["PORT"], number(first, "http").to_string());
    assert_eq!(
        (first.rollout, service(&loaded, "db").rollout),
        (Rollout::All, Rollout::Rolling)
    );
    assert_eq!(service(&loaded, "php@8.3").command.words, ["php8.3"]);
    let groups = &loaded.project.groups;
    let web = Group {
        members: vec![ServiceName::new("web@1"), ServiceName::new("web@2")],
        declared: Some(2),
        scaled: None,
    };
    assert_eq!((&groups["web"], groups["php"].declared, groups.len()), (&web, None, 2));
}

#[test]
fn a_replicated_target_means_all_its_members() {
    let text = |replicas: &str| {
        format!(
            "[services.web]\ncommand = 'x'\ndepends_on = {{ php = 'started', once = {{ restart = true }} }}\nreplicas = 2\n\
             [services.php]\ncommand = 'x'\nreplicas = {replicas}\n\
             [services.once]\ncommand = 'x'\ntype = 'oneshot'\nreplicas = ['a']\n\
             [services.one]\ncommand = 'x'\ndepends_on = ['web@2']\n"
        )
    };
    let some = services(&text("2"));
    let needs = |name: &str| -> Vec<(String, Condition, bool)> {
        let needs = service(&some, name).depends_on.iter();
        needs
            .map(|(on, how)| (on.to_string(), how.condition, how.restart))
            .collect()
    };
    let wanted = [
        ("php@1".to_owned(), Condition::Started, false),
        ("php@2".to_owned(), Condition::Started, false),
        ("once@a".to_owned(), Condition::CompletedSuccessfully, true),
    ];
    assert_eq!((needs("web@1"), needs("web@2")), (wanted.to_vec(), wanted.to_vec()));
    assert_eq!(needs("one"), [("web@2".to_owned(), Condition::Healthy, false)]);
    let none = services(&text("0"));
    assert_eq!(service(&none, "web@1").depends_on.len(), 1);
    assert!(none.project.groups["php"].members.is_empty());
}

#[test]
fn a_shared_port_is_one_number_and_its_readiness_is_ones_own() {
    let text = |port: &str| {
        format!(
            "[services.web]\ncommand = 'x'\nreplicas = 3\nports = {{ http = {{ port = {port}, shared = true }} }}\n\
             [services.proxy]\ncommand = 'x {{{{ services.web.port }}}} {{{{ services[\"web@2\"].ports.http }}}}'\n"
        )
    };
    for port in ["3000", "'auto'"] {
        let loaded = services(&text(port));
        let members = ["web@1", "web@2", "web@3"].map(|name| service(&loaded, name));
        let numbers = members.map(|member| number(member, "http"));
        assert_eq!(numbers, [numbers[0]; 3]);
        let proxy = service(&loaded, "proxy");
        assert_eq!(
            proxy.command.words[1..],
            [numbers[0].to_string(), numbers[0].to_string()]
        );
        let ready = members[1].ready.as_ref().expect("a default probe");
        assert_eq!(ready.check, Check::Binds(numbers[0]));
        // What is kept is found again, whoever of them is asked first.
        let kept = KeptPorts::default().with(&loaded.project);
        let is_kept = kept.get("web", "http") == Some(numbers[0]);
        assert_eq!(is_kept, port == "'auto'");
    }
}

#[test]
fn what_is_the_same_for_all_has_a_name_without_a_member() {
    let one = "[services.web]\ncommand = 'x'\nreplicas = 1\nports = ['auto']\n\
               [services.proxy]\ncommand = 'x {{ services.web.port }}'\n";
    let alone = services(one);
    let port = number(service(&alone, "web@1"), "auto").to_string();
    assert_eq!(service(&alone, "proxy").command.words[1], port);
    let said = refused(&one.replace("replicas = 1", "replicas = 2"));
    assert!(said.contains("services[\"web@1\"].port"), "{said}");
}

#[test]
fn dp_01_cycles_go_through_members_and_members_can_not_need_each_other() {
    let said = refused(
        "[services.php]\ncommand = 'x'\nreplicas = ['8.2', '8.3']\ndepends_on = ['web']\n\
         [services.web]\ncommand = 'x'\ndepends_on = ['php@8.3']\n",
    );
    assert!(said.contains("dependency cycle: php -> web -> php"), "{said}");
    let said = refused("[services.php]\ncommand = 'x'\nreplicas = ['8.2', '8.3']\ndepends_on = ['php@8.2']\n");
    assert!(said.contains("dependency cycle: php -> php"), "{said}");
}

fn scaled(text: &str, replicas: u32, declared: u32, cleared: Cleared) -> Result<Loaded, String> {
    let mut folder = Folder::with(text);
    folder.scales = Scales {
        wishes: [(ServiceName::new("web"), Scaled { replicas, declared })].into(),
        cleared,
    };
    folder.load().map_err(|problems| problems.to_string())
}

const WEB: &str = "[services.web]\ncommand = 'x'\nreplicas = 2\nlabels = ['front']\nports = ['auto']\n\
                   [services.db]\ncommand = 'x'\n";

#[test]
fn who_was_scaled_by_hand_is_so_until_it_is_taken_back() {
    let count = |declared, cleared| {
        let loaded = scaled(WEB, 4, declared, cleared).expect("valid");
        let group = &loaded.project.groups["web"];
        (group.members.len(), group.scaled)
    };
    let of = |words: &[&str]| Cleared::by_up(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(count(2, Cleared::Nobodys), (4, Some(4)));
    for kept in [&["db"][..], &["web@1"], &["@back"]] {
        assert_eq!(count(2, of(kept)), (4, Some(4)), "{kept:?}");
    }
    for cleared in [&[][..], &["web"], &["db", "@front"]] {
        assert_eq!(count(2, of(cleared)), (2, None), "{cleared:?}");
    }
    // The file says something else now than it did then.
    assert_eq!(count(3, Cleared::Nobodys), (2, None));
    let none = scaled(WEB, 0, 2, Cleared::Nobodys).expect("valid");
    assert_eq!(all(&none), ["db"]);
}

#[test]
fn a_definition_is_made_again_with_another_number_and_its_ports_stay() {
    let folder = Folder::with(WEB);
    let before = folder.load().expect("valid");
    let kept = KeptPorts::default().with(&before.project);
    let recipe = before.recipe.clone().expect("it has replicas");
    let with = |replicas| {
        let scales = Scales {
            wishes: [(ServiceName::new("web"), Scaled { replicas, declared: 2 })].into(),
            ..Scales::default()
        };
        let mut source = HashedPorts::new("key", |_| true).keeping(kept.clone());
        recipe.scaled(scales, &mut source).expect("valid")
    };
    let more = with(3);
    assert_eq!(all(&more), ["web@1", "web@2", "web@3", "db"]);
    for name in ["web@1", "web@2", "db"] {
        assert_eq!(service(&more, name), service(&before, name));
    }
    assert_eq!(all(&with(1)), ["web@1", "db"]);
    let again = more.recipe.expect("it has replicas");
    let mut source = HashedPorts::new("key", |_| true).keeping(kept.clone());
    let back = again.scaled(Scales::default(), &mut source).expect("valid");
    assert_eq!(back.project, before.project);
}

#[test]
fn a_port_for_one_can_not_be_had_by_more_however_they_came() {
    let text = "[services.web]\ncommand = 'x'\nreplicas = 1\nports = [3000]\n";
    assert_eq!(all(&services(text)), ["web@1"]);
    let said = scaled(text, 2, 1, Cleared::Nobodys).expect_err("refused");
    assert!(
        said.contains("port 3000 can't be had by 2 replicas (scaled by hand)"),
        "{said}"
    );
    let others = "[services.a]\ncommand = 'x'\nports = [{ port = 3000, shared = true }]\n\
                  [services.b]\ncommand = 'x'\nports = [{ port = 3000, shared = true }]\n";
    assert_eq!(all(&services(others)), ["a", "b"]);
    assert!(refused(&others.replacen(", shared = true", "", 1)).contains("is declared by"));
}

#[test]
fn a_name_selects_all_members_and_a_group_of_none_is_never_all() {
    let loaded = services(&format!("{WEB}[services.none]\ncommand = 'x'\nreplicas = 0\n"));
    let chosen = |word: &str| select(&loaded.project, &[word.to_owned()]);
    let members = [ServiceName::new("web@1"), ServiceName::new("web@2")];
    assert_eq!(chosen("web").as_deref(), Ok(&members[..]));
    assert_eq!(chosen("@front").as_deref(), Ok(&members[..]));
    assert_eq!(chosen("web@2").as_deref(), Ok(&members[1..]));
    let said = |word: &str| chosen(word).expect_err("nothing").suggestion.unwrap_or_default();
    assert!(said("none").contains("runner scale none=1"));
    assert_eq!(said("web@3"), "there are web@1, web@2");
    assert!(said("wbe").contains("`web`"));
}

#[test]
fn who_ends_everything_is_one_service() {
    let text = |name: &str| format!("[project]\nexit_code_from = '{name}'\n{WEB}");
    assert!(refused(&text("web")).contains("`web` is 2 services"));
    let loaded = services(&text("web@2"));
    assert_eq!(
        loaded.project.exit_code_from.as_ref().map(ServiceName::as_str),
        Some("web@2")
    );
}

#[test]
fn names_to_type_are_those_of_all_and_of_each() {
    let folder = Folder::with(WEB);
    let location = folder.locate(&[], None);
    let found = names(&location, nix::unistd::geteuid().as_raw());
    assert_eq!(found.services, ["web", "web@1", "web@2", "db"]);
    // Half written, and with something in it that would mislead a shell.
    let folder = Folder::with("[services.web]\nreplicas = ['a', '$(x)']\n[services");
    let found = names(&folder.locate(&[], None), nix::unistd::geteuid().as_raw());
    assert!(found.services.iter().all(|name| !name.contains('$')), "{found:?}");
}

#[test]
fn the_largest_number_loads_quickly() {
    let begun = std::time::Instant::now();
    let loaded =
        services("[services.web]\ncommand = 'x'\nreplicas = 1000\n[services.b]\ncommand = 'x'\ndepends_on = ['web']\n");
    assert_eq!(loaded.project.services.len(), 1001);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}
