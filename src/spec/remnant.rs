//! What has to be known of a service to stop it well, also when no file tells of it any more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::common::{Argv, ServiceName};
use super::replica::Rollout;
use super::service::{
    Backoff, Kind, LogTarget, PidFile, Port, PortConflict, Restart, Rung, Service, StopScope, SupervisorExit,
};
use super::setup::Hooks;

/// Written beside every launch. Holds no word of the command and nothing of the environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remnant {
    pub service: ServiceName,
    kind: Kind,
    stop: Vec<Rung>,
    stop_scope: StopScope,
    log: LogTarget,
    ports: IndexMap<String, Port>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid_file: Option<PidFile>,
}

impl Service {
    pub fn remnant(&self) -> Remnant {
        Remnant {
            service: self.name.clone(),
            kind: self.kind,
            stop: self.stop.clone(),
            stop_scope: self.stop_scope,
            log: self.log.clone(),
            ports: self.ports.clone(),
            pid_file: self.pid_file.clone(),
        }
    }
}

impl Remnant {
    /// Where its output goes.
    pub fn log(&self) -> &LogTarget {
        &self.log
    }

    /// What would go into a file below `gone` goes into `folder` instead.
    pub fn log_elsewhere(&mut self, gone: &Path, folder: &Path) {
        if let LogTarget::File(log) = &mut self.log
            && log.file.starts_with(gone)
        {
            log.file = folder.join(format!("{}.log", self.service));
        }
    }

    /// As they were when it was started.
    pub fn ports(&self) -> &IndexMap<String, Port> {
        &self.ports
    }

    /// It says by a PID file which process it is.
    pub fn has_followed_pid_file(&self) -> bool {
        self.service().followed_pid_file().is_some()
    }

    /// A definition that can only be stopped.
    pub fn service(&self) -> Service {
        Service {
            name: self.service.clone(),
            command: Argv {
                words: vec![String::new()],
                shell: false,
            },
            working_dir: PathBuf::from("/"),
            env: IndexMap::new(),
            clear_env: false,
            user: None,
            group: None,
            umask: None,
            nice: None,
            tty: false,
            limits: IndexMap::new(),
            kind: self.kind,
            ports: self.ports.clone(),
            sockets: Vec::new(),
            pid_file: self.pid_file.clone(),
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
            ready_is_default: true,
            health: None,
            depends_on: IndexMap::new(),
            wait_for: Vec::new(),
            restart: Restart::No,
            backoff: Backoff {
                initial: Duration::ZERO,
                factor: 1.0,
                max: Duration::ZERO,
                jitter: 0.0,
                reset_after: Duration::ZERO,
            },
            max_restarts: None,
            restart_window: Duration::ZERO,
            stop: self.stop.clone(),
            stop_command: None,
            stop_scope: self.stop_scope,
            reload_signal: None,
            reload_command: None,
            hooks: Hooks::default(),
            watch: None,
            rollout: Rollout::Rolling,
            autostart: false,
            profiles: Vec::new(),
            essential: false,
            on_supervisor_exit: SupervisorExit::Keep,
            log: self.log.clone(),
            memory_limit: None,
            outputs: IndexMap::new(),
            awaits: Vec::new(),
            secrets: Vec::new(),
            description: None,
            labels: Vec::new(),
        }
    }
}
