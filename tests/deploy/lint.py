"""Lints what is under deploy/ and what `amphi provision` writes: every configuration goes through our own check, every file through the
tool that reads it in earnest, where that tool is installed. Prints `ok`, `not ok` and `skipped` lines."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "amphi"
AMPHI = os.environ["AMPHI_PROGRAM"]
failed = 0


def report(name, error=None):
    global failed
    if error is None:
        print(f"ok {name}")
    else:
        failed += 1
        print(f"not ok {name}: {error}")


def check(name):
    """The decorated function runs at once; what it raises is a failure."""

    def run(function):
        try:
            function()
            report(name)
        except Exception as error:  # every kind is told
            report(name, str(error).strip().replace("\n", " | ")[:2000])

    return run


def tool(program, name):
    """Whether a program is there; what needs it is skipped aloud otherwise."""
    there = shutil.which(program) is not None
    if not there:
        print(f"skipped {name}: {program} is not installed")
    return there


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]} ends with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def accepted(environment, settings, text, secrets):
    """Our own check of a configuration. Files of secrets are put where they can be read."""
    with tempfile.TemporaryDirectory() as folder:
        secret = pathlib.Path(folder, "secret")
        secret.write_text("secret\n")
        for name in secrets:
            text = text.replace(name, str(secret))
            environment = {k: str(secret) if v == name else v for k, v in environment.items()}
        file = pathlib.Path(folder, "amphi.toml")
        file.write_text(text)
        arguments = [part for setting in settings for part in ("--set", setting)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AMPHI__")}
        run(AMPHI, "config", "check", file, *arguments, env={**clean, **environment})


# ---- containers ----------------------------------------------------------------------------------------------------------


def compose():
    text = (DEPLOY / "docker" / "compose.yaml").read_text()
    values = {"AMPHI_DOMAIN": "meet.example.com", "AMPHI_PUBLIC_IP": "203.0.113.9"}

    def value(match):
        name, default = match.group(1), match.group(2)
        return values.get(name, default if default is not None else "")

    return yaml.safe_load(re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", value, text))


@check("compose: every service is locked down and its configuration is accepted")
def _():
    services = compose()["services"]
    assert set(services) == {"main", "v1", "v2", "bridge"}, services.keys()
    for name, service in services.items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        environment = {k: str(v) for k, v in service["environment"].items()}
        secrets = [f"/run/secrets/{secret}" for secret in service["secrets"]]
        accepted(environment, [], "", secrets)


@check("Dockerfile: the last stage is not root and has no shell")
def _():
    last = (DEPLOY / "docker" / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert "distroless" in last.splitlines()[0] and "\nUSER 65532" in last and "\nRUN " not in last, last


# ---- scripts and units ---------------------------------------------------------------------------------------------------

provisioned = pathlib.Path(tempfile.mkdtemp(prefix="amphi-lint-"))


@check("provision: a deployment on many hosts is written")
def _():
    run(AMPHI, "provision", "--domain", "meet.example.com", "--visitors", 8, "--bridges", 2, "--turn", "turn.example.com",
        "--host", "main=10.0.0.1", "--host", "visitors=10.0.0.2,10.0.0.3", "--out", provisioned)


@check("provision: every node's configuration is accepted in its folder")
def _():
    nodes = sorted((provisioned / "nodes").iterdir())
    assert len(nodes) == 11, nodes
    for node in nodes:
        run(AMPHI, "config", "check", "amphi.toml", cwd=node)


@check("shell scripts are well-formed")
def _():
    debian = [DEPLOY / "debian" / name for name in ("postinst", "postrm", "prerm")]
    for script in [provisioned / "install.sh", DEPLOY / "docker" / "secrets.sh", *debian]:
        run("sh", "-n", script)


if tool("luac", "mixed: Prosody fragments"):

    @check("mixed: Prosody fragments are well-formed")
    def _():
        for file in sorted((provisioned / "mixed").glob("*.lua")):
            run("luac", "-p", file)


if tool("systemd-analyze", "systemd: the unit"):

    @check("systemd: the unit is accepted")
    def _():
        # The program is not installed here.
        unit = (DEPLOY / "systemd" / "amphi@.service").read_text().replace("/usr/bin/amphi", "/bin/true")
        file = provisioned / "amphi@.service"
        file.write_text(unit)
        told = [line for line in run("systemd-analyze", "verify", file).splitlines() if "amphi" in line]
        assert not told, told


if tool("nginx", "nginx: both configurations") and tool("openssl", "nginx: both configurations"):

    @check("nginx: both configurations are accepted")
    def _():
        folder = provisioned / "nginx-test"
        folder.mkdir()
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 1, "-subj", "/CN=meet.example.com",
            "-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem")
        for file in (DEPLOY / "nginx" / "amphi.conf", provisioned / "nginx" / "meet.example.com.conf"):
            text = file.read_text().replace("/etc/letsencrypt/live/meet.example.com", str(folder))
            text = text.replace("listen 80;", "listen 18080;").replace("[::]:80", "[::]:18080")
            text = text.replace("listen 443", "listen 18443").replace("[::]:443", "[::]:18443")
            whole = f"pid {folder}/pid; error_log stderr; events {{}}\nhttp {{ access_log off;\n{text}\n}}\n"
            (folder / "nginx.conf").write_text(whole)
            run("nginx", "-t", "-p", folder, "-c", folder / "nginx.conf")


# ---- Debian --------------------------------------------------------------------------------------------------------------

if tool("cargo-deb", "package: a Debian package (cargo install cargo-deb)") and tool("dpkg-deb", "package: its content"):

    @check("package: it is built from what is there, and has what belongs into it")
    def _():
        package = provisioned / "amphi.deb"
        run("cargo", "deb", "--no-build", "--no-strip", "--fast", "--profile", "dev", "--package", "amphi", "--output", package, cwd=ROOT)
        lines = [line.split() for line in run("dpkg-deb", "--contents", package).splitlines()]
        there = {line[5].removeprefix("."): line[0] for line in lines}
        for path, mode in {
            "/usr/bin/amphi": "-rwxr-xr-x", "/lib/systemd/system/amphi@.service": "-rw-r--r--",
            "/usr/lib/sysctl.d/60-amphi.conf": "-rw-r--r--", "/usr/share/amphi/amphi.toml": "-rw-r--r--",
            "/usr/share/doc/amphi/copyright": "-rw-r--r--",
        }.items():
            assert any(there.get(p) == mode for p in (path, "/usr" + path)), (path, there)
        control = run("dpkg-deb", "--field", package)
        assert "Package: amphi\n" in control and "adduser" in control and "libc6" in control, control
        folder = provisioned / "package"
        run("dpkg-deb", "--control", package, folder)
        assert {"postinst", "postrm", "prerm"} <= {file.name for file in folder.iterdir()}, list(folder.iterdir())
        run("dpkg-deb", "--extract", package, folder / "root")
        run(folder / "root" / "usr/bin/amphi", "config", "check", folder / "root" / "usr/share/amphi/amphi.toml")

    # A stand-in for the program, which is large: what is looked at is the rest.
    small = provisioned / "small.deb"

    @check("package: the rest of it, quickly built")
    def _():
        target = provisioned / "target"
        (target / "debug").mkdir(parents=True)
        shutil.copy("/bin/true", target / "debug" / "amphi")
        run("cargo", "deb", "--no-build", "--no-strip", "--fast", "--profile", "dev", "--package", "amphi", "--output", small, cwd=ROOT,
            env={**os.environ, "CARGO_TARGET_DIR": str(target)})

    if tool("lintian", "package: lintian"):

        @check("package: lintian finds no error")
        def _():
            # Whoever builds it in a container is root.
            run("lintian", "--allow-root", "--fail-on", "error", small)

    namespaces = os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    if not (namespaces and shutil.which("adduser") and shutil.which("deluser")):
        print("skipped package: installed, removed, purged: this needs root, namespaces and adduser")
    else:

        @check("package: installed it has a user, a configuration and a unit; removal keeps the configuration, purge does not")
        def _():
            script = f"""
                mkdir {provisioned}/layers && mount -t tmpfs none {provisioned}/layers
                for folder in etc usr var; do
                    mkdir -p {provisioned}/layers/$folder {provisioned}/layers/$folder.work
                    mount -t overlay overlay -o lowerdir=/$folder,upperdir={provisioned}/layers/$folder,workdir={provisioned}/layers/$folder.work /$folder
                done
                test -e /lib/systemd/system || ln -s usr/lib /lib
                dpkg --install --no-triggers --force-depends {small}
                test "$(getent passwd amphi | cut -d: -f6,7)" = /var/lib/amphi:/usr/sbin/nologin
                test "$(stat -c '%a %U:%G' /etc/amphi/main/amphi.toml)" = '640 root:amphi'
                test "$(stat -c '%a %U:%G' /etc/amphi)" = '750 root:amphi'
                if command -v systemd-analyze >/dev/null; then
                    test -z "$(systemd-analyze verify /lib/systemd/system/amphi@.service 2>&1 | grep amphi)"
                fi
                grep -q RestartPreventExitStatus=78 /lib/systemd/system/amphi@.service
                echo '# mine' >>/etc/amphi/main/amphi.toml
                dpkg --install --no-triggers --force-depends {small}
                grep -q '# mine' /etc/amphi/main/amphi.toml
                mkdir -p /var/lib/amphi/main
                dpkg --remove --no-triggers amphi
                test ! -e /usr/bin/amphi && grep -q '# mine' /etc/amphi/main/amphi.toml && getent passwd amphi
                dpkg --purge --no-triggers amphi
                test ! -e /etc/amphi && test ! -e /var/lib/amphi && ! getent passwd amphi
            """
            path = os.environ["PATH"] + ":/usr/sbin:/sbin"
            run("unshare", "--mount", "sh", "-euxc", script, env={**os.environ, "PATH": path})


# ---- Kubernetes ----------------------------------------------------------------------------------------------------------


@check("chart: the values fit their schema, and a chart without a domain is refused")
def _():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate({**values, "domain": "meet.example.com"}, schema)
    try:
        jsonschema.validate(values, schema)
    except jsonschema.ValidationError:
        return
    raise AssertionError("an empty domain is accepted")


@check("chart: every value that a template names exists")
def _():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for template in sorted((CHART / "templates").iterdir()):
        for path in set(re.findall(r"\.Values\.([A-Za-z.]+)", template.read_text())):
            at = values
            for key in path.rstrip(".").split("."):
                assert isinstance(at, dict) and key in at, f"{template.name}: .Values.{path}"
                at = at[key]


def metrics():
    """Names that our sources register, as Prometheus shows them."""
    signal = (ROOT / "crates/amphi-signal/src/metrics.rs").read_text()
    names = {f"amphi_{name}" for name in re.findall(r'register\(\s*"(\w+)"', signal)}
    for file in (ROOT / "crates/amphi-bridge/src/control").rglob("*.rs"):
        names |= {f"jitsi_jvb_{name}" for name in re.findall(r'"([a-z][a-z0-9_]+)"', file.read_text())}
    counters = (ROOT / "crates/amphi-bridge/src/plane/stats.rs").read_text()
    names |= {f"jitsi_jvb_media_{name}" for name in re.findall(r"^\s+(\w+),$", counters, re.MULTILINE)}
    return names


@check("dashboard: it shows metrics that exist")
def _():
    dashboard = json.loads((CHART / "dashboards" / "amphi.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    assert len(queries) > 20, len(queries)
    known = metrics()
    for query in queries:
        for name in re.findall(r"(?:amphi|jitsi_jvb)_\w+", query):
            assert re.sub(r"_(total|bucket|sum|count)$", "", name) in known or name in known, name
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers), "two panels have the same id"


VARIANTS = {
    "usual": [],
    "scaled": ["visitors.autoscaling.enabled=true", "bridges.autoscaling.enabled=true", "metrics.serviceMonitor.enabled=true",
               "metrics.dashboard.enabled=true"],
    "CPU": ["visitors.autoscaling.enabled=true", "visitors.autoscaling.targetCPU=70"],
    "bare": ["visitors.replicas=0", "bridges.replicas=0", "ingress.enabled=false", "networkPolicy.enabled=false",
             "secrets.existingSecret=mine"],
}

# The oldest version that the chart is for, and the newest of which schemas are there.
KUBERNETES = ["1.28.0", "1.37.0"]


def schemas(version):
    """The schemas of a version of Kubernetes as files for kubeconform."""
    source = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{version}-local-strict"
    folder = provisioned / "kubernetes" / version
    folder.mkdir(parents=True)
    for file in source.glob("*.json"):
        # In the package they find each other by addresses of its own; here, as files.
        schema = json.loads(file.read_text().replace('"/api/_definitions.json', '"_definitions.json'))
        schema.pop("$id", None)
        (folder / file.name).write_text(json.dumps(schema))
    return folder


def conforms(text, folder, version):
    file = provisioned / "rendered.yaml"
    file.write_text(text)
    told = run("kubeconform", "-strict", "-summary", "-kubernetes-version", version, "-schema-location",
               f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", "-skip", "ServiceMonitor", file)
    assert "Invalid: 0, Errors: 0" in told and "Valid: 0," not in told, told


if tool("helm", "chart: lint and rendering"):
    conform = {v: schemas(v) for v in KUBERNETES} if tool("kubeconform", "chart: kubeconform") else {}

    @check("chart: helm finds nothing wrong")
    def _():
        run("helm", "lint", "--strict", CHART, "--set", "domain=meet.example.com")

    for variant, settings in VARIANTS.items():

        @check(f"chart: rendered ({variant}), all is well-formed and our configurations are accepted")
        def _(settings=settings):
            arguments = [part for setting in ["domain=meet.example.com", *settings] for part in ("--set", setting)]
            for version in KUBERNETES:
                text = run("helm", "template", "test", CHART, "--kube-version", version, *arguments)
                rendered = list(filter(None, yaml.safe_load_all(text)))
                for thing in (t for t in rendered if t["kind"] != "ServiceMonitor"):
                    kubernetes_validate.validate(thing, version.rsplit(".", 1)[0], strict=True)
                if version in conform:
                    conforms(text, conform[version], version)
            maps = {o["metadata"]["name"]: o["data"] for o in rendered if o["kind"] == "ConfigMap"}
            sets = [o for o in rendered if o["kind"] == "StatefulSet"]
            assert sets, "no workloads"
            for workload in sets:
                container = workload["spec"]["template"]["spec"]["containers"][0]
                facts = {"POD_INDEX": "0", "POD_NAME": "test-0", "HOST_IP": "203.0.113.9"}
                environment = {e["name"]: str(e["value"]) for e in container["env"] if "value" in e}
                settings = [a for a, b in zip(container["args"][1:], container["args"]) if b == "--set"]
                settings = [re.sub(r"\$\((\w+)\)", lambda m: facts[m.group(1)], s) for s in settings]
                text = maps["test-amphi-main"]["amphi.toml"] if "--config" in container["args"] else ""
                secrets = ["/run/secrets/amphi/focus-password", "/run/secrets/amphi/jvb-password"]
                accepted(environment, settings, text, secrets)


shutil.rmtree(provisioned, ignore_errors=True)
sys.exit(1 if failed else 0)
