"""Stands for `systemctl` on a host of namespaces.py: does what the unit files say, as far as a process can do it for another one.
The unit is the one that `install.sh` put there. Confinement (`Protect…`, `SystemCallFilter`) and restarts are not part of it."""

import os
import pathlib
import pwd
import re
import resource
import shlex
import signal
import subprocess
import sys
import time

STATE = pathlib.Path("/run/units")
FOLDERS = [pathlib.Path("/etc/systemd/system"), pathlib.Path("/lib/systemd/system")]


def unit(name):
    """Section, key and values of a unit, with its instance put in."""
    stem, _, instance = name.partition("@")
    files = [folder / f"{stem}@.service" for folder in FOLDERS]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        sys.exit(f"Unit {name}.service not found.")
    keys = {}
    for line in file.read_text().splitlines():
        line = line.split("#", 1)[0].strip()
        if "=" in line:
            key, value = line.split("=", 1)
            keys.setdefault(key, []).append(value.replace("%i", instance))
    return keys


def pid_of(name):
    try:
        pid = int((STATE / f"{name}.pid").read_text())
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return pid if state != "Z" else None
    except (OSError, ValueError):
        return None


def stop(name):
    pid = pid_of(name)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while pid_of(name) is not None:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def start(name):
    if pid_of(name) is not None:
        return
    keys = unit(name)
    one = lambda key: keys[key][-1]  # noqa: E731
    if any(not pathlib.Path(path).exists() for path in keys.get("ConditionPathExists", [])):
        sys.exit(f"{name}: a condition does not hold")
    who = pwd.getpwnam(one("User"))
    state = pathlib.Path("/var/lib") / one("StateDirectory")
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(int(one("StateDirectoryMode"), 8))
    os.chown(state, who.pw_uid, who.pw_gid)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": who.pw_dir, "USER": who.pw_name}
    lines = list(keys.get("Environment", []))
    for path in keys.get("EnvironmentFile", []):
        file = pathlib.Path(path.removeprefix("-"))
        if file.exists():
            lines += [line for line in file.read_text().splitlines() if re.match(r"\w+=", line)]
        elif not path.startswith("-"):
            sys.exit(f"{name}: {path} does not exist")
    environment.update(line.split("=", 1) for line in lines)
    # As far as this user may. It is inherited; whoever asks for a node is gone at once.
    files = min(int(one("LimitNOFILE")), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    STATE.mkdir(exist_ok=True)
    log = open(STATE / f"{name}.log", "ab")
    process = subprocess.Popen(
        shlex.split(one("ExecStart")), cwd=one("WorkingDirectory"), env=environment, user=who.pw_uid, group=who.pw_gid,
        extra_groups=[], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        umask=int(one("UMask"), 8))
    (STATE / f"{name}.pid").write_text(str(process.pid))


def main(arguments):
    words = [word for word in arguments if not word.startswith("-")]
    verb, names = words[0], [name.removesuffix(".service") for name in words[1:]]
    for name in names:
        if verb == "enable":
            unit(name)
        elif verb in ("start", "stop", "restart"):
            if verb != "start":
                stop(name)
            if verb != "stop":
                start(name)
        elif verb == "is-active":
            there = pid_of(name) is not None
            print("active" if there else "inactive")
            if not there:
                sys.exit(3)
        else:
            sys.exit(f"systemctl {verb} is not known here")


main(sys.argv[1:])
