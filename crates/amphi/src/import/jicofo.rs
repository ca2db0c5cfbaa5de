//! A jicofo.conf (`spec/focus.md` 3.1 and 9) for our focus. Alone it becomes a focus in a process of its own, beside the servers that
//! Jicofo was connected to; after an environment it only refines what is there.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::hocon::{self, Document};
use super::{Import, span};

/// Takes over all keys.
pub(super) fn take(import: &mut Import, document: &Document) {
    // The environment of the containers said where everything is.
    let beside = import.get("", "domain").is_some();
    for file in &document.included {
        import.has_no_counterpart(&format!("include {file}"), "is not followed; import that file too");
    }
    let mut visitors: BTreeSet<String> = BTreeSet::new();
    let mut texts: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, value) in &document.values {
        if let hocon::Value::Text(text) = value {
            texts.insert(key, text);
        }
        if let Some(name) = key.strip_prefix("jicofo.xmpp.visitors.").and_then(|k| k.split('.').next()) {
            visitors.insert(name.to_owned());
        }
    }
    client(import, &texts, beside);
    if !beside {
        for name in &visitors {
            node(import, &texts, name);
        }
    }
    for (key, value) in &document.values {
        match value {
            hocon::Value::Text(text) if text.starts_with("${") => {
                import.has_no_counterpart(key, format!("{text} is of another environment; set the key by hand"))
            }
            hocon::Value::Text(text) => one(import, key, text),
            list => list_of(import, key, list),
        }
    }
}

/// The connection with the main node.
fn client(import: &mut Import, texts: &BTreeMap<&str, &str>, beside: bool) {
    let of = |key: &str| {
        texts
            .get(format!("jicofo.xmpp.client.{key}").as_str())
            .copied()
            .filter(|t| !t.is_empty() && !t.starts_with("${"))
    };
    if let Some(password) = of("password") {
        import.set("focus", "password", password);
    }
    if let Some(user) = of("username") {
        import.set("focus", "user", user);
    }
    if beside {
        return;
    }
    import.set("", "roles", vec![Value::from("focus")]);
    import.note("Our focus takes the place of Jicofo beside your servers. Its conference requests are at listen.admin, port 8888 as with Jicofo.");
    let domain =
        of("xmpp-domain").map(str::to_owned).or_else(|| of("domain")?.strip_prefix("auth.").map(str::to_owned));
    match &domain {
        Some(domain) => import.set("", "domain", domain.as_str()),
        None => import.has_no_counterpart("jicofo.xmpp.client.xmpp-domain", "is needed, and is not set"),
    }
    let domain = domain.unwrap_or_default();
    if let Some(auth) = of("domain").filter(|auth| *auth != format!("auth.{domain}")) {
        import.has_no_counterpart("jicofo.xmpp.client.domain", format!("{auth}: the focus logs in on auth.{domain}"));
    }
    if let Some(muc) = of("conference-muc-jid") {
        match muc.strip_suffix(&format!(".{domain}")) {
            Some(prefix) => import.set("", "muc_prefix", prefix),
            None => {
                import.has_no_counterpart("jicofo.xmpp.client.conference-muc-jid", format!("must end in .{domain}"))
            }
        }
    }
    import.set(
        "focus",
        "main_c2s",
        format!("{}:{}", of("hostname").unwrap_or("localhost"), of("port").unwrap_or("5222")),
    );
}

fn node(import: &mut Import, texts: &BTreeMap<&str, &str>, name: &str) {
    let of =
        |key: &str| texts.get(format!("jicofo.xmpp.visitors.{name}.{key}").as_str()).copied().filter(|t| !t.is_empty());
    if of("enabled").is_some_and(|e| matches!(e, "false" | "no" | "off")) {
        return;
    }
    let path = format!("jicofo.xmpp.visitors.{name}");
    let domain = of("xmpp-domain").map_or_else(|| format!("{name}.meet.jitsi"), str::to_owned);
    let Some(label) = domain.strip_suffix(".meet.jitsi").filter(|l| !l.contains('.')) else {
        return import
            .has_no_counterpart(&format!("{path}.xmpp-domain"), "clients expect visitor nodes below meet.jitsi");
    };
    let host = of("hostname").unwrap_or("localhost");
    let mut entry = Table::new();
    entry.insert("name".to_owned(), label.into());
    entry.insert("c2s".to_owned(), format!("{host}:{}", of("port").unwrap_or("5222")).into());
    entry.insert("s2s".to_owned(), format!("{host}:5269").into());
    import.entry("visitors.nodes", entry);
    import.note("`s2s` of visitor nodes is a guess; the focus alone does not use it.");
}

fn one(import: &mut Import, path: &str, text: &str) {
    let Some(key) = path.strip_prefix("jicofo.") else {
        return import.has_no_counterpart(path, "is not a key of Jicofo");
    };
    let numbers: &[(&str, &str, &str)] = &[
        ("visitors.max-participants", "", "stage"),
        ("visitors.max-visitors-per-node", "focus", "max_visitors_per_node"),
        ("conference.min-participants", "media", "min_participants"),
        ("conference.max-ssrcs-per-user", "media", "sources_per_participant"),
        ("conference.max-audio-senders", "media", "audio_senders"),
        ("conference.max-video-senders", "media", "video_senders"),
        ("conference.restart-request-rate-limits.max-requests", "media", "restarts_per_minute"),
        ("bridge.max-bridge-participants", "media", "bridge_participants"),
    ];
    let switches: &[(&str, &str, &str)] = &[
        ("visitors.enabled", "visitors", "enabled"),
        ("visitors.require-muc-config-flag", "focus", "require_muc_config_flag"),
        ("conference.enable-auto-owner", "focus", "auto_owner"),
        ("conference.use-ssrc-rewriting", "media", "ssrc_rewriting"),
        ("conference.enable-ice-restart", "media", "ice_restart"),
        ("codec.audio.opus.red.enabled", "media", "opus_red"),
        ("bridge.health-checks.enabled", "media", "health_checks"),
        ("bridge.ice-failure-detection.enabled", "media", "avoid_failing_bridges"),
        ("bridge.load-redistribution.enabled", "media", "relieve_bridges"),
        ("octo.enabled", "media", "cascade"),
        ("octo.allow-mixed-versions", "media", "mixed_versions"),
        ("octo.sctp-datachannels", "media", "relay_sctp"),
        ("sctp.enabled", "media", "sctp"),
    ];
    let times: &[(&str, &str, &str)] = &[
        ("conference.initial-timeout", "focus", "initial_timeout"),
        ("conference.single-participant-timeout", "media", "alone_timeout"),
        ("conference.restart-request-rate-limits.min-interval", "media", "restart_interval"),
        ("bridge.failure-reset-threshold", "media", "failure_reset"),
        ("bridge.health-checks.interval", "media", "health_interval"),
        ("authentication.authentication-lifetime", "focus", "authentication_lifetime"),
        ("visitors.notification-interval", "focus", "notification_interval"),
        ("visitors.vnode-join-latency-interval", "focus", "vnode_join_latency"),
        ("xmpp.client.reply-timeout", "focus", "reply_timeout"),
    ];
    let find =
        |table: &[(&str, &'static str, &'static str)]| table.iter().find(|(n, ..)| *n == key).map(|(_, s, k)| (*s, *k));
    if let Some((section, ours)) = find(numbers) {
        // -1 is no limit there, 0 is here.
        if text.trim() == "-1" && ours == "bridge_participants" {
            import.set(section, ours, 0);
        } else if let Some(number) = import.number(path, text) {
            import.set(section, ours, number);
        }
    } else if let Some((section, ours)) = find(switches) {
        if let Some(on) = import.switch(path, text) {
            import.set(section, ours, on);
        }
    } else if let Some((section, ours)) = find(times) {
        time(import, path, text, section, ours);
    } else {
        other(import, path, key, text);
    }
}

fn other(import: &mut Import, path: &str, key: &str, text: &str) {
    match key {
        "local-region" => import.set("", "region_name", text),
        "bridge.brewery-jid" => import.set("bridge", "brewery", text),
        "bridge.stress-threshold" => match text.parse::<f64>() {
            Ok(n) if n > 0.0 && n <= 1.0 => import.set("media", "overloaded_at", (n * 100.0).round() as i64),
            _ => import.has_no_counterpart(path, "is a number from 0 to 1"),
        },
        "bridge.selection-strategy" => strategy(import, path, text),
        // Told by selection-strategy = VisitorSelectionStrategy.
        "bridge.participant-selection-strategy" => strategy(import, path, text),
        "bridge.visitor-selection-strategy" => import.set("media", "separate_audience", true),
        "bridge.topology-strategy" => match text.rsplit('.').next().unwrap_or(text) {
            "VisitorTopologyStrategy" => import.set("media", "topology", "visitor-tree"),
            "SingleMeshTopologyStrategy" => import.set("media", "topology", "mesh"),
            _ => import.has_no_counterpart(path, format!("{text} is not known here")),
        },
        "authentication.enabled" => {}
        "authentication.type" => match text.to_ascii_uppercase().as_str() {
            "JWT" => import.set("focus", "authentication", "jwt"),
            "XMPP" => import.set("focus", "authentication", "xmpp"),
            "NONE" => {}
            _ => import.has_no_counterpart(path, format!("{text}: none, xmpp and jwt are known here")),
        },
        "authentication.login-url" => import.set("focus", "login_domain", text),
        "rest.host" | "rest.port" => {
            import.note("listen.admin is the address of Jicofo's `rest` section; 127.0.0.1:8888 unless you set it.")
        }
        _ if key.starts_with("xmpp.client.") || key.starts_with("xmpp.visitors.") => {
            connection(import, path, key, text)
        }
        _ if key.starts_with("codec.video.") => {
            let codec = key.split('.').nth(2).unwrap_or_default();
            match (key.ends_with(".enabled"), import.switch(path, text)) {
                (true, Some(on)) if ["av1", "vp8", "h264", "vp9"].contains(&codec) => self::codec(import, codec, on),
                _ => import.has_no_counterpart(path, "payload types and extensions are fixed"),
            }
        }
        _ if key.starts_with("jibri") || key.starts_with("jigasi") => {
            import.has_no_counterpart(path, "recorders and phone gateways are not driven from here")
        }
        _ if key.starts_with("transcription") || key.starts_with("translation") => {
            import.has_no_counterpart(path, "transcribers are not driven from here")
        }
        _ if key.starts_with("health.") => {
            import.note("Health is looked at without test conferences: GET /about/health.")
        }
        _ => import.has_no_counterpart(path, "is not known here"),
    }
}

/// Keys of the connections, most of which [`client`] and [`node`] have read.
fn connection(import: &mut Import, path: &str, key: &str, text: &str) {
    match key.rsplit('.').next().unwrap_or_default() {
        "enabled"
        | "hostname"
        | "port"
        | "domain"
        | "xmpp-domain"
        | "username"
        | "password"
        | "resource"
        | "conference-muc-jid"
        | "conference-service"
        | "client-proxy"
        | "disable-certificate-verification" => {}
        "use-tls" if text == "true" => {}
        _ => import.has_no_counterpart(path, "is not known here"),
    }
}

fn list_of(import: &mut Import, path: &str, list: &hocon::Value) {
    match path {
        "jicofo.bridge.region-groups" => import.set("media", "region_groups", region_groups(list)),
        "jicofo.xmpp.trusted-domains" => {
            let hocon::Value::List(list) = list else { return };
            let domains = list.iter().filter_map(|v| match v {
                hocon::Value::Text(text) => Some(Value::from(text.as_str())),
                _ => None,
            });
            import.set("focus", "trusted_domains", domains.collect::<Vec<_>>());
        }
        _ => import.has_no_counterpart(path, "is not known here"),
    }
}

/// `[["a", "b"], ["c"]]` as `["a b", "c"]`.
pub(super) fn region_groups(list: &hocon::Value) -> Vec<Value> {
    let hocon::Value::List(groups) = list else { return Vec::new() };
    let text = |v: &hocon::Value| match v {
        hocon::Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    let group = |v: &hocon::Value| match v {
        hocon::Value::List(regions) => regions.iter().filter_map(text).collect::<Vec<_>>().join(" "),
        other => text(other).unwrap_or_default(),
    };
    groups.iter().map(|g| Value::from(group(g))).filter(|g| g.as_str() != Some("")).collect()
}

/// The name of a strategy, with or without its package.
pub(super) fn strategy(import: &mut Import, path: &str, text: &str) {
    let ours = match text.rsplit('.').next().unwrap_or(text) {
        "RegionBasedBridgeSelectionStrategy" => "region",
        "IntraRegionBridgeSelectionStrategy" => "intra-region",
        "SingleBridgeSelectionStrategy" => "single",
        "SplitBridgeSelectionStrategy" => "split",
        "VisitorSelectionStrategy" => return import.set("media", "separate_audience", true),
        _ => return import.has_no_counterpart(path, format!("{text} is not known here")),
    };
    import.set("media", "strategy", ours);
}

pub(super) fn time(import: &mut Import, path: &str, text: &str, section: &str, key: &str) {
    match span(text) {
        Some(span) => import.set(section, key, span),
        None => import.has_no_counterpart(path, format!("{text:?} is not a time")),
    }
}

/// Switches one codec in the list.
pub(super) fn codec(import: &mut Import, name: &str, on: bool) {
    let all = ["av1", "vp8", "h264", "vp9"];
    let mut offered: Vec<String> = match import.get("media", "codecs").and_then(Value::as_array) {
        Some(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => all.map(str::to_owned).to_vec(),
    };
    offered.retain(|c| c != name);
    if on {
        offered.push(name.to_owned());
    }
    let list: Vec<Value> = all.iter().filter(|c| offered.iter().any(|o| o == *c)).map(|c| Value::from(*c)).collect();
    import.set("media", "codecs", list);
}
