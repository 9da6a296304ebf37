//! Files of other tools to a `services.toml`: text in, a draft and a report out.
//!
//! Law of the room: pure. Whoever calls it reads the files, asks [`config`](crate::config) whether the text is valid
//! ([`settled`]) and writes it. Nothing is dropped in silence: what has no counterpart is in the [`Report`], with its place.
//! Sizes, depths and numbers of services are bounded, because these files come from anywhere.

mod compose;
mod draft;
mod expand;
mod folder;
mod healthcheck;
mod ini;
mod names;
mod node;
mod pitchfork;
mod probes;
mod process_compose;
mod procfile;
mod report;
mod settle;
mod stacks;
mod supervisord;
mod toml_text;
mod words;
mod yaml;

pub use draft::Draft;
pub use folder::{Folder, Found, look};
pub use node::Mark;
pub use report::{Remark, Report, Weight};
pub use settle::{Complaint, settled};

/// The longest file that is read: what people write by hand is a hundredth of it.
pub const LARGEST: usize = 1024 * 1024;
/// More services than anybody has: an alias or a `numprocs` gone wild.
const MOST_SERVICES: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Procfile,
    Compose,
    ProcessCompose,
    Supervisord,
    Pitchfork,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::Procfile,
        Kind::Compose,
        Kind::ProcessCompose,
        Kind::Supervisord,
        Kind::Pitchfork,
    ];

    /// As `--kind` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Procfile => "procfile",
            Kind::Compose => "compose",
            Kind::ProcessCompose => "process-compose",
            Kind::Supervisord => "supervisord",
            Kind::Pitchfork => "pitchfork",
        }
    }

    /// As it is called by people.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Procfile => "Procfile",
            Kind::Compose => "Docker Compose",
            Kind::ProcessCompose => "process-compose",
            Kind::Supervisord => "supervisord",
            Kind::Pitchfork => "pitchfork",
        }
    }

    /// By the name of the file alone.
    pub fn by_name(name: &str) -> Option<Kind> {
        let name = name.to_ascii_lowercase();
        let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
        if name == "procfile" || name.starts_with("procfile.") || name.ends_with(".procfile") {
            Some(Kind::Procfile)
        } else if name.starts_with("process-compose") && is_yaml {
            Some(Kind::ProcessCompose)
        } else if (name.starts_with("compose.") || name.contains("docker-compose")) && is_yaml {
            Some(Kind::Compose)
        } else if name.starts_with("supervisor") && (name.ends_with(".conf") || name.ends_with(".ini")) {
            Some(Kind::Supervisord)
        } else if name.contains("pitchfork") && name.ends_with(".toml") {
            Some(Kind::Pitchfork)
        } else {
            None
        }
    }

    /// By the name, else by what stands in it.
    pub fn of(name: &str, text: &str) -> Option<Kind> {
        let begins = |words: &[&str]| {
            text.lines()
                .any(|line| words.iter().any(|word| line.trim_end().starts_with(word)))
        };
        if let Some(kind) = Kind::by_name(name) {
            Some(kind)
        } else if begins(&["processes:"]) {
            Some(Kind::ProcessCompose)
        } else if begins(&["services:"]) {
            Some(Kind::Compose)
        } else if begins(&["[program:", "[supervisord]", "[group:", "[fcgi-program:"]) {
            Some(Kind::Supervisord)
        } else if begins(&["[daemons.", "[daemons]"]) {
            Some(Kind::Pitchfork)
        } else {
            let mut lines = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            let first = lines.next()?;
            let is_other = [".yml", ".yaml", ".json", ".toml", ".ini", ".conf"]
                .iter()
                .any(|end| name.ends_with(end));
            let is_procfile =
                !is_other && procfile::entry(first).is_some() && lines.all(|line| procfile::entry(line).is_some());
            is_procfile.then_some(Kind::Procfile)
        }
    }
}

/// What is converted.
#[derive(Clone, Debug)]
pub struct Input<'t> {
    /// As it is named to the user.
    pub shown: &'t str,
    pub text: &'t str,
    /// From the folder of the services.toml to that of the file: what relative paths in it begin with. Empty: the same.
    pub base: &'t str,
    /// The `.env` beside the file.
    pub dotenv: Option<&'t str>,
}

/// Why a file can't be converted at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Mark,
    pub message: String,
    pub hint: Option<String>,
    /// It was understood, but nothing of it is for us.
    pub is_empty: bool,
}

impl Fault {
    fn new(at: Mark, message: impl Into<String>) -> Fault {
        Fault {
            at,
            message: message.into(),
            hint: None,
            is_empty: false,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }
}

/// The text of a file that was read.
///
/// # Errors
/// It is too long, no UTF-8, or holds NUL bytes.
pub fn text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > LARGEST {
        let message = format!("longer than {} KiB, which is no such file", LARGEST / 1024);
        return Err(Fault::new(Mark::NONE, message));
    }
    let place = |at: usize| Mark::of_bytes(bytes, at);
    let text =
        std::str::from_utf8(bytes).map_err(|error| Fault::new(place(error.valid_up_to()), "this is not UTF-8 text"))?;
    match text.find('\0') {
        Some(at) => Err(Fault::new(place(at), "a NUL byte: this is not a text file")),
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
    }
}

/// A draft of the services that a file declares.
///
/// # Errors
/// The file can't be read as what it should be, or declares nothing that can be carried over: the report says what.
pub fn convert(kind: Kind, input: &Input) -> Result<(Draft, Report), (Fault, Report)> {
    let mut report = Report::new(input.shown);
    let converted = match kind {
        Kind::Procfile => procfile::convert(input, &mut report),
        Kind::Compose => compose::convert(input, &mut report),
        Kind::ProcessCompose => process_compose::convert(input, &mut report),
        Kind::Supervisord => supervisord::convert(input, &mut report),
        Kind::Pitchfork => pitchfork::convert(input, &mut report),
    };
    let mut draft = match converted {
        Ok(draft) => draft,
        Err(fault) => return Err((fault, report)),
    };
    if draft.services.is_empty() {
        let message = format!("nothing in it can be carried over ({})", kind.title());
        let fault = Fault {
            is_empty: true,
            ..Fault::new(Mark::NONE, message).hint("`runner add NAME -- CMD` begins a file by hand")
        };
        return Err((fault, report));
    }
    if !matches!(kind, Kind::Supervisord | Kind::Pitchfork) {
        dotenv(kind, input, &mut draft, &mut report);
    }
    if let Some(service) = draft.services.get(MOST_SERVICES) {
        return Err((
            Fault::new(service.at, format!("more than {MOST_SERVICES} services")),
            report,
        ));
    }
    Ok((draft, report))
}

/// These tools read the `.env` beside their file, and so do we beside ours.
fn dotenv(kind: Kind, input: &Input, draft: &mut Draft, report: &mut Report) {
    if input.dotenv.is_none() {
        return;
    }
    let path = words::path(input.base, ".env");
    if !input.base.is_empty() {
        draft.project("env_file", draft::Value::texts([path.as_str()]), None);
    }
    let whose = match kind {
        Kind::Compose => "is given to every service here, not only filled in",
        _ => "is read here as well; nothing of it was copied",
    };
    report.tell(format!("{path} {whose}"));
}

fn at_most(entries: &[node::Entry]) -> Result<(), Fault> {
    match entries.get(MOST_SERVICES) {
        Some(entry) => Err(Fault::new(entry.at, format!("more than {MOST_SERVICES} services"))),
        None => Ok(()),
    }
}
