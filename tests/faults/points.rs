//! What must not be in a release.
#![cfg(not(feature = "fault-points"))]

#[test]
fn there_are_no_fault_points_without_their_feature() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_runner")).unwrap();
    for name in ["RUNNER_FAULTS", "guardian.gate-opened", "logs.spliced", "daemon.acting"] {
        assert!(memchr::memmem::find(&program, name.as_bytes()).is_none(), "{name}");
    }
}
