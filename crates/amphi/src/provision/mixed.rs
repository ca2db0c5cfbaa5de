//! Fragments for mixed deployments: stock Prosody (0.12.4 and later, with the plugins of jitsi-meet) in the place of the main node or of a
//! visitor node, stock Jicofo in the place of the focus (`spec/signaling.md` 4.14, `spec/focus.md` 9). Certificates and passwords are
//! those of the node that is replaced, so its peers need no change.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::plan::{Place, Plan};
use super::write::Output;

/// The files.
pub(super) fn files(plan: &Plan, focus_password: &str) -> Vec<Output> {
    let mut files = vec![
        Output::secret("mixed/jicofo.conf", jicofo(plan, focus_password)),
        Output::public("mixed/prosody-main.cfg.lua", prosody_main(plan)),
    ];
    for node in &plan.visitors {
        files.push(Output::public(format!("mixed/prosody-{}.cfg.lua", node.name), prosody_node(plan, node)));
    }
    files
}

fn reach(plan: &Plan, node: &Place, port: u16) -> SocketAddr {
    if plan.is_one_host() { SocketAddr::from(([127, 0, 0, 1], port)) } else { node.at(port) }
}

fn jicofo(plan: &Plan, password: &str) -> String {
    let main = reach(plan, &plan.main, plan.main.c2s);
    let mut text = format!(
        "# Jicofo in the place of our focus: /etc/jitsi/jicofo/jicofo.conf. In nodes/main/amphi.toml take \"focus\" out of `roles` and set\n\
         # `focus.http = \"http://127.0.0.1:{http}\"`. Visitor nodes stay as they are.\n\
         jicofo {{\n\
         \x20 bridge {{\n    brewery-jid = \"jvbbrewery@internal.{auth}\"\n    selection-strategy = VisitorSelectionStrategy\n\
         \x20   visitor-selection-strategy = RegionBasedBridgeSelectionStrategy\n\
         \x20   participant-selection-strategy = RegionBasedBridgeSelectionStrategy\n\
         \x20   topology-strategy = VisitorTopologyStrategy\n  }}\n\
         \x20 octo {{\n    enabled = true\n    sctp-datachannels = true\n  }}\n\
         \x20 rest {{\n    host = \"127.0.0.1\"\n    port = {http}\n  }}\n\
         \x20 visitors {{\n    enabled = {enabled}\n    max-participants = {stage}\n    max-visitors-per-node = 10000\n  }}\n\
         \x20 xmpp {{\n    client {{\n      enabled = true\n      hostname = \"{host}\"\n      port = {port}\n      domain = \"{auth}\"\n\
         \x20     xmpp-domain = \"{domain}\"\n      username = \"focus\"\n      password = \"{password}\"\n\
         \x20     conference-muc-jid = \"{muc}\"\n      client-proxy = \"focus.{domain}\"\n\
         \x20     disable-certificate-verification = true\n    }}\n",
        http = plan.main.admin + 1,
        auth = plan.auth_domain(),
        enabled = !plan.visitors.is_empty(),
        stage = plan.stage,
        host = main.ip(),
        port = main.port(),
        domain = plan.domain,
        muc = plan.muc(),
    );
    if !plan.visitors.is_empty() {
        text += "    visitors {\n";
        for node in &plan.visitors {
            let at = reach(plan, node, node.c2s);
            let _ = write!(
                text,
                "      {name} {{\n        enabled = true\n        hostname = \"{host}\"\n        port = {port}\n        domain = \"auth.meet.jitsi\"\n\
                 \x20       xmpp-domain = \"{name}.meet.jitsi\"\n        conference-service = \"{muc}\"\n        username = \"focus\"\n\
                 \x20       password = \"{password}\"\n        disable-certificate-verification = true\n      }}\n",
                name = node.name,
                host = at.ip(),
                port = at.port(),
                muc = plan.muc_of(node),
            );
        }
        text += "    }\n";
    }
    text + "  }\n}\n"
}

fn prosody_main(plan: &Plan) -> String {
    let mut over = String::new();
    let mut white = String::new();
    for node in &plan.visitors {
        let at = reach(plan, node, node.s2s);
        let vhost = format!("{}.meet.jitsi", node.name);
        for domain in [plan.muc_of(node), vhost.clone(), format!("polls.{vhost}")] {
            let _ = writeln!(over, "    [\"{domain}\"] = \"tcp://{at}\";");
            let _ = writeln!(white, "    \"{domain}\";");
        }
    }
    format!(
        "-- Prosody in the place of our main node, for visitor nodes of ours. Keys that belong beside those of your\n\
         -- /etc/prosody/conf.avail/{domain}.cfg.lua; `amphi` runs no \"main\" then. Nodes pin the certificate named here:\n\
         -- copy nodes/main/tls to /etc/prosody/certs/amphi, readable for prosody only.\n\n\
         -- Global. Prosody 0.12.4 or later.\n\
         modules_enabled = {{ \"s2s_bidi\"; \"certs_s2soutinjection\"; }} -- with those that are there\n\
         s2s_ports = {{ {s2s} }}\n\
         c2s_ports = {{ {c2s} }}\n\
         s2sout_override = {{\n{over}}}\n\
         s2s_whitelist = {{\n{white}}}\n\
         ssl = {{\n    key = \"/etc/prosody/certs/amphi/key.pem\";\n    certificate = \"/etc/prosody/certs/amphi/certificate.pem\";\n}}\n\n\
         VirtualHost \"{domain}\"\n\
         \x20   modules_enabled = {{ \"s2s_bidi\"; \"s2s_whitelist\"; \"s2sout_override\"; \"visitors\"; }} -- with those that are there\n\
         \x20   allow_anonymous_s2s = true\n\n\
         Component \"{muc}\" \"muc\"\n\
         \x20   modules_enabled = {{ \"s2s_bidi\"; \"s2s_whitelist\"; \"s2sout_override\"; \"visitors\"; }} -- with those that are there\n\n\
         Component \"visitors.{domain}\" \"visitors_component\"\n\
         \x20   modules_enabled = {{ \"s2s_bidi\"; \"s2s_whitelist\"; \"s2sout_override\"; }}\n\
         \x20   auto_allow_visitor_promotion = false\n\
         \x20   always_visitors_enabled = true\n",
        domain = plan.domain,
        muc = plan.muc(),
        s2s = plan.main.s2s,
        c2s = plan.main.c2s,
    )
}

fn prosody_node(plan: &Plan, node: &Place) -> String {
    let at = reach(plan, &plan.main, plan.main.s2s);
    let domains =
        [plan.domain.clone(), plan.muc(), format!("visitors.{}", plan.domain), format!("polls.{}", plan.domain)];
    let mut over = String::new();
    let mut white = String::new();
    for domain in &domains {
        let _ = writeln!(over, "    [\"{domain}\"] = \"tcp://{at}\";");
        let _ = writeln!(white, "    \"{domain}\";");
    }
    format!(
        "-- Prosody in the place of our visitor node {name}: a whole configuration, /etc/prosody/prosody.cfg.lua on {address}.\n\
         -- The main node pins the certificate named here: copy nodes/{name}/tls to /etc/prosody/certs/amphi, readable for prosody only.\n\
         -- The focus logs in: prosodyctl register focus auth.meet.jitsi \"$(cat nodes/{name}/focus.password)\"\n\
         -- Prosody 0.12.4 or later, with the plugins of jitsi-meet.\n\n\
         plugin_paths = {{ \"/usr/share/jitsi-meet/prosody-plugins/\" }}\n\
         daemonize = false\n\
         admins = {{ \"focus@auth.meet.jitsi\" }}\n\
         unlimited_jids = {{ \"focus@auth.meet.jitsi\" }}\n\
         modules_enabled = {{ \"saslauth\"; \"tls\"; \"disco\"; \"ping\"; \"certs_s2soutinjection\"; \"s2s_bidi\"; }}\n\
         c2s_ports = {{ {c2s} }}\ns2s_ports = {{ {s2s} }}\nhttp_ports = {{ {front} }}\nhttps_ports = {{ }}\nhttp_interfaces = {{ \"*\" }}\n\
         consider_websocket_secure = true\nconsider_bosh_secure = true\n\
         authentication = \"internal_hashed\"\nstorage = \"internal\"\n\
         main_domain = \"{domain}\"\nmuc_mapper_domain_base = \"{name}.meet.jitsi\"\nmuc_mapper_domain_prefix = \"{prefix}\"\n\
         http_default_host = \"{name}.meet.jitsi\"\n\
         smacks_max_unacked_stanzas = 5\nsmacks_hibernation_time = 60\n\
         s2sout_override = {{\n{over}}}\n\
         s2s_whitelist = {{\n{white}}}\n\
         ssl = {{\n    key = \"/etc/prosody/certs/amphi/key.pem\";\n    certificate = \"/etc/prosody/certs/amphi/certificate.pem\";\n}}\n\n\
         VirtualHost \"{name}.meet.jitsi\"\n\
         \x20   authentication = \"jitsi-anonymous\"\n\
         \x20   modules_enabled = {{ \"bosh\"; \"websocket\"; \"smacks\"; \"features_identity\"; }}\n\
         \x20   main_muc = \"{muc}\"\n\n\
         VirtualHost \"auth.meet.jitsi\"\n\
         \x20   authentication = \"internal_hashed\"\n\
         \x20   modules_enabled = {{ \"limits_exception\"; \"smacks\"; }}\n\
         \x20   smacks_hibernation_time = 15\n\n\
         Component \"{muc}\" \"muc\"\n\
         \x20   storage = \"memory\"\n\
         \x20   restrict_room_creation = true\n\
         \x20   modules_enabled = {{ \"muc_hide_all\"; \"muc_meeting_id\"; \"fmuc\"; \"s2s_bidi\"; \"s2s_whitelist\"; \"s2sout_override\"; \"muc_domain_mapper\"; }}\n\
         \x20   muc_room_default_change_subject = false\n\
         \x20   muc_room_default_public_jids = true\n",
        name = node.name,
        address = node.address,
        domain = plan.domain,
        prefix = plan.muc_prefix,
        muc = plan.muc_of(node),
        c2s = node.c2s,
        s2s = node.s2s,
        front = node.front,
    )
}
