//! Commands as they may be shown: without the values of secrets.

use std::sync::{Arc, LazyLock};

use globset::{GlobBuilder, GlobMatcher};
use indexmap::IndexMap;

use super::environment::MASK;
use crate::spec::{Argv, Check, Probe, Service, ServiceName};

/// One command of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCommand {
    pub service: ServiceName,
    /// `command`, `ready`, `health`, `stop_command`, `reload_command`, `prepare` or that of a hook.
    pub key: &'static str,
    /// With `***` where a secret stands.
    pub argv: Argv,
}

/// Shorter values are no secrets: hiding every `1` would hide nothing and make the rest unreadable.
pub(super) const SHORTEST: usize = 4;

/// Names of variables that are secret in every service.
pub(super) const SECRETS: &[&str] = &["*TOKEN*", "*SECRET*", "*PASSWORD*", "*KEY*"];

/// Which variables are secret.
pub(super) struct Secrets {
    globs: Vec<Arc<GlobMatcher>>,
}

/// Compiled once, not for each of a thousand services.
static COMPILED: LazyLock<Vec<Option<Arc<GlobMatcher>>>> =
    LazyLock::new(|| SECRETS.iter().copied().map(compile).collect());

fn compile(glob: &str) -> Option<Arc<GlobMatcher>> {
    let glob = GlobBuilder::new(glob).case_insensitive(true).build().ok()?;
    Some(Arc::new(glob.compile_matcher()))
}

impl Secrets {
    pub fn new<'g>(globs: impl Iterator<Item = &'g str>) -> Self {
        let matcher = |glob: &str| match SECRETS.iter().position(|known| *known == glob) {
            Some(known) => COMPILED[known].clone(),
            None => compile(glob),
        };
        Secrets {
            globs: globs.filter_map(matcher).collect(),
        }
    }

    pub fn of(service: &Service) -> Self {
        Secrets::new(service.secrets.iter().map(String::as_str))
    }

    pub fn names(&self, variable: &str) -> bool {
        self.globs.iter().any(|glob| glob.is_match(variable))
    }
}

/// The commands of `harmless`, which is `service` rendered without secrets; `None` when it could not be.
///
/// What is left is searched for the secrets' values: one may have come another way, over `vars` or a second variable.
pub(super) fn commands(
    service: &Service,
    harmless: Option<&Service>,
    captured: &IndexMap<String, String>,
) -> Vec<ShownCommand> {
    let secrets = Secrets::of(service);
    let values: Vec<&str> = captured
        .iter()
        .chain(&service.env)
        .filter(|(name, value)| value.len() >= SHORTEST && secrets.names(name))
        .map(|(_, value)| value.as_str())
        .collect();
    let hide = |argv: &Argv| Argv {
        words: argv.words.iter().map(|word| without(word, &values)).collect(),
        shell: argv.shell,
    };
    let shown = harmless.unwrap_or(service);
    let hidden = |argv: &Argv| match harmless {
        Some(_) => hide(argv),
        None => Argv {
            words: vec![MASK.into()],
            ..*argv
        },
    };
    let commands = [
        ("command", Some(&shown.command)),
        ("stop_command", shown.stop_command.as_ref()),
        ("reload_command", shown.reload_command.as_ref()),
    ];
    let steps = shown.prepare.iter().map(|step| ("prepare", &step.run));
    let probes = [("ready", &shown.ready), ("health", &shown.health)].into_iter();
    let probes = probes.flat_map(|(key, probe)| execs(probe.as_ref()).into_iter().map(move |argv| (key, argv)));
    commands
        .into_iter()
        .filter_map(|(key, argv)| Some((key, argv?)))
        .chain(steps)
        .chain(shown.hooks.each())
        .chain(probes)
        .map(|(key, argv)| ShownCommand {
            service: service.name.clone(),
            key,
            argv: hidden(argv),
        })
        .collect()
}

fn execs(probe: Option<&Probe>) -> Vec<&Argv> {
    let leaves = probe.map_or_else(Vec::new, |probe| probe.check.leaves());
    let mut commands = Vec::new();
    for leaf in leaves {
        if let Check::Exec(argv) = leaf {
            commands.push(argv);
        }
    }
    commands
}

fn without(word: &str, values: &[&str]) -> String {
    values
        .iter()
        .fold(word.to_owned(), |word, value| word.replace(value, MASK))
}
