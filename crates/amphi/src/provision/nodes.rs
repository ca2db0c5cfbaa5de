//! The folder of each node: its configuration, its certificate, and the passwords it needs. Paths are relative to the folder, which
//! is copied as it is.

use std::net::IpAddr;

use super::plan::{Place, Plan};
use super::secrets::Identity;
use super::write::Output;

/// What nodes have in common.
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) focus_password: &'a str,
    pub(super) bridge_password: &'a str,
    pub(super) turn_secret: Option<&'a str>,
    /// By the name of the node.
    pub(super) identities: &'a [(String, Identity)],
}

impl Shared<'_> {
    pub(super) fn identity(&self, node: &str) -> Option<&Identity> {
        self.identities.iter().find(|(name, _)| name == node).map(|(_, identity)| identity)
    }

    fn fingerprint(&self, node: &str) -> &str {
        self.identity(node).map_or("", |i| &i.fingerprint)
    }

    /// The files of all nodes.
    pub(super) fn files(&self) -> Vec<Output> {
        let mut files = Vec::new();
        for node in self.plan.nodes() {
            let at = |name: &str| format!("nodes/{}/{name}", node.name);
            let bridge = node.media != 0;
            let text = match () {
                () if bridge => self.bridge(node),
                () if node.name == "main" => self.main(),
                () => self.visitor_node(node),
            };
            files.push(Output::public(at("amphi.toml"), text));
            if bridge || node.name == "main" {
                files.push(Output::secret(at("jvb.password"), format!("{}\n", self.bridge_password)));
            }
            if bridge {
                continue;
            }
            files.push(Output::secret(at("focus.password"), format!("{}\n", self.focus_password)));
            if let Some(secret) = self.turn_secret {
                files.push(Output::secret(at("turn.secret"), format!("{secret}\n")));
            }
            if let Some(identity) = self.identity(&node.name) {
                files.push(Output::public(at("tls/certificate.pem"), identity.chain.clone()));
                files.push(Output::secret(at("tls/key.pem"), identity.key.clone()));
            }
        }
        files
    }

    /// Where a port listens that other nodes reach.
    fn listen(&self, port: u16) -> String {
        let any = match self.plan.main.address {
            IpAddr::V4(_) => "0.0.0.0",
            IpAddr::V6(_) => "[::]",
        };
        let loopback = self.plan.is_one_host();
        if loopback { format!("127.0.0.1:{port}") } else { format!("{any}:{port}") }
    }

    /// On one host nodes speak over loopback, whatever the host's address is.
    fn reach(&self, node: &Place, port: u16) -> String {
        if self.plan.is_one_host() { format!("127.0.0.1:{port}") } else { node.at(port).to_string() }
    }

    fn head(&self, node: &Place, roles: &str) -> String {
        let plan = self.plan;
        format!(
            "# {name} of {domain}, on {address}. Written by `amphi provision`; keys are told in docs/reference/config.md.\n\
             domain = \"{domain}\"\nmuc_prefix = \"{prefix}\"\nroles = [{roles}]\n",
            name = node.name,
            domain = plan.domain,
            address = node.address,
            prefix = plan.muc_prefix,
        )
    }

    fn main(&self) -> String {
        let plan = self.plan;
        let main = &plan.main;
        let mut text = self.head(main, "\"main\", \"front\", \"focus\"");
        text += &format!("stage = {}\n\n[listen]\n", plan.stage);
        let bridges_elsewhere = plan.bridges.iter().any(|b| b.address != main.address);
        text += &format!("front = \"127.0.0.1:{}\"              # the proxy in front speaks HTTPS\n", main.front);
        text += &format!(
            "c2s = \"{}\"\n",
            if bridges_elsewhere { self.listen(main.c2s) } else { format!("127.0.0.1:{}", main.c2s) }
        );
        text += &format!("s2s = \"{}\"\nadmin = \"127.0.0.1:{}\"\n", self.listen(main.s2s), main.admin);
        if !plan.is_local() {
            text += &format!("public_url = \"https://{}\"\n", plan.domain);
        }
        text += TLS;
        text += "\n[focus]\npassword_file = \"focus.password\"\n\n[bridge]\npassword_file = \"jvb.password\"\n";
        text += &format!("\n[visitors]\nenabled = {}\n", !plan.visitors.is_empty());
        for node in &plan.visitors {
            text += &format!(
                "\n[[visitors.nodes]]\nname = \"{}\"\ns2s = \"{}\"\nfront = \"{}\"\nc2s = \"{}\"\nfingerprint = \"{pin}\"\nc2s_fingerprint = \"{pin}\"\n",
                node.name,
                self.reach(node, node.s2s),
                self.reach(node, node.front),
                self.reach(node, node.c2s),
                pin = self.fingerprint(&node.name),
            );
        }
        text + &self.services()
    }

    fn visitor_node(&self, node: &Place) -> String {
        let main = &self.plan.main;
        let mut text = self.head(node, &format!("\"{}\"", node.name));
        text += &format!(
            "\n[listen]\nfront = \"{}\"\nc2s = \"{}\"\ns2s = \"{}\"\nadmin = \"127.0.0.1:{}\"\n",
            self.listen(node.front),
            self.listen(node.c2s),
            self.listen(node.s2s),
            node.admin,
        );
        if !self.plan.is_one_host() {
            text += &format!("trusted_proxies = [\"127.0.0.1\", \"::1\", \"{}\"]\n", main.address);
        }
        text += TLS;
        text += "\n[focus]\npassword_file = \"focus.password\"\n";
        text += &format!(
            "\n[visitors]\nmain_s2s = \"{}\"\nmain_fingerprint = \"{}\"\n\n[[visitors.nodes]]\nname = \"{}\"\n",
            self.reach(main, main.s2s),
            self.fingerprint("main"),
            node.name,
        );
        text + &self.services()
    }

    fn bridge(&self, node: &Place) -> String {
        let main = &self.plan.main;
        let mut text = self.head(node, "\"bridge\"");
        text += &format!(
            "\n[listen]\nadmin = \"off\"\n\n[bridge]\nnick = \"{name}\"\nrelay_id = \"{name}.{domain}\"\nmain_c2s = \"{main}\"\n\
             main_fingerprint = \"{pin}\"\n\
             password_file = \"jvb.password\"\nport = {media}\nlisten = \"127.0.0.1:{admin}\"\nshutdown = true\n",
            name = node.name,
            domain = self.plan.domain,
            main = if node.address == main.address {
                format!("127.0.0.1:{}", main.c2s)
            } else {
                main.at(main.c2s).to_string()
            },
            pin = self.fingerprint("main"),
            media = node.media,
            admin = node.admin,
        );
        if let Some(public) = node.public {
            text += &format!("public_addresses = [\"{public}\"]\n");
        }
        text
    }

    fn services(&self) -> String {
        let Some(host) = self.plan.turn.as_ref().filter(|_| self.turn_secret.is_some()) else { return String::new() };
        let mut text = String::new();
        for (kind, port, transport) in [("turn", 3478, "udp"), ("turn", 3478, "tcp"), ("turns", 443, "tcp")] {
            text += &format!(
                "\n[[services]]\nkind = \"{kind}\"\nhost = \"{host}\"\nport = {port}\ntransport = \"{transport}\"\n\
                 secret_file = \"turn.secret\"\n"
            );
        }
        text
    }
}

const TLS: &str = "\n# For links between nodes; peers pin its fingerprint.\n[tls]\ncertificate = \"tls/certificate.pem\"\nkey = \"tls/key.pem\"\n";
