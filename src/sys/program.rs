//! Our own program file, with and without /proc.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Leads to the program that runs, also where its file was replaced.
pub const OWN: &str = "/proc/self/exe";

/// Where the program lies that this process runs.
///
/// # Errors
/// Neither /proc nor the kernel's word from the start of the process (getauxval(3), `AT_EXECFN`) tells.
pub fn own() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| executed().ok_or(error))
}

/// What execve(2) was given when this process began, made absolute while the working folder is what it was then.
fn executed() -> Option<PathBuf> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PATH.get_or_init(|| {
        let given = given()?;
        let path = std::path::absolute(Path::new(OsStr::from_bytes(given))).ok()?;
        path.is_file().then_some(path)
    });
    found.clone()
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn given() -> Option<&'static [u8]> {
    // SAFETY: getauxval takes a number; what AT_EXECFN answers is 0 or a string that the kernel has put above the stack, which
    // stays there as long as the process.
    unsafe {
        let text = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        (!text.is_null()).then(|| std::ffi::CStr::from_ptr(text).to_bytes())
    }
}

#[cfg(not(target_os = "linux"))]
fn given() -> Option<&'static [u8]> {
    None
}

/// What is to be executed to start this program once more, the best first.
pub fn candidates() -> Vec<PathBuf> {
    [Some(PathBuf::from(OWN)), executed()].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn en_05_our_program_is_known_without_proc() {
        let known = executed().unwrap().canonicalize().unwrap();
        assert_eq!(known, std::env::current_exe().unwrap());
        assert_eq!(candidates().len(), 2);
    }
}
