"""``python -m tests.bench.desk``: the dashboard under load, on a real Kafka and in Chromium.

Scores arrive at a steady rate, viewers keep the live stream open, and one of them is a browser.
Reported are what the server and the page cost, and how long a person waits, beside their limits: a
busy machine exceeds them. The last line of standard
output is a JSON object. Everything uses loopback addresses and ends by itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import CDPSession, Page, sync_playwright

from stream_scorer.cli.console import say
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.probe import pick_free_port
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.processes import end_child, start_child
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from tests.bench.live import latency
from tests.support.dashboard_kit import encode_score, make_score
from tests.support.factories import publish
from tests.support.names import random_topics
from tests.support.waiting import wait_until

PARTITIONS: Final = 12
FLAGGED_EACH: Final = 28  # one score in 28 is flagged: 3.6 %
CHROMIUM: Final = "/usr/bin/chromium"
LIMITS: Final = {
    "server_cpu_percent": 25.0,
    "server_rss_mib": 250.0,
    "page_api_p95_ms": 30.0,
    "page_busy_percent": 20.0,
    "page_frames_per_second": -50.0,  # at least
    "page_long_tasks": 0.0,
    "page_dom_nodes": 6000.0,
    "page_heap_mib": 30.0,
    **latency.LIMITS,
}
"""The largest figure that is acceptable; a negative one is the smallest."""

_CHUNK_SECONDS: Final = 0.05
_API_SECONDS: Final = 0.5  # between two requests of a page of the list
_PRELOADED: Final = 10_000  # flagged transactions before the measurement
_WATCH: Final = """() => {
  window.bench = { long: [], frames: 0, since: performance.now() };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.bench.long.push(entry.duration);
  }).observe({ type: "longtask" });
  const frame = () => { window.bench.frames += 1; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""


@dataclass
class Viewers:
    """Clients that read the live stream as fast as it comes."""

    port: int
    events: int = 0
    failures: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self, count: int) -> None:
        for _ in range(count):
            threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _read(self) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            connection.request("GET", "/api/v1/stream", headers={"Accept": "text/event-stream"})
            response = connection.getresponse()
            while not self._stop.is_set() and (line := response.readline()):
                self.events += line.startswith(b"data:")
        except OSError:
            self.failures += 1


def produce_steadily(
    settings: KafkaSettings, topics: TopicSettings, rate: float, stop: threading.Event
) -> None:
    """Scores at a rate, with the time of now, to the scores topic."""
    producer = open_producer(settings)
    offset, begun = _PRELOADED, time.monotonic()
    while not stop.wait(_CHUNK_SECONDS):
        due = _PRELOADED + int((time.monotonic() - begun) * rate)
        for number in range(offset, due):
            send(producer, topics, number, number % FLAGGED_EACH == 0)
        offset = due
        producer.poll(0)
    producer.flush(30)


def send(producer: Any, topics: TopicSettings, number: int, is_flagged: bool) -> None:
    """One score of the input record with this number."""
    partition, offset = number % PARTITIONS, number // PARTITIONS
    source = {"topic": topics.input_topic, "partition": partition, "offset": offset}
    score = make_score(0.55 + 0.4 * (number % 97) / 97 if is_flagged else 0.1, source=source)
    producer.produce(topics.output_topic, encode_score(score), b"1", partition)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, of user and kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no VmRSS of process {pid}")


@contextmanager
def dashboard(settings: KafkaSettings, topics: TopicSettings, folder: Path) -> Iterator[Any]:
    """A dashboard process with a model; yields the process and its port."""
    publish(FileStore(folder / "store"))
    port = pick_free_port()
    environment = dict(os.environ) | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "MODEL_STORE_URI": (folder / "store").as_uri(),
        "MODEL_CACHE_DIR": str(folder / "models"),
        "DASHBOARD_STATE_DIR": str(folder / "dashboard"),
        "DASHBOARD_PORT": str(port),
        **{name.upper(): value for name, value in topics.model_dump().items()},
    }
    with (folder / "dashboard.log").open("ab") as output:
        child = start_child([sys.executable, "-m", "dashboard"], output, environment)
    try:
        wait_until(lambda: get(port, "/readyz")[0] == 200, 120, what="the dashboard to be ready")
        yield child, port
    finally:
        end_child(child, 30)


def get(port: int, path: str) -> tuple[int, bytes, float]:
    """Status, body and milliseconds of one request; status 0 without an answer."""
    started = time.perf_counter()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
    except OSError:
        return 0, b"", 0.0
    return response.status, body, (time.perf_counter() - started) * 1000


class Watched:
    """The page in Chromium: what it cost between two moments."""

    def __init__(self, page: Page, cdp: CDPSession) -> None:
        self._page, self._cdp = page, cdp
        cdp.send("Performance.enable")
        page.evaluate(_WATCH)
        self._begun = time.monotonic()
        self._busy = self._metrics()["TaskDuration"]

    def report(self) -> dict[str, float]:
        """Figures since the start."""
        self._cdp.send("HeapProfiler.collectGarbage")
        metrics = self._metrics()
        seconds = time.monotonic() - self._begun
        bench = self._page.evaluate("() => window.bench")
        return {
            "page_busy_percent": 100 * (metrics["TaskDuration"] - self._busy) / seconds,
            "page_frames_per_second": bench["frames"] / seconds,
            "page_long_tasks": float(len(bench["long"])),
            "page_longest_task_ms": max(bench["long"], default=0.0),
            "page_dom_nodes": float(
                self._page.evaluate("() => document.querySelectorAll('*').length")
            ),
            "page_heap_mib": metrics["JSHeapUsedSize"] / 2**20,
        }

    def _metrics(self) -> dict[str, float]:
        found = self._cdp.send("Performance.getMetrics")["metrics"]
        return {metric["name"]: float(metric["value"]) for metric in found}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Start everything, wait, and read the figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(EmbeddedBroker())
        topics = random_topics()
        create_topics(open_admin(broker.settings), wanted_topics(topics), PARTITIONS, 1)
        producer = open_producer(broker.settings)
        for number in range(_PRELOADED):
            send(producer, topics, number, True)
        producer.flush(60)
        child, port = stack.enter_context(dashboard(broker.settings, topics, folder))
        stop = threading.Event()
        stack.callback(stop.set)
        feed = threading.Thread(
            target=produce_steadily, args=(broker.settings, topics, options.rate, stop), daemon=True
        )
        viewers = Viewers(port)
        stack.callback(viewers.stop)
        viewers.start(options.viewers - 1)
        playwright = stack.enter_context(sync_playwright())
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stack.callback(chromium.close)
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{port}/", wait_until="domcontentloaded")
        feed.start()
        page.wait_for_timeout(3000)  # its first load is not the steady state
        watched = Watched(page, page.context.new_cdp_session(page))
        found = _watch_server(child, port, options.minutes * 60, page)
        found |= watched.report()
        found |= latency.measure_keys(page)
        found |= latency.measure_loads(chromium, f"http://127.0.0.1:{port}/")
        found["load_average"] = os.getloadavg()[0]
        counts = json.loads(get(port, "/api/v1/meta")[1])["counts"]
        found |= {"scored": counts["scored"], "flagged": counts["flagged"]}
        found |= {"stream_events": viewers.events, "stream_failures": viewers.failures}
        return found


def _watch_server(
    child: subprocess.Popen[bytes], port: int, seconds: float, page: Page
) -> dict[str, Any]:
    begun, before = time.monotonic(), cpu_seconds(child.pid)
    first_rss, times = rss_mib(child.pid), []
    while time.monotonic() - begun < seconds:
        status, _, milliseconds = get(port, "/api/v1/flags?limit=50&sort=expected_loss")
        if status != 200:
            raise RuntimeError(f"a page of the list answered {status}")
        times.append(milliseconds)
        page.wait_for_timeout(_API_SECONDS * 1000)
    spent = time.monotonic() - begun
    return {
        "seconds": spent,
        "server_cpu_percent": 100 * (cpu_seconds(child.pid) - before) / spent,
        "server_rss_mib": rss_mib(child.pid),
        "server_rss_growth_mib": rss_mib(child.pid) - first_rss,
        "page_api_p50_ms": statistics.median(times),
        "page_api_p95_ms": statistics.quantiles(times, n=20)[18],
    }


def print_table(found: dict[str, Any]) -> None:
    """Each figure beside its limit."""
    for name, value in found.items():
        limit = LIMITS.get(name)
        shown = f"{value:12,.1f}"
        if limit is None:
            say(f"{name:26}{shown}")
            continue
        is_met = value >= -limit if limit < 0 else value <= limit
        bound = f"at least {-limit:g}" if limit < 0 else f"at most {limit:g}"
        say(f"{name:26}{shown}   {bound}{'' if is_met else '   EXCEEDED'}")


def main() -> int:
    """Measure, print the table, and the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.desk", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to measure")
    parser.add_argument("--rate", type=float, default=1000.0, help="scores per second")
    parser.add_argument("--viewers", type=int, default=10, help="open pages; one is in Chromium")
    options = parser.parse_args()
    found = measure(options)
    print_table(found)
    say(json.dumps({name: round(value, 3) for name, value in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
