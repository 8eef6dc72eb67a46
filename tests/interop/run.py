"""./dev interop: the built-in cluster on free ports, and the stock clients against it.

    run.py [CLIENT...]      openai, pycapnp; all of them when none is named
"""
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]
COLLM = TREE / os.environ.get("build_folder", "build") / "bin" / "collm"
MANIFEST = TREE / "deploy" / "manifests" / "demo.yaml"
UP_SECONDS_MAX = 90
STOP_SECONDS_MAX = 40


def with_free_ports(manifest):
    """The manifest with every port replaced by a free one, and the old port -> new port map."""
    sockets, ports = [], {}
    for old in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", manifest))):
        sockets.append(socket.create_server(("127.0.0.1", 0)))
        ports[old] = str(sockets[-1].getsockname()[1])
    for held in sockets:
        held.close()
    moved = re.sub(r"(127\.0\.0\.1:)(\d+)", lambda match: match[1] + ports[match[2]], manifest)
    return moved, ports


def wait_ready(url, cluster):
    deadline = time.monotonic() + UP_SECONDS_MAX
    while time.monotonic() < deadline:
        if cluster.poll() is not None:
            sys.exit(f"the cluster ended with {cluster.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url + "/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)  # a poll of another process
    sys.exit(f"{url}/ready did not answer 200 within {UP_SECONDS_MAX} s")


def stop(cluster):
    cluster.send_signal(signal.SIGTERM)
    try:
        return cluster.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        cluster.kill()
        return f"not: it still ran {STOP_SECONDS_MAX} s after SIGTERM"


def run_clients(names, ports):
    """The names of the clients that failed."""
    arguments = {"openai": [f"http://127.0.0.1:{ports['8081']}/v1"],
                 "pycapnp": [f"127.0.0.1:{ports['8090']}"]}
    failed = []
    for name in names or arguments:
        if name not in arguments:
            sys.exit(f"there is no client {name}: take {' or '.join(arguments)}")
        print(f"\n==> {name}", flush=True)
        command = [sys.executable, HERE / f"{name}_client.py", *arguments[name]]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    return failed


def main(names):
    with tempfile.TemporaryDirectory(prefix="collm-interop-") as folder:
        text, ports = with_free_ports(MANIFEST.read_text())
        manifest = pathlib.Path(folder, "cluster.yaml")
        manifest.write_text(text)
        cluster = subprocess.Popen([COLLM, "up", "-f", manifest], cwd=folder)
        try:
            for port in ("8080", "8081"):
                wait_ready(f"http://127.0.0.1:{ports[port]}", cluster)
            failed = run_clients(names, ports)
        finally:
            ended = stop(cluster)
    if ended != 0:
        sys.exit(f"the cluster ended with {ended}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    print("\nevery client passed")


if __name__ == "__main__":
    main(sys.argv[1:])
