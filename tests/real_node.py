"""A real OpenSearch node for the tests: the one at `OPENSEARCH_URL`, or one that is started here.

The second is made of Maven Central's jars; it needs Java 17 or newer and Maven. The compiled launcher and the list of
jars stay in `node/target` until something in `node` changes.

    OPENSEARCH_URL          a node that runs already, on loopback and without the security plugin
    OPENSEARCH_VERSION      which version is started; by default the newest of `VERSIONS` that this Java can run
    OPENSEARCH_JAVA_HOME    the Java that runs it, if another than JAVA_HOME's or the PATH's; Maven needs a whole JDK
    OPENSEARCH_SIGV4_NODE   require: it is a failure if there is none; no: do without

As a script it fetches and builds what both versions need.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from itertools import chain
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

PROJECT = Path(__file__).parent / "node"
TARGET = PROJECT / "target"
VERSIONS = {17: "2.19.4", 21: "3.8.0"}  # by the Java that is needed at least
LOG4J = {"2": "2.21.0", "3": "2.25.3"}  # by OpenSearch's major version
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
MAVEN_TIMEOUT_S = 900
MAX_CONTENT_LENGTH = 10 * 1024 * 1024  # of the node started here: as that of Amazon's smaller instances

# Of what a test makes on a node that may be somebody's: no other run, and nobody else, has such names.
RUN = f"osv4-{secrets.token_hex(3)}-"

_open = build_opener(ProxyHandler({})).open


class NoNode(Exception):
    """There can be none here, and why."""


def find_node():
    """The node that the environment asks for, not started.

    Raises:
        NoNode: something is missing for one.
    """
    url = os.environ.get("OPENSEARCH_URL")
    return ForeignNode(url) if url else OwnNode()


def _check_that_one_is_wanted():
    if os.environ.get("OPENSEARCH_SIGV4_NODE") == "no":
        raise NoNode("OPENSEARCH_SIGV4_NODE=no")


class _Node:
    """`url`, `version` and, while it runs, `max_content_length` in bytes."""

    def _await(self, ended=lambda: None):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            ended()
            try:
                self.version = self.ask("GET", "/")["version"]["number"]
                limits = self.ask("GET", "/_nodes/_local/http")["nodes"].values()
                self.max_content_length = min(node["http"]["max_content_length_in_bytes"] for node in limits)
                return
            except (HTTPError, URLError, ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no OpenSearch answers at {self.url} after {START_TIMEOUT_S} s") from error
            time.sleep(0.1)

    def ask(self, method, path, body=None):
        """What the node itself says, asked without any of the code under test; a list becomes lines of JSON."""
        lines = body if isinstance(body, list) else [] if body is None else [body]
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines) or None
        headers = {"Content-Type": "application/x-ndjson" if isinstance(body, list) else "application/json"}
        with _open(Request(self.url + path, data, headers, method=method), timeout=60) as answer:
            return json.load(answer)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.close()


class ForeignNode(_Node):
    """A node that somebody else started and will end."""

    def __init__(self, url):
        _check_that_one_is_wanted()
        if not re.fullmatch(r"http://(localhost|127\.[0-9.]+|\[::1\])(:\d+)?/?", url):
            raise ValueError(f"OPENSEARCH_URL must be http://HOST:PORT on loopback, for the tests load it: {url}")
        self.url = url.rstrip("/")

    def start(self):
        self._await()

    def close(self):
        pass

    def __str__(self):
        return f"OpenSearch {self.version} at OPENSEARCH_URL"


class OwnNode(_Node):
    """A node in a process of its own, its data in a temporary directory; it ends with this process at the latest."""

    def __init__(self, version=None, plugins=(), **settings):
        """`plugins` are GROUP:ARTIFACT:VERSION of zips, whose classes the launcher looks for; `settings` are those of
        the node, dots as two underscores.
        """
        _check_that_one_is_wanted()
        self._settings = {name.replace("__", "."): value for name, value in settings.items()}
        self._java, self.java_version = _java()
        self.version = version or os.environ.get("OPENSEARCH_VERSION") or _newest_for(self.java_version)
        _check(self.version, self.java_version)
        self._classpath = os.pathsep.join([_classpath(self.version), *chain.from_iterable(map(_jars_of, plugins))])
        self._home = self._process = None

    def start(self):
        """Start it, again after `close`, `stop` or `kill`: after the last two with the same data at the same URL."""
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix="opensearch-node-"))
            self._port = _free_port()
            self.url = f"http://127.0.0.1:{self._port}"
        settings = {
            "path.home": self._home,
            "path.data": self._home / "data",
            "cluster.name": "opensearch-sigv4",
            "node.name": "node",
            "network.host": "127.0.0.1",
            "http.port": self._port,
            "http.max_content_length": f"{MAX_CONTENT_LENGTH}b",
            "transport.port": _free_port(),
            "discovery.type": "single-node",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **self._settings,
        }
        logging = PROJECT / "log4j2.properties"
        with open(self._home / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._java, "-Xms512m", "-Xmx512m", f"-Dlog4j2.configurationFile={logging}"),
                    *("-cp", self._classpath, "TestNode"),
                    *(f"{name}={value}" for name, value in settings.items()),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._await(self._check_that_it_runs)
        except BaseException:
            self.close()
            raise

    def _check_that_it_runs(self):
        status = self._process.poll()
        if status is not None:
            raise RuntimeError(f"the node ended with {status}:\n" + (self._home / "log").read_text()[-3000:])

    def stop(self):
        """End it in good order; its data stay."""
        self._process.stdin.write(b"keep")
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self):
        """End it as a crash would; its data stay."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()

    def close(self):
        """End it and remove its data."""
        if self._process.poll() is None:
            self.kill()
        self._process.stdin.close()
        shutil.rmtree(self._home, ignore_errors=True)
        self._home = None

    def __str__(self):
        return f"OpenSearch {self.version}, started here on Java {self.java_version}"


def _java():
    home = os.environ.get("OPENSEARCH_JAVA_HOME") or os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=os.path.join(home, "bin") if home else None)
    if java is None:
        raise NoNode("no Java to start a node with")
    says = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', says.stderr)
    if version is None:
        raise NoNode(f"Java does not run: {says.stderr.strip()}")
    return java, int(version[1])


def _newest_for(java_version):
    runnable = [version for needed, version in VERSIONS.items() if needed <= java_version]
    if not runnable:
        raise NoNode(f"Java {java_version} is too old for a node: {min(VERSIONS)} is needed")
    return runnable[-1]


def _check(version, java_version):
    needed = {"2": 17, "3": 21}.get(version.partition(".")[0])
    if needed is None:
        raise NoNode(f"OpenSearch {version} was not tried: 2.x and 3.x were")
    if java_version < needed:
        raise NoNode(f"OpenSearch {version} needs Java {needed}, and this is {java_version}")


def _classpath(version):
    """The launcher and all jars of this version, built and fetched by Maven where they are not there yet."""
    file = TARGET / f"classpath-{version}"
    if not _is_current(file):
        _run("compile")
        log4j = LOG4J[version.partition(".")[0]]
        fetched = TARGET / f"fetched-{version}"
        _run(
            *("dependency:build-classpath", f"-Dmdep.outputFile={fetched}"),
            *(f"-Dopensearch.version={version}", f"-Dlog4j.version={log4j}"),
        )
        file.write_text(f"{TARGET / 'classes'}{os.pathsep}{fetched.read_text()}")
    return file.read_text()


def _is_current(file):
    if not file.exists():
        return False
    sources = [PROJECT / "pom.xml", *PROJECT.glob("src/**/*.java")]
    return all(source.stat().st_mtime <= file.stat().st_mtime for source in sources) and all(
        os.path.exists(jar) for jar in file.read_text().split(os.pathsep)
    )


def _jars_of(plugin):
    """The jars of a plugin, fetched by Maven where they are not there yet."""
    directory = TARGET / plugin.replace(":", "-")
    if not directory.exists():
        part = directory.with_name(f"{directory.name}.part")
        # Its markers say what was unpacked, wherever to: with them elsewhere it would do nothing the next time.
        _run("dependency:unpack", f"-Dartifact={plugin}:zip", f"-DoutputDirectory={part}", f"-DmarkersDirectory={part}")
        part.rename(directory)
    return sorted(map(str, directory.glob("*.jar")))


def _run(*arguments):
    maven = shutil.which("mvn")
    if maven is None:
        raise NoNode("no Maven (mvn) to get a node by")
    ran = subprocess.run(
        [maven, "-B", "-q", *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MAVEN_TIMEOUT_S,
        check=False,
    )
    if ran.returncode:
        raise NoNode(f"Maven failed ({arguments[0]}): {ran.stdout.strip()[-1000:]}")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    for each in VERSIONS.values():
        _classpath(each)
