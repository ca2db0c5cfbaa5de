//! What surrounds the nodes: systemd, the kernel's buffers, nginx, coturn, the script that installs a host's nodes, and the page that
//! tells how it all goes together.

use std::fmt::Write as _;

use super::plan::{Place, Plan};
use super::write::Output;

/// The files.
pub(super) fn files(plan: &Plan, turn_secret: Option<&str>) -> Vec<Output> {
    let mut files = vec![
        Output::public("systemd/amphi@.service", UNIT.to_owned()),
        Output::public("systemd/60-amphi.conf", SYSCTL.to_owned()),
        Output::script("install.sh", INSTALL.to_owned()),
        Output::public(format!("nginx/{}.conf", plan.domain), nginx(plan)),
        Output::public("README.md", readme(plan)),
    ];
    if let (Some(host), Some(secret)) = (&plan.turn, turn_secret) {
        files.push(Output::secret("coturn/turnserver.conf", coturn(plan, host, secret)));
    }
    files
}

/// One unit for all nodes: the folder below /etc/amphi is its instance. The package brings the same.
const UNIT: &str = include_str!("../../../../deploy/systemd/amphi@.service");
const SYSCTL: &str = include_str!("../../../../deploy/systemd/60-amphi.conf");
const INSTALL: &str = include_str!("install.sh");

fn nginx(plan: &Plan) -> String {
    let one = plan.is_one_host();
    let at = |node: &Place| if one { format!("127.0.0.1:{}", node.front) } else { node.at(node.front).to_string() };
    let mut text = format!(
        "# nginx for {domain}; on the host of the main node. For the http context: /etc/nginx/sites-enabled/ or conf.d/.\n\
         # Each person takes two connections of nginx, which by itself allows 768: in nginx.conf set\n\
         #   worker_rlimit_nofile 1048576;  events {{ worker_connections 262144; }}\n\
         upstream amphi_main {{\n    server 127.0.0.1:{front};\n    keepalive 64;\n}}\n",
        domain = plan.domain,
        front = plan.main.front
    );
    for node in &plan.visitors {
        let _ = write!(text, "upstream amphi_{} {{\n    server {};\n    keepalive 64;\n}}\n", node.name, at(node));
    }
    text += "\n# The node that a visitor was sent to. Everybody else goes to the main node.\nmap $arg_vnode $amphi_node {\n    default amphi_main;\n";
    for node in &plan.visitors {
        let _ = writeln!(text, "    {name} amphi_{name};", name = node.name);
    }
    text += "}\n";
    text + &include_str!("nginx.conf").replace("DOMAIN", &plan.domain)
}

fn coturn(plan: &Plan, host: &str, secret: &str) -> String {
    format!(
        "# coturn for {domain}: /etc/turnserver.conf on {host}.\n\
         use-auth-secret\nstatic-auth-secret={secret}\nrealm={domain}\n\
         listening-port=3478\ntls-listening-port=5349\n\
         cert=/etc/letsencrypt/live/{host}/fullchain.pem\npkey=/etc/letsencrypt/live/{host}/privkey.pem\n\
         no-multicast-peers\nno-cli\nno-tlsv1\nno-tlsv1_1\nfingerprint\n\
         # Nobody is relayed into this network, but for bridges.\n\
         denied-peer-ip=0.0.0.0-0.255.255.255\ndenied-peer-ip=10.0.0.0-10.255.255.255\ndenied-peer-ip=100.64.0.0-100.127.255.255\n\
         denied-peer-ip=127.0.0.0-127.255.255.255\ndenied-peer-ip=169.254.0.0-169.254.255.255\n\
         denied-peer-ip=172.16.0.0-172.31.255.255\ndenied-peer-ip=192.168.0.0-192.168.255.255\ndenied-peer-ip=::1\n\
         denied-peer-ip=fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n{allowed}",
        domain = plan.domain,
        allowed = plan.bridges.iter().fold(String::new(), |mut text, b| {
            let _ = writeln!(text, "allowed-peer-ip={}", b.public.unwrap_or(b.address));
            text
        }),
    )
}

fn readme(plan: &Plan) -> String {
    let mut text = format!(
        "# {domain}\n\nWritten by `amphi provision`. {visitors} visitor nodes, {bridges} bridges, {seats} seats on stage.\n\
         Keep this folder: it has the secrets, and provisioning again changes only what the arguments change.\n\n\
         ## Nodes\n\n| node | host | HTTP | c2s | s2s | health, metrics (loopback) | media (UDP) |\n|---|---|---|---|---|---|---|\n",
        domain = plan.domain,
        visitors = plan.visitors.len(),
        bridges = plan.bridges.len(),
        seats = plan.stage,
    );
    let port = |p: u16| if p == 0 { "".to_owned() } else { p.to_string() };
    for n in plan.nodes() {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            n.name,
            n.address,
            port(n.front),
            port(n.c2s),
            port(n.s2s),
            port(n.admin),
            port(n.media)
        );
    }
    text += "\n## Install\n\nOn each host, with the `amphi` program in /usr/bin (package, or copied there), copy this folder there and, as root:\n\n```sh\n";
    for (address, nodes) in plan.hosts() {
        let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
        let _ = writeln!(text, "./install.sh {}    # on {address}", names.join(" "));
    }
    let _ = write!(
        text,
        "```\n\nThe script copies `nodes/NAME` to `/etc/amphi/NAME`, makes the user `amphi`, and starts `amphi@NAME`. Only a host's own nodes \
         need to be there; `secrets/` stays where you provision.\n\n\
         Without systemd: `cd nodes/NAME && amphi run --config amphi.toml`.\n\n\
         ## Proxy\n\n`nginx/{domain}.conf` goes to the host of the main node. It wants a certificate in \
         /etc/letsencrypt/live/{domain}; `certbot certonly` makes one. Each person takes two connections of nginx, and without settings a worker \
         allows 768: set `worker_rlimit_nofile 1048576;` and, in `events`, `worker_connections 262144;` in /etc/nginx/nginx.conf. Check \
         with `nginx -t`.\n\n\
         ## Firewall\n\n| host | open | for |\n|---|---|---|\n",
        domain = plan.domain
    );
    firewall(plan, &mut text);
    text += "\nEverything else stays closed; health and metrics listen on loopback.\n\n## DNS\n\n";
    let _ = writeln!(
        text,
        "`{}` points to the host of the main node ({}). Visitor nodes and bridges need no names: clients reach nodes through the proxy and \
         bridges by address.\n",
        plan.domain, plan.main.address
    );
    text += "## Check\n\nOn the host of the main node, in this folder:\n\n```sh\namphi provision --check --out .\n```\n\n\
             It names what is wrong and how to mend it.\n\n\
             ## Stock parts beside ours\n\n`mixed/` has what Prosody and Jicofo need to take the place of a node or of the focus; each file says how.\n";
    text
}

fn firewall(plan: &Plan, text: &mut String) {
    let main = &plan.main;
    let mut row = |host: &Place, open: String, why: &str| {
        let _ = writeln!(text, "| {} ({}) | {open} | {why} |", host.address, host.name);
    };
    row(main, "TCP 80, 443 from everywhere".to_owned(), "the proxy");
    let list = |nodes: Vec<&Place>| {
        let mut all: Vec<String> = nodes.iter().map(|n| n.address.to_string()).collect();
        all.sort();
        all.dedup();
        all.join(", ")
    };
    let nodes: Vec<&Place> = plan.visitors.iter().filter(|n| n.address != main.address).collect();
    let bridges: Vec<&Place> = plan.bridges.iter().filter(|b| b.address != main.address).collect();
    if !nodes.is_empty() {
        row(main, format!("TCP {} from {}", main.s2s, list(nodes.clone())), "links with visitor nodes");
    }
    if !bridges.is_empty() {
        row(main, format!("TCP {} from {}", main.c2s, list(bridges)), "bridges log in");
    }
    for node in nodes {
        let ports = format!("TCP {}, {}, {} from {}", node.front, node.c2s, node.s2s, main.address);
        row(node, ports, "proxy, focus, link with the main node");
    }
    for bridge in &plan.bridges {
        row(bridge, format!("UDP {} from everywhere", bridge.media), "media");
    }
    if let Some(turn) = &plan.turn {
        let _ = writeln!(
            text,
            "| {turn} (TURN) | UDP and TCP 3478, TCP 5349, UDP 49152 to 65535 from everywhere | relayed media |"
        );
    }
}
