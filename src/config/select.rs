//! The words by which a command line names services.

use indexmap::IndexSet;

use super::words::nearest;
use crate::spec::{Project, ServiceName};

/// Members named in a suggestion.
const MEMBERS: usize = 12;

/// A word that names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub message: String,
    pub suggestion: Option<String>,
}

/// The services that the words name, each once: `NAME`, where that is one of several all of its members, `NAME@INSTANCE` for
/// one of them, or `@LABEL` for all that carry the label. No words, no services.
///
/// # Errors
/// The first word that names nothing, with a name that is near. A name without a member names nothing as well: no services
/// would mean all.
pub fn select(project: &Project, words: &[String]) -> Result<Vec<ServiceName>, Unknown> {
    let mut selected = IndexSet::new();
    let words: IndexSet<&String> = words.iter().collect();
    for word in words {
        let mut names = services(project, word).peekable();
        if names.peek().is_none() {
            return Err(unknown(project, word));
        }
        selected.extend(names);
    }
    Ok(selected.into_iter().cloned().collect())
}

fn services<'p>(project: &'p Project, word: &'p str) -> impl Iterator<Item = &'p ServiceName> {
    let label = word.strip_prefix('@');
    let named = project.services.get_key_value(word).filter(|_| label.is_none());
    let members = project.groups.get(word).map(|group| &group.members);
    let labelled = label.into_iter().flat_map(|label| {
        let services = project.services.values();
        services.filter(move |service| service.labels.iter().any(|own| own == label))
    });
    named
        .map(|(name, _)| name)
        .into_iter()
        .chain(members.into_iter().flatten())
        .chain(labelled.map(|service| &service.name))
}

/// Whether each profile is one of somebody's.
///
/// # Errors
/// The first that turns nothing on, with one that is near.
pub fn check_profiles(project: &Project, words: &[String]) -> Result<(), Unknown> {
    let known = || project.services.values().flat_map(|service| &service.profiles);
    let Some(word) = words.iter().find(|word| !known().any(|profile| profile == *word)) else {
        return Ok(());
    };
    let near = nearest(word, known().map(String::as_str));
    Err(Unknown {
        message: format!(
            "no service in {} has the profile `{}`",
            project.dir.display(),
            shown(word)
        ),
        suggestion: near.map(|near| format!("did you mean `{near}`?")),
    })
}

fn unknown(project: &Project, word: &str) -> Unknown {
    let dir = project.dir.display();
    let shown = shown(word);
    if let Some(group) = project.groups.get(word) {
        let hint = match group.declared {
            Some(_) => format!("`runner scale {word}=1` starts one"),
            None => "name some in its `replicas`".to_owned(),
        };
        return Unknown {
            message: format!("`{shown}` has no replicas now"),
            suggestion: Some(hint),
        };
    }
    let members = word.split_once('@').and_then(|(base, _)| project.groups.get(base));
    if let Some(group) = members.filter(|group| !group.members.is_empty()) {
        let named: Vec<&str> = group.members.iter().take(MEMBERS).map(ServiceName::as_str).collect();
        let more = if group.members.len() > MEMBERS { ", ..." } else { "" };
        return Unknown {
            message: format!("there is no service `{shown}` in {dir}"),
            suggestion: Some(format!("there are {}{more}", named.join(", "))),
        };
    }
    let (message, near) = match word.strip_prefix('@') {
        Some(label) => {
            let labels = project.services.values().flat_map(|service| &service.labels);
            let near = nearest(label, labels.map(String::as_str));
            (
                format!("no service in {dir} has the label `{}`", &shown[1..]),
                near.map(|near| format!("@{near}")),
            )
        }
        None => {
            let known = project.services.keys().chain(project.groups.keys());
            let near = nearest(word, known.map(|name| name.as_str()));
            (
                format!("there is no service `{shown}` in {dir}"),
                near.map(str::to_owned),
            )
        }
    };
    Unknown {
        message,
        suggestion: near.map(|near| format!("did you mean `{near}`?")),
    }
}

/// A word in a complaint: of bearable length, and nothing in it that a terminal would obey.
fn shown(word: &str) -> String {
    const LONG: usize = 80;
    let mut text = String::new();
    for letter in word.chars().take(LONG) {
        match letter.is_control() {
            true => text.extend(letter.escape_default()),
            false => text.push(letter),
        }
    }
    if word.chars().nth(LONG).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::services;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn names(project: &Project, asked: &[&str]) -> Vec<String> {
        let found = select(project, &words(asked)).expect("known");
        found.iter().map(ToString::to_string).collect()
    }

    const FILE: &str = "[services.web]\ncommand = 'x'\nlabels = ['front', 'all']\n\
                        [services.db]\ncommand = 'x'\nlabels = ['back', 'all']\n";

    #[test]
    fn each_service_is_named_once_in_the_order_of_the_words() {
        let project = services(FILE).project;
        assert_eq!(names(&project, &[]), [] as [&str; 0]);
        assert_eq!(names(&project, &["db", "web"]), ["db", "web"]);
        assert_eq!(names(&project, &["db", "@all", "db", "@all", "@front"]), ["db", "web"]);
        let many: Vec<String> = vec!["@all".to_owned(); 100_000];
        assert_eq!(select(&project, &many).map(|found| found.len()), Ok(2));
    }

    #[test]
    fn what_names_nothing_is_said_shortly_and_harmlessly() {
        let project = services(FILE).project;
        let said = |word: &str| select(&project, &words(&["web", word])).expect_err("unknown");
        assert!(said("wbe").suggestion.is_some_and(|text| text.contains("`web`")));
        assert!(said("@bakc").suggestion.is_some_and(|text| text.contains("`@back`")));
        assert!(said(&"a".repeat(60_000)).message.len() < 300);
        assert!(said(&format!("@{}", "\u{e4}".repeat(60_000))).message.len() < 500);
        for word in ["\x1b[31m", "@\x1b]0;x\x07", "a\nb", "\u{9b}31m"] {
            assert!(
                !said(word).message.contains(|letter: char| letter.is_control()),
                "{word:?}"
            );
        }
    }

    #[test]
    fn ap_11_any_words_name_known_services_once_or_are_refused() {
        const PIECES: &[&str] = &[
            "web",
            "db",
            "@",
            "front",
            "back",
            "all",
            "",
            "\0",
            "..",
            "\u{202e}",
            "__proto__",
            "*",
            " ",
        ];
        let project = services(FILE).project;
        let (mut taken, mut refused) = (0, 0);
        for seed in 1..=5_000u64 {
            let mut state = seed;
            // xorshift64*, so that a seed replays.
            let mut next = |limit: usize| {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
            };
            let mut asked = Vec::new();
            for _ in 0..next(4) {
                let pieces = 1 + next(2);
                asked.push((0..pieces).map(|_| PIECES[next(PIECES.len())]).collect::<String>());
            }
            match select(&project, &asked) {
                Ok(found) => {
                    let once: std::collections::BTreeSet<_> = found.iter().collect();
                    assert!(once.len() == found.len() && found.len() <= 2, "seed {seed}: {asked:?}");
                    assert_eq!(found.is_empty(), asked.is_empty(), "seed {seed}: {asked:?}");
                    taken += 1;
                }
                Err(unknown) => {
                    assert!(unknown.message.contains('`'), "seed {seed}: {asked:?}");
                    refused += 1;
                }
            }
        }
        assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused");
    }
}
