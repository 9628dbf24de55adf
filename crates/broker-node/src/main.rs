//! The binary `quelea`.

fn main() {}
