//! Every talk with the kernel.
//!
//! Law of the room: the only one with `unsafe`, each with its proof beside it. It knows processes, descriptors, users
//! and sockets; it never knows what a service is for. Linux is the first home; elsewhere the parts that need /proc,
//! pidfds or epoll answer "not there" and the callers go on without.

pub mod alarm;
pub mod becoming;
pub mod capabilities;
pub mod cgroup;
pub mod clock;
pub mod detach;
pub mod exec_failure;
pub mod fifo;
pub mod files;
pub mod ground;
pub mod identity;
pub mod limits;
#[cfg(target_os = "linux")]
mod listeners;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod names;
pub mod oom;
pub mod passing;
pub mod pid_file;
pub mod pidfd;
pub mod places;
pub mod ports;
pub mod processes;
pub mod program;
pub mod pty;
pub mod reap;
pub mod rescue;
pub mod rights;
pub mod search;
pub mod signals;
pub mod sockets;
pub mod spawn;
pub mod tty;
pub mod usage;
pub mod users;
