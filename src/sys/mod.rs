//! Every talk with the kernel.
