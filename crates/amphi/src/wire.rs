//! Wiring: makes the roles that a configuration names, and ends them in order. The only place where the configuration meets
//! the IO crates.

use std::time::Duration;

use anyhow::bail;

use crate::config::Config;

/// How long clients get to hear of the end before their sockets close.
pub const DRAIN: Duration = Duration::from_secs(10);

/// The running roles of this process.
#[derive(Debug)]
pub struct App {
    /// The address for people, if this process has one.
    pub url: Option<String>,
}

impl App {
    /// Starts everything that the configuration names. When it returns, every listener accepts.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        bail!("this build has no signaling server for the roles {:?}", config.roles)
    }

    /// Ends everything: no new connections, the streams closed with a reason, within [`DRAIN`].
    pub async fn drain(self) {}
}
