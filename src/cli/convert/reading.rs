//! What is read: bounded, regular files only, and never more than is needed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::Result;
use crate::cli::outcome::Outcome;
use crate::convert::{self, Folder, LARGEST};

/// More entries than that of one folder are not looked at.
const MOST_ENTRIES: usize = 2000;

/// One byte more than what is allowed tells that it is too long.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub fn refusal(shown: &str, error: &io::Error) -> Outcome {
    Outcome::usage(match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file {shown}"),
        io::ErrorKind::PermissionDenied => format!("{shown} can't be read: permission denied"),
        _ => format!("{shown} can't be read: {error}"),
    })
}

/// The real path of the folder that a file is in.
pub fn folder_of(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    folder.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Outcome::usage(format!("there is no folder {}", folder.display())),
        _ => Outcome::usage(format!("the folder {} can't be used: {error}", folder.display())),
    })
}

/// What `init` looks at.
pub fn folder(path: &Path) -> Result<Folder> {
    let mut folder = Folder::default();
    for below in Folder::LISTED {
        let entries = match fs::read_dir(path.join(below)) {
            Ok(entries) => entries,
            Err(error) if below.is_empty() => {
                return Err(Outcome::io(format_args!("read {}", path.display()))(error));
            }
            Err(_) => continue,
        };
        for entry in entries.flatten().take(MOST_ENTRIES) {
            if let Some(name) = entry.file_name().to_str() {
                let slash = if below.is_empty() { "" } else { "/" };
                folder.entries.insert(format!("{below}{slash}{name}"));
            }
        }
    }
    for name in Folder::READ {
        // What can't be read decides nothing.
        if let Ok(bytes) = bytes(&path.join(name))
            && let Ok(text) = convert::text(&bytes)
        {
            folder.texts.insert((*name).to_owned(), text.to_owned());
            folder.entries.insert((*name).to_owned());
        }
    }
    Ok(folder)
}
