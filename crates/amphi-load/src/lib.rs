//! Load generator for signaling servers of this protocol, ours or a stock one: opens a stage and an audience as web clients
//! do, measures joins and fan-out, and checks that nothing is lost. It shares no parser and no room code with the server,
//! so that a mistake there cannot hide here. Its media side has full viewers that share nothing with the bridge, and beside
//! them sinks that do. The binary mounts it as `load`.

mod accept;
mod args;
mod bare;
mod client;
mod cycles;
mod engine;
mod finish;
mod frame;
mod gauge;
mod histogram;
mod http;
mod marker;
mod media;
mod process;
mod report;
mod run;
mod scan;
mod script;
mod seats;
mod stats;
mod strict;
mod track;
mod transport;
mod url;

#[cfg(test)]
mod client_tests;

use std::process::ExitCode;

pub use args::{BareClientArgs, BareServerArgs, LoadArgs, LoadCommand, SignalingArgs};
pub use bare::Turn;
pub use histogram::Latency;
pub use media::{
    BareMedia, BareTurn, Churn, Connects, Cost, Creates, Joining, MediaArgs, MediaReport, MediaSample, MediaServer,
    MediaTraffic, MediaTurn, Quality, Viewers, run_media,
};
pub use report::{
    Comparison, ComparisonTurn, Cycle, Fanout, Generator, Joins, Offers, Report, Rooms, Sample, Server, Storm, Traffic,
};
pub use run::run_signaling;

/// Runs a command of `load`: blocks until it is through, prints the report, and tells success by the exit code.
pub fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        LoadCommand::Signaling(args) => {
            let report = run_signaling(args)?;
            show(&report, args.json.as_deref(), report.ok)
        }
        LoadCommand::Media(args) => {
            let report = run_media(args)?;
            show(&report, args.json.as_deref(), report.ok)
        }
        LoadCommand::BareServer(args) => bare::server(args).map(|()| ExitCode::SUCCESS),
        LoadCommand::BareClient(args) => bare::client(args).map(|()| ExitCode::SUCCESS),
    }
}

fn show(
    report: &(impl serde::Serialize + std::fmt::Display),
    json: Option<&str>,
    ok: bool,
) -> anyhow::Result<ExitCode> {
    match json {
        Some("-") => println!("{}", serde_json::to_string_pretty(report)?),
        Some(file) => {
            std::fs::write(file, serde_json::to_string_pretty(report)?)?;
            print!("{report}");
        }
        None => print!("{report}"),
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
