//! The bridge of a checked configuration.

use std::net::{IpAddr, SocketAddr};

use amphi_stanza::{BareJid, FullJid};

use super::BridgeFile;
use super::check::Check;
use super::checked::{Listen, Roles};
use super::secret::Password;

/// The media bridge.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Nickname in all breweries.
    pub nick: String,
    /// Where the main node is.
    pub place: BridgePlace,
    /// Rooms on the main node.
    pub brewery: BareJid,
    /// Further nodes.
    pub logins: Vec<BridgeLogin>,
    /// Addresses that media may use; empty for all.
    pub addresses: Vec<IpAddr>,
    /// Public addresses for own ones; an own one of `None` stands for all of the same family, ports of 0 are the own ones.
    pub mappings: Vec<(Option<IpAddr>, SocketAddr)>,
    /// HTTP for operators.
    pub listen: Option<SocketAddr>,
    /// Base address of WebSockets.
    pub web_socket_url: Option<String>,
    /// Own listener for WebSockets.
    pub web_socket_listen: Option<SocketAddr>,
    /// In the path of WebSockets.
    pub server_id: String,
    /// Region.
    pub region: Option<String>,
    /// Threads for media; `None` for half of the cores.
    pub shards: Option<usize>,
    /// Whether people reach the front over loopback alone, so that media must be reachable there too.
    pub loopback: bool,
    /// All other keys as they are.
    pub said: BridgeFile,
}

/// Where the main node is.
#[derive(Clone, Debug)]
pub enum BridgePlace {
    /// In this process; the address of the bridge there.
    Here(FullJid),
    /// Elsewhere.
    Elsewhere(BridgeLogin),
}

/// How a bridge logs in.
#[derive(Clone, Debug)]
pub struct BridgeLogin {
    /// Host and port.
    pub address: String,
    /// Of its certificate, if it is known.
    pub fingerprint: Option<String>,
    /// Domain of the account.
    pub domain: String,
    /// Local part.
    pub user: String,
    /// Password.
    pub password: Password,
    /// Rooms to join.
    pub breweries: Vec<BareJid>,
}

impl Check<'_> {
    pub(super) fn bridge(&mut self, roles: &Roles, main_domain: &str, listen: &Listen) -> Option<Bridge> {
        let said = self.file.bridge.clone();
        let auth = format!("auth.{main_domain}");
        let nick = said.nick.clone().unwrap_or_else(machine_nick);
        let brewery = self.brewery(main_domain)?;
        if brewery.occupant(&nick).is_err() {
            self.wrong("bridge.nick", format!("{nick:?} is not a nickname"));
            return None;
        }
        let password = self.bridge_password(&auth);
        let place = match &said.main_c2s {
            None if roles.main => match FullJid::parse(&format!("{}@{auth}/{nick}", said.user)) {
                Ok(jid) => BridgePlace::Here(jid),
                Err(_) => {
                    self.wrong("bridge.user", format!("{:?} is not a local part", said.user));
                    return None;
                }
            },
            None => {
                self.wrong("bridge.main_c2s", "is needed: this process runs the bridge and not the main node");
                return None;
            }
            Some(text) => BridgePlace::Elsewhere(BridgeLogin {
                address: self.host_port("bridge.main_c2s", text)?,
                fingerprint: self.fingerprint("bridge.main_fingerprint", said.main_fingerprint.as_deref()),
                domain: auth,
                user: said.user.clone(),
                password,
                breweries: vec![brewery.clone()],
            }),
        };
        let logins = self.bridge_logins(&said);
        let mut mappings = Vec::new();
        for (n, text) in said.public_addresses.iter().enumerate() {
            match mapping(text) {
                Some(m) => mappings.push(m),
                None => self.wrong(
                    &format!("bridge.public_addresses[{n}]"),
                    format!("{text:?} is not like 203.0.113.9, 203.0.113.9:10000 or 10.0.0.5=203.0.113.9"),
                ),
            }
        }
        for (key, n) in [
            ("bridge.endpoints", said.endpoints),
            ("bridge.transport_threads", said.transport_threads),
            ("bridge.conferences", said.conferences),
            ("bridge.endpoints_per_conference", said.endpoints_per_conference),
            ("bridge.max_endpoints", said.max_endpoints),
        ] {
            if n == 0 {
                self.wrong(key, "at least one");
            }
        }
        if said.port == 0 && mappings.iter().any(|(_, public)| public.port() == 0) {
            self.wrong("bridge.public_addresses", "need a port each when bridge.port is 0");
        }
        if said.loudest > 64 {
            self.wrong("bridge.loudest", "64 at most; 0 for all");
        }
        if said.presence_interval.0.is_zero() {
            self.wrong("bridge.presence_interval", "more than nothing");
        }
        let front_here = listen.front.is_some();
        let web_socket_url = match &said.web_socket_url {
            Some(url) => self.web_socket_url(url),
            None => listen.public_url.as_ref().filter(|_| front_here).map(|url| url.replacen("http", "ws", 1)),
        };
        let own_listener = web_socket_url.is_some() && !front_here;
        let web_socket_listen =
            self.address("bridge.web_socket_listen", &said.web_socket_listen).filter(|_| own_listener);
        Some(Bridge {
            place,
            brewery,
            logins,
            addresses: self.ip_addresses("bridge.addresses", &said.addresses),
            mappings,
            listen: self.address("bridge.listen", &said.listen),
            web_socket_url,
            web_socket_listen,
            server_id: said.server_id.clone().unwrap_or_else(|| nick.clone()),
            nick,
            region: said.region.clone().or_else(|| self.file.region_name.clone()),
            shards: self.threads("bridge.shards", said.shards),
            loopback: listen.front.is_some_and(|a| a.ip().is_loopback()),
            said,
        })
    }

    /// The room in which bridges announce themselves.
    pub(super) fn brewery(&mut self, main_domain: &str) -> Option<BareJid> {
        let said = &self.file.bridge.brewery;
        let room = match said.contains('@') {
            true => said.clone(),
            false => format!("{said}@internal.auth.{main_domain}"),
        };
        let parsed = BareJid::parse(&room).ok();
        if parsed.is_none() {
            self.wrong("bridge.brewery", format!("{said:?} is neither a local part nor an address"));
        }
        parsed
    }

    /// Password of bridges on a host.
    pub(super) fn bridge_password(&mut self, host: &str) -> Password {
        let said = &self.file.bridge;
        match self.secret("bridge.password", said.password.as_ref(), said.password_file.as_deref()) {
            Some(password) => Password::Given(password),
            None => self.kept(host, &self.file.bridge.user),
        }
    }

    fn bridge_logins(&mut self, said: &BridgeFile) -> Vec<BridgeLogin> {
        let mut logins = Vec::new();
        for (n, l) in said.logins.iter().enumerate() {
            let at = |field: &str| format!("bridge.logins[{n}].{field}");
            let address = self.host_port(&at("address"), &l.address);
            let domain = self.domain(&at("domain"), &l.domain);
            let password = self.secret(&at("password"), l.password.as_ref(), l.password_file.as_deref());
            if password.is_none() {
                self.wrong(&at("password"), "is needed");
            }
            let mut breweries = Vec::new();
            for (m, room) in l.breweries.iter().enumerate() {
                match BareJid::parse(room) {
                    Ok(room) => breweries.push(room),
                    Err(_) => {
                        self.wrong(&format!("{}[{m}]", at("breweries")), format!("{room:?} is not like room@domain"))
                    }
                }
            }
            if let (Some(address), Some(domain), Some(password)) = (address, domain, password) {
                let (user, password) = (l.user.clone(), Password::Given(password));
                let fingerprint = self.fingerprint(&at("fingerprint"), l.fingerprint.as_deref());
                logins.push(BridgeLogin { address, fingerprint, domain, user, password, breweries });
            }
        }
        logins
    }

    fn web_socket_url(&mut self, text: &str) -> Option<String> {
        let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
        match rest {
            Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => {
                Some(text.trim_end_matches('/').to_owned())
            }
            _ => {
                self.wrong("bridge.web_socket_url", format!("{text:?} is not a ws:// or wss:// address"));
                None
            }
        }
    }
}

fn mapping(text: &str) -> Option<(Option<IpAddr>, SocketAddr)> {
    let (own, public) = match text.split_once('=') {
        Some((own, public)) => (Some(own.trim().parse().ok()?), public.trim()),
        None => (None, text.trim()),
    };
    let public = public.parse().ok().or_else(|| Some(SocketAddr::new(public.parse().ok()?, 0)))?;
    Some((own, public))
}

/// A name that another machine's bridge does not have.
fn machine_nick() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    format!("bridge-{}", if name.is_empty() { "1" } else { &name })
}

#[cfg(test)]
mod tests {
    use crate::config::{BridgePlace, Config, Layers};

    fn config(text: &str) -> Result<Config, String> {
        let layers = Layers { file: Some(("amphi.toml".to_owned(), text.to_owned())), ..Layers::default() };
        Config::check(&layers.join().map_err(|e| e.to_string())?).map_err(|e| e.to_string())
    }

    #[test]
    fn one_bridge_runs_beside_everything() {
        let bridge = config("").unwrap().bridge.unwrap();
        assert!(matches!(&bridge.place, BridgePlace::Here(jid) if jid.domain() == "auth.localhost"));
        assert_eq!(bridge.brewery.as_str(), "jvbbrewery@internal.auth.localhost");
        assert!(bridge.nick.starts_with("bridge-"));
        assert_eq!(bridge.web_socket_url, None);
        assert!(config("[bridge]\nenabled = false\n").unwrap().bridge.is_none());
        assert!(config("roles = [\"main\", \"focus\"]\nvisitors.enabled = false\n").unwrap().bridge.is_none());
    }

    #[test]
    fn a_bridge_of_its_own_needs_to_know_the_main_node() {
        let text = config("roles = [\"bridge\"]\n").unwrap_err();
        assert!(text.contains("bridge.main_c2s: is needed"), "{text}");
        let c =
            config("roles = [\"bridge\"]\n[bridge]\nmain_c2s = \"h:5222\"\nweb_socket_url = \"wss://h/\"\n").unwrap();
        let bridge = c.bridge.unwrap();
        assert!(matches!(bridge.place, BridgePlace::Elsewhere(l) if l.address == "h:5222"));
        assert_eq!(bridge.web_socket_url.as_deref(), Some("wss://h"));
        assert!(bridge.web_socket_listen.is_some());
    }

    #[test]
    fn the_front_serves_bridge_channels_under_the_public_address() {
        let bridge = config("[listen]\npublic_url = \"https://meet.example.com\"\n").unwrap().bridge.unwrap();
        assert_eq!(bridge.web_socket_url.as_deref(), Some("wss://meet.example.com"));
        assert_eq!(bridge.web_socket_listen, None);
    }

    #[test]
    fn public_addresses_take_three_forms() {
        let text =
            "[bridge]\npublic_addresses = [\"203.0.113.9\", \"203.0.113.9:10001\", \"10.0.0.5=[2001:db8::1]:1\"]\n";
        let m = config(text).unwrap().bridge.unwrap().mappings;
        assert_eq!(m[0], (None, "203.0.113.9:0".parse().unwrap()));
        assert_eq!(m[1], (None, "203.0.113.9:10001".parse().unwrap()));
        assert_eq!(m[2], (Some("10.0.0.5".parse().unwrap()), "[2001:db8::1]:1".parse().unwrap()));
        assert!(config("[bridge]\npublic_addresses = [\"here\"]\n").unwrap_err().contains("public_addresses[0]"));
    }
}
