//! Section `[visitors]`: the nodes of the audience, how they are reached, and who may come back from it
//! (`spec/signaling.md` 1.3, 4.9, 4.14).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The audience.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VisitorsFile {
    /// Whether there is an audience at all.
    pub enabled: bool,
    /// Visitor nodes. Setting this replaces the usual two, `v1` and `v2`, both in this process.
    pub nodes: Vec<NodeFile>,
    /// Visitor node: the domain of the main node, when it is not `domain`.
    pub main_domain: Option<String>,
    /// Visitor node in a process of its own: where the main node takes server streams, as `host:port`.
    pub main_s2s: Option<String>,
    /// Visitor node in a process of its own: SHA-256 fingerprint of the main node's certificate, as `sha256:` and hex digits.
    pub main_fingerprint: Option<String>,
    /// Further domains that may open or receive server streams. Those of the configured nodes always may.
    pub whitelist: Vec<String>,
    /// Where the server of a domain is, instead of asking DNS: `"domain" = "tcp://192.0.2.7:5269"`.
    pub overrides: BTreeMap<String, String>,
    /// Domains whose people come on stage without asking: recorders, phone gateways.
    pub ignore_list: Vec<String>,
    /// Whether a visitor with a token that names a user comes on stage at once, where the room's lists allow it.
    pub auto_promote_with_token: bool,
}

impl Default for VisitorsFile {
    fn default() -> Self {
        let node = |name: &str| NodeFile { name: name.to_owned(), ..NodeFile::default() };
        Self {
            enabled: true,
            nodes: vec![node("v1"), node("v2")],
            main_domain: None,
            main_s2s: None,
            main_fingerprint: None,
            whitelist: Vec::new(),
            overrides: BTreeMap::new(),
            ignore_list: Vec::new(),
            auto_promote_with_token: true,
        }
    }
}

/// One visitor node. Without `s2s` it is in this process.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeFile {
    /// One label, such as `v1`; the node's domain is `<name>.meet.jitsi`.
    pub name: String,
    /// Node elsewhere: where the front forwards its WebSocket and BOSH requests, as `host:port`.
    pub front: Option<String>,
    /// Node elsewhere: where it takes server streams, as `host:port`.
    pub s2s: Option<String>,
    /// Node elsewhere: where the focus logs in, as `host:port`.
    pub c2s: Option<String>,
    /// Node elsewhere: SHA-256 fingerprint of its certificate, as `sha256:` and hex digits. Without it the certificate must be
    /// valid, or the domain is verified by dialback.
    pub fingerprint: Option<String>,
    /// Node elsewhere: SHA-256 fingerprint of the certificate that it shows where the focus logs in (`c2s`): the focus logs in nowhere
    /// else. Unset: any certificate is taken there, since a stock node may show clients another one than servers.
    pub c2s_fingerprint: Option<String>,
    /// Visitors that it may have over all conferences. Unset: `focus.max_visitors_per_node`.
    pub capacity: Option<u32>,
    /// Address on which this node takes client streams when it shares a process with the main node; `off` for none. A node in a
    /// process of its own uses `listen.c2s`.
    pub listen_c2s: Option<String>,
    /// Address on which this node takes server streams when it shares a process with the main node; `off` for none. Unset: none,
    /// and a free local port with `links = "s2s"`. A node in a process of its own uses `listen.s2s`.
    pub listen_s2s: Option<String>,
}
