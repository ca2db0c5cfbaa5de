//! The environment of Jitsi's containers (`.env`), with the values that the containers take when a variable is not set.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Import, hocon};

/// Reads `NAME=value` lines; quotes and comments as docker compose takes them.
pub(super) fn read(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        let value = value.trim();
        let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.split_once(q)).map(|(v, _)| v);
        let value = match quoted('"').or_else(|| quoted('\'')) {
            Some(inside) => inside,
            None => value.split_once(" #").map_or(value, |(value, _)| value.trim_end()),
        };
        variables.insert(name.trim().to_owned(), value.to_owned());
    }
    variables
}

/// Variables of the containers themselves, of the page, or of addresses between parts that are one process here.
const NOT_NEEDED: &[&str] = &[
    "CONFIG",
    "TZ",
    "HTTP_PORT",
    "HTTPS_PORT",
    "RESTART_POLICY",
    "JITSI_IMAGE_VERSION",
    "JITSI_REPO",
    "JICOFO_MAX_MEMORY",
    "VIDEOBRIDGE_MAX_MEMORY",
    "XMPP_SERVER",
    "XMPP_PORT",
    "XMPP_BOSH_URL_BASE",
    "XMPP_SERVER_S2S_PORT",
    "PROSODY_S2S_PORT",
    "PROSODY_HTTP_PORT",
    "ENABLE_XMPP_WEBSOCKET",
    "ENABLE_COLIBRI_WEBSOCKET",
    "JICOFO_ENABLE_REST",
    "JICOFO_ENABLE_HEALTH_CHECKS",
    "JVB_COLIBRI_PORT",
    "JVB_WS_DOMAIN",
    "JVB_WS_SERVER_ID",
    "JVB_WS_TLS",
    "ENABLE_JVB_XMPP_SERVER",
    "JVB_XMPP_SERVER",
    "JVB_XMPP_PORT",
    "JVB_XMPP_AUTH_DOMAIN",
    "JVB_XMPP_INTERNAL_MUC_DOMAIN",
    "COLIBRI_REST_ENABLED",
    "SHUTDOWN_REST_ENABLED",
    "LOG_LEVEL",
    "JVB_LOG_FILE",
    "JICOFO_LOG_FILE",
    "VISITORS_XMPP_PORT",
    "VISITORS_XMPP_AUTH_DOMAIN",
    "PROSODY_VISITOR_INDEX",
    "ENABLE_IPV6",
    "ENABLE_SCTP",
    "ENABLE_OCTO_SCTP",
    "JICOFO_AUTH_USER",
    "JVB_USE_USRSCTP",
    "JVB_CC_TRUST_BWE",
    "ENABLE_SUBDOMAINS",
    "ENABLE_MULTI_STREAM",
    "JICOFO_ENABLE_BRIDGE_HEALTH_CHECKS",
];

/// What only the page reads; it stays in its configuration.
const OF_THE_PAGE: &[&str] = &[
    "ENABLE_PREJOIN_PAGE",
    "ENABLE_WELCOME_PAGE",
    "ENABLE_SIMULCAST",
    "ENABLE_P2P",
    "RESOLUTION",
    "START_",
    "P2P_",
    "DESKTOP_SHARING_",
    "TOOLBAR_BUTTONS",
    "HIDE_",
    "DISABLE_DEEP_LINKING",
    "DEFAULT_LANGUAGE",
    "BRANDING_",
    "DYNAMIC_BRANDING_URL",
    "DEPLOYMENTINFO_",
    "ANALYTICS_",
    "AMPLITUDE_",
    "MATOMO_",
    "GOOGLE_",
    "DROPBOX_",
    "CODEC_ORDER_",
    "ENABLE_CLOSE_PAGE",
    "ENABLE_HSTS",
    "ENABLE_HTTP_REDIRECT",
    "DISABLE_HTTPS",
    "CORS_",
    "NGINX_",
    "RTCSTATS_",
    "PUBLIC_URL_",
];

/// Takes over all variables.
pub(super) fn take(import: &mut Import, variables: &BTreeMap<String, String>) {
    let set = |name: &str| variables.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let domain = set("XMPP_DOMAIN").unwrap_or("meet.jitsi").to_owned();
    import.set("", "domain", domain.as_str());
    let muc = set("XMPP_MUC_DOMAIN").map_or_else(|| format!("muc.{domain}"), str::to_owned);
    match muc.strip_suffix(&format!(".{domain}")) {
        Some(prefix) => import.set("", "muc_prefix", prefix),
        None => import.has_no_counterpart("XMPP_MUC_DOMAIN", format!("must end in .{domain}")),
    }
    let visitors = set("ENABLE_VISITORS").unwrap_or("0").to_owned();
    let visitors = import.switch("ENABLE_VISITORS", &visitors).unwrap_or(false);
    import.set("visitors", "enabled", visitors);
    import.note("One process takes the place of all containers; leave `roles` out until you want several.");
    if domain == "meet.jitsi" {
        import.note("XMPP_DOMAIN was never set: people's addresses are in meet.jitsi, as in the containers. A domain of your own is better.");
    }
    login(import, &set, &domain);
    turn(import, &set);
    for (name, value) in variables.iter().filter(|(_, v)| !v.is_empty()) {
        one(import, name, value, &domain);
    }
}

/// Variables that are looked at together with others, here or in [`take`].
const TOGETHER: &[&str] = &[
    "XMPP_DOMAIN",
    "XMPP_MUC_DOMAIN",
    "ENABLE_VISITORS",
    "ENABLE_AUTH",
    "ENABLE_GUESTS",
    "AUTH_TYPE",
    "JWT_APP_ID",
    "JWT_APP_SECRET",
    "JWT_ACCEPTED_ISSUERS",
    "JWT_ACCEPTED_AUDIENCES",
    "JWT_ALLOW_EMPTY",
    "XMPP_GUEST_DOMAIN",
    "TURN_CREDENTIALS",
    "TURN_HOST",
    "TURN_PORT",
    "TURN_TRANSPORT",
    "TURNS_HOST",
    "TURNS_PORT",
    "TURN_TTL",
    "STUN_HOST",
    "STUN_PORT",
    "JICOFO_ENABLE_AUTH",
    "JICOFO_AUTH_TYPE",
];

fn one(import: &mut Import, name: &str, value: &str, domain: &str) {
    let numbers: &[(&str, &str, &str)] = &[
        ("VISITORS_MAX_PARTICIPANTS", "", "stage"),
        ("VISITORS_MAX_VISITORS_PER_NODE", "focus", "max_visitors_per_node"),
        ("JVB_PORT", "bridge", "port"),
        ("MAX_BRIDGE_PARTICIPANTS", "media", "bridge_participants"),
        ("MAX_SSRCS_PER_USER", "media", "sources_per_participant"),
        ("JICOFO_CONF_MAX_AUDIO_SENDERS", "media", "audio_senders"),
        ("JICOFO_CONF_MAX_VIDEO_SENDERS", "media", "video_senders"),
        ("JICOFO_RESTART_REQUEST_MAX", "media", "restarts_per_minute"),
    ];
    let switches: &[(&str, &str, &str)] = &[
        ("JICOFO_VISITORS_REQUIRE_MUC_CONFIG", "focus", "require_muc_config_flag"),
        ("ENABLE_AUTO_OWNER", "focus", "auto_owner"),
        ("ENABLE_OCTO", "media", "cascade"),
        ("ENABLE_CODEC_OPUS_RED", "media", "opus_red"),
        ("JICOFO_CONF_SSRC_REWRITING", "media", "ssrc_rewriting"),
        ("JICOFO_ENABLE_ICE_FAILURE_DETECTION", "media", "avoid_failing_bridges"),
        ("JICOFO_ENABLE_LOAD_REDISTRIBUTION", "media", "relieve_bridges"),
        ("JVB_ADVERTISE_PRIVATE_CANDIDATES", "bridge", "private_addresses"),
        ("JVB_REQUIRE_VALID_ADDRESS", "bridge", "require_public_address"),
    ];
    let texts: &[(&str, &str, &str)] = &[
        ("JVB_AUTH_USER", "bridge", "user"),
        ("JVB_AUTH_PASSWORD", "bridge", "password"),
        ("JVB_OCTO_REGION", "bridge", "region"),
        ("JVB_OCTO_RELAY_ID", "bridge", "relay_id"),
        ("JVB_MUC_NICKNAME", "bridge", "nick"),
        ("JVB_INSTANCE_ID", "bridge", "server_id"),
        ("JICOFO_AUTH_PASSWORD", "focus", "password"),
        ("SHARD", "", "shard_name"),
        ("RELEASE_NUMBER", "", "release_number"),
        ("PROSODY_REGION_NAME", "", "region_name"),
        ("JICOFO_OCTO_REGION", "", "region_name"),
    ];
    let find = |table: &[(&str, &'static str, &'static str)]| {
        table.iter().find(|(n, ..)| *n == name).map(|(_, s, k)| (*s, *k))
    };
    if let Some((section, key)) = find(numbers) {
        if let Some(number) = import.number(name, value) {
            import.set(section, key, number);
        }
    } else if let Some((section, key)) = find(switches) {
        if let Some(on) = import.switch(name, value) {
            import.set(section, key, on);
        }
    } else if let Some((section, key)) = find(texts) {
        import.set(section, key, value);
    } else if !TOGETHER.contains(&name) {
        other(import, name, value, domain);
    }
}

fn other(import: &mut Import, name: &str, value: &str, domain: &str) {
    match name {
        "PUBLIC_URL" => import.set("listen", "public_url", value.trim_end_matches('/')),
        "JVB_ADVERTISE_IPS" => {
            // Ports stand behind a #.
            let address = |text: &str| match text.trim().split_once('#') {
                Some((ip, port)) if ip.contains(':') => format!("[{ip}]:{port}"),
                Some((ip, port)) => format!("{ip}:{port}"),
                None => text.trim().to_owned(),
            };
            let list: Vec<Value> = value.split(',').filter(|t| !t.trim().is_empty()).map(|t| address(t).into()).collect();
            import.set("bridge", "public_addresses", list);
        }
        "VISITORS_XMPP_SERVER" => {
            let count = value.split(',').filter(|s| !s.trim().is_empty()).count();
            for n in 0..count {
                import.entry("visitors.nodes", Table::from_iter([("name".to_owned(), Value::from(format!("v{n}")))]));
            }
            import.note(format!("The {count} visitor nodes of VISITORS_XMPP_SERVER run in this process."));
        }
        "PROSODY_VISITORS_MUC_PREFIX" => {
            if import.get("", "muc_prefix").and_then(Value::as_str) != Some(value) {
                import.has_no_counterpart(name, "is the same as muc_prefix here");
            }
        }
        "VISITORS_XMPP_DOMAIN" if value == "meet.jitsi" => {}
        "XMPP_AUTH_DOMAIN" if value == format!("auth.{domain}") => {}
        "XMPP_AUTH_DOMAIN" => import.has_no_counterpart(name, format!("service accounts are on auth.{domain}; point recorders there")),
        "XMPP_INTERNAL_MUC_DOMAIN" if value == format!("internal.auth.{domain}") => {}
        "XMPP_INTERNAL_MUC_DOMAIN" => import.has_no_counterpart(
            name,
            format!("bridges and recorders announce themselves on internal.auth.{domain}; a further name goes into [[mucs]] with kind = \"internal\""),
        ),
        "XMPP_HIDDEN_DOMAIN" | "XMPP_RECORDER_DOMAIN" => {
            import.set("visitors", "ignore_list", vec![Value::from(value)]);
            import.set("focus", "trusted_domains", vec![Value::from(value)]);
            import.note(format!("Accounts of recorders on {value} go into [[hosts]] with auth = \"internal\"."));
        }
        "ENABLE_LOBBY" => {
            if let Some(enabled) = import.switch(name, value) {
                import.set("lobby", "enabled", enabled);
            }
        }
        "JVB_BREWERY_MUC" => import.set("bridge", "brewery", value),
        "BRIDGE_STRESS_THRESHOLD" => match value.parse::<f64>() {
            Ok(n) if n > 0.0 && n <= 1.0 => import.set("media", "overloaded_at", (n * 100.0).round() as i64),
            _ => import.has_no_counterpart(name, "is a number from 0 to 1"),
        },
        "JICOFO_BRIDGE_REGION_GROUPS" => {
            let groups = hocon::read(&format!("g = [{value}]")).ok().and_then(|d| d.values.get("g").cloned());
            match groups.map(|g| super::jicofo::region_groups(&g)) {
                Some(groups) => import.set("media", "region_groups", groups),
                None => import.has_no_counterpart(name, "cannot be read"),
            }
        }
        "OCTO_BRIDGE_SELECTION_STRATEGY" => super::jicofo::strategy(import, name, value),
        "JICOFO_CONF_INITIAL_PARTICIPANT_WAIT_TIMEOUT" => super::jicofo::time(import, name, value, "focus", "initial_timeout"),
        "JICOFO_CONF_SINGLE_PARTICIPANT_TIMEOUT" => super::jicofo::time(import, name, value, "media", "alone_timeout"),
        "JICOFO_AUTH_LIFETIME" => super::jicofo::time(import, name, value, "focus", "authentication_lifetime"),
        "JICOFO_TRUSTED_DOMAINS" => {
            let list: Vec<Value> = value.split(',').map(|t| t.trim().into()).collect();
            import.set("focus", "trusted_domains", list);
        }
        "ENABLE_CODEC_VP8" | "ENABLE_CODEC_VP9" | "ENABLE_CODEC_AV1" | "ENABLE_CODEC_H264" => {
            if let Some(on) = import.switch(name, value) {
                super::jicofo::codec(import, &name["ENABLE_CODEC_".len()..].to_ascii_lowercase(), on);
            }
        }
        "JVB_STUN_SERVERS" | "JVB_DISABLE_STUN" => {
            import.has_no_counterpart(name, "bridges ask no STUN server; name public addresses in bridge.public_addresses");
        }
        "JWT_ASAP_KEYSERVER" => import.has_no_counterpart(name, "keys are not fetched; name one in key_file of [[hosts]]"),
        _ if name.starts_with("LETSENCRYPT_") || name == "ENABLE_LETSENCRYPT" => {
            import.has_no_counterpart(name, "certificates are made by certbot or the proxy in front; [tls] names the files");
        }
        _ if name.starts_with("JIBRI_") || name == "ENABLE_RECORDING" => {
            import.has_no_counterpart(name, "recorders are not started from here");
        }
        _ if name.starts_with("JIGASI_") || name == "ENABLE_TRANSCRIPTIONS" => {
            import.has_no_counterpart(name, "phone gateways and transcribers are not started from here");
        }
        _ if name.starts_with("LDAP_") || name.starts_with("MATRIX_") => {
            import.has_no_counterpart(name, "logins are anonymous, by token, or by accounts of the configuration");
        }
        _ if NOT_NEEDED.contains(&name) => {}
        _ if OF_THE_PAGE.iter().any(|p| name.starts_with(p)) => {
            import.note("Variables of the page are not taken over; with web.root they go into [web.config].");
        }
        _ => import.has_no_counterpart(name, "is not known here"),
    }
}

fn login<'a>(import: &mut Import, set: &impl Fn(&str) -> Option<&'a str>, domain: &str) {
    let on = import.switch("ENABLE_AUTH", set("ENABLE_AUTH").unwrap_or("0")).unwrap_or(false);
    if !on {
        return;
    }
    let mut host = Table::new();
    host.insert("name".to_owned(), domain.into());
    match set("AUTH_TYPE").unwrap_or("internal") {
        "jwt" => {
            host.insert("auth".to_owned(), "token".into());
            for (variable, key) in [("JWT_APP_ID", "app_id"), ("JWT_APP_SECRET", "app_secret")] {
                match set(variable) {
                    Some(value) => drop(host.insert(key.to_owned(), value.into())),
                    None => import.has_no_counterpart(variable, "is needed with AUTH_TYPE=jwt, and is not set"),
                }
            }
            for (variable, key) in
                [("JWT_ACCEPTED_ISSUERS", "accepted_issuers"), ("JWT_ACCEPTED_AUDIENCES", "accepted_audiences")]
            {
                if let Some(list) = set(variable) {
                    let list: Vec<Value> = list.split(',').map(|t| t.trim().into()).collect();
                    host.insert(key.to_owned(), list.into());
                }
            }
            if let Some(text) = set("JWT_ALLOW_EMPTY")
                && let Some(empty) = import.switch("JWT_ALLOW_EMPTY", text)
            {
                host.insert("allow_empty_token".to_owned(), empty.into());
            }
            import.set("focus", "authentication", "jwt");
        }
        "internal" => {
            host.insert("auth".to_owned(), "internal".into());
            import.set("focus", "authentication", "xmpp");
            import.has_no_counterpart(
                "AUTH_TYPE=internal",
                format!("accounts are not in the environment; write them into `accounts` of [[hosts]] {domain}"),
            );
        }
        other => {
            import.has_no_counterpart(
                "AUTH_TYPE",
                format!("{other}: logins are anonymous, by token, or by accounts of the configuration"),
            );
            return;
        }
    }
    import.entry("hosts", host);
    if let Some(text) = set("ENABLE_GUESTS")
        && import.switch("ENABLE_GUESTS", text) == Some(true)
    {
        let name = set("XMPP_GUEST_DOMAIN").map_or_else(|| format!("guest.{domain}"), str::to_owned);
        import.entry(
            "hosts",
            Table::from_iter([("name".to_owned(), name.into()), ("auth".to_owned(), "anonymous".into())]),
        );
    }
}

fn turn<'a>(import: &mut Import, set: &impl Fn(&str) -> Option<&'a str>) {
    let ttl = set("TURN_TTL").map(|t| format!("{t}s"));
    let secret = set("TURN_CREDENTIALS");
    for (kind, host, port) in
        [("stun", "STUN_HOST", "STUN_PORT"), ("turn", "TURN_HOST", "TURN_PORT"), ("turns", "TURNS_HOST", "TURNS_PORT")]
    {
        let Some(hosts) = set(host) else { continue };
        if kind != "stun" && secret.is_none() {
            import.has_no_counterpart(
                host,
                "fixed names and passwords are not handed out; set static-auth-secret at the TURN server, and it here",
            );
            continue;
        }
        let port = set(port).map(|text| (port, text)).and_then(|(name, text)| import.number(name, text));
        // As the containers have it: over TCP, and on port 443.
        let transports = if kind == "turn" { set("TURN_TRANSPORT").unwrap_or("tcp") } else { "" };
        for host in hosts.split(',').map(str::trim).filter(|h| !h.is_empty()) {
            for transport in transports.split(',').map(str::trim) {
                let mut entry = Table::new();
                entry.insert("kind".to_owned(), kind.into());
                entry.insert("host".to_owned(), host.into());
                entry.insert("port".to_owned(), port.unwrap_or(443).into());
                if !transport.is_empty() {
                    entry.insert("transport".to_owned(), transport.into());
                }
                if kind != "stun" {
                    entry.insert("secret".to_owned(), secret.unwrap_or_default().into());
                    if let Some(ttl) = &ttl {
                        entry.insert("ttl".to_owned(), ttl.as_str().into());
                    }
                }
                import.entry("services", entry);
            }
        }
    }
}
