//! The load generator on its own: the same arguments as under the main binary.
//!
//! `cargo run -p amphi-load --example load -- signaling --help`

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "load", about = "Load generator for servers of this protocol")]
struct Cli {
    #[command(flatten)]
    load: amphi_load::LoadArgs,
}

fn main() -> anyhow::Result<ExitCode> {
    amphi_load::run(&Cli::parse().load)
}
