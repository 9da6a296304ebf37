//! What valid files mean.

use std::time::Duration;

use super::{Folder, service, services};
use crate::spec::{
    Check, Condition, ExitPolicy, Gate, HttpCheck, Kind, Limit, LogTarget, Probe, Protocol, Resource, Restart, Signal,
    StatusPattern, StopScope, TcpTarget,
};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn tcp(host: &str, port: u16) -> TcpTarget {
    TcpTarget {
        host: host.into(),
        port,
    }
}

#[test]
fn everything_has_the_default_of_the_contract() {
    let folder = Folder::with("[services.web]\ncommand = 'node server.js'\n");
    let project = folder.valid().project;
    assert_eq!((project.exit, project.exit_code_from.clone()), (None, None));
    assert_eq!(project.shell, ["sh", "-c"]);
    assert_eq!(project.dir, folder.path());
    let web = &project.services["web"];
    assert_eq!(web.command.words, ["node", "server.js"]);
    assert!(!web.command.shell && web.env.is_empty() && !web.clear_env && web.ports.is_empty());
    assert_eq!(web.working_dir, folder.path());
    assert_eq!(
        (web.user.clone(), web.group.clone(), web.umask, web.nice),
        (None, None, None, None)
    );
    assert!(web.limits.is_empty());
    assert_eq!(
        (web.kind, web.success_exit_codes.as_slice(), web.timeout),
        (Kind::Simple, &[0][..], None)
    );
    assert_eq!(
        (web.start_timeout, web.ready.clone(), web.health.clone()),
        (None, None, None)
    );
    assert!(web.depends_on.is_empty() && web.wait_for.is_empty());
    assert_eq!(
        (web.restart, web.max_restarts, web.restart_window),
        (Restart::OnFailure, None, seconds(60))
    );
    let backoff = web.backoff;
    assert_eq!(
        (backoff.initial, backoff.factor, backoff.max),
        (Duration::from_millis(500), 2.0, seconds(30))
    );
    assert_eq!((backoff.jitter, backoff.reset_after), (0.1, seconds(10)));
    let stop: Vec<_> = web.stop.iter().map(|rung| (rung.signal, rung.wait)).collect();
    assert_eq!(
        (stop.as_slice(), web.stop_command.clone()),
        (&[(Signal::TERM, seconds(10))][..], None)
    );
    assert_eq!(web.stop_scope, StopScope::Tree);
    assert!(web.autostart && web.profiles.is_empty() && !web.essential && web.labels.is_empty());
    assert_eq!(web.secrets, ["*TOKEN*", "*SECRET*", "*PASSWORD*", "*KEY*"]);
    let LogTarget::File(log) = &web.log else {
        panic!("a file")
    };
    assert_eq!(log.file, folder.path().join(".runner/logs/web.log"));
    assert_eq!((log.max_size, log.max_files, log.console), (10_000_000, 5, true));
}

#[test]
fn every_key_of_the_contract_is_read() {
    let web = service(
        r#"
        command = ["web", "a b"]
        clear_env = true
        user = 1000
        group = "www"
        umask = "022"
        nice = -5
        limits = { nofile = 65536, core = 0, cpu = "unlimited", stack = { soft = 1, hard = "unlimited" }, as = { soft = 5 } }
        success_exit_codes = [0, 3]
        start_timeout = "1m"
        wait_for = ["tcp://db:5432", "http://x/y", "file:/gate"]
        restart = "always"
        backoff = { initial = "1m", factor = 1, jitter = 0, reset_after = "1s" }
        max_restarts = 0
        restart_window = "5m"
        stop = [["INT", "5s"], ["sigterm", "10s"], ["SIGRTMIN+3", "0s"]]
        stop_command = "kill $MAINPID"
        stop_scope = "group"
        autostart = false
        profiles = "debug"
        essential = true
        log = { max_size = "1KiB", max_files = 1, console = false }
        secrets = ["MINE_*"]
        description = "the web"
        labels = ["a", "b"]
        "#,
    );
    assert_eq!(web.command.words, ["web", "a b"]);
    assert_eq!((web.user.as_deref(), web.group.as_deref()), (Some("1000"), Some("www")));
    assert_eq!((web.umask, web.nice, web.clear_env), (Some(0o22), Some(-5), true));
    let limit = |soft, hard| Limit { soft, hard };
    assert_eq!(web.limits[&Resource::Nofile], limit(Some(65536), Some(65536)));
    assert_eq!(web.limits[&Resource::Core], limit(Some(0), Some(0)));
    assert_eq!(web.limits[&Resource::Cpu], limit(None, None));
    assert_eq!(web.limits[&Resource::Stack], limit(Some(1), None));
    assert_eq!(web.limits[&Resource::As], limit(Some(5), Some(5)));
    assert_eq!(
        (web.success_exit_codes.as_slice(), web.start_timeout),
        (&[0, 3][..], Some(seconds(60)))
    );
    let gates = [
        Gate::Tcp(tcp("db", 5432)),
        Gate::Http("http://x/y".into()),
        Gate::File("/gate".into()),
    ];
    assert_eq!(web.wait_for, gates);
    assert_eq!(
        (web.restart, web.max_restarts, web.restart_window),
        (Restart::Always, Some(0), seconds(300))
    );
    assert_eq!(
        (web.backoff.initial, web.backoff.max, web.backoff.factor),
        (seconds(60), seconds(60), 1.0)
    );
    let stop: Vec<_> = web
        .stop
        .iter()
        .map(|rung| (rung.signal.to_string(), rung.wait))
        .collect();
    let rung = |signal: &str, wait| (signal.to_owned(), seconds(wait));
    assert_eq!(stop, [rung("SIGINT", 5), rung("SIGTERM", 10), rung("SIGRTMIN+3", 0)]);
    assert_eq!(web.stop_command.unwrap().words, ["sh", "-c", "kill $MAINPID"]);
    assert_eq!(
        (web.stop_scope, web.autostart, web.essential),
        (StopScope::Group, false, true)
    );
    assert_eq!(
        (web.profiles, web.labels),
        (vec!["debug".into()], vec!["a".into(), "b".into()])
    );
    assert_eq!(web.secrets.last().map(String::as_str), Some("MINE_*"));
    let LogTarget::File(log) = web.log else {
        panic!("a file")
    };
    assert_eq!((log.max_size, log.max_files, log.console), (1024, 1, false));
    assert_eq!(service("command = 'x'\nlog = false").log, LogTarget::Off);
    let loaded = services(
        "[project]\nexit = 'failure'\nexit_code_from = 'a'\nshell = ['bash', '-ec']\n[services.a]\ncommand = 'a|b'\n",
    );
    assert_eq!(loaded.project.exit, Some(ExitPolicy::Failure));
    assert_eq!(loaded.project.exit_code_from.unwrap().as_str(), "a");
    assert_eq!(loaded.project.services["a"].command.words, ["bash", "-ec", "a|b"]);
}

#[test]
fn commands_are_executed_directly_or_by_the_shell() {
    for (written, words) in [
        ("'node server.js'", &["node", "server.js"][..]),
        ("'  a \t b  '", &["a", "b"]),
        ("'exec x'", &["sh", "-c", "exec x"]),
        ("'A=1 x'", &["sh", "-c", "A=1 x"]),
        ("'cd x'", &["sh", "-c", "cd x"]),
        ("'if'", &["sh", "-c", "if"]),
        ("'a && b'", &["sh", "-c", "a && b"]),
        ("'a $X'", &["sh", "-c", "a $X"]),
        ("'''a \"b c\"'''", &["sh", "-c", "a \"b c\""]),
        ("\"a\\nb\"", &["sh", "-c", "a\nb"]),
        ("['a b', '$X', '']", &["a b", "$X", ""]),
        // A value that the shell would not take as one word makes it a script, in which it is one word.
        ("'x {{ \"a b\" }}'", &["sh", "-c", "x 'a b'"]),
        ("'x {{ \"ab\" }}'", &["x", "ab"]),
        ("['x', '{{ \"a b\" }}']", &["x", "a b"]),
    ] {
        assert_eq!(
            service(&format!("command = {written}")).command.words,
            words,
            "{written}"
        );
    }
}

#[test]
fn ports_have_names_numbers_and_a_default_probe() {
    let web = service(
        "command = 'x {{ port }} {{ ports.dns }} {{ ports[\"admin\"] }}'\nports = { http = 3000, admin = 'auto', dns = { port = 53, protocol = 'udp' } }",
    );
    let admin = web.ports["admin"].number;
    assert!(web.ports["admin"].auto && (20_000..30_000).contains(&admin));
    assert_eq!(
        (web.ports["dns"].number, web.ports["dns"].protocol),
        (53, Protocol::Udp)
    );
    assert_eq!(web.command.words, ["x", "3000", "53", &admin.to_string()]);
    assert_eq!(
        (
            web.env["PORT"].as_str(),
            web.env["PORT_HTTP"].as_str(),
            web.env["PORT_DNS"].as_str()
        ),
        ("3000", "3000", "53")
    );
    assert_eq!(web.env["PORT_ADMIN"], admin.to_string());
    let both = [3000, admin].map(|port| Check::Tcp(tcp("localhost", port)));
    assert_eq!(web.ready.unwrap().check, Check::All(both.to_vec()));
    assert!(web.ready_is_default);
    assert_eq!(web.start_timeout, None);

    let list = service("command = 'x {{ ports[\"8080\"] }} {{ ports.auto }}'\nports = [8080, 'auto', 'auto']");
    assert_eq!(list.ports.keys().collect::<Vec<_>>(), ["8080", "auto", "auto-2"]);
    assert!(!list.env.contains_key("PORT_8080"));
    let one = service("command = 'x'\nports = 80");
    assert_eq!(one.ready.as_ref().unwrap().check, Check::Tcp(tcp("localhost", 80)));
    // `false` takes away what was written; the default is what is there when nothing is written.
    assert_eq!(service("command = 'x'\nports = [80]\nready = false").ready, one.ready);
    assert_eq!(service("command = 'x'\ntype = 'oneshot'\nports = [80]").ready, None);
    assert_eq!(
        service("command = 'x'\nports = { a = { port = 'auto', protocol = 'udp' } }").ready,
        None
    );

    let other = services(
        "[services.a]\ncommand = 'x {{ services.b.port }} {{ services.b.ports.x }}'\n[services.b]\ncommand = 'x'\nports = { y = 1, x = 2 }\n",
    );
    assert_eq!(other.project.services["a"].command.words, ["x", "1", "2"]);
}

#[test]
fn auto_ports_keep_clear_of_declared_ones_and_stay_the_same() {
    let text = |more: &str| format!("[services.a]\ncommand = 'x'\nports = ['auto']\n{more}");
    let port = |text: &str| services(text).project.services["a"].ports["auto"].number;
    let first = port(&text(""));
    assert_eq!(port(&text("[services.b]\ncommand = 'x'\nports = ['auto']\n")), first);
    let taken = text(&format!("[services.b]\ncommand = 'x'\nports = [{first}]\n"));
    assert_ne!(port(&taken), first);
}

fn probe(written: &str) -> Probe {
    service(&format!(
        "command = 'x'\nports = {{ udp = {{ port = 1, protocol = 'udp' }}, http = 3000 }}\nready = {written}"
    ))
    .ready
    .unwrap()
}

#[test]
fn probes_of_every_kind() {
    let http = |url: &str| HttpCheck {
        url: url.into(),
        method: "GET".into(),
        headers: indexmap::IndexMap::new(),
        status: vec![StatusPattern::Class(2), StatusPattern::Class(3)],
        body: None,
        json: indexmap::IndexMap::new(),
    };
    for (written, check) in [
        (
            "{ http = '/healthz' }",
            Check::Http(http("http://127.0.0.1:3000/healthz")),
        ),
        (
            "{ http = 'http://[::1]:80/x?y' }",
            Check::Http(http("http://[::1]:80/x?y")),
        ),
        ("{ http = { url = '/' } }", Check::Http(http("http://127.0.0.1:3000/"))),
        ("{ tcp = 5432 }", Check::Tcp(tcp("127.0.0.1", 5432))),
        ("{ tcp = '5432' }", Check::Tcp(tcp("127.0.0.1", 5432))),
        ("{ tcp = 'db:5432' }", Check::Tcp(tcp("db", 5432))),
        ("{ tcp = '{{ port }}' }", Check::Tcp(tcp("127.0.0.1", 1))),
        ("{ log = '^ok' }", Check::Log("^ok".into())),
        ("{ notify = true }", Check::Notify),
        ("{ listen = true }", Check::Listen),
        (
            "{ any = [{ listen = true }, { all = [{ notify = true }] }] }",
            Check::Any(vec![Check::Listen, Check::All(vec![Check::Notify])]),
        ),
    ] {
        assert_eq!(probe(written).check, check, "{written}");
    }
    let Check::Exec(argv) = probe("{ exec = 'a && b' }").check else {
        panic!("exec")
    };
    assert!(argv.shell);
    let full = probe(
        "{ http = { url = '/', method = 'POST', headers = { X-A = 'b' }, status = [204, '3xx'], body = 'ok', json = { 'a.b' = [1, true, { c = 2.5 }] } } }",
    );
    let Check::Http(http) = full.check else { panic!("http") };
    assert_eq!(
        (http.method.as_str(), http.headers["X-A"].as_str(), http.body.as_deref()),
        ("POST", "b", Some("ok"))
    );
    assert_eq!(http.status, [StatusPattern::Exact(204), StatusPattern::Class(3)]);
    assert_eq!(http.json["a.b"], serde_json::json!([1, true, { "c": 2.5 }]));

    let numbers = probe("{ tcp = 1 }");
    assert_eq!(
        (numbers.interval, numbers.timeout, numbers.success_threshold),
        (seconds(10), seconds(3), 1)
    );
    assert_eq!((numbers.retries, numbers.start_period), (3, Duration::ZERO));
    let written = service(
        "command = 'x'\nready = { tcp = 1 }\nhealth = { tcp = 2, interval = '1s', timeout = '2s', retries = 5, success_threshold = 2, start_period = '3s', on_failure = 'none' }",
    );
    assert_eq!(
        (written.start_timeout, written.ready_is_default),
        (Some(seconds(60)), false)
    );
    let health = written.health.unwrap();
    assert_eq!(
        (health.interval, health.timeout, health.start_period),
        (seconds(1), seconds(2), seconds(3))
    );
    assert_eq!(
        (health.retries, health.success_threshold, health.restart_on_failure),
        (5, 2, false)
    );
}

#[test]
fn dependencies_in_every_form() {
    let loaded = services(
        "[services.web]\ncommand = 'x'\ndepends_on = { db = 'started', job = { condition = 'completed', restart = true }, late = { required = false } }\n\
         [services.api]\ncommand = 'x'\ndepends_on = ['db', 'job']\n[services.db]\ncommand = 'x'\n[services.late]\ncommand = 'x'\n[services.job]\ncommand = 'x'\ntype = 'oneshot'\n",
    );
    let of = |name: &str, target: &str| {
        let dependency = loaded.project.services[name].depends_on[target];
        (dependency.condition, dependency.restart, dependency.required)
    };
    assert_eq!(of("web", "db"), (Condition::Started, false, true));
    assert_eq!(of("web", "job"), (Condition::Completed, true, true));
    assert_eq!(of("web", "late"), (Condition::Healthy, false, false));
    assert_eq!(of("api", "db"), (Condition::Healthy, false, true));
    assert_eq!(of("api", "job"), (Condition::CompletedSuccessfully, false, true));
    assert_eq!(loaded.project.services["job"].restart, Restart::No);
}

#[test]
fn defaults_templates_and_false() {
    let loaded = services(
        r#"
        [defaults]
        stop_timeout = "20s"
        restart = "always"
        timeout = "1m"
        labels = ["all"]
        env = { A = "defaults", B = "defaults", C = "defaults" }
        health = { tcp = 1, interval = "7s" }
        stop_command = "x"

        [templates.base]
        stop_signal = "SIGQUIT"
        env = { B = "base", C = "base" }
        command = "base {{ service }}"

        [templates.php]
        extends = "base"
        env = { C = "php" }

        [services.a]
        extends = "php"
        env = { D = "own" }
        health = { exec = "y" }

        [services.b]
        command = "x"
        health = false
        labels = false
        stop_command = false
        env = false
        stop_timeout = "1s"

        [services.c]
        extends = "base"
        command = "own"
        type = "oneshot"
        stop = [["SIGINT", "1s"]]
        "#,
    );
    let [a, b, c] = ["a", "b", "c"].map(|name| loaded.project.services[name].clone());
    assert_eq!(a.command.words, ["base", "a"]);
    let env: Vec<_> = a.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=defaults", "B=base", "C=php", "D=own"]);
    assert_eq!((a.stop[0].signal, a.stop[0].wait), (Signal::QUIT, seconds(20)));
    let health = a.health.clone().unwrap();
    assert!(matches!(health.check, Check::Exec(_)), "another kind replaces the kind");
    assert_eq!(health.interval, seconds(7));
    assert!(a.stop_command.is_some() && a.labels == ["all"]);
    assert!(b.health.is_none() && b.labels.is_empty() && b.stop_command.is_none() && b.env.is_empty());
    assert_eq!((b.stop[0].signal, b.stop[0].wait), (Signal::TERM, seconds(1)));
    assert_eq!((a.restart, a.timeout), (Restart::Always, Some(seconds(60))));
    // What a default means only for the other type is not meant for this one.
    assert_eq!(
        (c.restart, c.timeout, c.command.words.as_slice()),
        (Restart::No, Some(seconds(60)), &["own".to_owned()][..])
    );
    assert_eq!(c.stop.len(), 1);
    assert_eq!(c.stop[0].signal, Signal::INT);
}

#[test]
fn the_environment_in_its_order() {
    let mut folder = Folder::with(
        "[project]\nenv_file = ['one.env', { path = 'no.env', required = false }]\n[env]\nB = 'table'\nC = 'table'\nPORT = 'table'\nN = 1\nT = true\nF = 1.5\n\
         R = 'r {{ env.CAPTURED }} {{ service }}'\n\
         [services.web]\ncommand = 'x'\nports = { http = 80 }\nenv_file = ['two.env', 'three.env']\n\
         env = { D = 'own', PORT_HTTP = 'own', S = '{{ env.A }}{{ env.B }}' }\n",
    );
    folder.env.push(("CAPTURED", "captured"));
    folder.env.push(("A", "captured"));
    folder.write("one.env", "A=file\nB=file\n");
    folder.write("two.env", "C=two\nE=${CAPTURED}\nX=two\nG=$B\n");
    folder.write("three.env", "X=three\n");
    let env = folder.valid().project.services["web"].env.clone();
    for (name, value) in [
        ("A", "file"),
        ("B", "table"),
        ("C", "two"),
        ("D", "own"),
        ("E", "captured"),
        ("G", "table"),
        ("X", "three"),
        ("PORT", "80"),
        ("PORT_HTTP", "own"),
        ("N", "1"),
        ("T", "true"),
        ("F", "1.5"),
        ("R", "r captured web"),
        ("S", "filetable"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert!(!env.contains_key("CAPTURED"), "it lies below and is not compared");
}

#[test]
fn the_env_file_beside_the_file_is_the_default() {
    let folder = Folder::with("[services.web]\ncommand = 'x'\n");
    folder.write(".env", "A=1\n");
    assert_eq!(folder.valid().project.services["web"].env["A"], "1");
    folder.write(
        "services.toml",
        "[project]\nenv_file = []\n[services.web]\ncommand = 'x'\n",
    );
    assert!(folder.valid().project.services["web"].env.is_empty());
    folder.write(
        "services.toml",
        "[project]\nenv_file = 'none.env'\n[services.web]\ncommand = 'x'\n",
    );
    assert!(folder.complaints().contains("env file none.env: there is no such file"));
}

#[test]
fn templates_reach_what_the_contract_names() {
    let mut folder = Folder::with(
        "[project]\nname = 'shop'\n[vars]\nregion = 'eu'\nport = 5\nmore = { a = ['x', 'y'] }\n\
         [services.my-db]\ncommand = 'x'\nports = [1]\n\
         [services.web]\ncommand = ['{{ env.HOME_OF }}', '{{ vars.region }}{{ vars.port }}', '{{ vars.more.a[1] }}', '{{ project.name }}', '{{ service }}',\n\
         '{{ services[\"my-db\"].port }}', '{{ nope | default(\"d\") }}', '{% x %} {# y #} ${Z} {{ \"{{\" }}', '{{ vars.region | upper }}']\n\
         working_dir = '{{ project.dir }}/sub'\nstop_timeout = '{{ vars.port }}s'\nrestart = '{{ \"no\" }}'\n",
    );
    folder.env.push(("HOME_OF", "h"));
    let web = folder.valid().project.services["web"].clone();
    let wanted = [
        "h",
        "eu5",
        "y",
        "shop",
        "web",
        "1",
        "d",
        "{% x %} {# y #} ${Z} {{",
        "EU",
    ];
    assert_eq!(web.command.words, wanted);
    assert_eq!(web.working_dir, folder.path().join("sub"));
    assert_eq!((web.stop[0].wait, web.restart), (seconds(5), Restart::No));
}
