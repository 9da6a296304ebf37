//! Root without capabilities, and root of a user namespace that has no other user.

use crate::bed::{Bed, STRANGER, WEB};
use crate::namespace::is_inside;

const USERS: &str = "[services.other]\ncommand = \"sleep 1000\"\nuser = \"nobody\"\n\
    [services.same]\ncommand = \"echo hello; exec sleep 1000\"\nuser = \"root\"\nready = { log = \"hello\" }\n";

/// The basics go, so does a user that we are; one that we can't become is told with words of the reason.
fn without(through: &[&str], words: &str) {
    let bed = Bed::new(0, WEB).through(through);
    bed.basic_suite();
    std::fs::write(bed.dir.join("services.toml"), format!("{WEB}{USERS}")).unwrap();
    assert_eq!(bed.runner(&["up", "-d"]).status.code(), Some(1));
    let failure = &bed.service("other")["failure"];
    assert_eq!(failure["reason"], "permission_denied", "{failure}");
    assert!(failure["message"].as_str().unwrap().contains(words), "{failure}");
    assert_eq!(bed.service("same")["state"], "ready");
    bed.outlives_its_daemon("same");
    bed.succeed(&["down"]);
    assert_eq!(bed.named("sleep"), Vec::<u32>::new());
}

#[test]
fn en_05_root_without_capabilities() {
    if is_inside("privileges::en_05_root_without_capabilities") {
        let through = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
        without(&through, "root without CAP_SETUID");
    }
}

#[test]
fn en_05_root_of_a_user_namespace() {
    if is_inside("privileges::en_05_root_of_a_user_namespace") {
        without(&["unshare", "-U", "-r"], "user namespace");
    }
}

#[test]
fn en_05_what_the_file_needs_is_told_by_doctor() {
    if is_inside("privileges::en_05_what_the_file_needs_is_told_by_doctor") {
        let file = format!("{USERS}ports = {{ http = 80 }}\n");
        let bed = Bed::new(STRANGER, &file);
        let checks = bed.json(&["doctor", "--json"]);
        let checks = checks["checks"].as_array().unwrap();
        let told = checks.iter().find(|check| check["name"] == "capabilities").unwrap();
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains("other can't run as `nobody`"), "{told}");
        assert!(detail.contains("same can't listen on 80"), "{told}");
    }
}
