//! What a project does without whose folders can't be written, in words that are said once: by who starts it, and as an event.

use std::path::Path;

use super::{nameless, spare};

/// `None`: everything is where it should be.
pub fn of(state_dir: &Path, runtime_dir: &Path) -> Option<String> {
    match (nameless::is_nowhere(state_dir), nameless::is_nowhere(runtime_dir)) {
        (true, _) => Some(
            "degraded: nothing can be written here: there is no history, logs and what is asked for by hand are in memory only, \
             and should runner's daemon or guardian be killed, services are started anew instead of being taken over"
                .to_owned(),
        ),
        (false, true) => Some(
            "degraded: there is no folder for sockets and records: should runner's daemon or guardian be killed, services are \
             started anew instead of being taken over"
                .to_owned(),
        ),
        (false, false) if spare::is_spare(state_dir) => Some(format!(
            "degraded: the state folder of this project can't be written: lock, history, logs and what is asked for by hand are \
             kept in {} only",
            state_dir.display()
        )),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn en_01_each_loss_has_its_words() {
        let (nowhere, folder) = (nameless::place("key"), Path::new("/srv/shop/.runner"));
        assert_eq!(of(folder, folder), None);
        assert!(of(&nowhere, &nowhere).unwrap().contains("nothing can be written here"));
        assert!(of(folder, &nowhere).unwrap().contains("no folder for sockets"));
    }
}
