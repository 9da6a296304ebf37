//! Whether the kernel killed for memory.

/// How often the OOM killer has killed since boot (`oom_kill` of /proc/vmstat); `None` where the kernel does not tell.
/// A SIGKILL beside a counter that moved is reported as `out_of_memory`.
pub fn kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}
