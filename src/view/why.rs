//! `runner why`: one sentence for each link of the chain, the last lines of the culprit, what to do.

use super::escape::plain;
use super::style::Style;
use crate::api::wire::{Why, WhyLink};

pub fn text(why: &Why, style: &Style) -> String {
    let mut out = String::new();
    for (depth, link) in why.chain.iter().enumerate() {
        // What somebody did stands beside what came of it.
        let indent = "  ".repeat(depth.min(4));
        out.push_str(&format!("{indent}{}\n", sentence(link, depth, style)));
        let is_culprit = why.chain.get(depth + 1).is_none_or(|next| next.service == link.service);
        let is_first_of_it = depth == 0 || why.chain[depth - 1].service != link.service;
        if is_culprit && is_first_of_it && !why.last_lines.is_empty() {
            let mut head = "it wrote:";
            for line in &why.last_lines {
                out.push_str(&format!("{indent}    {}  {}\n", style.dim(head), plain(line)));
                head = "         ";
            }
        }
    }
    if let Some(suggestion) = &why.suggestion {
        out.push_str(&format!("{} {}\n", style.hint("try:"), plain(suggestion)));
    }
    out
}

fn sentence(link: &WhyLink, depth: usize, style: &Style) -> String {
    let what = plain(&link.what);
    let what = if depth == 0 {
        style.hint(&what)
    } else {
        what.into_owned()
    };
    let mut because = plain(&link.because).into_owned();
    if because.is_empty() {
        return format!("{what}.");
    }
    if !because.ends_with(['.', '!', '?']) {
        because.push('.');
    }
    // What is a message of its own is quoted, not woven in.
    let word = if depth == 0 || link.what.contains(" was ") {
        " because"
    } else {
        ":"
    };
    format!("{what}{word} {because}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::StateName;

    fn link(service: &str, what: &str, because: &str) -> WhyLink {
        WhyLink {
            service: service.into(),
            what: what.into(),
            because: because.into(),
        }
    }

    #[test]
    fn a_chain_reads_from_what_is_seen_to_what_was_done() {
        let why = Why {
            service: "mail".into(),
            state: StateName::Waiting,
            chain: vec![
                link("mail", "mail is waiting", "it needs web to be ready (depends_on)"),
                link("web", "web is in back-off", "its 4th run ended 3s ago with exit code 1"),
                link(
                    "web",
                    "web was restarted",
                    "services.toml was saved (command changed) 40s ago",
                ),
            ],
            suggestion: Some("fix it".into()),
            last_lines: vec!["TypeError: no".into(), "\x1b[2Jat x".into()],
            events: Vec::new(),
        };
        let wanted = "\
mail is waiting because it needs web to be ready (depends_on).
  web is in back-off: its 4th run ended 3s ago with exit code 1.
      it wrote:  TypeError: no
                 at x
    web was restarted because services.toml was saved (command changed) 40s ago.
try: fix it
";
        assert_eq!(text(&why, &Style::PLAIN), wanted);
    }
}
