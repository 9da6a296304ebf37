//! `up -d --no-wait --no-reload` of the shell integration, which says nothing.

use super::{Asked, ask};
use crate::api::wire::UpRequest;
use crate::cli::args::Global;
use crate::cli::reach::{self, Start};
use crate::cli::{Result, project};

/// Starts the project. The guardian, if it was us who started it.
///
/// Edits are not applied by themselves: nobody has allowed them yet.
pub fn up(global: &Global) -> Result<Option<u32>> {
    let loaded = project::load_for_up(global, &[])?;
    project::check_profiles(global, &loaded.project)?;
    let start = Start::background(&loaded.location, &loaded.project.state_dir);
    let request = UpRequest {
        profiles: global.profiles.clone(),
        detach: true,
        no_reload: true,
        files: loaded.location.files.clone(),
        ..UpRequest::default()
    };
    reach::converse(async {
        let Asked { owner, .. } = ask(&start, &request).await?;
        Ok(owner.and_then(|_| reach::holder_of(&loaded.project.state_dir)))
    })
}
