"""A program that is run for what it prints: a monitoring plugin, or anything that says numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from watchdog.core.errors import ActionError, SourceError
from watchdog.core.executor import call_deadline, owner_executor
from watchdog.core.model import FilePath, FrozenList, Millis, Sample, Secret, VariableName
from watchdog.core.protocols import Match, ProgramCall, SourceCache, SourceState
from watchdog.core.schedule import Zone
from watchdog.core.target import Target
from watchdog.core.text import shorten
from watchdog.host import child_process, owned_path
from watchdog.net.deadline import Deadline
from watchdog.sources import exposition
from watchdog.sources.interval import Interval
from watchdog.sources.json_document import parse_document
from watchdog.sources.json_path import JsonPath
from watchdog.sources.json_values import JsonValues, Limits, Timing, extract
from watchdog.sources.perfdata import PREFIX, parse_perfdata
from watchdog.sources.program_run import ProgramOutput, run_program
from watchdog.sources.source_model import SourceModel

T = TypeVar("T")

_UNKNOWN = 3
"""What a plugin that cannot tell ends with."""
_NOT_RUNNABLE = {126: "it, or what it starts, may not be run", 127: "it, or what it starts, is not there"}
_END_GRACE: Millis = 2_000
"""That the end of a program may take whose time is over."""
_STATUS, _EXIT_STATUS, _DURATION = "command_status", "command_exit_status", "command_duration_seconds"
_OWN = {_EXIT_STATUS, _DURATION}
_UNREADABLE = f"{PREFIX}_unreadable"
_MIN_SECRET = 4
"""Characters of a value that is not told; what is shorter is found in any text."""


class CommandSource(SourceModel):
    """A program, run without a shell: as a Nagios plugin, for a Prometheus page, or for JSON."""

    reads_needed: ClassVar[int] = 1

    type: Literal["command"]
    run: Annotated[FrozenList[str], Field(min_length=1)]
    """Program and arguments. A relative program is looked for in `cwd`."""
    format: Literal["nagios", "prometheus", "json"]
    """What it prints: `nagios` (status and performance data of a monitoring plugin), `prometheus` (a metrics page) or `json`
    (one document)."""
    values: JsonValues | None = None
    """With `format: json`: metric → where its number stands in the document."""
    time: JsonPath | None = None
    """With `format: json`: JMESPath to when the document was so; when not said, it is from the time of the run."""
    zone: Zone = "UTC"
    """Of times in the document that name none."""
    user: str | None = None
    """As whom it is run; when not said, the owner of `cwd`, else the watchdog's own user."""
    cwd: FilePath | None = None
    """Working directory; `/` when not said."""
    env: dict[VariableName, Secret] = Field(default_factory=dict)
    """Variables that it gets, beside PATH, HOME, USER, LOGNAME, SHELL, TMPDIR and TZ."""
    inherit: FrozenList[VariableName] = ()
    """Names of variables that it gets from the watchdog's own environment, which it does not see otherwise."""
    every: Interval = 30_000
    """Time from one run to the next."""
    timeout: Interval = 10_000
    """After it the program and its children are ended."""
    max_bytes: int = Field(2**20, ge=1, le=2**23)
    """Most bytes that it may print. One that prints more is ended, and nothing of it is read."""

    @model_validator(mode="after")
    def _validate_values(self) -> CommandSource:
        if self.format == "json" and self.values is None:
            raise ValueError("format: json needs values: metric → where its number stands in the document")
        if taken := _OWN & (self.values or {}).keys():
            raise ValueError(f"{min(taken)} is what the watchdog says of the command — give yours another name")
        if self.format != "json" and not {"values", "time", "zone"}.isdisjoint(self.model_fields_set):
            raise ValueError("values, time and zone are for format: json — leave them out")
        return self

    @property
    def deadline(self) -> Millis:
        return self.timeout + _END_GRACE

    @property
    def identity(self) -> str:
        return self.run[0]

    def programs(self) -> tuple[ProgramCall, ...]:
        """What it runs, see `core.protocols.ProgramSource`."""
        return (ProgramCall(self.run, "run", self._folder(), self._own_variables(), self.inherit),)

    def owner(self) -> Target:
        """As whom. Raises ActionError when that cannot be told."""
        try:
            return owned_path.owner_of(Path(self.cwd) if self.cwd is not None else None, self.user)
        except FileNotFoundError as problem:
            raise ActionError(f"{self.cwd}: {problem.strerror} — mend cwd, or make the folder") from None

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """What it prints, with how it ended and how long it took. Cache: the lines of the last page."""
        deadline = Deadline.after(self.deadline)
        return self._of_output(lambda output: self._samples(output, cache, now, deadline), deadline)

    def explain(self, now: Millis) -> list[Match]:
        """What each expression matches in the document. Runs the program."""
        if self.format != "json":
            return []
        from watchdog.sources.json_explain import explain  # paid when somebody asks

        def look(output: ProgramOutput) -> list[Match]:
            return explain(self._document(output), self.values or {}, self._timing(now))

        return self._of_output(look, Deadline.after(self.deadline))

    def _of_output(self, look: Callable[[ProgramOutput], list[T]], deadline: Deadline) -> list[T]:
        """What is seen in what the program prints. Raises SourceError."""
        given = self._own_variables()
        try:
            given = {**child_process.inherited(self.inherit), **given}
            output = self._run(given, deadline)
            name = shorten(self.run[0], 80)
            if len(output.stdout) > self.max_bytes:  # a worker may be anybody by now
                raise SourceError(f"{name} says more than {self.max_bytes} bytes — say more max_bytes")
            try:
                return look(output)
            except SourceError as fault:
                raise SourceError(f"{name}: {fault}") from None
        except (ActionError, SourceError) as error:  # programs say what they were given
            raise SourceError(_without(given.values(), str(error))) from None

    def _run(self, given: dict[str, str], deadline: Deadline) -> ProgramOutput:
        """Raises ActionError."""
        token = call_deadline.set(call_deadline.get() or deadline.expires_at)
        try:
            return owner_executor.get().call(
                self.owner(), run_program, self.run, self._folder(), given, self.timeout, self.max_bytes
            )
        finally:
            call_deadline.reset(token)

    # ─ what it printed ─

    def _samples(self, output: ProgramOutput, cache: SourceCache, now: Millis, deadline: Deadline) -> list[Sample]:
        """Raises SourceError."""
        match self.format:
            case "nagios":
                found = list(self._nagios(output, now))
            case "prometheus":
                found = self._page(output, cache, now, deadline)
            case "json":
                limits = Limits(self.max_series, deadline)
                found = extract(self._document(output), self.values or {}, self._timing(now), limits)
        return [
            *found,
            Sample(_EXIT_STATUS, (), now, float(output.exit_status)),
            Sample(_DURATION, (), now, output.seconds),
        ]

    def _nagios(self, output: ProgramOutput, now: Millis) -> Iterable[Sample]:
        """Its status, unless it cannot tell, and its performance data."""
        if not 0 <= output.exit_status <= _UNKNOWN:
            raise self._failure(output, "a plugin ends with 0, 1, 2 or 3")
        found = parse_perfdata(output.stdout)
        if output.exit_status != _UNKNOWN:  # what is not known is neither well nor bad
            yield Sample(_STATUS, (), now, float(output.exit_status))
        yield Sample(_UNREADABLE, (), now, float(found.unreadable))
        for name, labels, value in found.values:
            yield Sample(name, labels, now, value)

    def _page(self, output: ProgramOutput, cache: SourceCache, now: Millis, deadline: Deadline) -> list[Sample]:
        limits = exposition.PageLimits(self.max_series, deadline)
        page = cache.setdefault("page", exposition.PageCache())
        found = exposition.parse_samples(self._content(output), now, page, limits)
        if taken := _OWN & {sample.name for sample in found}:
            raise SourceError(f"its page has {min(taken)}, which the watchdog says of it — give it another name")
        return [sample if sample.t <= now else sample._replace(t=now) for sample in found]

    def _document(self, output: ProgramOutput) -> Any:
        return parse_document(self._content(output))

    def _timing(self, now: Millis) -> Timing:
        return Timing(now, now, self.time, self.zone)

    def _content(self, output: ProgramOutput) -> bytes:
        """Of one that has ended well."""
        if output.exit_status != 0:
            raise self._failure(output, f"one that prints {self.format} ends with 0")
        if output.bad_byte is not None:
            raise SourceError(f"byte {output.bad_byte} of its output is not UTF-8 — have it print {self.format}")
        return output.stdout.encode("utf-8", "replace")

    def _failure(self, output: ProgramOutput, expected: str) -> SourceError:
        status = output.exit_status
        how = f"was ended by signal {-status}" if status < 0 else f"ended with {status}"
        why = _NOT_RUNNABLE.get(status)
        said = child_process.last_words(output.stderr, limit=200)
        return SourceError(f"it {how}{f' ({why})' if why else ''}{f': {said}' if said else ''} — {expected}")

    # ─ what it is given ─

    def _folder(self) -> str:
        return self.cwd or "/"

    def _own_variables(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self.env.items()}


def _without(secrets: Iterable[str], text: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "***")
    return text
