"""The jars of Apache Kafka: which they are, and having all of them on this machine, whole.

``kafka_jars.txt`` pins every jar by Maven coordinate, size and SHA-256, as the requirement files pin Python's packages; jgo
downloads what is missing into Maven's local repository (``~/.m2/repository``, or what jgo's settings name). What is there
already is used only if its checksum is right: a jar cut off by an interrupted download is fetched again.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cli.stack.errors import StackError
from cli.stack.ui import Reporter

KAFKA_VERSION = "4.1.0"
#: What the lock file is resolved from. slf4j-simple: without a binding the broker logs nothing, not even why it did not start.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
LOCK_FILE = "kafka_jars.txt"

_PARALLEL = 4
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies below a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")

    def to_line(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version} {self.size} sha256:{self.sha256}"

    @classmethod
    def from_line(cls, line: str) -> Jar:
        coordinate, size, digest = line.split()
        group, artifact, version = coordinate.split(":")
        return cls(group, artifact, version, int(size), digest.removeprefix("sha256:"))


#: Puts one jar below a directory laid out as a Maven repository; calls back with byte counts. May raise any exception.
Fetch = Callable[[Jar, Path, Callable[[int], None]], None]


def locked_jars() -> list[Jar]:
    """The jars of the lock file, in class path order."""
    text = resources.files("cli.stack").joinpath(LOCK_FILE).read_text(encoding="utf-8")
    return [Jar.from_line(line) for line in text.splitlines() if line and not line.startswith("#")]


def is_whole(jar: Jar, repository: Path) -> bool:
    """Whether the jar is there, byte for byte."""
    path = repository / jar.path
    try:
        if path.stat().st_size != jar.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def provide(jars: list[Jar], repository: Path, fetch: Fetch, report: Reporter) -> list[Path]:
    """The paths of all jars, whole; downloads what is missing or damaged. Blocks. Raises StackError.

    A jar enters the repository in one step and checked, so neither an interruption nor a second stack starting at the same
    time leaves a part of one behind.
    """
    needed = [jar for jar in jars if not is_whole(jar, repository)]
    if not needed:
        return [repository / jar.path for jar in jars]
    damaged = [jar.path.name for jar in needed if (repository / jar.path).exists()]
    if damaged:
        report.say(f"Damaged in {repository}, downloading again: {', '.join(damaged)}", style="yellow")
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=repository, prefix=".chaukas-gateway-") as staging:
            _download(needed, Path(staging), repository, fetch, report)
    except OSError as error:
        raise StackError(
            f"cannot write to {repository}: {error.strerror or error}\n"
            "Kafka's jars are kept there; make it writable or set M2_REPO to another directory."
        ) from None
    return [repository / jar.path for jar in jars]


def _download(needed: list[Jar], staging: Path, repository: Path, fetch: Fetch, report: Reporter) -> None:
    what = f"Apache Kafka {KAFKA_VERSION}: {len(needed)} jars"
    give_up = threading.Event()

    with report.download(what, sum(jar.size for jar in needed)) as progress, ThreadPoolExecutor(_PARALLEL) as pool:

        def one(jar: Jar) -> str:
            problem = "" if give_up.is_set() else _fetch_checked(jar, staging, repository, fetch, progress, give_up)
            if problem:
                give_up.set()  # the rest would fail the same way, only slower
            return f"{jar.path.name}: {problem}" if problem else ""

        try:
            problems = [problem for problem in pool.map(one, needed) if problem]
        finally:
            give_up.set()
        if problems:
            missing = sum(not (repository / jar.path).exists() for jar in needed)
            raise StackError(
                f"Kafka's jars are incomplete, {missing} are missing; could not download {problems[0]}\n"
                "What arrived is kept. Check the network (jgo reads proxies from the environment and mirrors from "
                "~/.config/jgo.conf), then run the command again."
            )


def _fetch_checked(
    jar: Jar,
    staging: Path,
    repository: Path,
    fetch: Fetch,
    progress: Callable[[int], None],
    give_up: threading.Event,
) -> str:
    """Download one jar, check it, move it into the repository. Returns what went wrong, if it did."""
    reason = "interrupted"
    for attempt in range(_ATTEMPTS):
        if give_up.wait(attempt):  # nothing before the first
            break
        (staging / jar.path).unlink(missing_ok=True)
        try:
            fetch(jar, staging, progress)
        except Exception as error:  # noqa: BLE001 - jgo and requests raise what they like; it is reported, not swallowed
            reason = _brief(error)
            continue
        if is_whole(jar, staging):
            target = repository / jar.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / jar.path).replace(target)
            return ""
        reason = "what arrived has another checksum than the pinned one"
    return reason


def _brief(error: Exception) -> str:
    """The innermost reason: network errors come wrapped three deep."""
    inner: BaseException = error
    while isinstance(
        reason := getattr(inner, "reason", None) or (inner.args[0] if inner.args else None), BaseException
    ):
        inner = reason
    lines = str(inner).strip().splitlines()
    return lines[0] if lines else type(inner).__name__


def maven_repository() -> Path:
    """Maven's local repository as jgo's settings name it."""
    from jgo.config import GlobalSettings

    return Path(GlobalSettings.load().repo_cache).expanduser()


def fetch_with_jgo(jar: Jar, repository: Path, progress: Callable[[int], None]) -> None:
    """:data:`Fetch` from Maven Central, and from the repositories of jgo's settings."""
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    def callback(name: str, size: int) -> AbstractContextManager[Callable[[int], None]]:
        return nullcontext(progress)

    remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    resolver = PythonResolver(progress_callback=callback)
    context = MavenContext(resolver=resolver, repo_cache=repository, remote_repos=remotes, timeout=_TIMEOUT_SECONDS)
    context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
