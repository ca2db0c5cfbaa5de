"""Starts what `amphi provision` writes, as its page says, on hosts that are network namespaces: eight visitor nodes, two bridges, a main
node behind nginx with HTTPS. Then an audience comes from a host of its own, and `amphi provision --check` looks at it all, whole and
broken. Each host has its own network, /etc, /usr, /var and /run; nothing of it is seen outside, and all of it ends with this program.

    namespaces.py --probe           whether this can be done here; says why not
    namespaces.py [--audience N]    does it; prints `ok` and `not ok` lines

Needs root. With `--audience` of 1600 and more the settings are as written; a smaller audience is spread by a lower `open_node_at`."""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
DOMAIN = "meet.example.com"
NODES = [f"v{n}" for n in range(1, 9)]
BRIDGES = ["bridge1", "bridge2"]
ADDRESSES = {"main": "10.99.0.10", **{f"v{n}": f"10.99.0.{10 + n}" for n in range(1, 9)}, "bridge1": "10.99.0.31",
             "bridge2": "10.99.0.32", "people": "10.99.0.100"}
AMPHI = os.environ.get("AMPHI_PROGRAM", "amphi")
INSIDE = "AMPHI_NAMESPACES_INSIDE"
WORK = pathlib.Path("/run/amphi-test")
# An audience that opens eight nodes with the settings as they are written (`focus.open_node_at`).
AS_WRITTEN = 1600
PATIENCE = 120
TOOLS = ["unshare", "nsenter", "ip", "mount", "nginx", "openssl", "useradd", "getent", "sysctl"]
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
failed = 0


def report(name, error=None):
    global failed
    failed += error is not None
    print(f"ok namespaces: {name}" if error is None else f"not ok namespaces: {name}: {error}", flush=True)


def probe():
    """Why this cannot be done here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs Linux and root"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    script = ("mount -t tmpfs none /run && mkdir -p /run/u /run/w /run/netns && ip netns add probe && "
              "ip link add br0 type bridge && ip link add v0 type veth peer name v1 netns probe && "
              "mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/u,workdir=/run/w /etc")
    done = subprocess.run([*UNSHARE, "sh", "-c", script], capture_output=True, text=True)
    return None if done.returncode == 0 else f"no namespaces with networks and overlays here: {done.stderr.strip()}"


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ends with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Host:
    """A network namespace on the common switch, with file systems of its own."""

    def __init__(self, name):
        self.name, self.address = name, ADDRESSES[name]
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"at-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"at-{name}", "master", "switch", "up")
        for arguments in (["link", "set", "lo", "up"], ["address", "add", f"{self.address}/24", "dev", "eth0"],
                          ["link", "set", "eth0", "up"]):
            run("ip", "-n", name, *arguments)
        self.holder = subprocess.Popen(["nsenter", f"--net=/run/netns/{name}", "unshare", "--mount", "sh", "-c",
                                        "echo there; exec sleep infinity"], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "there\n", name
        own = WORK / "hosts" / name
        script = ""
        for folder in ("etc", "usr", "var"):
            upper, work = own / folder, own / f"{folder}.work"
            upper.mkdir(parents=True)
            work.mkdir()
            script += f"mount -t overlay overlay -o lowerdir=/{folder},upperdir={upper},workdir={work} /{folder}\n"
        # What is common stays visible below /run/amphi-test.
        (own / "run").mkdir()
        (own / "run" / "amphi-test").mkdir()
        script += (f"mount --rbind {WORK} {own}/run/amphi-test\nmount --rbind {own}/run /run\n"
                   f"rm -f /usr/bin/amphi /usr/local/bin/amphi /lib/systemd/system/amphi@.service && touch /usr/bin/amphi && mount --bind '{AMPHI}' /usr/bin/amphi\n"
                   f"rm -rf /etc/amphi /var/lib/amphi; rm -f /etc/resolv.conf; mkdir -p /etc/systemd/system /etc/sysctl.d /etc/default\n"
                   f"printf '127.0.0.1 localhost\\n{ADDRESSES['main']} {DOMAIN}\\n' >/etc/hosts\n"
                   f"cat {WORK}/authority.pem >>/etc/ssl/certs/ca-certificates.crt\n"
                   f"printf '#!/bin/sh\\nexec {sys.executable} {HERE}/systemctl.py \"$@\"\\n' >/usr/bin/systemctl.amphi\n"
                   f"chmod 755 /usr/bin/systemctl.amphi && mv -f /usr/bin/systemctl.amphi /usr/bin/systemctl\n")
        run(*self.enter(), "sh", "-euc", script)

    def enter(self):
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--wd=/"]

    def run(self, *command, **more):
        path = "/usr/sbin:/usr/bin:/sbin:/bin"
        return run(*self.enter(), "env", f"PATH={path}", *command, **more)

    def start(self, *command, output):
        return subprocess.Popen([*self.enter(), *map(str, command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def close(self, protocol, port):
        """A firewall that drops what comes to a port; what is undone is the returned function."""
        rule = ["pref", "10", "ipproto", protocol, "dport", str(port), "blackhole"]
        # Before the rule that finds what is for this host.
        run("ip", "-n", self.name, "rule", "add", "pref", "100", "lookup", "local")
        run("ip", "-n", self.name, "rule", "del", "pref", "0")
        run("ip", "-n", self.name, "rule", "add", *rule)

        def again():
            run("ip", "-n", self.name, "rule", "add", "pref", "0", "lookup", "local")
            run("ip", "-n", self.name, "rule", "del", "pref", "100")
            run("ip", "-n", self.name, "rule", "del", *rule)

        return again

    def log(self, node):
        file = WORK / "hosts" / self.name / "run" / "units" / f"amphi@{node}.log"
        return file.read_text(errors="replace") if file.exists() else ""


AUTHORITY = f"""[ca]
default_ca = it
[it]
new_certs_dir = {WORK}
database = {WORK}/index.txt
rand_serial = yes
unique_subject = no
default_md = sha256
policy = names
[names]
commonName = supplied
"""


def certificates(name, folder, days):
    """A certificate from the authority of this test, which is thirty days old and has some left, or none."""
    folder.mkdir(parents=True, exist_ok=True)
    key, ask, pem = folder / "privkey.pem", folder / "ask.pem", folder / "fullchain.pem"
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
        "-keyout", key, "-out", ask)
    names = folder / "names"
    names.write_text(f"subjectAltName=DNS:{name}\n")
    (WORK / "ca.cnf").write_text(AUTHORITY)
    (WORK / "index.txt").write_text("")
    at = lambda days: time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))  # noqa: E731
    run("openssl", "ca", "-batch", "-notext", "-config", WORK / "ca.cnf", "-cert", WORK / "authority.pem", "-keyfile",
        WORK / "authority.key", "-in", ask, "-out", pem, "-extfile", names, "-startdate", at(-30), "-enddate", at(days))


def provisioned():
    """The files, and which nodes are on which host."""
    out = WORK / "deployment"
    places = ["--host", f"main={ADDRESSES['main']}"]
    places += ["--host", "visitors=" + ",".join(ADDRESSES[n] for n in NODES)]
    places += ["--host", "bridges=" + ",".join(ADDRESSES[b] for b in BRIDGES)]
    print(run(AMPHI, "provision", "--visitors", len(NODES), "--bridges", len(BRIDGES), "--domain", DOMAIN, *places, "--out", out))
    # The page names the command for each host.
    lines = re.findall(r"^\./install\.sh (.+?)\s+# on (\S+)$", (out / "README.md").read_text(), re.MULTILINE)
    assert len(lines) == 11, lines
    return out, {address: names.split() for names, address in lines}


class Deployment:
    def __init__(self, audience):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2,
            "-subj", "/CN=Authority of a test", "-keyout", WORK / "authority.key", "-out", WORK / "authority.pem")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "link", "set", "switch", "up")
        self.out, nodes = provisioned()
        self.hosts = {name: Host(name) for name in ADDRESSES}
        self.main, self.people = self.hosts["main"], self.hosts["people"]
        for host in self.hosts.values():
            names = nodes.get(host.address, [])
            if not names:
                continue
            if "main" in names and audience < AS_WRITTEN:
                host.run("sh", "-c", f"echo AMPHI__FOCUS__OPEN_NODE_AT={max(1, audience // 10)} >/etc/default/amphi-main")
            print(host.run(f"{self.out}/install.sh", *names).strip(), flush=True)
        self.proxy = None
        self.certificate(DOMAIN, 90)
        file = self.out / "nginx" / f"{DOMAIN}.conf"
        self.main.run("cp", file, "/etc/nginx/conf.d/")
        self.main.run("sh", "-c", "rm -f /etc/nginx/sites-enabled/*")
        # As README.md says of nginx.conf.
        self.main.run("sed", "-i", "s/worker_connections .*/worker_connections 32768;/; 1i worker_rlimit_nofile 65536;",
                      "/etc/nginx/nginx.conf")
        self.nginx()

    def certificate(self, name, days):
        folder = WORK / "certificate"
        certificates(name, folder, days)
        live = f"/etc/letsencrypt/live/{DOMAIN}"
        self.main.run("mkdir", "-p", live)
        self.main.run("cp", folder / "privkey.pem", folder / "fullchain.pem", live)

    def nginx(self):
        if self.proxy is not None:
            self.proxy.terminate()
            self.proxy.wait()
        self.main.run("nginx", "-t")
        log = open(WORK / "nginx.log", "ab")
        self.proxy = self.main.start("nginx", "-g", "daemon off;", output=log)

    def check(self):
        command = [*self.main.enter(), "/usr/bin/amphi", "provision", "--check", "--out", str(self.out)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def until(self, code, wanted):
        """Checks until the outcome is as wanted: nodes take a moment to find each other, and to miss each other."""
        end = time.monotonic() + PATIENCE
        while True:
            status, words = self.check()
            if status == code and wanted in words:
                return words
            if time.monotonic() > end:
                logs = "\n".join(f"--- {n}: {h.log(n)[-1500:]}" for n, h in self.hosts.items() if n in ("main", "v1", "bridge1"))
                raise AssertionError(f"no {wanted!r} within {PATIENCE} s, but: {words}{logs}")
            time.sleep(0.3)

    def ctl(self, *words):
        text = self.main.run("amphi", "ctl", "--json", "--token-file", "/var/lib/amphi/main/admin-token", *words)
        return json.loads(text)

    def meeting(self, audience):
        """The audience by node, while it is there, and the report of those who came."""
        result, log = WORK / "report.json", WORK / "load.log"
        web = f"https://{DOMAIN}"
        load = self.people.start(
            "/usr/bin/amphi", "load", "signaling", "--url", f"wss://{DOMAIN}/xmpp-websocket", "--conference-request",
            f"{web}/conference-request/v1", "--tls", "--ca", WORK / "authority.pem", "--domain", DOMAIN, "--room", "town",
            "--stage", 2, "--audience", audience, "--concurrency", 20, "--lines", 5, "--hold", 20, "--json", result, "--quiet",
            output=open(log, "wb"))
        spread, end = {}, time.monotonic() + 600
        while load.poll() is None and time.monotonic() < end:
            try:
                now = {n["name"]: n for n in self.ctl("nodes")["nodes"]}
            except (AssertionError, KeyError):
                now = {}
            people = {name: now[name].get("visitors") or 0 for name in NODES if name in now}
            if sum(people.values()) >= sum(spread.values()):
                spread = people
            time.sleep(0.5)
        if load.wait() != 0:
            raise AssertionError(f"the audience says {log.read_text()[-3000:]}")
        return spread, json.loads(result.read_text())


def inside(audience):
    run("mount", "-t", "tmpfs", "none", "/run")
    for folder in ("/run/netns", WORK / "hosts"):
        pathlib.Path(folder).mkdir(parents=True)
    deployment = Deployment(audience)

    def step(name):
        def decorate(function):
            try:
                report(name, function(deployment))
            except Exception as error:  # every kind is told
                report(name, str(error).strip()[:6000])
        return decorate

    @step("as written, the check is green")
    def _(d):
        print(d.until(0, "0 wrong."))

    @step(f"an audience of {audience} spreads over eight nodes")
    def _(d):
        spread, told = d.meeting(audience)
        print("audience by node:", " ".join(f"{name}={count}" for name, count in spread.items()), flush=True)
        print(json.dumps(told)[:1500])
        few = [name for name in NODES if spread.get(name, 0) < max(1, audience // 32)]
        if few or sum(spread.values()) < audience:
            return f"not spread: {spread}"

    def broken(what, wanted, fix, breaks, mends):
        """Something is misconfigured; the check has to say so, and what to do."""

        @step(f"the check names {what}")
        def _(d):
            undo = breaks(d)
            try:
                words = d.until(1, wanted)
                print("\n".join(line for line in words.splitlines() if not line.startswith("ok ")), flush=True)
                assert fix in words, words
            finally:
                mends(d, undo)

    def certificate(*arguments):
        def breaks(d):
            d.certificate(*arguments)
            d.nginx()
        return breaks

    def good(d, _):
        d.certificate(DOMAIN, 90)
        d.nginx()

    broken("an expired certificate", "its certificate has expired", "certbot", certificate(DOMAIN, -1), good)
    broken("a certificate for another name", f"its certificate is for other names than {DOMAIN}", "certbot",
           certificate("other.example.com", 90), good)
    broken("a certificate that nobody renews", "ends in 2 days", "certbot renew", certificate(DOMAIN, 3), good)

    def no_query(d):
        # A node's front hands on what is for others, so a proxy may know no nodes; but it must not lose who is meant.
        lost = "s|proxy_pass http://$amphi_node;|rewrite ^ /xmpp-websocket? break; proxy_pass http://amphi_main;|"
        d.main.run("sed", "-i", lost, f"/etc/nginx/conf.d/{DOMAIN}.conf")
        d.nginx()

    def with_query(d, _):
        d.main.run("cp", d.out / "nginx" / f"{DOMAIN}.conf", "/etc/nginx/conf.d/")
        d.nginx()

    broken("a proxy that loses the node", f"the proxy of {DOMAIN} sends people of v3 to another node", "?vnode=v3", no_query, with_query)
    broken("a closed port of a bridge", "bridge2 tells browsers 10.99.0.32:10000, and nothing answers there", "open UDP 10000",
           lambda d: d.hosts["bridge2"].close("udp", 10000), lambda d, again: again())
    broken("a closed port of a node", "links with v5: no answer from 10.99.0.15:52695: a firewall drops the packets",
           "firewalls must let the other nodes in", lambda d: d.hosts["v5"].close("tcp", 52695), lambda d, again: again())

    @step("the check is green again")
    def _(d):
        d.until(0, " 0 wrong.")

    deployment.proxy.terminate()
    deployment.proxy.wait()
    for host in deployment.hosts.values():
        for node in [host.name] if host.name != "people" else []:
            host.run("systemctl", "stop", f"amphi@{node}")
    print("all ended", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--audience", type=int, default=48)
    arguments = parser.parse_args()
    if os.environ.get(INSIDE):
        inside(arguments.audience)
        sys.exit(1 if failed else 0)
    why = probe()
    if why is not None:
        print(f"skipped namespaces: {why}")
        sys.exit(77)
    if arguments.probe:
        return
    environment = {**os.environ, INSIDE: "1", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    sys.exit(subprocess.run([*UNSHARE, sys.executable, __file__, *sys.argv[1:]], env=environment).returncode)


if __name__ == "__main__":
    main()
