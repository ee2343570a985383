"""The loop on this machine: drift, a training, a challenger, labels, a verdict, a promotion.

And the reverse: a version that is worse is compared in the same way, and not promoted.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import FatalError, ScorerError
from stream_scorer.local.loop import tables
from stream_scorer.local.loop.actions import LoopActions
from stream_scorer.local.loop.alerting import moved_features, notification
from stream_scorer.local.loop.system import Ran
from stream_scorer.local.scrape import answers
from stream_scorer.local.system import run_system, say

ROWS: Final = 10_000
RATE: Final = 1_000.0

_SEED: Final = 5
_WINDOW: Final = ("--since", "1h", "--maturity-days", "0")
"""The demo has no two weeks: what was scored a moment ago counts as old enough."""

_TRAIN: Final = (
    "--block-precision", "0.6", "--folds", "1", "--test-share", "0.4", "--trees", "150",
    "--no-history-seed",
)  # fmt: skip
_BETTER: Final = "better"
_CANNOT_TELL: Final = "cannot tell yet"
_NOT_BETTER: Final = (3, 4, 5)  # exit codes of a verdict; an error has another


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """The options of ``demo --loop``.

    Attributes:
        rows: of all tables together.
        exits: end after the last step; else the processes run on until Ctrl-C.
        rate: transactions per second.
        port: the dashboard's port.
        folder: for all files, which are kept; None: a temporary one.
    """

    rows: int = ROWS
    exits: bool = False
    rate: float = RATE
    port: int = 8000
    folder: Path | None = None


def run_loop(options: LoopOptions) -> int:
    """Run the loop; returns 0 if every step did what it says."""
    parts = tables.plan_parts(options.rows, options.rate)
    return run_system(lambda folder: _Loop(options, parts, folder), options.folder)


class _Loop(LoopActions):
    """The story, step by step."""

    def __init__(self, options: LoopOptions, parts: tables.Parts, folder: Path) -> None:
        super().__init__(folder, options.port, parts, options.rate)
        self._options = options
        self._address = ""
        self._token = ""
        self._facts: dict[str, Any] = {"comparisons": [], "left_out": {}}
        self._training_pid = folder / "training.pid"
        self._scorer: subprocess.Popen[bytes]

    def run(self) -> int:
        """Tell the story; a step that fails ends it."""
        code = 0
        try:
            self._tell_story()
        except ScorerError as error:
            say(f"stream-scorer: the step {self.current!r} failed: {error}")
            self._facts |= {"failed": self.current, "reason": str(error)}
            code = 1
        self.summary = {
            "succeeded": code == 0,
            "seconds": round(time.monotonic() - self.started, 1),
            "dashboard": self._address,
            "transactions": self.parts.streamed,
            **self._facts,
            "steps": self.steps,
        }
        if code == 0 and not self._options.exits:
            known = ("KAFKA_BOOTSTRAP_SERVERS", "MODEL_STORE_URI")
            shells = " ".join(f"{name}={self.environment[name]}" for name in known)
            say(
                f"\n  dashboard: {self._address}\n  other shells: export {shells}"
                "\n  stop with Ctrl-C\n"
            )
            self._run_on()
        return code

    def end(self) -> None:
        """End also the training, which the dashboard has started and would outlive it."""
        super().end()
        self.end_grandchild(self._training_pid)

    def _tell_story(self) -> None:
        self._prepare()
        first = self._train_first()
        self._start_services()
        with self.step("stream", f"{self.parts.recent:,} transactions: customers have changed"):
            self.stream("recent")
        self._see_drift(first)
        second = self._retrain()
        worse = self.start("train-worse", "trainer", *self._worse_training()[1:])
        self._challenge(first, second)
        self._wait_for_verdict(first, second)
        self._promote(second)
        third = self._challenge_worse(second, worse)
        self._refuse(second, third)
        self._measure()
        self._audit()

    def _prepare(self) -> None:
        rows = str(self._options.rows)
        with self.step("prepare", "Kafka starts, and synthetic transactions are written"):
            self._facts["versions"] = {}
            words = ("synth", str(self.folder / "data"), "--rows", rows, "--seed", str(_SEED),
                     "--drift", str(self.parts.before))  # fmt: skip
            self.show(shlex.join(("fraud-trainer", *words)))
            synth = self.start("synth", "trainer", *words)
            self.configure(self.start_broker())
            self.environment |= {
                "MODEL_GUARD_SECONDS": "3", "MODEL_GUARD_MIN_ROWS": "300",
                "MODEL_POLL_SECONDS": "1",
            }  # fmt: skip
            self.command("stream-scorer", "topics", "create")
            self._let_webhook_train()
            self.finish("synth", synth)
            tables.split_table(self.folder / "data" / "train_transaction.csv", self.parts)
            self.note(f"from row {self.parts.before:,} on, drift is planted in them")

    def _train_first(self) -> str:
        text = f"the first version learns from {self.parts.before:,} transactions before the drift"
        with self.step("first version", text):
            words = ("train", *self.files("before"), *_TRAIN, "--json")
            self.show(shlex.join(("fraud-trainer", *words)))
            training = self.start("train-first", "trainer", *words)
            self._scorer = self.start_scorer()  # it waits for a version
            self._address = self.start_dashboard()
            self.finish("train-first", training)
            version = self.version_of("train-first")
            self.note(f"{version} is promoted: it decides from now on")
        self._facts["versions"]["first"] = version
        return version

    def _start_services(self) -> None:
        with self.step("start", "the scorer and the dashboard, which have started meanwhile"):
            self.wait("scorer", self._scorer, lambda: answers(self.url("/readyz")))

    def _let_webhook_train(self) -> None:
        """Settings of the dashboard: who may start a training, and what it runs."""
        made = self.command("fraud-dashboard", "token", "alertmanager", "--role", "webhook")
        tokens = self.folder / "webhook-tokens"
        tokens.write_text(made.output)
        self._token = made.last_error.rpartition(" ")[2]
        train = (sys.executable, "-m", "trainer", "train", *self.files("recent"), *_TRAIN,
                 "--no-promote")  # fmt: skip
        script = f"echo $$ > {shlex.quote(str(self._training_pid))}; exec {shlex.join(train)}"
        self.environment |= {
            "TRAINING_RUNNER": "process",
            "TRAINING_COMMAND": shlex.join(("/bin/sh", "-c", script)),
            "TRAINING_WEBHOOK_TOKEN_FILE": str(tokens),
        }

    def _see_drift(self, version: str) -> None:
        with self.step("drift", f"are these transactions still like those {version} learned from?"):
            report = self.command("stream-scorer", "drift", "--since", "1h", "--publish",
                                  "--json").json()  # fmt: skip
            moved = moved_features(report)
            if not moved:
                raise FatalError("no feature has a PSI above 0.25 on more than 2,000 rows")
            names = ", ".join(f"{one.name} (PSI {one.psi:.2f})" for one in moved[:3])
            self.note(f"no: {names}. FraudFeatureDrift would fire, and Alertmanager would call")
            url = f"{self._address}api/v1/trainings/alertmanager"
            self.show(f"curl -H 'Authorization: Bearer …' -d @notification.json {url}")
            answer = self.ask(url, notification(version, moved), self._token)
            if not answer["started"]:
                raise FatalError(f"the webhook started no training: {answer['reason']}")
            self._facts["drift"] = {one.name: round(one.psi, 3) for one in moved}
            self._facts["training"] = answer["training"]

    def _retrain(self) -> str:
        with self.step("training", "the webhook has started a training on the recent transactions"):
            url = f"{self._address}api/v1/trainings/{self._facts['training']}"
            self.show(f"curl {url}")
            self.until("the training", lambda: self.ask(url)["state"] != "running")
            self._training_pid.unlink(missing_ok=True)
            ended = self.ask(url)
            if ended["state"] != "succeeded" or not ended["result"]:
                raise FatalError(f"the training ended as {ended['state']}: {ended.get('detail')}")
            version = str(ended["result"]["version"])
            self.note(f"{version} is published and not promoted: it has to earn its place")
        self._facts["versions"]["retrained"] = version
        return version

    def _challenge(self, champion: str, challenger: str) -> None:
        with self.step("challenger", f"{challenger} scores in shadow beside {champion}"):
            self.shadow(challenger)
            left_out = self.stream_beside(challenger, "later")
            self.note(f"nobody acts on its scores; {champion} decides")
        self._facts["left_out"][challenger] = left_out

    def _wait_for_verdict(self, champion: str, challenger: str) -> None:
        truth = tables.read_truth(self.folder / "data" / "later.csv")
        frauds = tables.frauds_in_random_order(truth, _SEED)
        known = 0
        for number, portion in enumerate(tables.portions(frauds), 1):
            with self.step(f"labels {number}", f"{len(portion)} chargebacks come in"):
                self.report(f"chargebacks-{number}.csv", portion)
                known += len(portion)
                verdict = self._compare(champion, challenger, known)
                if number == 1 and verdict != _BETTER:
                    self._expect_refusal(challenger)
            if verdict == _BETTER:
                self._facts["labels_needed"] = known
                return
        message = f"after all {known} chargebacks the verdict is {verdict!r}, not better"
        if left_out := self._facts["left_out"][challenger]:
            message += (
                f": {challenger} has left out {left_out:,} of {self.parts.later:,} transactions. "
                "Run it again when this machine is less busy, or with a lower --rate"
            )
        raise FatalError(message)

    def _promote(self, version: str) -> None:
        with self.step("promote", f"{version} is better by its labels, so it may be promoted"):
            self.command("fraud-trainer", "models", "promote", version, "--if-better", *_WINDOW)
            self.until(f"{version} to serve", lambda: self.serves(version))
            self.note(f"{version} serves on probation: the guard goes back if it misbehaves")
        self._facts["promoted"] = version

    def _challenge_worse(self, champion: str, training: subprocess.Popen[bytes]) -> str:
        with self.step("worse version", "a version that learned from mixed-up labels"):
            self.show(shlex.join(("fraud-trainer", *self._worse_training()[1:])))
            version = self.published_by(training)
            self.shadow(version)
            left_out = self.stream_beside(version, "last")
        with self.step("probation", f"meanwhile the guard judges {champion}"):
            manifests = self.folder / "store" / "manifests"
            accepted = manifests / "accepted" / f"{champion}.json"
            rejected = manifests / "rejected" / f"{champion}.json"
            self.until("the end of the probation", lambda: accepted.exists() or rejected.exists())
            if rejected.exists() or not self.serves(champion):
                raise FatalError(f"{champion} does not serve: see the scorer's log")
            self.note(f"{champion} has passed its probation")
        self._facts["versions"]["worse"] = version
        self._facts["left_out"][version] = left_out
        return version

    def _refuse(self, champion: str, challenger: str) -> None:
        with self.step("verdict on it", f"is {challenger} better than {champion}?"):
            frauds = [
                one
                for name in ("recent", "later", "last")
                for one, is_fraud in tables.read_truth(self.folder / "data" / f"{name}.csv")
                if is_fraud
            ]
            self.report("chargebacks-rest.csv", frauds)
            verdict = self._compare(champion, challenger, len(frauds))
            if verdict == _BETTER:
                raise FatalError(f"{challenger} learned from mixed-up labels and is {verdict}")
            self._expect_refusal(challenger)
            if not self.serves(champion):
                raise FatalError(f"{champion} no longer serves")
            self.command("fraud-trainer", "models", "challenge", "--none")
            self.note(f"{champion} goes on serving")
        self._facts["worse"] = {"verdict": verdict, "promoted": False}

    def _measure(self) -> None:
        with self.step("quality", "what are the versions worth on what they decided?"):
            found = self.command("stream-scorer", "quality", *_WINDOW, "--publish", "--json").json()
            worth = {}
            for one in found["versions"]:
                precision = one["average_precision"]["matured"]
                worth[one["version"]] = {"rows": one["rows"], "average_precision": precision}
                value = precision.get("value")
                shown = "not known" if value is None else f"{value:.3f}"
                self.note(f"{one['version']}: {one['rows']:,} rows, average precision {shown}")
            self._facts["quality"] = worth

    def _audit(self) -> None:
        with self.step("audit", "does every transaction have exactly one outcome?"):
            audit = self.command("stream-scorer", "verify", "--json").json()
            self._facts["scores"] = audit["scores"]
            if audit["scores"] != self.parts.streamed:
                raise FatalError(f"{self.parts.streamed} were sent, {audit['scores']} scored")
            self.note(f"yes: {audit['scores']:,} scores")

    def _compare(self, champion: str, challenger: str, labels: int) -> str:
        found = self.command("fraud-trainer", "models", "compare", champion, challenger, *_WINDOW,
                             "--publish", "--json", codes=(0, *_NOT_BETTER)).json()  # fmt: skip
        verdict, more = str(found["verdict"]), found["more_labels"]
        about = f" (about {more:,} more labels)" if more else ""
        shown = verdict if verdict == _CANNOT_TELL else f"{challenger} is {verdict}"
        self.note(f"{shown}{about}: {found['reason']}")
        self._facts["comparisons"].append(
            {
                "champion": champion,
                "challenger": challenger,
                "chargebacks": labels,
                "pairs": found["rows"],
                "verdict": verdict,
                "more_labels": more,
            }
        )
        return verdict

    def _expect_refusal(self, version: str) -> None:
        refused: Ran = self.command("fraud-trainer", "models", "promote", version, "--if-better",
                                    *_WINDOW, codes=_NOT_BETTER)  # fmt: skip
        self.note(f"refused: {refused.last_error}")

    def _worse_training(self) -> tuple[str, ...]:
        labels = self.folder / "mixed-up.csv"
        if not labels.exists():
            truth = tables.read_truth(self.folder / "data" / "recent.csv")
            tables.write_mixed_up(labels, truth, _SEED)
        return ("fraud-trainer", "train", *self.files("recent"), "--labels", str(labels), *_TRAIN,
                "--no-promote", "--json")  # fmt: skip

    def _run_on(self) -> None:
        while True:
            self.check("scorer", "dashboard")
            time.sleep(1)
