//! Prepares what the web service needs, then ends: `prepare FOLDER` writes `FOLDER/greeting.txt`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: prepare FOLDER")?);
    fs::create_dir_all(&folder)?;
    // Written aside and renamed: whoever reads it sees all of it or nothing.
    let (draft, greeting) = (folder.join("greeting.txt.new"), folder.join("greeting.txt"));
    fs::write(&draft, "Hello from a project that runner keeps alive.\n")?;
    fs::rename(&draft, &greeting)?;
    println!("wrote {}", greeting.display());
    Ok(())
}
