//! Definitions for tests, with the contract's defaults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::spec::*;

pub fn name(name: &str) -> ServiceName {
    ServiceName::new(name)
}

/// A simple service with every default of the contract, but no jitter.
pub fn service(called: &str) -> Service {
    Service {
        name: name(called),
        command: Argv {
            words: vec![format!("./{called}")],
            shell: false,
        },
        working_dir: PathBuf::from("/srv"),
        env: IndexMap::new(),
        clear_env: false,
        user: None,
        group: None,
        umask: None,
        nice: None,
        tty: false,
        limits: IndexMap::new(),
        kind: Kind::Simple,
        ports: IndexMap::new(),
        sockets: Vec::new(),
        pid_file: None,
        prepare: Vec::new(),
        source: None,
        files: IndexMap::new(),
        success_exit_codes: vec![0],
        timeout: None,
        schedule: None,
        run_at_start: false,
        on_port_conflict: PortConflict::Fail,
        start_timeout: None,
        ready: None,
        ready_is_default: false,
        health: None,
        depends_on: IndexMap::new(),
        wait_for: Vec::new(),
        restart: Restart::OnFailure,
        backoff: Backoff {
            initial: Duration::from_millis(500),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 0.0,
            reset_after: Duration::from_secs(10),
        },
        max_restarts: None,
        restart_window: Duration::from_secs(60),
        stop: vec![Rung {
            signal: Signal::TERM,
            wait: Duration::from_secs(10),
        }],
        stop_command: None,
        stop_scope: StopScope::Tree,
        reload_signal: None,
        reload_command: None,
        hooks: Hooks::default(),
        watch: None,
        rollout: Rollout::Rolling,
        autostart: true,
        profiles: Vec::new(),
        essential: false,
        on_supervisor_exit: SupervisorExit::Keep,
        log: LogTarget::Off,
        memory_limit: None,
        outputs: IndexMap::new(),
        awaits: Vec::new(),
        secrets: Vec::new(),
        description: None,
        labels: Vec::new(),
    }
}

pub fn probe() -> Probe {
    Probe {
        check: Check::Tcp(TcpTarget {
            host: "127.0.0.1".into(),
            port: 3000,
        }),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        retries: 3,
        success_threshold: 1,
        start_period: Duration::ZERO,
        restart_on_failure: true,
    }
}

pub fn project(services: impl IntoIterator<Item = Service>) -> Arc<Project> {
    Arc::new(Project {
        name: "shop".into(),
        dir: PathBuf::from("/srv"),
        files: Vec::new(),
        exit: None,
        exit_code_from: None,
        shell: vec!["sh".into(), "-c".into()],
        state_dir: PathBuf::from("/srv/.runner"),
        services: services
            .into_iter()
            .map(|service| (service.name.clone(), Arc::new(service)))
            .collect(),
        groups: IndexMap::new(),
    })
}

pub fn port(number: u16, auto: bool) -> Port {
    Port {
        number,
        protocol: Protocol::Tcp,
        auto,
        shared: false,
    }
}
