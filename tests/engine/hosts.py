"""Hosts of a Ray cluster for tests: network namespaces of this machine, each with its own files.

What shall be other on a host is mounted over the usual path, in a mount namespace of its own. All
that is begun here is ended by its process id; namespaces are removed.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

PORT = 6379
ROOT = Path(__file__).parents[2]
STORE = 100_000_000
AWAKE = {"RAY_worker_niceness": "0"}
"""Else whatever runs beside tests goes before workers, which then load torch for minutes."""


def refused():
    """Why there can be no hosts here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces want root"
    if shutil.which("ip") is None:
        return "there is no `ip`, which makes network namespaces"
    name = f"cs{os.getpid()}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    words = ["ip", "netns", "exec", name, "unshare", "-m", "mount", "--bind", "/tmp", "/mnt"]
    mounted = subprocess.run(words, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], check=True)
    return f"nothing can be mounted here: {mounted.stderr.strip()}" if mounted.returncode else None


class Hosts:
    """Hosts 1, 2, ... of one core each; the cluster's head is host 1."""

    def __init__(self):
        self.name = f"cs{os.getpid()}"
        self.folder = Path(tempfile.mkdtemp(prefix="cs", dir="/tmp"))  # names of sockets are short
        self.known, self.daemons, self.token = [], {}, uuid4().hex
        self._ip("netns", "add", f"{self.name}s")
        self._ip("link", "add", "bridge", "type", "bridge", inside=f"{self.name}s")
        self._ip("link", "set", "bridge", "up", inside=f"{self.name}s")

    def _ip(self, *words, inside=None):
        where = ["-n", inside] if inside else []
        subprocess.run(["ip", *where, *words], check=True)

    def space(self, number):
        return f"{self.name}h{number}"

    def address(self, number=1):
        return f"10.77.0.{number}"

    def add(self, number):
        space, switch = self.space(number), f"{self.name}s"
        self._ip("netns", "add", space)
        self.known.append(number)
        ends = ("type", "veth", "peer", "name", f"port{number}", "netns", switch)
        self._ip("link", "add", "eth0", "netns", space, *ends)
        self._ip("link", "set", f"port{number}", "master", "bridge", "up", inside=switch)
        self._ip("addr", "add", f"{self.address(number)}/24", "dev", "eth0", inside=space)
        for device in ("lo", "eth0"):
            self._ip("link", "set", device, "up", inside=space)

    def start(self, number, other=None):
        """Begin a host of the cluster. `other` are files or folders of its own, by their path."""
        if number not in self.known:
            self.add(number)
        temporary = self.folder / f"{number}-{time.monotonic_ns() % 10**6}"
        words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        words += [f"--object-store-memory={STORE}", f"--temp-dir={temporary}"]
        words += [f"--node-ip-address={self.address(number)}", "--disable-usage-stats"]
        if number == 1:
            words += ["--head", f"--port={PORT}", "--include-dashboard=false"]
        else:
            words += [f"--address={self.address()}:{PORT}"]
        mounts = "".join(
            f"mount --bind '{own}' '{path}' && " for path, own in (other or {}).items()
        )
        command = f'{mounts}exec "$@"'
        self.daemons[number] = self._begin(number, ["sh", "-c", command, "sh", *words])

    def _begin(self, number, words, **options):
        inside = ["ip", "netns", "exec", self.space(number), "unshare", "-m", *words]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, **AWAKE}
        with (self.folder / f"log{number}").open("ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            return subprocess.Popen(inside, env=os.environ | own, start_new_session=True, **options)

    def command(self, words, number=1):
        """The package's command on a host, which computes by the cluster."""
        ray = ["--engine", "ray", "--address", f"{self.address()}:{PORT}"]
        words = [sys.executable, "-m", "conceptseg.study", *words, *ray]
        return self._begin(number, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait(self, count):
        """Wait until so many hosts are there."""
        code = f"import ray, sys; ray.init('{self.address()}:{PORT}', log_to_driver=False)\n"
        code += f"sys.exit(sum(n['Alive'] for n in ray.nodes()) != {count})"
        end = time.monotonic() + 90
        while self._begin(1, [sys.executable, "-c", code]).wait():
            if time.monotonic() > end:
                said = (self.folder / "log1").read_text(errors="replace")[-2000:]
                raise TimeoutError(f"no {count} hosts after 90 s: {said}")
            time.sleep(1)

    def _inside(self, number, spared):
        """Processes of a host, but those with a word in their command line."""
        words = ["ip", "netns", "pids", self.space(number)]
        told = subprocess.run(words, capture_output=True, text=True)
        for one in map(int, told.stdout.split()):
            try:
                line = Path(f"/proc/{one}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if spared is None or spared not in line:
                yield one

    def kill(self, number, spared=None):
        """End a host at once, as by a loss of power, but for what is `spared`."""
        for _ in range(20):
            if not (found := list(self._inside(number, spared))):
                break
            for one in found:
                try:
                    os.kill(one, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)
        if daemon := self.daemons.pop(number, None):
            daemon.wait()

    def close(self):
        for number in self.known:
            self.kill(number)
            self._ip("netns", "del", self.space(number))
        self._ip("netns", "del", f"{self.name}s")
        shutil.rmtree(self.folder, ignore_errors=True)
