//! Archives: zip and tar.gz. Nothing of one ever lands outside of its folder, whatever it says.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{Words, inside};

/// So many entries, and so many times its own size (and some more), an archive may become.
const MOST_ENTRIES: u64 = 200_000;
const MOST_TIMES: u64 = 100;
const AND_MORE: u64 = 64 * 1024 * 1024;
/// A link's target is no longer (PATH_MAX).
const LONGEST_LINK: u64 = 4096;

/// What has been taken out so far, and how much may be.
struct Unpacked<'a> {
    folder: &'a Path,
    entries: u64,
    /// Where they go, below the folder.
    places: Vec<PathBuf>,
    room: u64,
    most: u64,
    /// Made last, so that no entry is written through one.
    links: Vec<(PathBuf, PathBuf)>,
    /// Given last: a folder that can't be written into may hold something.
    folders: Vec<(PathBuf, u32)>,
}

pub(super) fn unpack(archive: &Path, folder: &Path) -> Words<()> {
    let shown = archive.display();
    let said = |error: io::Error| format!("{shown}: {error}");
    let mut file = File::open(archive).map_err(said)?;
    let size = file.metadata().map_err(said)?.len();
    let mut magic = [0; 4];
    let read = file.read(&mut magic).map_err(said)?;
    file.rewind().map_err(said)?;
    let most = size.saturating_mul(MOST_TIMES).saturating_add(AND_MORE);
    let mut unpacked = Unpacked {
        folder,
        entries: 0,
        places: Vec::new(),
        room: most,
        most,
        links: Vec::new(),
        folders: Vec::new(),
    };
    let done = match &magic[..read] {
        [b'P', b'K', ..] => zip(file, &mut unpacked),
        [0x1f, 0x8b, ..] => tar(MultiGzDecoder::new(io::BufReader::new(file)), &mut unpacked),
        _ => Err("it is neither a zip nor a tar.gz file".to_owned()),
    };
    done.and_then(|()| unpacked.finish())
        .map_err(|words| format!("{shown}: {words}; nothing of it is kept"))?;
    println!("runner: {} entries of {shown} unpacked", unpacked.entries);
    Ok(())
}

fn zip(file: File, unpacked: &mut Unpacked<'_>) -> Words<()> {
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| error.to_string())?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| error.to_string())?;
        let name = PathBuf::from(entry.name().map_err(|error| error.to_string())?.as_ref());
        let mode = entry.unix_mode().unwrap_or(0o644);
        let path = unpacked.place(&name)?;
        match mode & 0o170_000 {
            0o120_000 => {
                let mut target = Vec::new();
                let read = Read::by_ref(&mut entry).take(LONGEST_LINK + 1).read_to_end(&mut target);
                read.map_err(|error| about(&name, &error))?;
                unpacked.link(
                    path,
                    &name,
                    PathBuf::from(String::from_utf8_lossy(&target).into_owned()),
                )?;
            }
            _ if entry.is_dir() => unpacked.folder(path, mode),
            0 | 0o100_000 => unpacked.file(&path, &name, mode, &mut entry)?,
            _ => return Err(no_kind(&name)),
        }
    }
    Ok(())
}

fn tar(reader: impl Read, unpacked: &mut Unpacked<'_>) -> Words<()> {
    use tar::EntryType;
    // Padding, and headers that make no entry, are bounded as well.
    let mut archive = tar::Archive::new(reader.take(unpacked.most));
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let name = entry.path().map_err(|error| error.to_string())?.into_owned();
        let mode = entry.header().mode().unwrap_or(0o644);
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        let path = unpacked.place(&name)?;
        let target = entry
            .link_name()
            .map_err(|error| error.to_string())?
            .map(std::borrow::Cow::into_owned);
        match (kind, target) {
            (EntryType::Directory, _) => unpacked.folder(path, mode),
            (EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse, _) => {
                unpacked.file(&path, &name, mode, &mut entry)?;
            }
            (EntryType::Symlink, Some(target)) => unpacked.link(path, &name, target)?,
            (EntryType::Link, Some(target)) => unpacked.hard_link(&path, &name, &target)?,
            _ => return Err(no_kind(&name)),
        }
    }
    Ok(())
}

impl Unpacked<'_> {
    /// Where an entry goes.
    fn place(&mut self, name: &Path) -> Words<PathBuf> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(format!("it has more than {MOST_ENTRIES} entries"));
        }
        let inside = inside(name).ok_or_else(|| format!("its entry `{}` would leave the folder", shown(name)))?;
        let place = self.folder.join(&inside);
        self.places.push(inside);
        Ok(place)
    }

    fn folder(&mut self, path: PathBuf, mode: u32) {
        self.folders.push((path, mode & 0o777));
    }

    fn file(&mut self, path: &Path, name: &Path, mode: u32, content: &mut dyn Read) -> Words<()> {
        let said = |error: io::Error| about(name, &error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(said)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NOFOLLOW)
            .mode(0o600)
            .open(path)
            .map_err(said)?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let count = content.read(&mut chunk).map_err(said)?;
            if count == 0 {
                break;
            }
            self.room = self.room.checked_sub(count as u64).ok_or_else(|| {
                let most = self.most / 1024 / 1024;
                format!("it becomes more than {most} MiB, which is no such archive")
            })?;
            file.write_all(&chunk[..count]).map_err(said)?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777))
            .map_err(said)
    }

    /// A link that leads out of the folder is refused, also where it would only do so by way of another: its target steps up
    /// first, from a folder that is one (see [`Unpacked::lies_below_a_link`]), and then only down. So wherever links lead, none of
    /// them steps out.
    fn link(&mut self, path: PathBuf, name: &Path, target: PathBuf) -> Words<()> {
        let mut at = inside(name).unwrap_or_default();
        at.pop();
        let mut goes_down = false;
        for component in target.components() {
            match component {
                Component::Normal(part) => {
                    goes_down = true;
                    at.push(part);
                }
                Component::CurDir => {}
                Component::ParentDir if goes_down => {
                    let (name, target) = (shown(name), shown(&target));
                    return Err(format!(
                        "its link `{name}` goes down and up again, to `{target}`: where that leads is not known"
                    ));
                }
                Component::ParentDir if at.pop() => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    let (name, target) = (shown(name), shown(&target));
                    return Err(format!("its link `{name}` leads out of the folder, to `{target}`"));
                }
            }
        }
        self.links.push((path, target));
        Ok(())
    }

    fn hard_link(&mut self, path: &Path, name: &Path, target: &Path) -> Words<()> {
        let inside = inside(target).ok_or_else(|| {
            let (name, target) = (shown(name), shown(target));
            format!("its link `{name}` leads out of the folder, to `{target}`")
        })?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| about(name, &error))?;
        }
        fs::hard_link(self.folder.join(inside), path).map_err(|error| about(name, &error))
    }

    /// What lies there would be wherever that leads.
    fn lies_below_a_link(&self) -> Option<(&Path, &Path)> {
        let links: HashSet<&Path> = self
            .links
            .iter()
            .filter_map(|(path, _)| path.strip_prefix(self.folder).ok())
            .collect();
        self.places.iter().find_map(|place| {
            let link = place.ancestors().skip(1).find(|above| links.contains(above))?;
            Some((place.as_path(), link))
        })
    }

    /// What had to wait for the rest.
    fn finish(&mut self) -> Words<()> {
        if let Some((place, link)) = self.lies_below_a_link() {
            let (place, link) = (shown(place), shown(link));
            return Err(format!("its entry `{place}` lies below its link `{link}`"));
        }
        for (path, _) in &self.folders {
            fs::create_dir_all(path).map_err(|error| about(path, &error))?;
        }
        let root = self.folder.canonicalize().map_err(|error| about(self.folder, &error))?;
        for (path, target) in &self.links {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|error| about(path, &error))?;
            }
            std::os::unix::fs::symlink(target, path).map_err(|error| about(path, &error))?;
        }
        for (path, target) in &self.links {
            // Once more, by what is there now.
            if let Ok(real) = path.canonicalize()
                && !real.starts_with(&root)
            {
                let name = path.strip_prefix(self.folder).unwrap_or(path);
                let (name, target) = (shown(name), shown(target));
                return Err(format!("its link `{name}` leads out of the folder, to `{target}`"));
            }
        }
        for (path, mode) in self.folders.iter().rev() {
            // What is ours stays ours to write.
            let permissions = fs::Permissions::from_mode(mode | 0o700);
            fs::set_permissions(path, permissions).map_err(|error| about(path, &error))?;
        }
        Ok(())
    }
}

fn no_kind(name: &Path) -> String {
    format!("its entry `{}` is neither a file, a folder nor a link", shown(name))
}

fn about(name: &Path, error: &io::Error) -> String {
    format!("{}: {error}", shown(name))
}

/// A name as it may stand in a log.
fn shown(name: &Path) -> String {
    name.to_string_lossy().escape_debug().to_string()
}
