//! The project tasks: `cargo xtask test` and its friends.

fn main() {}
