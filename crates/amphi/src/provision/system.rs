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
        files.push(Output::public("coturn/amphi.conf", UNIT_OF_COTURN.replace("HOST", host)));
        if plan.turn_beside {
            files.push(Output::public("nginx/stream.conf", split(plan, host)));
        }
    }
    files
}

/// One unit for all nodes: the folder below /etc/amphi is its instance. The package brings the same.
const UNIT: &str = include_str!("../../../../deploy/systemd/amphi@.service");
const SYSCTL: &str = include_str!("../../../../deploy/systemd/60-amphi.conf");
const INSTALL: &str = include_str!("install.sh");

/// What Debian's unit lacks: the right to listen on 443, and to read a certificate that belongs to root.
const UNIT_OF_COTURN: &str = "# For coturn's unit: /etc/systemd/system/coturn.service.d/amphi.conf. Its user may neither listen on 443 nor read the key of a\n\
    # certificate otherwise. After a renewal: systemctl restart coturn (certbot: --deploy-hook).\n\
    [Service]\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n\
    LoadCredential=fullchain.pem:/etc/letsencrypt/live/HOST/fullchain.pem\n\
    LoadCredential=privkey.pem:/etc/letsencrypt/live/HOST/privkey.pem\n\
    ExecStart=\n\
    ExecStart=/usr/bin/turnserver -c /etc/turnserver.conf --pidfile= --cert=${CREDENTIALS_DIRECTORY}/fullchain.pem --pkey=${CREDENTIALS_DIRECTORY}/privkey.pem\n";

/// Port 443 for two: TURN over TLS by its name, everything else is for meetings.
fn split(plan: &Plan, host: &str) -> String {
    format!(
        "# nginx in front of meetings and TURN; on the host of the main node, outside of the http context: at the end of nginx.conf\n\
         #   include /etc/nginx/stream.conf;\n\
         # It needs the module stream (Debian: libnginx-mod-stream). TLS ends behind it: at coturn, or in nginx/{domain}.conf.\n\
         stream {{\n    map $ssl_preread_server_name $amphi_tls {{\n        {host} 127.0.0.1:{turn};\n        default 127.0.0.1:{web};\n    }}\n\
         \x20   # Who connects is told in front of TLS, for the meetings' server. coturn is told nothing.\n\
         \x20   server {{\n        listen 127.0.0.1:{turn} proxy_protocol;\n        proxy_pass 127.0.0.1:5349;\n        \
         proxy_timeout 900s;\n        tcp_nodelay on;\n    }}\n\
         \x20   server {{\n        listen 443;\n        listen [::]:443;\n        ssl_preread on;\n        proxy_protocol on;\n        proxy_pass $amphi_tls;\n        \
         proxy_connect_timeout 5s;\n        proxy_timeout 900s;\n        tcp_nodelay on;\n    }}\n}}\n",
        domain = plan.domain,
        turn = TURN,
        web = WEB,
    )
}

/// Loopback ports behind a split 443, where PROXY tells who connects.
const TURN: u16 = 4442;
const WEB: u16 = 4443;

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
    let mut server = include_str!("nginx.conf").replace("DOMAIN", &plan.domain);
    if plan.turn_beside {
        let both = "    listen 443 ssl;\n    listen [::]:443 ssl;\n";
        // Who connects is told by stream.conf.
        let behind = format!(
            "    # Behind stream.conf, which has port 443.\n    listen 127.0.0.1:{WEB} ssl proxy_protocol;\n    \
             set_real_ip_from 127.0.0.1;\n    real_ip_header proxy_protocol;\n"
        );
        server = server.replace(both, &behind);
    }
    text + &server
}

fn coturn(plan: &Plan, host: &str, secret: &str) -> String {
    format!(
        "# coturn for {domain}: /etc/turnserver.conf on {host}.\n\
         use-auth-secret\nstatic-auth-secret={secret}\nrealm={domain}\n\
         listening-port=3478\ntls-listening-port={tls}\n\
         # The unit with amphi.conf names copies of these that its user can read.\n\
         cert=/etc/letsencrypt/live/{host}/fullchain.pem\npkey=/etc/letsencrypt/live/{host}/privkey.pem\n\
         {relay}no-multicast-peers\nno-cli\nno-tlsv1\nno-tlsv1_1\nfingerprint\n\
         # Nobody is relayed into this network, but for bridges.\n\
         denied-peer-ip=0.0.0.0-0.255.255.255\ndenied-peer-ip=10.0.0.0-10.255.255.255\ndenied-peer-ip=100.64.0.0-100.127.255.255\n\
         denied-peer-ip=127.0.0.0-127.255.255.255\ndenied-peer-ip=169.254.0.0-169.254.255.255\n\
         denied-peer-ip=172.16.0.0-172.31.255.255\ndenied-peer-ip=192.168.0.0-192.168.255.255\ndenied-peer-ip=::1\n\
         denied-peer-ip=fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n{allowed}",
        domain = plan.domain,
        // Behind nginx people come from loopback, and what is relayed would go out there.
        relay = if plan.turn_beside { format!("relay-ip={}\n", plan.main.address) } else { String::new() },
        // Where nginx has 443, it passes on to this one.
        tls = if plan.turn_beside { 5349 } else { 443 },
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
         {turn}## Firewall\n\n| host | open | for |\n|---|---|---|\n",
        domain = plan.domain,
        turn = plan.turn.as_deref().map_or_else(String::new, |host| turn(plan, host)),
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

fn turn(plan: &Plan, host: &str) -> String {
    let mut text = format!(
        "## TURN\n\nFor networks that let only HTTPS out. On {host}: install coturn, get a certificate (`certbot certonly -d {host} --deploy-hook \
         'systemctl restart coturn'`), copy `coturn/turnserver.conf` to /etc/turnserver.conf (owner root, group turnserver, mode 0640) and \
         `coturn/amphi.conf` to /etc/systemd/system/coturn.service.d/amphi.conf, then `systemctl daemon-reload` and `systemctl restart \
         coturn`. Clients get credentials by XEP-0215 and use TCP 443 with TLS where nothing else goes through.\n\n"
    );
    if plan.turn_beside {
        let _ = write!(
            text,
            "It shares port 443 with the meetings: `{host}` points to the same address as `{}`. Install nginx' module stream (Debian: \
             libnginx-mod-stream), copy `nginx/stream.conf` to /etc/nginx/stream.conf and add `include /etc/nginx/stream.conf;` at the \
             end of /etc/nginx/nginx.conf; other sites of this nginx that listen on 443 must move as the one in `nginx/` has.\n\n",
            plan.domain
        );
    }
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
            "| {turn} (TURN) | UDP and TCP 3478, TCP 443, UDP 49152 to 65535 from everywhere | relayed media |"
        );
    }
}
