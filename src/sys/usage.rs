//! What services use, read only when somebody asks.

use std::collections::HashMap;

use super::processes::{self, Stat};

/// CPU and memory of one service's tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of the processes that live now, in clock ticks; the share of a CPU is the difference of two
    /// samples over their time.
    pub cpu_ticks: u64,
    /// Resident memory; what processes share is counted for each.
    pub resident_bytes: u64,
    pub processes: u32,
}

/// Usage of the trees of several main processes by one reading of /proc: a tree is whoever is in the session of the
/// main process, or below one who is. A process counts for the nearest root above it.
pub fn of_trees(roots: &[u32]) -> HashMap<u32, Usage> {
    let all = processes::all();
    let by_pid: HashMap<u32, &Stat> = all.iter().map(|stat| (stat.pid, stat)).collect();
    let mut usage: HashMap<u32, Usage> = roots.iter().map(|root| (*root, Usage::default())).collect();
    for stat in all.iter().filter(|stat| !stat.is_zombie()) {
        let Some(root) = root_of(stat, &by_pid, &usage) else {
            continue;
        };
        let sum = usage.entry(root).or_default();
        sum.cpu_ticks += stat.cpu_ticks;
        sum.resident_bytes += stat.resident_bytes;
        sum.processes += 1;
    }
    usage
}

/// Members of the trees of [`of_trees`], for one root, among all processes.
pub fn members(all: &[Stat], root: u32) -> Vec<u32> {
    let by_pid: HashMap<u32, &Stat> = all.iter().map(|stat| (stat.pid, stat)).collect();
    let roots = HashMap::from([(root, Usage::default())]);
    let live = all.iter().filter(|stat| !stat.is_zombie());
    live.filter(|stat| root_of(stat, &by_pid, &roots).is_some())
        .map(|stat| stat.pid)
        .collect()
}

fn root_of(stat: &Stat, by_pid: &HashMap<u32, &Stat>, roots: &HashMap<u32, Usage>) -> Option<u32> {
    let mut at = stat;
    for _ in 0..4096 {
        if roots.contains_key(&at.pid) {
            return Some(at.pid);
        }
        if roots.contains_key(&at.session) {
            return Some(at.session);
        }
        at = by_pid.get(&at.parent)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_tree_uses_memory() {
        let own = std::process::id();
        let usage = of_trees(&[own]);
        assert!(usage[&own].resident_bytes > 0);
        assert!(usage[&own].processes >= 1);
        assert!(members(&processes::all(), own).contains(&own));
    }
}
