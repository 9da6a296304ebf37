//! The static program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Says which program is tested, where somebody has built one already: `cargo image`, as `.ci/run` does.
const GIVEN: &str = "RUNNER_STATIC";

/// Where it is.
pub fn runner() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os(GIVEN) {
        Some(given) => Path::new(env!("CARGO_MANIFEST_DIR")).join(given),
        None => with_faults().to_owned(),
    });
    &BUILT
}

/// One that can be told to panic. Built once, and seldom: in a folder of its own, without optimisation.
pub fn with_faults() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(build);
    &BUILT
}

fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
    let cargo = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--offline",
            "--bin",
            "runner",
            "--no-default-features",
            "--features",
            "fault-points",
            "--target",
            "host-tuple",
        ])
        .args(["--config", ".cargo/static.toml", "--config", "profile.dev.debug=false"])
        .args(["--config", "profile.dev.panic='abort'"])
        .arg("--target-dir")
        .arg(&folder)
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let hosts = std::fs::read_dir(&folder).unwrap().flatten();
    let mut built = hosts
        .map(|host| host.path().join("debug/runner"))
        .filter(|path| path.exists());
    let program = built.next().expect("cargo has built it");
    assert_eq!(built.next(), None);
    program
}
