//! The history of a project as it lies on the disk: one event a line, numbered without a gap.
//!
//! The daemon appends (`daemon::story`); it and, when nothing runs, a client read here.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The file that is written, in the state folder.
pub const FILE: &str = "history.jsonl";
/// What was written before it; older events are gone.
pub const OLDER: &str = "history.1.jsonl";
/// A longer line is none of ours.
const LINE_MAX: usize = 1024 * 1024;

/// How every line begins: an event without its number can't be found again.
const BEGIN: &[u8] = b"{\"cursor\":";

/// The number of an event, by its line.
pub fn cursor(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(BEGIN)?;
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // A line that was cut off by a crash is no event.
    line.ends_with(b"}")
        .then(|| std::str::from_utf8(&digits[..length]).ok()?.parse().ok())?
}

/// Every event after this number, from old to new, as its line without the line end. `see` tells whether to go on.
pub fn read(state_dir: &Path, after: u64, see: &mut dyn FnMut(u64, &[u8]) -> bool) -> io::Result<()> {
    let mut last = after;
    // The newer one is held first: a rotation from now on shows some twice, and hides none.
    let newer = open(&state_dir.join(FILE))?;
    let older = open(&state_dir.join(OLDER))?;
    for mut file in [older, newer].into_iter().flatten() {
        let mut line = Vec::new();
        while next_line(&mut file, &mut line)? {
            let Some(cursor) = cursor(&line).filter(|cursor| *cursor > last) else {
                continue;
            };
            last = cursor;
            if !see(cursor, &line) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The newest events, as many as stand in the last bytes of the file that is written.
pub fn tail(state_dir: &Path, bytes: u64, see: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let Some(mut file) = open(&state_dir.join(FILE))? else {
        return Ok(());
    };
    let length = file.get_ref().metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut line = Vec::new();
    // The first one is cut, and no event then.
    while next_line(&mut file, &mut line)? {
        if cursor(&line).is_some() {
            see(&line);
        }
    }
    Ok(())
}

/// The number of the newest event, by the whole files.
pub fn last_cursor(state_dir: &Path) -> io::Result<u64> {
    let mut last = 0;
    read(state_dir, 0, &mut |cursor, _| {
        last = cursor;
        true
    })?;
    Ok(last)
}

fn open(path: &PathBuf) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::with_capacity(64 * 1024, file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads one line without its end; what is longer than any of ours is passed over in pieces.
fn next_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = memchr::memchr(b'\n', buffer);
        let length = end.unwrap_or(buffer.len());
        line.extend_from_slice(&buffer[..length]);
        file.consume(length + usize::from(end.is_some()));
        if end.is_some() || line.len() > LINE_MAX {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(folder: &Path, after: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        read(folder, after, &mut |cursor, _| {
            seen.push(cursor);
            true
        })
        .expect("read");
        seen
    }

    #[test]
    fn events_are_read_in_order_over_both_files_and_torn_lines_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        assert_eq!(last_cursor(folder).expect("read"), 0);
        std::fs::write(folder.join(OLDER), "{\"cursor\":1}\n{\"cursor\":2,\"x\":\"y\"}\n").expect("written");
        let torn = "{\"cursor\":2}\n{\"cursor\":3}\n{\"curs\ngarbage\n{\"cursor\":4,\"time\":\n{\"cursor\":4}\n\n";
        std::fs::write(folder.join(FILE), torn).expect("written");
        assert_eq!(read_all(folder, 0), [1, 2, 3, 4]);
        assert_eq!(read_all(folder, 2), [3, 4]);
        assert_eq!(read_all(folder, 99), [] as [u64; 0]);
        assert_eq!(last_cursor(folder).expect("read"), 4);
        let mut newest = Vec::new();
        tail(folder, 20, &mut |line| newest.push(line.to_vec())).expect("read");
        assert_eq!(newest, [b"{\"cursor\":4}".to_vec()]);
    }

    #[test]
    fn a_rotation_while_the_older_file_is_read_hides_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        std::fs::write(folder.join(OLDER), "{\"cursor\":1}\n").expect("written");
        std::fs::write(folder.join(FILE), "{\"cursor\":2}\n{\"cursor\":3}\n").expect("written");
        let mut seen = Vec::new();
        read(folder, 0, &mut |cursor, _| {
            if cursor == 1 {
                std::fs::rename(folder.join(FILE), folder.join(OLDER)).expect("rotated");
                std::fs::write(folder.join(FILE), "{\"cursor\":4}\n").expect("written");
            }
            seen.push(cursor);
            true
        })
        .expect("read");
        assert!(seen.starts_with(&[1, 2, 3]), "{seen:?}");
    }

    #[test]
    fn a_huge_line_is_passed_over_and_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!("{}\n{{\"cursor\":7}}\n", "x".repeat(3 * LINE_MAX));
        std::fs::write(folder.path().join(FILE), text).expect("written");
        assert_eq!(read_all(folder.path(), 0), [7]);
    }
}
