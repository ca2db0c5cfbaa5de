//! The binary: arguments, configuration, logs, runtime, the roles, and their orderly end.

use std::process::ExitCode;

use amphi_app::cli::{Cli, Command, RunArgs, refused};
use amphi_app::{logs, wire};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Run(args) => run(&args),
        Command::Config(command) => command.run(),
        Command::Fingerprint(args) => fingerprint(&args),
        Command::Provision(args) => args.run(),
        Command::Ctl(args) => args.run(),
        Command::Load(args) => amphi_load::run(&args).unwrap_or_else(failed),
        Command::Version => {
            println!("amphi {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn run(args: &RunArgs) -> ExitCode {
    let config = match args.configuration() {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    let outcome = logs::start(&config.log).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            // Before the roles start, so that an early signal is not lost.
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let app = wire::App::start(config).await?;
            if let Some(url) = &app.url {
                println!("{url}");
            }
            tokio::select! {
                () = app.over() => tracing::info!("The bridge has been shut down."),
                _ = terminate.recv() => if app.wind_down().await {
                    tracing::info!("Terminating when the last endpoint has left; a second signal ends at once.");
                    tokio::select! {
                        () = app.over() => {}
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                } else {
                    tracing::info!("Terminating.");
                },
                _ = interrupt.recv() => tracing::info!("Interrupted."),
            }
            app.drain().await;
            Ok(())
        })
    });
    outcome.map_or_else(failed, |()| ExitCode::SUCCESS)
}

fn fingerprint(args: &RunArgs) -> ExitCode {
    let config = match args.configuration() {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    wire::fingerprint(&config).map_or_else(failed, |fingerprint| {
        println!("{fingerprint}");
        ExitCode::SUCCESS
    })
}

fn failed(error: anyhow::Error) -> ExitCode {
    eprintln!("amphi: {error:#}");
    ExitCode::FAILURE
}
