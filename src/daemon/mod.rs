//! The one loop that owns the `World`.
