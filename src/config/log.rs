//! Where the output of a service goes.

use super::fields::Fields;
use super::node::Table;
use super::problem::{Problem, Sink};
use super::project::Settings;
use crate::spec::{LogFile, LogMemory, LogTarget};

/// What is kept of a service whose log is in memory, unless its file says otherwise.
const MEMORY: u64 = 256 << 10;

/// The key `log`; by default a file of the service's name below `state_dir`, or where there are to be none, memory.
pub(super) fn log(fields: &Fields<'_>, service: &str, settings: &Settings, sink: &mut Sink) -> LogTarget {
    if fields.flag("log") == Some(false) {
        return LogTarget::Off;
    }
    let empty = Table::new();
    let fields = fields.table_at("log").unwrap_or(Fields { table: &empty });
    let max_size = fields.size("max_size");
    let too_small = max_size.is_some_and(|size| size < 1024);
    if let Some(node) = fields.node("max_size").filter(|_| too_small) {
        let message = "a log file of less than 1 KiB holds nothing";
        sink.push(Problem::error(node.place, message).of(service, "log.max_size"));
    }
    let console = fields.flag("console").unwrap_or(true);
    let file = fields.path("file", sink);
    if settings.logs_in_memory && file.is_none() {
        return LogTarget::Memory(LogMemory {
            max_size: max_size.unwrap_or(MEMORY),
            console,
        });
    }
    let default = || settings.state_dir.join("logs").join(format!("{service}.log"));
    LogTarget::File(LogFile {
        file: file.unwrap_or_else(default),
        max_size: max_size.unwrap_or(10_000_000),
        max_files: fields.count("max_files").unwrap_or(5),
        console,
    })
}
