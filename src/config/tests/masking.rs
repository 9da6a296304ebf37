//! What is shown holds no secret, whichever way it came there (SE-01, SE-02).

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde_json::json;

use super::super::{Inputs, Mask, load};
use super::{Folder, HashedPorts};
use crate::config::Loaded;

fn with_env(text: &str, env: &[(&str, &[u8])]) -> Loaded {
    let folder = Folder::with(text);
    let inputs = Inputs {
        env: env
            .iter()
            .map(|(name, value)| ((*name).into(), OsString::from_vec(value.to_vec())))
            .collect(),
        euid: nix::unistd::geteuid().as_raw(),
        ..Inputs::default()
    };
    let loaded = load(
        &folder.locate(&[], None),
        &inputs,
        &mut HashedPorts::new("key", |_| true),
    );
    loaded.unwrap_or_else(|problems| panic!("{problems}"))
}

fn mask(env: &str) -> Mask {
    with_env(&format!("[services.web]\ncommand = 'x'\nenv = {{ {env} }}"), &[]).mask
}

#[test]
fn text_loses_every_secret_and_nothing_else() {
    let mask =
        mask("A_TOKEN = 'abcdefgh', B_KEY = 'efghijkl', C_KEY = 'abcdefghi', D_KEY = 'fghi', HOME = 'plain-old-home'");
    for (text, shown) in [
        ("nothing here", "nothing here"),
        ("see abcdefgh.", "see ***."),
        // Values that overlap leave no end behind, nor does one inside another.
        ("abcdefghijkl", "***"),
        ("abcdefghi!", "***!"),
        ("abcdefghabcdefgh abcdefgh", "*** ***"),
        ("\u{e9}abcdefgh\u{e9}", "\u{e9}***\u{e9}"),
        // Too short to be told from a word.
        ("fghi", "fghi"),
        ("plain-old-home", "plain-old-home"),
        ("ABCDEFGH", "ABCDEFGH"),
        ("", ""),
    ] {
        assert_eq!(mask.text(text), shown, "{text}");
    }
    assert!(matches!(mask.text("nothing here"), Cow::Borrowed(_)));
    assert_eq!(Mask::default().text("abcdefgh"), "abcdefgh");
}

#[test]
fn what_an_edit_replaced_stays_a_secret() {
    let (old, new) = (mask("A_TOKEN = 'old-secret'"), mask("A_TOKEN = 'new-secret'"));
    let both = new.clone().and(&old);
    assert_eq!(both.text("old-secret new-secret"), "*** ***");
    assert_eq!(new.text("old-secret new-secret"), "old-secret ***");
    // Back again: nothing is new.
    assert_eq!(old.and(&both).text("old-secret new-secret"), "*** ***");
    let none = Mask::default().and(&both).and(&Mask::default());
    assert_eq!(none.text("old-secret new-secret"), "*** ***");
}

#[test]
fn secrets_of_every_service_and_of_the_surroundings_are_known() {
    let loaded = with_env(
        "[env]\nSHARED_KEY = 'shared-value'\n[services.web]\ncommand = 'x'\nsecrets = 'PIN*'\n[services.web.env]\nPINCODE \
         = '1234-5678'\n[services.db]\ncommand = 'x'\nenv = { PINCODE = 'no-secret', DB_PASSWORD = 'database' }\n\
         [services.database]\ncommand = 'x'",
        &[
            ("CI_TOKEN", b"captured-value"),
            ("PINK", b"floyd-1973"),
            ("LANG", b"C.UTF-8 and so on"),
            ("BAD_KEY", b"\xff\xfebroken-value"),
            ("LONG_KEY", b"first line of it\nsecond line of it\n"),
        ],
    );
    let mask = loaded.mask.clone();
    for secret in [
        "shared-value",
        "1234-5678",
        "captured-value",
        "floyd-1973",
        "\u{fffd}\u{fffd}broken-value",
        "first line of it\nsecond line of it\n",
        "second line of it",
    ] {
        assert_eq!(mask.text(&format!("<{secret}>")), "<***>", "{secret}");
    }
    // The name of a service is no secret, whoever chose it for a password.
    for harmless in ["no-secret", "C.UTF-8 and so on", "database"] {
        assert_eq!(mask.text(harmless), harmless);
    }
    assert_eq!(format!("{mask:?}"), "Mask");
}

#[test]
fn a_definition_shows_the_names_of_its_secrets_only() {
    let text = "[vars]\ntoken = 't0k3n-t0k3n'\n[env]\nDB_PASSWORD = 'pa55'\n\
                [services.web]\ncommand = ['x', '--token={{ vars.token }}', 'pa55', 'empty']\nsecrets = 'PIN'\n\
                health = { http = { url = 'http://h/{{ vars.token }}', headers = { X-A = 'Bearer {{ vars.token }}' } } }\n\
                [services.web.env]\nTOKEN = '{{ vars.token }}'\nURL = 'db://u:{{ env.DB_PASSWORD }}@h'\nPIN = '1'\n\
                EMPTY_KEY = ''\nPLAIN = 'plain'\n";
    let loaded = with_env(text, &[]);
    let definition = loaded.project.services["web"].written();
    let shown = loaded.mask.definition(definition.clone());
    assert_eq!(
        shown["env"],
        json!({ "DB_PASSWORD": "***", "TOKEN": "***", "URL": "db://u:***@h", "PIN": "***", "EMPTY_KEY": "***", "PLAIN":
                "plain" })
    );
    assert_eq!(shown["command"], json!(["x", "--token=***", "***", "empty"]));
    assert_eq!(shown["health"]["http"]["url"], "http://h/***");
    assert_eq!(shown["health"]["http"]["headers"]["X-A"], "Bearer ***");
    assert_eq!(shown["restart_window"], "1m");
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&shown), keys(&definition));
    // A mask that was made before this definition knows its own secrets all the same.
    assert_eq!(Mask::default().definition(definition), shown);
}

#[test]
fn a_definition_does_not_show_the_secrets_of_others() {
    let loaded = with_env(
        "[vars]\nx = 'of-another'\n[services.a]\ncommand = 'x'\nenv = { A_KEY = '{{ vars.x }}' }\n[services.b]\ncommand \
         = 'x {{ vars.x }} c4pt'",
        &[("CI_KEY", b"c4pt")],
    );
    let shown = loaded.mask.definition(loaded.project.services["b"].written());
    assert_eq!(shown["command"], json!(["x", "***", "***"]));
}

#[test]
fn many_secrets_of_many_services() {
    let mut text = String::new();
    for service in 0..1000 {
        text.push_str(&format!(
            "[services.s{service}]\ncommand = 'x'\n[services.s{service}.env]\n"
        ));
        for key in 0..20 {
            text.push_str(&format!("KEY_{key} = 'value {key} of {service}.'\n"));
        }
    }
    let mask = Folder::with(&text).valid().mask;
    assert_eq!(mask.text("a value 19 of 999. b"), "a *** b");
    assert_eq!(mask.text("a value 20 of 999. b"), "a value 20 of 999. b");
}

#[test]
fn se_01_secrets_are_not_in_shown_commands() {
    let mut folder = Folder::with(
        "[env]\nAPI_TOKEN = 'hunter2'\nURL = 'http://u:{{ env.DB_PASSWORD }}@h'\n[services.web]\n\
         command = \"x {{ env.API_TOKEN }} {{ env.DB_PASSWORD }} '{{ env['DB_PASSWORD'] | upper }}'\"\n\
         ready = { exec = ['y', '{{ env.URL }}', 'hunter2'] }\nstop_command = 'z {{ env.PLAIN }}'\n",
    );
    folder.env.push(("DB_PASSWORD", "it's secret"));
    folder.env.push(("PLAIN", "plain"));
    let loaded = folder.valid();
    let shown = format!("{:?}", loaded.commands);
    for secret in ["hunter2", "secret", "SECRET"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("plain"), "{shown}");
    let keys: Vec<_> = loaded.commands.iter().map(|command| command.key).collect();
    assert_eq!(keys, ["command", "stop_command", "ready"]);
    assert!(loaded.project.services["web"].command.words[2].contains("hunter2"));
    assert!(
        loaded.warnings.to_string().contains("looks like a secret"),
        "{}",
        loaded.warnings
    );
}

#[test]
fn se_01_secrets_are_not_in_complaints() {
    let mut folder =
        Folder::with("[services.web]\ncommand = 'x'\nstop_timeout = '{{ env.API_TOKEN }}'\nenv_file = 'x.env'\n");
    folder.env.push(("API_TOKEN", "hunter2"));
    folder.write("x.env", "A=\"hunter2\nB=2\n");
    let problems = folder.load().unwrap_err();
    let shown = crate::view::diagnostic::problems(&problems, &crate::view::style::Style::PLAIN);
    assert!(shown.contains("what this secret holds is not a duration"), "{shown}");
    assert!(shown.contains("x.env:1:3"), "{shown}");
    assert!(!format!("{shown}{problems}").contains("hunter2"), "{shown}");
}
