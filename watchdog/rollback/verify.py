"""Evidence after a change: waits for proof, disproof, or the time to give up."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from watchdog.core.errors import ActionError
from watchdog.core.model import Millis
from watchdog.core.units import format_duration
from watchdog.journal.runs import SIBLINGS_MARK, PlanRun
from watchdog.plans.models import HttpCheck, LogCheck, Verify
from watchdog.rollback.checks import (
    MAX_LOG_BYTES,
    LogMatches,
    LogPart,
    LogReader,
    http_check_passes,
    log_path,
    read_log,
)
from watchdog.rollback.commands import run_verify_command
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.drift import find_deviation, find_not_running
from watchdog.rollback.executor import PROBE_TIMEOUT_S, StepExecutor
from watchdog.rules.prove import ProofResult, ProofState, prove, skip_uncounted
from watchdog.rules.state_machine import MachineConfig, StateKey

_POLL_MS = 1_000
"""ms between two checks whether what was restarted still runs, and of logs."""


class Verifier:
    """The evidence of one run."""

    def __init__(
        self,
        run: PlanRun,
        context: RollbackContext,
        check_interrupted: Callable[[], None],
        wait: Callable[[float], Awaitable[None]],
    ) -> None:
        """`check_interrupted` raises when the run must not go on; `wait` waits for that many seconds at most."""
        self._run = run
        self._context = context
        self._check_interrupted = check_interrupted
        self._wait = wait

    def start_trial(self) -> ProofState:
        now = self._context.clock()  # a clock that was set back would hide all evidence behind the last step
        return ProofState(since=min(self._context.journal.runs.get_run(self._run.id).acted, now), last=now)

    def evaluate_evidence(
        self,
        trial: ProofState,
        conditions: Sequence[str],
        quiet: Millis,
        now: Millis,
        *,
        rules: Sequence[str] = (),
        answered_conditions: Mapping[str, bool | None] | None = None,
    ) -> tuple[ProofState, ProofResult | None]:
        """One evaluation. `answered_conditions`: conditions that somebody else has answered."""
        run = self._run
        configs: dict[StateKey, MachineConfig] = {}
        if run.kind == "repair" and run.incident and run.part == "ladder":
            configs |= self._context.incident_machine_configs(run.incident, run.target)
        if rules:
            configs |= self._context.rule_machine_configs(run.target, rules)
        siblings = self._context.journal.runs.get_run(run.id).marks.get(SIBLINGS_MARK, {})
        verdicts, answers = self._context.evidence(run.target, list(configs), conditions, trial.since, now, siblings)
        return prove(trial, configs, verdicts, {**answers, **(answered_conditions or {})}, quiet, now)

    async def verify(self, verify: Verify, executor: StepExecutor, find_trip: Callable[[], str | None]) -> ProofResult:
        """Until it is proven, disproven or given up. `find_trip`: something else that disproves it, asked all the while."""
        trial = self.start_trial()
        settled = trial.since + verify.settle
        give_up = trial.last + max(verify.give_up, verify.settle)  # from now: downtime counts neither for nor against
        command_done, polled_at, unseen = not verify.run, 0, ""
        log = None
        if verify.log is not None:
            log = LogReader(verify.log, executor.log_positions(), await executor.log_position() or (0, 0))
        answered_conditions: dict[str, bool | None] = {}
        http_poller = None if verify.http is None else _HttpPoller(verify.http, self._context, self._run.target)
        try:
            while True:
                self._check_interrupted()
                now, counted = self._context.clock(), self._context.uncounted()
                if now >= polled_at + _POLL_MS:
                    polled_at = now
                    if not_running := await find_not_running(executor, self._run.kind):
                        return ProofResult("disproven", f"{not_running}: it does not run any more")
                    if (deviation := await find_deviation(executor)) and deviation.seen:
                        return ProofResult("disproven", deviation.reason)
                    if log is not None and verify.log is not None:
                        lines = await _poll_log(log, verify.log, executor)
                        if lines.forbidden_line is not None:
                            return ProofResult("disproven", f"{verify.log.file} says: {lines.forbidden_line}")
                        if verify.log.present is not None or lines.required_found is None:
                            answered_conditions[verify.log.describe()] = lines.required_found
                        else:  # it may be read again
                            answered_conditions.pop(verify.log.describe(), None)
                            answered_conditions[f"{verify.log.file} says nothing with /{verify.log.absent}/"] = True
                if why := find_trip():
                    return ProofResult("disproven", why)
                if now >= settled:
                    if not command_done:
                        try:
                            failure = await run_verify_command(
                                verify.run, give_up - now, executor, self._check_interrupted, verify.inherit
                            )
                        except ActionError as error:
                            return ProofResult("unknown", str(error))
                        if failure is not None:
                            return ProofResult("disproven", failure)
                        command_done = True
                        answered_conditions[f"{shlex.join(verify.run)} ended with 0"] = True
                        continue
                    if http_poller is not None:
                        answered_conditions[http_poller.check.describe()] = http_poller.poll()
                    trial, finding = self.evaluate_evidence(
                        trial,
                        verify.that,
                        verify.quiet,
                        now,
                        rules=verify.rules,
                        answered_conditions=answered_conditions,
                    )
                    if finding is not None and finding.outcome == "proven":
                        if not_running := await find_not_running(executor, self._run.kind):
                            return ProofResult("disproven", f"{not_running}: it does not run any more")
                        deviation = await find_deviation(executor)
                        if deviation is not None and deviation.seen:
                            return ProofResult("disproven", deviation.reason)
                        if deviation is not None and self._run.kind == "halt":  # its next level does not wait
                            return ProofResult("unknown", deviation.reason)
                        finding, unseen = (finding, "") if deviation is None else (None, deviation.reason)
                    if finding is not None:
                        return finding
                if now >= give_up:
                    why = unseen or trial.reason
                    return ProofResult("unknown", f"no proof within {format_duration(verify.give_up)}: {why}")
                await self._wait(1.0 if now >= settled else min(1.0, (settled - now) / 1_000))
                if any(uncounted := self._context.uncounted().since(counted)):
                    settled, give_up, polled_at = settled + uncounted.total, give_up + uncounted.total, 0
                    trial = skip_uncounted(trial, uncounted, self._context.clock())
        finally:
            if http_poller is not None:
                http_poller.close()


async def _poll_log(log: LogReader, check: LogCheck, executor: StepExecutor) -> LogMatches:
    """One poll of a log; one that hangs tells nothing new."""
    path = log_path(check, executor.location)
    try:
        return log.add(await executor.call_owner(PROBE_TIMEOUT_S, read_log, path, log.inode, log.offset, MAX_LOG_BYTES))
    except ActionError:
        return log.add(LogPart(None))


class _HttpPoller:
    """Asks a page over and over, beside everything else: a halt does not wait for its answer."""

    def __init__(self, check: HttpCheck, context: RollbackContext, target: str) -> None:
        self.check = check
        self._context = context
        self._offload_key = f"page {target}"
        self._pending: asyncio.Future[object] | None = None
        self._last_result = False

    def poll(self) -> bool:
        """The newest answer there is; asks for the next one."""
        if self._pending is not None and self._pending.done():
            self._last_result = self._pending.exception() is None and cast(bool, self._pending.result())
            self._pending = None
        if self._pending is None:
            awaitable = self._context.offload(
                self._offload_key, self.check.timeout / 1_000 + 1, http_check_passes, self.check
            )
            self._pending = asyncio.ensure_future(awaitable)
        return self._last_result

    def close(self) -> None:
        if self._pending is not None and not self._pending.cancel():
            self._pending.exception()  # it has ended, and nobody asks for its answer any more
