//! The faults of the contract that the pure room answers for, by their names, and its tables row by row.

mod control;
mod daemons;
mod dependencies;
mod ends;
mod ports;
mod preparing;
mod recall;
mod restarts;
mod rollout;
mod schedules;
mod starts;
mod stops;
