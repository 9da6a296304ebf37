//! What the allocator keeps, and files in memory.

/// Gives memory that was freed back to the system: after a burst (a file was read, a thousand services were started) the
/// allocator would keep it for the next one.
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: malloc_trim(3) takes no pointers and may be called at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A file that has no name and lies in memory; it is gone with its last descriptor. `name` is seen in /proc only.
///
/// # Errors
/// As of [`super::passing::nameless_file`].
pub fn file(name: &str) -> std::io::Result<std::fs::File> {
    super::passing::nameless_file(&std::ffi::CString::new(name)?)
}
