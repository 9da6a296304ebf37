//! What /proc says of processes.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// One line of /proc/PID/stat (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: u32,
    /// The executable's short name, at most 15 bytes.
    pub name: String,
    /// `R`, `S`, `D`, `Z`, `T`, ...
    pub state: char,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    /// User and system time in clock ticks, without children.
    pub cpu_ticks: u64,
    /// Since boot, in clock ticks.
    pub start_ticks: u64,
    pub resident_bytes: u64,
}

impl Stat {
    /// It has ended and waits for its parent (or is about to vanish).
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// `pid 7 (name, uninterruptible)`.
    pub fn describe(&self) -> String {
        let state = match self.state {
            'R' => "running",
            'S' | 'I' => "sleeping",
            'D' => "uninterruptible",
            'T' | 't' => "stopped",
            'Z' | 'X' | 'x' => "zombie",
            _ => "unknown state",
        };
        format!("pid {} ({}, {state})", self.pid, self.name)
    }
}

/// What the kernel says of one process; `None` when there is none of that number.
pub fn stat(pid: u32) -> Option<Stat> {
    let mut buffer = [0u8; 1024];
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut buffer).ok()?;
    parse(&buffer[..length])
}

fn parse(line: &[u8]) -> Option<Stat> {
    let line = String::from_utf8_lossy(line);
    // The name stands in parentheses and may hold both blanks and parentheses.
    let (head, tail) = (line.find('(')?, line.rfind(')')?);
    let fields: Vec<&str> = line.get(tail + 1..)?.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let small = |field: usize| number(field).and_then(|value| u32::try_from(value).ok());
    Some(Stat {
        pid: line.get(..head)?.trim().parse().ok()?,
        name: line.get(head + 1..tail)?.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: small(4)?,
        group: small(5)?,
        session: small(6)?,
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
        resident_bytes: number(24)? * page_size(),
    })
}

/// Bytes of a memory page.
pub fn page_size() -> u64 {
    sysconf(libc::_SC_PAGESIZE, 4096)
}

/// Clock ticks of a second, the unit of `Stat`'s times.
pub fn ticks_per_second() -> u64 {
    sysconf(libc::_SC_CLK_TCK, 100)
}

#[allow(unsafe_code)]
fn sysconf(name: i32, otherwise: u64) -> u64 {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(otherwise)
}

/// Every process there is.
pub fn all() -> Vec<Stat> {
    numbers("/proc").into_iter().filter_map(stat).collect()
}

/// The names in a folder that are numbers.
fn numbers(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The children of a process, ended ones included, by /proc/PID/task/TID/children, or by looking at every process where
/// the kernel was built without it.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in numbers(&format!("/proc/{pid}/task")) {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")) else {
            continue;
        };
        found.extend(
            text.split_ascii_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    if found.is_empty() && !children_files_exist() {
        found.extend(all().into_iter().filter(|stat| stat.parent == pid).map(|stat| stat.pid));
    }
    found
}

fn children_files_exist() -> bool {
    static EXIST: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *EXIST.get_or_init(|| fs::metadata(format!("/proc/self/task/{}/children", std::process::id())).is_ok())
}

/// The children file of a single-threaded process that reads its own again and again.
#[derive(Debug)]
pub struct OwnChildren {
    file: Option<fs::File>,
    /// As long as the longest reading so far, and a bit.
    text: Vec<u8>,
}

impl Default for OwnChildren {
    fn default() -> Self {
        let own = std::process::id();
        OwnChildren {
            file: fs::File::open(format!("/proc/self/task/{own}/children")).ok(),
            text: vec![0; 4096],
        }
    }
}

impl OwnChildren {
    /// Our children now, oldest first, ended and not yet reaped ones included.
    pub fn read(&mut self, into: &mut Vec<u32>) {
        into.clear();
        match self.fill() {
            Some(length) => {
                let words = self.text[..length].split(|byte| *byte == b' ');
                into.extend(words.filter_map(number));
            }
            None => into.extend(children(std::process::id())),
        }
    }

    fn fill(&mut self) -> Option<usize> {
        use std::os::unix::fs::FileExt;
        let file = self.file.as_ref()?;
        let mut length = 0;
        loop {
            if self.text.len() == length {
                self.text.resize(length * 2, 0);
            }
            match file.read_at(&mut self.text[length..], length as u64) {
                Ok(0) => return Some(length),
                Ok(count) => length += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// Decimal digits and nothing else.
fn number(word: &[u8]) -> Option<u32> {
    let digit = |sum: u32, byte: &u8| {
        byte.is_ascii_digit()
            .then(|| sum.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')))
    };
    (!word.is_empty()).then(|| word.iter().try_fold(0, digit)).flatten()
}

/// All live descendants of a process, nearest first, without itself.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        for child in children(parent) {
            if !found.contains(&child) {
                found.push(child);
                next.push(child);
            }
        }
    }
    found
}

/// A process and those above it, nearest first, as far as we may know.
pub fn lineage(pid: u32) -> Vec<Stat> {
    let mut found: Vec<Stat> = Vec::new();
    let mut at = pid;
    // A chain that changes under us could be followed for ever; no real one is this long.
    while found.len() < 4096
        && let Some(stat) = stat(at)
    {
        at = stat.parent;
        found.push(stat);
        if at == 0 {
            break;
        }
    }
    found
}

/// Whether `ancestor` is above `pid` in the chain of parents.
pub fn is_descendant(pid: u32, ancestor: u32) -> bool {
    let mut at = pid;
    // A chain that changes under us could be followed for ever; no real one is this long.
    for _ in 0..4096 {
        let Some(stat) = stat(at) else { return false };
        if stat.parent == ancestor {
            return true;
        }
        if stat.parent <= 1 {
            return false;
        }
        at = stat.parent;
    }
    false
}

/// The value of a variable in the environment that a process was executed with, when we may read it.
pub fn environment_value(pid: u32, key: &str) -> Option<Vec<u8>> {
    let text = fs::read(format!("/proc/{pid}/environ")).ok()?;
    text.split(|byte| *byte == 0).find_map(|entry| {
        entry
            .strip_prefix(key.as_bytes())?
            .strip_prefix(b"=")
            .map(<[u8]>::to_vec)
    })
}

/// The command line with blanks between its words; the short name where it has none.
pub fn command_line(pid: u32) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = text.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return stat(pid).map(|stat| stat.name);
    }
    Some(String::from_utf8_lossy(&words.join(&b' ')).into_owned())
}

/// Effective user of a process.
pub fn owner(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The number that a process has in its own PID namespace, where that is not ours.
pub fn inner_pid(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().skip(1).last()?.parse().ok()
}

/// Where a process stands, when we may know.
pub fn working_dir(pid: u32) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(
        path.into_os_string().into_vec(),
    )))
}

/// Wall time of its start, in nanoseconds since 1970 (to the clock tick).
pub fn started_at_ns(stat: &Stat) -> Option<i64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = text
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    let ticks = ticks_per_second().max(1);
    let since = i64::try_from(stat.start_ticks.saturating_mul(1_000_000_000 / ticks)).ok()?;
    Some(boot.saturating_mul(1_000_000_000).saturating_add(since))
}

/// (device, inode) of one of its descriptors, when we may know.
pub fn descriptor(pid: u32, number: u32) -> Option<(u64, u64)> {
    let found = fs::metadata(format!("/proc/{pid}/fd/{number}")).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_and_blanks_are_read() {
        let line = b"42 (a) b (c) S 1 42 40 0 -1 4194560 1 2 3 4 10 5 0 0 20 0 1 0 777 1000 3 18446744073709551615";
        let stat = parse(line).unwrap();
        assert_eq!((stat.pid, stat.name.as_str(), stat.state), (42, "a) b (c", 'S'));
        assert_eq!((stat.parent, stat.group, stat.session), (1, 42, 40));
        assert_eq!((stat.cpu_ticks, stat.start_ticks), (15, 777));
        assert_eq!(stat.resident_bytes, 3 * page_size());
        assert_eq!(parse(b"garbage"), None);
        assert_eq!(stat.describe(), "pid 42 (a) b (c, sleeping)");
    }

    #[test]
    fn we_find_ourselves() {
        let own = std::process::id();
        let stat = stat(own).unwrap();
        assert_eq!(stat.pid, own);
        assert!(stat.resident_bytes > 0);
        assert!(command_line(own).is_some());
        assert_eq!(owner(own), Some(nix::unistd::Uid::effective().as_raw()));
        assert!(is_descendant(own, stat.parent));
        assert!(descendants(stat.parent).contains(&own));
        assert!(started_at_ns(&stat).unwrap() > 1_600_000_000_000_000_000);
    }
}
