//! Command line of `load media`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `load media`.
#[derive(Args, Clone, Debug)]
pub struct MediaArgs {
    /// WebSocket URL of the main node.
    #[arg(long, default_value = "ws://127.0.0.1:5280/xmpp-websocket")]
    pub url: String,
    /// URL of the conference request; without it the focus is asked by IQ.
    #[arg(long)]
    pub conference_request: Option<String>,
    /// XMPP domain of the main node.
    #[arg(long, default_value = "localhost")]
    pub domain: String,
    /// Domain of rooms [default: conference.DOMAIN].
    #[arg(long)]
    pub muc: Option<String>,
    /// URL of one visitor node, as v1=ws://host:port/path; others get ?vnode= on the main URL.
    #[arg(long, value_name = "NODE=URL")]
    pub vnode_url: Vec<String>,
    /// Room [default: a new one].
    #[arg(long)]
    pub room: Option<String>,
    /// Turn ws and http URLs into wss and https; certificates are not verified unless --ca is given.
    #[arg(long)]
    pub tls: bool,
    /// PEM file of the authority that server certificates must come from.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Source addresses of signaling connections, used in turn.
    #[arg(long, value_delimiter = ',')]
    pub sources: Vec<IpAddr>,

    /// Drive a bridge alone, by colibri2 over XMPP: host:port for client streams of the XMPP server where its brewery is. No room, no focus.
    #[arg(long, value_name = "HOST:PORT")]
    pub colibri: Option<String>,
    /// With --colibri: domain of the account [default: auth.DOMAIN].
    #[arg(long, requires = "colibri")]
    pub colibri_domain: Option<String>,
    /// With --colibri: the account.
    #[arg(long, default_value = "jvb", requires = "colibri")]
    pub colibri_user: String,
    /// With --colibri: its password [default: environment variable AMPHI_COLIBRI_PASSWORD].
    #[arg(long, requires = "colibri")]
    pub colibri_password: Option<String>,
    /// With --colibri: the brewery, `jvbbrewery@internal.auth.DOMAIN` unless told.
    #[arg(long, requires = "colibri")]
    pub brewery: Option<String>,
    /// With --colibri: nickname of the bridge in the brewery [default: the first one there].
    #[arg(long, requires = "colibri")]
    pub bridge: Option<String>,
    /// With --colibri: first create and expire so many endpoints without media, and tell how many a second the bridge does.
    #[arg(long, default_value_t = 0, requires = "colibri")]
    pub creates: u32,
    /// With --colibri: then connect so many sinks, as fast as --concurrency allows, to a conference in which nobody publishes, and take them away:
    /// tells how many connects a second the bridge does, without media in between.
    #[arg(long, default_value_t = 0, requires = "colibri")]
    pub connects: u32,

    /// People who publish video and audio.
    #[arg(long, default_value_t = 1)]
    pub publishers: u32,
    /// Viewers that judge what they get, frame by frame.
    #[arg(long, default_value_t = 50)]
    pub full: u32,
    /// Viewers that only count.
    #[arg(long, default_value_t = 50)]
    pub sinks: u32,
    /// Video of one publisher, Mbit/s over its three encodings; the highest one has 72 %.
    #[arg(long, default_value_t = 2.5)]
    pub bitrate: f64,
    /// Milliseconds over which the packets of a frame are spread; 0: at once, as browsers do now.
    #[arg(long, default_value_t = 0.0)]
    pub pace: f64,
    /// Joins started per second; without it as fast as --concurrency allows.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Most joins under way at once.
    #[arg(long, default_value_t = 100)]
    pub concurrency: u64,
    /// Seconds without any progress after which those who have not connected have failed.
    #[arg(long, default_value_t = 20.0)]
    pub join_timeout: f64,
    /// Seconds of rest after joining.
    #[arg(long, default_value_t = 3.0)]
    pub settle: f64,
    /// Measured turns.
    #[arg(long, default_value_t = 3)]
    pub turns: u32,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// After each turn publishers pause, and a bare loop seals and sends the same into the same sinks for as long.
    #[arg(long)]
    pub bare: bool,
    /// After the turns so many sinks a second leave, and as many join.
    #[arg(long)]
    pub churn: Option<f64>,
    /// Minutes of --churn.
    #[arg(long, default_value_t = 20.0, requires = "churn")]
    pub minutes: f64,
    /// Processes of the server whose CPU time and memory are sampled: the bridge alone, best.
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Threads for sinks.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Write the report as JSON to this file; `-`: standard output, instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// No progress bar.
    #[arg(long)]
    pub quiet: bool,
}
