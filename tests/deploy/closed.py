"""A network that lets nothing but TCP 443 out, on hosts that are network namespaces: `amphi provision --turn-beside` as written, with the real nginx
and coturn on the main node's host, a bridge on another, and people behind a wall. Prints `ok` and `not ok` lines.

    closed.py PYTHON    PYTHON has what tests/interop/python needs"""

import os
import pathlib
import subprocess
import sys

import namespaces
from namespaces import DOMAIN, WORK, Deployment, Host, certificates, report, run

TURN = f"turn.{DOMAIN}"
ADDRESSES = {"main": "10.99.0.10", "bridge1": "10.99.0.31", "people": "10.99.0.100"}
INTEROP = pathlib.Path(__file__).resolve().parents[1] / "interop" / "python"


class Closed(Deployment):
    """Only what the checks of a deployment need of it."""

    def __init__(self):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2,
            "-subj", "/CN=Authority of a test", "-keyout", WORK / "authority.key", "-out", WORK / "authority.pem")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "link", "set", "switch", "up")
        self.out = WORK / "deployment"
        run(namespaces.AMPHI, "provision", "--visitors", 1, "--bridges", 1, "--domain", DOMAIN, "--turn", TURN, "--turn-beside",
            "--host", f"main={ADDRESSES['main']}", "--host", f"bridges={ADDRESSES['bridge1']}", "--out", self.out)
        self.hosts = {name: Host(name) for name in ADDRESSES}
        self.main, self.people = self.hosts["main"], self.hosts["people"]
        for host in self.hosts.values():
            host.run("sh", "-c", f"echo '{ADDRESSES['main']} {TURN}' >>/etc/hosts")
        for name in (DOMAIN, TURN):
            certificates(name, WORK / name, 90)
            self.main.run("mkdir", "-p", f"/etc/letsencrypt/live/{name}")
            self.main.run("cp", WORK / name / "privkey.pem", WORK / name / "fullchain.pem", f"/etc/letsencrypt/live/{name}")
        self.main.run(f"{self.out}/install.sh", "main", "v1")
        self.hosts["bridge1"].run(f"{self.out}/install.sh", "bridge1")
        # As README.md says.
        self.main.run("cp", self.out / "nginx" / f"{DOMAIN}.conf", "/etc/nginx/conf.d/")
        self.main.run("cp", self.out / "nginx" / "stream.conf", "/etc/nginx/stream.conf")
        self.main.run("sh", "-c", "rm -f /etc/nginx/sites-enabled/*; echo 'include /etc/nginx/stream.conf;' >>/etc/nginx/nginx.conf")
        self.proxy = None
        self.nginx()
        self.main.run("cp", self.out / "coturn" / "turnserver.conf", "/etc/turnserver.conf")
        self.relay = self.coturn()

    def coturn(self):
        return self.main.start("/usr/bin/turnserver", "-c", "/etc/turnserver.conf", "--pidfile=", "--log-file=stdout",
                               output=open(WORK / "coturn.log", "ab"))

    def wall(self):
        """Nothing leaves the people's host but TCP to port 443."""
        at = ["ip", "-n", "people", "rule", "add"]
        run(*at, "pref", "10", "ipproto", "tcp", "dport", "443", "lookup", "main")
        run(*at, "pref", "20", "to", "10.99.0.0/24", "iif", "lo", "blackhole")


def inside(python):
    run("mount", "-t", "tmpfs", "none", "/run")
    for folder in ("/run/netns", WORK / "hosts"):
        pathlib.Path(folder).mkdir(parents=True)
    closed = Closed()

    def step(name):
        def decorate(function):
            try:
                report(name, function())
            except Exception as error:  # every kind is told
                report(name, str(error).strip()[:6000])
        return decorate

    @step("with TURN beside the front, the check is green, TURN over TLS on 443 among it")
    def _():
        words = closed.until(0, " 0 wrong.")
        assert f"TURN over TLS at {TURN}:443 relays" in words, words

    closed.wall()
    environment = [f"AMPHI_URL=https://{DOMAIN}", f"AMPHI_DOMAIN={DOMAIN}", f"SSL_CERT_FILE={WORK}/authority.pem", f"PYTHONPATH={INTEROP}",
                   "PYTHONDONTWRITEBYTECODE=1"]
    told = subprocess.run([*closed.people.enter(), "env", *environment, python, str(INTEROP / "closed.py")], capture_output=True, text=True)
    print(told.stdout, end="", flush=True)
    if told.returncode != 0:
        log = (WORK / "coturn.log").read_text(errors="replace")[-3000:]
        report("people behind the wall see and hear each other", f"{told.stderr[-2000:]} coturn: {log}")

    @step("the check names a TURN server that is away")
    def _():
        closed.relay.terminate()
        closed.relay.wait()
        words = closed.until(1, f"WRONG  TURN over TLS at {TURN}:443")
        assert "nginx/stream.conf" in words, words

    closed.proxy.terminate()
    closed.proxy.wait()
    for host, nodes in (("main", ["main", "v1"]), ("bridge1", ["bridge1"])):
        for node in nodes:
            closed.hosts[host].run("systemctl", "stop", f"amphi@{node}")


def main():
    namespaces.ADDRESSES = ADDRESSES
    if os.environ.get(namespaces.INSIDE):
        inside(sys.argv[1])
        sys.exit(1 if namespaces.failed else 0)
    environment = {**os.environ, namespaces.INSIDE: "1", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    sys.exit(subprocess.run([*namespaces.UNSHARE, sys.executable, __file__, *sys.argv[1:]], env=environment).returncode)


main()
