"""The operators' address against its own OpenAPI document: the document is valid and tells what is served, nothing is answered without the token, and
what schemathesis makes up is answered as the document says. With a meeting that has a stage and an audience, so that not all is
missing. Prints `ok` and `not ok` lines."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import jsonschema
import openapi_spec_validator

AMPHI = os.environ["AMPHI_PROGRAM"]
HERE = pathlib.Path(__file__).resolve().parent
TOKEN = "the token of this test"
BASE = "/admin/v1"
PATIENCE = 60
# Of each operation and kind of data.
EXAMPLES = 8
# What Prometheus and stock programs ask without a token, as they do of stock servers.
OPEN = {"/about/health", "/about/version", "/about/status", "/metrics", "/conference-request/v1", "/bridges",
        "/move-endpoints/move-endpoint", "/move-endpoints/move-endpoints", "/move-endpoints/move-fraction",
        "/room-size", "/sessions", "/room-census", "/colibri/stats"}
work = pathlib.Path(tempfile.mkdtemp(prefix="amphi-api-"))
running = []
failed = 0


def step(name):
    """The decorated function runs at once; what it raises is a failure."""

    def run(function):
        global failed
        try:
            function()
            print(f"ok {name}", flush=True)
        except Exception as error:  # every kind is told
            failed += 1
            words = str(error).strip()[-6000:].replace("\n", "\n    ")
            print(f"not ok {name}: {type(error).__name__} {words}", flush=True)

    return run


def free(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def start(name, *command):
    log = open(work / f"{name}.log", "ab")
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=work)
    running.append(process)
    return process


def log(name):
    return (work / f"{name}.log").read_text(errors="replace")[-3000:]


front, c2s, s2s, admin, media, rest = free(6)
ROOT = f"http://127.0.0.1:{admin}"


def ask(method, path, token=TOKEN, body=None):
    """Status, headers, and what the body is as JSON."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    data = None
    if body is not None:
        headers["content-type"], data = "application/json", json.dumps(body).encode()
    request = urllib.request.Request(ROOT + path, data=data, headers=headers, method=method.upper())
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        if "event-stream" in answer.headers.get("content-type", ""):
            return answer.status, answer.headers, None
        text = answer.read()
    try:
        return answer.status, answer.headers, json.loads(text)
    except ValueError:
        return answer.status, answer.headers, None


def until(what, function, name="amphi"):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found = function()
        except OSError:
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {PATIENCE} s; {log(name)}")
        time.sleep(0.1)


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def made_up(path):
    for name in ("room", "id", "node", "bridge"):
        path = path.replace("{%s}" % name, "nothing")
    return path


def meeting(room):
    """Two on stage and three in the audience; returns who is where."""
    process = start("load", AMPHI, "load", "signaling", "--url", f"ws://127.0.0.1:{front}/xmpp-websocket", "--conference-request",
                    f"http://127.0.0.1:{front}/conference-request/v1", "--domain", "localhost", "--room", room, "--stage", 2, "--audience", 3,
                    "--hold", 600, "--quiet")

    def there():
        _, _, people = ask("get", f"{BASE}/rooms/{room}/occupants")
        assert process.poll() is None, log("load")
        return people if people and people.get("total") == 5 else None

    people = until("a meeting", there, "load")["occupants"]
    return process, {place: [p["id"] for p in people if p["place"] == place] for place in ("stage", "audience")}


def end(process):
    running.remove(process)
    process.terminate()
    process.wait(30)


settings = [f"data_dir={work}/data", f"listen.front=127.0.0.1:{front}", f"listen.c2s=127.0.0.1:{c2s}", f"listen.s2s=127.0.0.1:{s2s}",
            f"listen.admin=127.0.0.1:{admin}", f"admin.token={TOKEN}", f"bridge.port={media}", f"bridge.listen=127.0.0.1:{rest}", "stage=2"]
start("amphi", AMPHI, "run", *(part for setting in settings for part in ("--set", setting)))
document = {}
try:

    @step("the document is valid OpenAPI")
    def _():
        until("the bridge", lambda: (ask("get", f"{BASE}/bridges")[2] or {}).get("bridges"))
        document.update(ask("get", f"{BASE}/openapi.json")[2])
        openapi_spec_validator.validate(document)
        assert document["openapi"].startswith("3.1") and len(list(operations(document))) > 40

    @step("without the token every operation answers 401, but for what stock programs ask")
    def _():
        for method, path, operation in operations(document):
            unguarded = operation.get("security") == []
            assert unguarded == (path in OPEN), f"{method} {path}: {operation.get('security')}"
            if unguarded:
                continue
            for token in (None, "", "wrong", TOKEN + "x"):
                status, headers, told = ask(method, made_up(path), token)
                assert status == 401, f"{method} {path} with {token!r}: {status}"
                assert told["error"] and headers["www-authenticate"].startswith("Bearer"), f"{method} {path}: {told}"

    @step("what the document does not tell is not served")
    def _():
        # A path that exists answers 405 to a method that it does not know.
        known = {path: set(methods) for path, methods in document["paths"].items()}
        for path, methods in known.items():
            for method in {"get", "put", "post", "delete", "patch"} - methods:
                status, headers, _ = ask(method, made_up(path))
                assert status == 405 and headers["allow"], f"{method} {path}: {status}"
        for path in ("/nothing", "/rooms/a/b", "/nodes/a/nothing"):
            assert ask("get", BASE + path)[0] == 404, path

    process, people = meeting("town")
    nodes = [n["name"] for n in ask("get", f"{BASE}/nodes")[2]["nodes"]]
    bridges = [b["name"] for b in ask("get", f"{BASE}/bridges")[2]["bridges"]]
    there = {"room": ["town"], "id": people["stage"] + people["audience"], "node": nodes, "bridge": bridges}

    @step("schemathesis finds nothing, with a meeting that runs")
    def _():
        command = [pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", f"{ROOT}{BASE}/openapi.json", "--url", ROOT,
                   "--header", f"Authorization: Bearer {TOKEN}", "--checks", "all", "--max-examples", str(EXAMPLES),
                   "--exclude-operation-id", "streamEvents", "--continue-on-failure", "--request-timeout", "20", "--no-shrink",
                   "--warnings", "off", "--seed", "1", "--phases", "coverage,fuzzing", "--suppress-health-check", "all"]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "AMPHI_THERE": json.dumps(there)}
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=work, env=environment)
        print("\n".join(line for line in done.stdout.splitlines() if "generated" in line or "Tested:" in line), flush=True)
        told = "\n".join(line[:300] for line in (done.stdout + done.stderr).splitlines())
        assert done.returncode == 0, told
        assert ask("get", "/about/health")[0] == 200 and running[0].poll() is None, log("amphi")

    end(process)

    @step("what changes a meeting answers as the document says, for people who are there")
    def _():
        process, people = meeting("square")
        room = f"{BASE}/rooms/square"
        done = document["components"]["schemas"]["Done"]
        for method, path, body in (
            ("post", f"{room}/occupants/{people['stage'][1]}/moderator", {"grant": True}),
            ("post", f"{room}/message", {"message": "Hello."}),
            ("post", f"{room}/occupants/{people['audience'][0]}/promote", None),
            ("post", f"{room}/occupants/{people['stage'][1]}/demote", None),
            ("post", f"{room}/occupants/{people['audience'][1]}/kick", {"reason": "Enough."}),
            ("delete", f"{room}?reason=Over", None),
        ):
            status, _, told = ask(method, path, body=body)
            assert status == 200, f"{method} {path}: {status} {told}"
            jsonschema.validate(told, done)
        end(process)

    @step("the stream of events is one")
    def _():
        status, headers, _ = ask("get", f"{BASE}/events/stream")
        assert status == 200 and headers["content-type"].startswith("text/event-stream"), headers

    @step("the server has not panicked, and ends when told to")
    def _():
        assert "panicked" not in (work / "amphi.log").read_text(errors="replace"), log("amphi")
        server = running[0]
        server.terminate()
        assert server.wait(30) == 0, log("amphi")
        running.remove(server)
finally:
    for process in running:
        process.kill()
        process.wait()
sys.exit(1 if failed else 0)
