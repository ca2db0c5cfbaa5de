//! The self-check: what is missing or half configured, in words, with the fix. It looks at what runs, not only at what is written,
//! and changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Admin, fleet};
use crate::config::{BridgePlace, Certificate, Config, FocusPlace, WhereNode};
use crate::page;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Something does not work.
    Error,
    /// Something will not work for some, or soon.
    Warning,
    /// Good to know.
    Note,
}

#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What it is about, as a stable name.
    about: &'static str,
    /// What is wrong.
    text: String,
    /// What to do.
    fix: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, about: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { level, about, text: text.into(), fix: fix.into() });
    }
}

pub(super) async fn serve(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let mut f = Findings::default();
    focus(&admin, &mut f);
    nodes(&admin, &mut f);
    links(&admin, &mut f);
    bridges(&admin, &mut f);
    front(&admin.config, &mut f);
    administration(&admin, &mut f);
    f.0.sort_by_key(|f| f.level);
    let worst = f.0.first().map(|f| f.level);
    Json(json!({
        "ok": worst.is_none_or(|l| l == Level::Note),
        "findings": f.0,
    }))
}

fn focus(admin: &Admin, f: &mut Findings) {
    let c = &admin.config;
    for n in admin.operator.nodes() {
        if n.focus == Some(false) {
            f.add(
                Level::Error,
                "focus-away",
                format!("The focus is not connected to node {}: nobody can join.", n.name),
                format!(
                    "Start the focus (role `focus`), let it reach this node's c2s address, and give both the same \
                     focus.password (account {}).",
                    c.focus.jid
                ),
            );
        }
    }
    if let Some(view) = admin.operator.focus() {
        if !view.ready {
            f.add(
                Level::Error,
                "focus-not-ready",
                "The focus is not connected to the main node, or the main node has not said which components it has.",
                "Look at focus.main_c2s and the password; the main node must answer service discovery on its domain.",
            );
        } else if c.visitors.enabled && view.metrics.no_capacity > 0 && view.nodes.iter().all(|n| !n.connected) {
            f.add(Level::Error, "no-node", "Visitors were turned away because no visitor node is connected.", NO_NODE);
        }
    } else if c.roles.main && matches!(&c.focus.place, FocusPlace::Elsewhere { http: None }) {
        f.add(
            Level::Warning,
            "focus-http",
            "The focus is in another process, and this front does not know its HTTP address: clients must ask it over XMPP.",
            "Set focus.http, such as http://127.0.0.1:8888.",
        );
    }
}

const NO_NODE: &str = "Start a visitor node, or add one to [[visitors.nodes]]; give it the focus' password.";

fn nodes(admin: &Admin, f: &mut Findings) {
    let c = &admin.config;
    if !c.visitors.enabled {
        f.add(
            Level::Note,
            "visitors-off",
            format!("There is no audience: after {} people a room is full.", c.stage),
            "Set visitors.enabled = true and list nodes, if larger meetings are wanted.",
        );
        return;
    }
    let Some(view) = admin.operator.focus() else { return };
    if view.nodes.is_empty() {
        f.add(Level::Error, "no-node", "Visitors are on, but there is no visitor node.", NO_NODE);
    }
    for n in view.nodes.iter().filter(|n| !n.connected) {
        let known = c.visitors.nodes.iter().find(|v| v.name == n.vnode);
        let at = known.and_then(|v| match &v.place {
            WhereNode::Elsewhere { c2s, .. } => c2s.clone(),
            WhereNode::Here { .. } => None,
        });
        f.add(
            Level::Error,
            "node-away",
            format!("The focus is not connected to visitor node {}{}.", n.vnode, at.as_ref().map_or(String::new(), |a| format!(" at {a}"))),
            "Start the node; its c2s address must be reachable from the focus, and the account's password the same on both.",
        );
    }
    let usable: Vec<_> = view.nodes.iter().filter(|n| n.connected && !n.draining).collect();
    if usable.is_empty() && view.nodes.iter().any(|n| n.connected) {
        f.add(
            Level::Error,
            "all-draining",
            "Every visitor node that is connected is draining: nobody new gets into an audience.",
            "Take one back into service: amphi ctl undrain NODE.",
        );
    }
    let (seats, taken) = usable
        .iter()
        .fold((0u64, 0u64), |(s, t), n| (s + u64::from(n.capacity), t + u64::from(n.visitors + n.pending)));
    if seats > 0 && taken * 10 >= seats * 9 {
        f.add(
            Level::Warning,
            "audience-full",
            format!("The audience is nearly full: {taken} of {seats} seats are taken."),
            "Add a visitor node, or raise its capacity (visitors.nodes.capacity, focus.max_visitors_per_node).",
        );
    }
    for v in &c.visitors.nodes {
        if let WhereNode::Elsewhere { s2s, .. } = &v.place
            && s2s.fingerprint.is_none()
        {
            f.add(
                Level::Warning,
                "no-fingerprint",
                format!("Node {} is not pinned: dialback alone says that it is who it claims to be.", v.name),
                "Run `amphi fingerprint` there and set visitors.nodes.fingerprint here.",
            );
        }
    }
}

fn links(admin: &Admin, f: &mut Findings) {
    for n in admin.operator.nodes() {
        let mucs: Vec<&str> = admin.config.visitors.nodes.iter().map(|v| v.muc.as_str()).collect();
        let main = format!("{}.{}", admin.config.muc_prefix, admin.config.visitors.main_domain);
        for l in n.links.iter().filter(|l| !l.up && !l.in_memory) {
            // Only the conference services are kept linked all the time.
            if mucs.contains(&l.domain.as_str()) || l.domain == main {
                f.add(
                    Level::Warning,
                    "link-down",
                    format!(
                        "Node {} has no link to {}{}.",
                        n.name,
                        l.domain,
                        l.address.as_ref().map_or(String::new(), |a| format!(" at {a}"))
                    ),
                    "Start the other server and let TCP through to its s2s port; each side must list the other \
                     (visitors.whitelist on stock servers) and accept its certificate (fingerprint). A link is also made when it is first needed.",
                );
            }
        }
    }
}

fn bridges(admin: &Admin, f: &mut Findings) {
    let c = &admin.config;
    if c.roles.focus && c.brewery.is_none() {
        f.add(
            Level::Warning,
            "no-media",
            "The focus has no brewery: people meet and chat, but have neither sound nor picture.",
            "Set bridge.enabled = true, or give bridges an account and name their brewery.",
        );
        return;
    }
    if !c.roles.focus {
        return;
    }
    let all = fleet::all_bridges(admin);
    if all.is_empty() {
        f.add(
            Level::Error,
            "no-bridge",
            format!(
                "No bridge has announced itself in {}: nobody has sound or picture.",
                c.brewery.as_ref().map_or(String::new(), ToString::to_string)
            ),
            "Start a bridge (role `bridge`, or a stock one) with an account on the main node and this brewery.",
        );
    }
    let usable = all.iter().filter(|b| b["state"] == "up").count();
    if usable == 0 && !all.is_empty() {
        f.add(
            Level::Error,
            "no-usable-bridge",
            "Every bridge is ill, draining or leaving.",
            "Look at /about/health of the bridges; take one back into service: amphi ctl undrain BRIDGE.",
        );
    }
    for b in &all {
        let name = b["name"].as_str().unwrap_or_default();
        if let Some(why) = b["illness"].as_str() {
            f.add(Level::Error, "bridge-ill", format!("Bridge {name} is ill: {why}."), "See docs/operator/bridge.md.");
        }
        if b["stress"].as_f64().is_some_and(|s| s >= 0.8) {
            f.add(
                Level::Warning,
                "bridge-stress",
                format!("Bridge {name} is loaded to {:.0} %.", b["stress"].as_f64().unwrap_or(0.0) * 100.0),
                "Add a bridge, or move endpoints away: amphi ctl drain BRIDGE --move.",
            );
        }
        if b["failing_ice"] == true {
            f.add(
                Level::Error,
                "bridge-unreachable",
                format!("Too many clients cannot connect to bridge {name}."),
                "Let UDP through to bridge.port, and announce the public address (bridge.mappings) behind NAT.",
            );
        }
    }
    if let Some(b) = &c.bridge
        && b.mappings.is_empty()
        && !b.loopback
        && c.listen.public_url.is_some()
        && !amphi_bridge::control::addresses::of_machine().iter().any(|ip| is_public(*ip))
    {
        f.add(
            Level::Warning,
            "no-public-address",
            "The bridge announces no public address, although people come from elsewhere (listen.public_url).",
            "Behind NAT, set bridge.mappings to the public address; see docs/operator/bridge.md.",
        );
    }
    if let Some(BridgePlace::Elsewhere(_)) = c.bridge.as_ref().map(|b| &b.place)
        && admin.bridge.as_ref().and_then(|(_, b)| b.report()).is_some_and(|r| r.logins[1] < r.logins[0])
    {
        f.add(
            Level::Error,
            "bridge-login",
            "The bridge cannot log in everywhere that it is told to.",
            "Look at [[bridge.logins]]: address, account and password.",
        );
    }
}

fn is_public(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local()),
        std::net::IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

fn front(c: &Config, f: &mut Findings) {
    let Some(listen) = c.listen.front else { return };
    if c.roles.main && !page::is_built() {
        f.add(
            Level::Warning,
            "no-page",
            "This program was built without the meeting page.",
            "Build it with `cargo xtask page`, then build the program again; or serve a stock web app.",
        );
    }
    let https = c.tls.front || c.listen.public_url.as_ref().is_some_and(|u| u.starts_with("https://"));
    if c.roles.main && !https && !listen.ip().is_loopback() {
        f.add(
            Level::Warning,
            "no-https",
            "The front speaks plain HTTP: browsers give neither camera nor microphone, except on localhost.",
            "Set tls.certificate, tls.key and tls.front = true; or put a proxy with HTTPS in front and set listen.public_url.",
        );
    }
    if c.tls.front && c.tls.acme.is_none() && matches!(c.tls.certificate, Certificate::SelfSigned(_)) {
        f.add(
            Level::Warning,
            "self-signed",
            "The front shows a self-signed certificate: browsers warn of it.",
            "Set tls.certificate and tls.key to a certificate that browsers trust, or tls.acme.domains to get one.",
        );
    }
    if c.tls.front && c.listen.public_url.as_ref().is_some_and(|u| u.starts_with("http://")) {
        f.add(
            Level::Error,
            "public-url",
            "listen.public_url begins with http://, but the front speaks HTTPS.",
            "Write https:// there.",
        );
    }
    if c.queue.enabled && !c.visitors.enabled {
        f.add(
            Level::Note,
            "queue-unused",
            "The visitor queue is on, but there is no audience.",
            "Nothing needs to be done.",
        );
    }
}

fn administration(admin: &Admin, f: &mut Findings) {
    let c = &admin.config;
    if c.listen.admin.is_some_and(|a| !a.ip().is_loopback()) {
        f.add(
            Level::Warning,
            "admin-open",
            "The operators' address is reachable from other machines, without TLS; health, metrics and move-endpoints need no token.",
            "Listen on 127.0.0.1 and tunnel, or let a proxy with HTTPS and a firewall stand before it.",
        );
    }
    if !c.metrics.enabled {
        f.add(
            Level::Note,
            "no-metrics",
            "/metrics is switched off.",
            "Set metrics.enabled = true to be seen by Prometheus.",
        );
    }
    for h in admin.hooks.status() {
        if let Some(why) = h["trouble"].as_str() {
            f.add(
                Level::Warning,
                "webhook",
                format!("The webhook {} fails: {why}.", h["url"].as_str().unwrap_or_default()),
                "Look at the receiver; events are kept for a while and sent again.",
            );
        }
    }
}
