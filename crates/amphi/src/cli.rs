//! The command line: arguments as typed, and what each command does. `run` is the default. Exit codes: 0, 1 for a failure at
//! run time, 2 for wrong arguments, 78 (`EX_CONFIG`) for a wrong configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use amphi_load::LoadArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigError, Layers, Mistake, Place, reference};
use crate::ctl::CtlArgs;
use crate::import::ImportArgs;
use crate::provision::ProvisionArgs;

/// Exit code for a wrong configuration.
pub const EXIT_CONFIG: u8 = 78;

/// A video conference with a very large audience.
#[derive(Debug, Parser)]
#[command(name = "amphi", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` when left out.
    #[command(subcommand)]
    command: Option<Command>,
    /// Arguments of `run`.
    #[command(flatten)]
    run: RunArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the roles that the configuration names; all of them without one
    Run(RunArgs),
    /// Look at configurations
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the fingerprint of this server's certificate, for its peers to pin; makes the certificate if there is none yet
    Fingerprint(RunArgs),
    /// Write what a deployment on one host or many needs, or check one that runs
    Provision(ProvisionArgs),
    /// Operate a running server: its rooms, nodes and bridges
    Ctl(CtlArgs),
    /// Load a server, this one or a stock one, and measure
    Load(LoadArgs),
    /// Print the version
    Version,
}

/// `amphi config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file, with the environment above it; tells every mistake with its line
    Check {
        /// The file
        #[arg(default_value = "amphi.toml")]
        file: PathBuf,
        /// Overrides one key, as section.key=value
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Write our configuration from what a Jitsi deployment has: a jicofo.conf, the .env of its containers
    Import(ImportArgs),
    /// Print the reference of all keys, in Markdown
    Reference,
}

/// `amphi run …`
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Configuration file
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seats on stage
    #[arg(long, value_name = "N")]
    stage: Option<u32>,
    /// What happens when a visitor raises a hand
    #[arg(long, value_enum)]
    promotion: Option<PromotionArg>,
    /// Overrides one key, as section.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// `--promotion`
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PromotionArg {
    Approve,
    Auto,
}

impl Cli {
    /// The command, with the default filled in.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

impl RunArgs {
    /// The checked configuration of these arguments and the environment.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        let mut settings = self.settings.clone();
        settings.extend(self.stage.map(|n| format!("stage={n}")));
        settings.extend(self.promotion.map(|p| match p {
            PromotionArg::Approve => "promotion=approve".to_owned(),
            PromotionArg::Auto => "promotion=auto".to_owned(),
        }));
        configuration(self.config.as_deref(), settings)
    }
}

impl ConfigCommand {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Check { file, settings } => match configuration(Some(file), settings.clone()) {
                Ok(_) => {
                    println!("{} is fine.", file.display());
                    ExitCode::SUCCESS
                }
                Err(error) => refused(&error),
            },
            Self::Import(args) => match args.run() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("amphi: {error:#}");
                    ExitCode::FAILURE
                }
            },
            Self::Reference => {
                print!("{}", reference::markdown());
                ExitCode::SUCCESS
            }
        }
    }
}

/// Tells what is wrong with a configuration.
pub fn refused(error: &ConfigError) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(EXIT_CONFIG)
}

fn configuration(file: Option<&Path>, settings: Vec<String>) -> Result<Config, ConfigError> {
    let file = match file {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| {
                let message = format!("{name}: cannot be read: {error}");
                ConfigError(vec![Mistake { place: Place::Unset, key: String::new(), message }])
            })?;
            Some((name, text))
        }
        None => None,
    };
    // A variable that is not UTF-8 cannot be one of ours.
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Config::check(&Layers { file, environment: environment.collect(), settings }.join()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Command {
        Cli::try_parse_from(line.split(' ')).unwrap().into_command()
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_may_be_left_out() {
        for line in [
            "amphi --stage 5 --promotion auto --set domain=a.example",
            "amphi run --stage 5 --promotion auto --set domain=a.example",
        ] {
            let Command::Run(args) = parse(line) else { panic!("{line} is not run") };
            let config = args.configuration().unwrap();
            assert_eq!((config.stage, config.domain.as_str()), (5, "a.example"));
            assert_eq!(config.promotion, crate::config::Promotion::Auto);
        }
        assert!(matches!(parse("amphi"), Command::Run(_)));
    }

    #[test]
    fn the_fingerprint_is_asked_for_with_the_arguments_of_run() {
        let line = "amphi fingerprint --config a.toml --set data_dir=/var/lib/amphi";
        let Command::Fingerprint(args) = parse(line) else { panic!("{line} is something else") };
        assert_eq!(args.config.unwrap(), Path::new("a.toml"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let Command::Run(args) = parse("amphi run --config nowhere.toml") else { panic!("not run") };
        let text = args.configuration().unwrap_err().to_string();
        assert!(text.starts_with("nowhere.toml: cannot be read"), "{text}");
    }
}
