//! Text to a checked `Project`.
