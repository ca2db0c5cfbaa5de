//! Command line of `load`: mounted by the main binary, and by the example of this crate.

use std::{net::IpAddr, path::PathBuf};

use crate::media::MediaArgs;
use clap::{Args, Subcommand, builder::ArgPredicate};

/// Arguments of `load`.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// What to load.
    #[command(subcommand)]
    pub command: LoadCommand,
}

/// What can be loaded.
#[derive(Subcommand, Clone, Debug)]
pub enum LoadCommand {
    /// Open a stage and an audience against a signaling server and measure joins and fan-out.
    Signaling(Box<SignalingArgs>),
    /// Publish and watch video through the whole way: signaling, ICE, DTLS, SRTP; measure what a bridge carries.
    Media(Box<MediaArgs>),
    /// Write frames to many connections in a plain loop (started by `signaling --bare`).
    #[command(hide = true)]
    BareServer(BareServerArgs),
    /// Read what a bare server writes (started by `signaling --bare`).
    #[command(hide = true)]
    BareClient(BareClientArgs),
}

/// Arguments of `load signaling`.
#[derive(Args, Clone, Debug)]
pub struct SignalingArgs {
    /// WebSocket URL of the main node.
    #[arg(long, default_value = "ws://127.0.0.1:5280/xmpp-websocket")]
    pub url: String,
    /// URL of the conference request; without it the focus is asked by IQ.
    #[arg(long)]
    pub conference_request: Option<String>,
    /// Address of the focus for requests by IQ [default: focus.DOMAIN].
    #[arg(long)]
    pub focus: Option<String>,
    /// Ask no focus at all: join rooms directly.
    #[arg(long)]
    pub no_conference_request: bool,
    /// With --no-conference-request: visitor node of the audience.
    #[arg(long, requires = "no_conference_request")]
    pub audience_vnode: Option<String>,
    /// XMPP domain of the main node.
    #[arg(long, default_value = "localhost")]
    pub domain: String,
    /// Domain of rooms [default: conference.DOMAIN].
    #[arg(long)]
    pub muc: Option<String>,
    /// Parent domain of visitor nodes (fixed in stock clients).
    #[arg(long, default_value = "meet.jitsi")]
    pub vnode_parent: String,
    /// URL of one visitor node, as v1=ws://host:port/path; others get ?vnode= on the main URL.
    #[arg(long, value_name = "NODE=URL")]
    pub vnode_url: Vec<String>,
    /// Room [default: a new one]; with --rooms the beginning of their names.
    #[arg(long)]
    pub room: Option<String>,
    /// So many rooms at once instead of one: all join, everybody sends one line, all leave, again and again.
    #[arg(long, value_name = "N", conflicts_with_all = ["probe", "bare", "presence", "audience_chat", "hold", "lines"])]
    pub rooms: Option<u32>,
    /// With --rooms: how often they fill and empty.
    #[arg(long, default_value_t = 1, requires = "rooms")]
    pub cycles: u32,
    /// With --rooms: most seconds to wait until the server's rooms are gone; without --metrics the whole pause.
    #[arg(long, default_value_t = 5.0, requires = "rooms")]
    pub pause: f64,
    /// With --rooms: URL of the server's metrics, whose gauge of rooms tells when they are gone.
    #[arg(long, value_name = "URL", requires = "rooms")]
    pub metrics: Option<String>,
    /// Name of that gauge.
    #[arg(long, default_value = "amphi_rooms", requires = "metrics")]
    pub rooms_gauge: String,
    /// Start all joins at once (after the stage's; with --rooms those of whole rooms, their first members ahead).
    #[arg(long, conflicts_with_all = ["rate", "concurrency", "probe"])]
    pub storm: bool,
    /// Participants on stage (with --rooms: in each room).
    #[arg(long, default_value_t = 2)]
    pub stage: u32,
    /// Visitors [default with --rooms: 0, in each room].
    #[arg(long, default_value_t = 100, default_value_if("rooms", ArgPredicate::IsPresent, "0"))]
    pub audience: u32,
    /// Joins started per second; without it as fast as --concurrency allows.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Most joins under way at once.
    #[arg(long, default_value_t = 50)]
    pub concurrency: usize,
    /// Seconds of rest after joining, in which the cost of holding is measured; with --rooms: after the rooms are gone,
    /// in which the floor of memory is measured.
    #[arg(long, default_value_t = 5.0)]
    pub settle: f64,
    /// Seconds to stay at the end.
    #[arg(long, default_value_t = 0.0)]
    pub hold: f64,
    /// Chat lines from the stage.
    #[arg(long, default_value_t = 10)]
    pub lines: u64,
    /// Lines per second (with --rooms: in each room); 0: all at once.
    #[arg(long, default_value_t = 2.0)]
    pub line_rate: f64,
    /// Length of a line.
    #[arg(long, default_value_t = 120)]
    pub line_bytes: usize,
    /// Presence changes on stage.
    #[arg(long, default_value_t = 0)]
    pub presence: u64,
    /// Presence changes per second; 0: all at once.
    #[arg(long, default_value_t = 2.0)]
    pub presence_rate: f64,
    /// Chat lines per second from the audience, from the first line to the end of --hold.
    #[arg(long, default_value_t = 0.0)]
    pub audience_chat: f64,
    /// Visitors that take turns in --audience-chat.
    #[arg(long, default_value_t = 16)]
    pub audience_speakers: u32,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Source addresses, used in turn, so that ports do not run out.
    #[arg(long, value_delimiter = ',')]
    pub sources: Vec<IpAddr>,
    /// Most connections for conference requests [default: 64; with --storm one for every client].
    #[arg(long)]
    pub http_connections: Option<usize>,
    /// Processes of the server whose CPU time and memory are sampled.
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Seconds after which a join has failed.
    #[arg(long, default_value_t = 120.0)]
    pub join_timeout: f64,
    /// Further attempts after a refused or broken connection.
    #[arg(long, default_value_t = 3)]
    pub retries: u8,
    /// Seconds without anything received after which a client pings; 0: never.
    #[arg(long, default_value_t = 10.0)]
    pub ping: f64,
    /// Leave out the queries for services and room information that clients send.
    #[arg(long)]
    pub no_queries: bool,
    /// Every so many clients one parses all it receives strictly; 0: none.
    #[arg(long, default_value_t = 100)]
    pub strict_every: u32,
    /// Seconds without progress after which outstanding deliveries are lost.
    #[arg(long, default_value_t = 10.0)]
    pub drain: f64,
    /// Measure the echo of a few stage clients' own lines instead of an audience.
    #[arg(long)]
    pub probe: bool,
    /// Milliseconds between two lines of the probe.
    #[arg(long, default_value_t = 50.0)]
    pub probe_interval: f64,
    /// Lines of the probe.
    #[arg(long, default_value_t = 1_000)]
    pub probe_samples: u64,
    /// Clients of the probe.
    #[arg(long, default_value_t = 1)]
    pub probe_clients: u32,
    /// Accept the focus' offers of media (nobody connects), and count them; every client has to get one.
    #[arg(long, conflicts_with_all = ["rooms", "probe"])]
    pub offers: bool,
    /// Compare with a plain loop of writes to as many sockets, in turns.
    #[arg(long)]
    pub bare: bool,
    /// How often lines and plain writes take turns.
    #[arg(long, default_value_t = 5)]
    pub bare_turns: u64,
    /// Turn ws and http URLs into wss and https; certificates are not verified unless --ca is given.
    #[arg(long)]
    pub tls: bool,
    /// PEM file of the authority that server certificates must come from.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Write the report as JSON to this file; `-`: standard output, instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// No progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Arguments of `load bare-server`.
#[derive(Args, Clone, Debug)]
pub struct BareServerArgs {
    /// Connections to wait for.
    #[arg(long)]
    pub count: usize,
}

/// Arguments of `load bare-client`.
#[derive(Args, Clone, Debug)]
pub struct BareClientArgs {
    /// Port of the bare server.
    #[arg(long)]
    pub port: u16,
    /// Connections to open.
    #[arg(long)]
    pub count: usize,
    /// Size of a frame; one acknowledgement goes back for every fifth.
    #[arg(long)]
    pub bytes: usize,
    /// Source addresses, used in turn.
    #[arg(long, value_delimiter = ',')]
    pub sources: Vec<IpAddr>,
}

/// A command line, for tests: the words after `load` and the name of the command.
#[cfg(test)]
pub(crate) fn parsed(command: &str, words: &str) -> LoadCommand {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }
    let words = ["load", command].into_iter().chain(words.split_whitespace());
    <Cli as clap::Parser>::try_parse_from(words).unwrap().load.command
}
