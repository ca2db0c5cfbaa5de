"""A certificate from Pebble, the ACME server that Let's Encrypt makes for tests: asked for, proved by HTTP-01, shown by the front, kept over a
restart, renewed while it runs. And HTTP/2, which browsers speak to such a front. Prints `ok` and `not ok` lines."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

AMPHI = os.environ["AMPHI_PROGRAM"]
DOMAIN = "meet.example.com"
# Seconds that a certificate is good for: it is renewed when a third is left.
VALID = 45
PATIENCE = 90
failed = 0
work = pathlib.Path(tempfile.mkdtemp(prefix="amphi-acme-"))
running = []


def step(name):
    def run(function):
        global failed
        try:
            function()
            print(f"ok {name}", flush=True)
        except Exception as error:  # every kind is told
            failed += 1
            words = str(error).strip().replace("\n", " | ")[:2000]
            print(f"not ok {name}: {type(error).__name__} {words}", flush=True)

    return run


def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def named(query):
    """The answer of a name server that knows one address."""
    end = 12
    while query[end]:
        end += query[end] + 1
    question, kind = query[12 : end + 5], int.from_bytes(query[end + 1 : end + 3], "big")
    answers = b"" if kind != 1 else b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
    head = query[:2] + b"\x81\x80\x00\x01" + (1 if answers else 0).to_bytes(2, "big") + b"\x00\x00\x00\x00"
    return head + question + answers


def names(port):
    """Answers over TCP, which Pebble takes, as long as the program runs."""

    class One(socketserver.StreamRequestHandler):
        def handle(self):
            while length := self.rfile.read(2):
                answer = named(self.rfile.read(int.from_bytes(length, "big")))
                self.wfile.write(len(answer).to_bytes(2, "big") + answer)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", port), One)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def start(name, *command, **environment):
    log = open(work / f"{name}.log", "ab")
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               cwd=work, env={**os.environ, **environment})
    running.append(process)
    return process


def stop(process):
    running.remove(process)
    process.terminate()
    process.wait(30)


def until(what, function):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return function()
        except (OSError, AssertionError) as error:
            if time.monotonic() > end:
                logs = " ".join((work / f"{n}.log").read_text()[-1500:] for n in ("amphi", "pebble"))
                raise AssertionError(f"not {what} within {PATIENCE} s: {error}; {logs}") from error
        time.sleep(0.2)


def hold(port, *protocols):
    """TLS with the front, by authorities of Pebble alone; the certificate and what was agreed to speak."""
    context = ssl.create_default_context(cafile=str(work / "roots.pem"))
    context.set_alpn_protocols(list(protocols))
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        with context.wrap_socket(plain, server_hostname=DOMAIN) as tls:
            return tls.getpeercert(), tls.selected_alpn_protocol()


ports = {name: free() for name in ("directory", "management", "proof", "names", "front", "c2s", "admin", "unused")}
subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=pebble", "-addext",
                "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", work / "pebble.key", "-out", work / "pebble.pem"],
               check=True, capture_output=True)
(work / "pebble.json").write_text(json.dumps({"pebble": {
    "listenAddress": f"127.0.0.1:{ports['directory']}", "managementListenAddress": f"127.0.0.1:{ports['management']}",
    "certificate": str(work / "pebble.pem"), "privateKey": str(work / "pebble.key"), "httpPort": ports["proof"],
    "tlsPort": ports["unused"], "ocspResponderURL": "", "externalAccountBindingRequired": False,
    "profiles": {"default": {"description": "short", "validityPeriod": VALID}}}}))
(work / "amphi.toml").write_text(f"""
domain = "{DOMAIN}"
data_dir = "{work}/data"
[listen]
front = "127.0.0.1:{ports['front']}"
c2s = "127.0.0.1:{ports['c2s']}"
admin = "127.0.0.1:{ports['admin']}"
public_url = "https://{DOMAIN}"
[bridge]
enabled = false
[tls]
front = true
[tls.acme]
domains = ["{DOMAIN}"]
email = "operator@example.com"
agree_to_terms = true
directory = "https://127.0.0.1:{ports['directory']}/dir"
directory_ca = "{work}/pebble.pem"
listen = "127.0.0.1:{ports['proof']}"
""")


def serve():
    return start("amphi", AMPHI, "run", "--config", work / "amphi.toml")


def main():
    names(ports["names"])
    start("pebble", "pebble", "-config", work / "pebble.json", "-dnsserver", f"127.0.0.1:{ports['names']}",
          PEBBLE_VA_NOSLEEP="1")
    trusted = ssl.create_default_context(cafile=str(work / "pebble.pem"))

    def roots():
        address = f"https://127.0.0.1:{ports['management']}/roots/0"
        with urllib.request.urlopen(address, context=trusted, timeout=5) as answer:
            (work / "roots.pem").write_bytes(answer.read())

    until("Pebble", roots)
    server = serve()
    shown = {}

    @step("a certificate is got from the authority, and the front shows it without a restart")
    def _():
        shown["first"], _ = until("a certificate", lambda: hold(ports["front"], "http/1.1"))
        assert ("DNS", DOMAIN) in shown["first"]["subjectAltName"], shown

    @step("plain HTTP leads to HTTPS, and tells nobody a proof")
    def _():
        for path, wanted in (("/Room", 308), ("/.well-known/acme-challenge/none", 404)):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", ports["proof"], timeout=5)) as c:
                c.request("GET", path, headers={"host": DOMAIN})
                answer = c.getresponse()
                assert answer.status == wanted, (path, answer.status)
                assert wanted != 308 or answer.getheader("location") == f"https://{DOMAIN}/Room", answer.getheaders()

    @step("who offers HTTP/2 gets it, and WebSockets go over HTTP/1.1")
    def _():
        assert hold(ports["front"], "h2", "http/1.1")[1] == "h2"
        assert hold(ports["front"], "http/1.1")[1] == "http/1.1"
        if shutil.which("curl"):
            at = f"{DOMAIN}:{ports['front']}"
            for path, status in (("/about/version", "200"), ("/", "200"), ("/metrics", "404")):
                told = subprocess.run(["curl", "--silent", "--http2", "--cacert", work / "roots.pem", "--resolve", f"{at}:127.0.0.1",
                                       "--output", work / "body", "--write-out", "%{http_version} %{http_code}", f"https://{at}{path}"],
                                      capture_output=True, text=True, check=True).stdout
                assert told == f"2 {status}", (path, told)
        load = subprocess.run([AMPHI, "load", "signaling", "--url", f"wss://127.0.0.1:{ports['front']}/xmpp-websocket", "--tls",
                               "--conference-request", f"https://127.0.0.1:{ports['front']}/conference-request/v1", "--domain",
                               DOMAIN, "--stage", "2", "--audience", "0", "--lines", "2", "--hold", "0", "--quiet"],
                              capture_output=True, text=True, timeout=120)
        assert load.returncode == 0, load.stdout + load.stderr

    @step("account and certificate are kept, readable by their owner alone")
    def _():
        for file in ("account.json", "certificate.pem", "key.pem"):
            mode = (work / "data" / "acme" / file).stat().st_mode & 0o777
            assert mode == 0o600, (file, oct(mode))

    @step("it is renewed before it ends, while people are served")
    def _():
        def renewed():
            now, _ = hold(ports["front"], "http/1.1")
            assert now["serialNumber"] != shown["first"]["serialNumber"], "still the first"
            assert ssl.cert_time_to_seconds(shown["first"]["notAfter"]) > time.time(), "the first one had ended"
            return now

        shown["second"] = until("renewed", renewed)

    @step("a restart asks for nothing while the kept one is good")
    def _():
        nonlocal server
        stop(server)
        before = (work / "data" / "acme" / "certificate.pem").read_text()
        mark = (work / "amphi.log").stat().st_size
        server = serve()
        now, _ = until("there again", lambda: hold(ports["front"], "http/1.1"))
        assert now["serialNumber"] and (work / "data" / "acme" / "certificate.pem").read_text() == before
        assert "there is only the one made here" not in (work / "amphi.log").read_text()[mark:]

    @step("one account serves all orders")
    def _():
        told = re.findall(r"There are now (\d+) accounts", (work / "pebble.log").read_text())
        assert set(told) == {"1"}, told



if shutil.which("pebble") is None:
    print("skipped certificates by ACME: pebble is not installed")
    sys.exit(77)
try:
    main()
finally:
    for process in running:
        process.kill()
        process.wait()
    if not failed:
        shutil.rmtree(work, ignore_errors=True)
sys.exit(1 if failed else 0)
