//! The stream of an `up` broke for good.

use std::path::Path;

use crate::cli::outcome::Outcome;
use crate::cli::reach;

/// `is_over`: nothing of the project runs any more.
pub fn outcome(is_over: bool, state_dir: &Path) -> Outcome {
    let log = reach::own_log(state_dir);
    let log = log.display();
    match is_over {
        true => Outcome::Failed {
            message: "everything has stopped, and runner was killed before it could say why".to_owned(),
            suggestion: Some(format!(
                "`runner events` tells what has happened; what runner said last is in {log}"
            )),
        },
        false => Outcome::Failed {
            message: "runner was killed; its services run on, and nobody looks after them".to_owned(),
            suggestion: Some(format!(
                "`runner up` takes them over, `runner down` stops them; what runner said last is in {log}"
            )),
        },
    }
}
