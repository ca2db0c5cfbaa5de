//! The part of the check that looks at what people and their browsers reach: HTTPS of the domain and what the proxy does with it, the
//! addresses of bridges, the TURN server; and at clocks, which certificates, tokens and credentials are judged by.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use super::brewery::{Brewery, Candidate};
use super::check::Check;
use super::plan::Place;
use super::probe::{self, Door, Person};
use super::stun::{self, Turn};

/// Seconds by which clocks may differ.
const SKEW: u64 = 5;
/// A certificate that has not longer was not renewed in time.
const RENEWED: Duration = Duration::from_secs(7 * 24 * 3600);

impl Check<'_> {
    /// DNS and HTTPS of the domain. The way in, if there is one.
    pub(super) async fn outside(&mut self) -> Option<Door> {
        let domain = self.plan.domain.clone();
        if self.plan.is_local() {
            self.found.note(format!("everything is on this machine, so DNS and HTTPS of {domain} were not looked at"));
            return None;
        }
        let at = match tokio::net::lookup_host((domain.as_str(), 443)).await.map(|mut all| all.next()) {
            Ok(Some(at)) => at,
            _ => {
                let main = self.plan.main.address;
                self.found.wrong(
                    format!("{domain} is not in DNS"),
                    format!("add an A or AAAA record to {main}, or its public address"),
                );
                return None;
            }
        };
        if let Err(e) = probe::connect(at).await {
            self.found.wrong(
                format!("HTTPS of {domain}: {e:#}"),
                format!("start the proxy with nginx/{domain}.conf, and open TCP 443 in the firewall"),
            );
            return None;
        }
        match self.certificate_of(at, &domain).await {
            Ok(left) if left < RENEWED => self.found.wrong(
                format!("the certificate of https://{domain} ends in {} days, so nobody renews it", left.as_secs() / 86_400),
                "certbot renew --dry-run tells why; systemctl list-timers shows whether it runs at all",
            ),
            Ok(_) => self.found.fine(format!("{domain} is {}, and its certificate is good", at.ip())),
            Err(e) => self.found.wrong(
                format!("HTTPS of {domain}: {e:#}"),
                format!("certbot certonly -d {domain}, then systemctl reload nginx; it must show /etc/letsencrypt/live/{domain}/fullchain.pem"),
            ),
        }
        // What is behind it is looked at all the same.
        Door::https(at, &domain, true).ok()
    }

    /// How long it is good.
    async fn certificate_of(&self, at: SocketAddr, domain: &str) -> anyhow::Result<Duration> {
        let der = Door::https(at, domain, false)?.certificate().await?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der)?;
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Duration::from_secs(end).saturating_sub(now))
    }

    /// What the proxy does with requests for each node, and with what is for operators.
    pub(super) async fn proxied(&mut self, door: &Door, serving: &[&str]) {
        let (plan, domain) = (self.plan, &self.plan.domain);
        let room = format!("amphi-check-{:08x}", rand::random::<u32>());
        for node in std::iter::once(&plan.main).chain(&plan.visitors).filter(|n| serving.contains(&&*n.name)) {
            let name = &node.name;
            let main = *name == plan.main.name;
            let (host, vnode) =
                if main { (domain.clone(), None) } else { (format!("{name}.meet.jitsi"), Some(&**name)) };
            match Person::come(door.clone(), &host, &room, vnode).await {
                Ok(person) => {
                    self.found.fine(format!("streams reach {name} through https://{domain}"));
                    person.leave().await;
                }
                Err(e) if format!("{e:#}").contains("cannot be tried") => self.found.note(format!("{e:#}")),
                Err(e) if format!("{e:#}").contains("does not serve") => self.found.wrong(
                    format!("the proxy of {domain} sends people of {name} to another node ({e:#})"),
                    format!("its configuration must send ?vnode={name} to {name}: take nginx/{domain}.conf, nginx -t, systemctl reload nginx"),
                ),
                Err(e) => self.found.wrong(
                    format!("a stream with {name} through https://{domain}: {e:#}"),
                    format!("the proxy must pass upgrades of /xmpp-websocket on: take nginx/{domain}.conf, nginx -t, systemctl reload nginx; its error log tells more"),
                ),
            }
        }
        match probe::http(door.clone(), "GET", "/metrics", "").await {
            Ok((200, text)) if text.contains("# TYPE") => self.found.wrong(
                format!("https://{domain}/metrics shows figures of this server to everybody"),
                format!("close it in the proxy, as nginx/{domain}.conf does, and leave metrics.on_front off"),
            ),
            _ => self.found.fine(format!("https://{domain} keeps figures for operators to itself")),
        }
    }

    /// Certificates, tokens and credentials of TURN are judged by clocks.
    pub(super) async fn clock(&mut self, node: &Place, front: SocketAddr) {
        let Ok(ahead) = probe::clock(front).await else { return };
        if ahead.unsigned_abs() <= SKEW {
            return;
        }
        let how = if ahead > 0 { "ahead of" } else { "behind" };
        self.found.wrong(
            format!("the clock of {} is {} s {how} the one of this machine", node.name, ahead.unsigned_abs()),
            format!("let both follow a time server: timedatectl set-ntp true on {} and here; certificates, tokens and TURN credentials fail otherwise", node.address),
        );
    }

    /// Whether bridges answer at the addresses that they tell browsers.
    pub(super) async fn media(&mut self, bridges: &[&Place]) {
        if bridges.is_empty() {
            return;
        }
        let Some(password) = self.password("main", "jvb") else { return };
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.plan.main.c2s));
        let mut brewery = match Brewery::enter(at, &self.plan.auth_domain(), "jvb", password).await {
            Ok(brewery) => brewery,
            Err(e) => return self.found.note(format!("media of bridges was not tried: {e:#}")),
        };
        for bridge in bridges {
            match brewery.candidates(&bridge.name).await {
                Ok(told) => self.candidates(bridge, &told),
                Err(e) => self.found.wrong(
                    format!("{} makes no place for anybody: {e:#}", bridge.name),
                    format!("on {}: journalctl -u amphi@{} tells more", bridge.address, bridge.name),
                ),
            }
        }
    }

    fn candidates(&mut self, bridge: &Place, told: &[Candidate]) {
        let name = &bridge.name;
        let list = |wanted: bool| {
            let some = told.iter().filter(|(_, answer)| answer.is_ok() == wanted);
            some.map(|(at, _)| at.to_string()).collect::<Vec<_>>().join(", ")
        };
        let open = format!(
            "open UDP {} to {name} ({}) in every firewall, and set bridge.public_addresses to the address under which browsers reach it (--public {name}=ADDRESS)",
            bridge.media, bridge.address
        );
        if told.is_empty() {
            return self.found.wrong(format!("{name} tells browsers no address"), open);
        }
        // The planned public address may not be reachable from inside, where the router does not send packets back.
        let strange = |ip: IpAddr| Some(ip) != bridge.public;
        let silent = told.iter().filter(|(at, answer)| answer.is_err() && strange(at.ip())).count();
        if told.iter().all(|(_, answer)| answer.is_err()) || silent > 0 {
            let why = told.iter().find_map(|(_, answer)| answer.as_ref().err()).map(|e| format!("{e:#}"));
            return self.found.wrong(
                format!(
                    "{name} tells browsers {}, and nothing answers there ({})",
                    list(false),
                    why.unwrap_or_default()
                ),
                open,
            );
        }
        if let Some(public) = bridge.public.filter(|p| !told.iter().any(|(at, _)| at.ip() == *p)) {
            return self.found.wrong(format!("{name} does not tell browsers its public address {public}"), open);
        }
        if !list(false).is_empty() {
            self.found.note(format!(
                "{} of {name} does not answer from here; routers often refuse that from inside",
                list(false)
            ));
        }
        self.found.fine(format!("{name} answers over UDP at {}", list(true)));
    }

    /// TURN, with credentials as clients get them.
    pub(super) async fn turn(&mut self) {
        let Some(host) = self.plan.turn.clone() else { return };
        let secret = std::fs::read_to_string(self.folder("main").join("turn.secret")).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (what, fix) = match stun::turn(&host, self.turn_port(), secret.trim_end(), now).await {
            Ok(Turn::Relays) => return self.found.fine(format!("TURN at {host} takes the credentials of clients")),
            Ok(Turn::Refused) => (
                format!("TURN at {host} refuses the credentials of clients"),
                "static-auth-secret of coturn must be the one of secrets/turn: take coturn/turnserver.conf; clocks must agree".to_owned(),
            ),
            Ok(Turn::Error(number)) => (
                format!("TURN at {host} answers and relays nothing (error {number})"),
                "start coturn with coturn/turnserver.conf; its log tells more".to_owned(),
            ),
            Err(e) => (
                format!("TURN at {host}: {e:#}"),
                "start coturn there with coturn/turnserver.conf, and open UDP and TCP 3478".to_owned(),
            ),
        };
        self.found.wrong(what, fix);
    }

    /// TURN over TLS, which is what closed networks let through.
    pub(super) async fn turn_over_tls(&mut self) {
        let Some(host) = self.plan.turn.clone() else { return };
        let Some(port) = self.turns_port() else {
            return self.found.wrong(
                "nodes/main/amphi.toml tells clients of no TURN over TLS, so closed networks get no media",
                "provision again with the arguments of before, then install.sh on the host",
            );
        };
        let secret = std::fs::read_to_string(self.folder("main").join("turn.secret")).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let tried = async {
            let at = tokio::net::lookup_host((host.as_str(), port)).await.ok().and_then(|mut all| all.next());
            let at = at.with_context(|| format!("{host} is not in DNS"))?;
            let mut stream = Door::https(at, &host, false)?.tls().await?;
            probe::within(stun::turn_over(&mut stream, secret.trim_end(), now)).await
        };
        let beside = if self.plan.turn_beside { ", nginx needs nginx/stream.conf" } else { "" };
        let mend = format!(
            "coturn at {host} must listen with TLS on TCP {port} (coturn/turnserver.conf and coturn/amphi.conf{beside}), with a certificate for {host} that browsers take"
        );
        match tried.await {
            Ok(Turn::Relays) => self.found.fine(format!("TURN over TLS at {host}:{port} relays, which closed networks need")),
            Ok(Turn::Refused) => self.found.wrong(
                format!("TURN over TLS at {host}:{port} refuses the credentials of clients"),
                "static-auth-secret of coturn must be the one of secrets/turn: take coturn/turnserver.conf; clocks must agree",
            ),
            Ok(Turn::Error(number)) => {
                self.found.wrong(format!("TURN over TLS at {host}:{port} relays nothing (error {number})"), mend);
            }
            Err(e) => self.found.wrong(format!("TURN over TLS at {host}:{port}: {e:#}"), mend),
        }
    }

    fn turns_port(&self) -> Option<u16> {
        let config = self.config("main").unwrap_or_default();
        let services = config.get("services")?.as_array()?;
        let first = services.iter().find(|s| s.get("kind").and_then(toml::Value::as_str) == Some("turns"))?;
        first.get("port").and_then(toml::Value::as_integer).map_or(Some(5349), |p| u16::try_from(p).ok())
    }

    /// The port that clients are told.
    fn turn_port(&self) -> u16 {
        let config = self.config("main").unwrap_or_default();
        let services = config.get("services").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let first = services.iter().find(|s| s.get("transport").and_then(toml::Value::as_str) == Some("udp"));
        let port = first.and_then(|s| s.get("port")).and_then(toml::Value::as_integer);
        port.and_then(|p| u16::try_from(p).ok()).unwrap_or(3478)
    }
}
