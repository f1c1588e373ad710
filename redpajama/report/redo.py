"""What a build would do again, and why: its flow, planned against the records of an earlier one. Nothing is written.

Stages are planned in order, as a build plans them, from records alone. One whose record is there is not redone. One
that is to do has its reason: what its fingerprint is made of, or what it reads. What stages after it would read is not
known before it is done, so a stage that asks for it *follows*: its inputs may turn out the same, and then it is whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

from redpajama.corpus.stages import INPUTS
from redpajama.engine import homes
from redpajama.engine.gathered import StageRecord, is_whole, read_stage
from redpajama.engine.runner import Turn, look, turns
from redpajama.engine.shapes import Counts, PerPart, Regrouped, Stage, by_name
from redpajama.engine.stages import ALL, Build, Job, Planned
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed, InputError
from redpajama.manifest import Manifest
from redpajama.report.changes import differences
from redpajama.report.listing import Files, listed_now

UNMADE = "not made yet"  # the key of a record that a build would have to make first
Cause = tuple[str, str]  # (stage, name) of what is to do for a reason of its own


class Unmade(Exception):
    """A stage reads what a build would have to make first."""

    def __init__(self, stage: str, name: str) -> None:
        super().__init__(f"{stage} of {name}")
        self.stage, self.name = stage, name


class Redo(NamedTuple):
    """What is to do of one name of a stage."""

    stage: str
    name: str
    todo: int | None  # parts; None: not known before what it reads is made
    parts: int | None  # of how many
    why: tuple[str, ...]  # each reason in a few words
    follows: Cause | None = None  # the first cause, where it has no other

    def to_json(self) -> dict[str, Any]:
        """Its fields; `follows` as [stage, name]."""
        return self._asdict()


@dataclass(frozen=True)
class Foreseen(Build):
    """A build of which some records are not made yet."""

    files: dict[str, Files] = field(default_factory=dict)  # of the stage `inputs`

    def named(self, stage: str, name: str) -> Any:
        """As of a build.

        Raises:
            Unmade: it is not made yet.
        """
        if stage == INPUTS:
            return self.files[name].records
        self._check(stage, name)
        return super().named(stage, name)

    def stage(self, stage: str) -> dict[str, StageRecord]:
        """As of a build.

        Raises:
            Unmade: one of them is not made yet.
        """
        for name in self.names(stage):
            self._check(stage, name)
        return super().stage(stage)

    def _check(self, stage: str, name: str) -> None:
        names = self.names(stage)
        unmade = [each for each, key in names.items() if key == UNMADE]
        if unmade and names.get(name, UNMADE) == UNMADE:  # one that is not there may come as well
            raise Unmade(stage, name if name in names else unmade[0])


def redo(
    manifest: Manifest,
    store: Store,
    flow: Sequence[Stage],
    listed: list[dict[str, Any]],
    record: dict[str, Any],
    withdrawn: dict[str, str] | None = None,
) -> list[Redo]:
    """What a build of this manifest would do, in order; empty where all is there.

    Args:
        flow: the stages of the build.
        listed: its inputs, as `preflight.list_inputs` gives them.
        record: of the earlier build.
        withdrawn: as of a job.
    """
    walk = _Walk(Job(manifest, store.url, withdrawn=withdrawn or {}), Earlier(store, record))
    walk.files = {files.name: files for files in listed_now(manifest, store, listed, record)}
    steps = iter(turns(walk.job, flow))
    found: list[Redo] = []
    for stage in flow:
        own = [next(steps) for _ in stage.steps()]
        found += walk.inputs() if stage.name == INPUTS else walk.stage(stage, own)
    return [*found, *walk.no_longer()]


class Earlier(NamedTuple):
    """An earlier build."""

    store: Store
    record: dict[str, Any]

    def keys(self, stage: str) -> dict[str, str]:
        """{name: key of its stage record}."""
        if stage in self.record["scratch"]:
            return self.record["scratch"][stage]
        return {name: entry["record"] for name, entry in self.record["stages"].get(stage, {}).items()}

    def has(self, stage: str) -> bool:
        """Whether it had the stage, with parts or without."""
        return stage in self.record["stages"] or stage in self.record["scratch"]

    def stage(self, stage: str, name: str) -> StageRecord | None:
        """A stage record; None where it is gone: scratch may be removed."""
        try:
            return read_stage(self.store, self.keys(stage)[name])
        except BuildFailed:
            return None


@dataclass
class _Walk:
    """What is known up to some stage of the flow."""

    job: Job
    earlier: Earlier
    files: dict[str, Files] = field(default_factory=dict)
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    causes: dict[Cause, Cause] = field(default_factory=dict)  # of all that is to do: what it follows, or itself

    def __post_init__(self) -> None:
        self.sizes_below = lru_cache(self.job.store.sizes)

    def inputs(self) -> Iterator[Redo]:
        """Files that must be read, and those that are gone."""
        self.records[INPUTS] = {name: UNMADE for name, files in self.files.items() if files.records}
        for name, files in self.files.items():
            if files.changes:
                self.causes[INPUTS, name] = (INPUTS, name)
                yield Redo(INPUTS, name, files.unmeasured, len(files.records), files.changes)

    def stage(self, stage: Stage, own: list[Turn]) -> Iterator[Redo]:
        """What is to do of a stage. The rows that it deals out belong to it: named only where they alone are to do."""
        for turn in own:
            if turn.step.stage != f"{stage.name}-split":
                self.records[turn.step.stage] = {}
                build = self._foreseen(turn)
                for name, found in self._planned(stage, turn, build):
                    row = self._judge(stage, turn, build, name, found)
                    if row and (turn.step.stage == stage.name or self.records[stage.name].get(name) != UNMADE):
                        yield row

    def _foreseen(self, turn: Turn) -> Foreseen:
        build = turn.build({"records": self.records})
        return Foreseen(**{each.name: getattr(build, each.name) for each in fields(build)}, files=self.files)

    # ---- plan

    def _planned(self, stage: Stage, turn: Turn, build: Foreseen) -> Iterator[tuple[str, Planned | Cause]]:
        """(name, its plan, or what must be made before it can be planned)"""
        if isinstance(stage, PerPart) and turn.step.stage == stage.name:
            for pair in stage.names(build, stage.each):
                one = replace(stage, names=lambda *_, pair=pair: [pair])
                yield from self._tried(turn, one.steps()[0].plan, build, [pair[0]])
        else:
            of_stage = list(self.records[stage.name]) if turn.step.stage != stage.name else []
            yield from self._tried(turn, turn.step.plan, build, of_stage or self._names(stage, build))

    def _tried(self, turn: Turn, plan: Any, build: Foreseen, names: list[str]) -> list[tuple[str, Planned | Cause]]:
        try:
            return [(planned.name, planned) for planned in plan(build)]
        except (Unmade, BuildFailed, InputError) as error:
            cause = self._cause_of(error, turn)
            return [(name, cause) for name in names]

    def _cause_of(self, error: Exception, turn: Turn) -> Cause:
        """The first cause of what keeps a stage from being planned; the error itself where nothing else is to do."""
        if isinstance(error, Unmade):
            return self.causes[error.stage, error.name]
        if found := [cause for (stage, _), cause in self.causes.items() if stage in turn.step.after]:
            return found[0]  # it looked for a file that is not there yet
        raise error

    def _names(self, stage: Stage, build: Foreseen) -> list[str]:
        """The names that a stage may have, where it cannot be planned: those that it had, and new sources."""
        if isinstance(stage, Regrouped) and stage.shares is by_name:
            return list(build.names(stage.each))
        manifest, had = self.job.manifest, self.earlier.keys(stage.name)
        sources = [source.name for source in manifest.source]
        others = {manifest.name, ALL, *(classifier.name for classifier in manifest.classifier)}
        by_source = sources if had.keys() & set(sources) else []
        found = [*by_source, *(name for name in had if name in others)]
        return found if found or self.earlier.has(stage.name) else [ALL]

    # ---- judge

    def _judge(self, stage: Stage, turn: Turn, build: Foreseen, name: str, found: Planned | Cause) -> Redo | None:
        """What is to do of one name; None where it is there, or has no parts."""
        own = turn.step.stage
        if isinstance(found, Planned):
            if is_whole(self.job.store, found.record_of(found.goal or own), self.sizes_below):
                self.records[own] |= {} if found.goal else {name: found.record_of(own)}
                return None
            why, follows = self._reasons(turn, found)
            row: Redo | None = Redo(own, name, self._todo(stage, found, own), found.count, why, follows)
        else:
            row = self._unplanned(stage, turn, build, name, found)
        if row is None:
            return None
        self.records[own][name] = UNMADE
        self.causes[own, name] = row.follows or (own, name)
        return row

    def _unplanned(self, stage: Stage, turn: Turn, build: Foreseen, name: str, cause: Cause) -> Redo | None:
        """What cannot be planned follows, if its fingerprint is not another anyway; None where it has no parts."""
        own = turn.step.stage
        if name not in self.earlier.keys(own):
            is_asked = name == ALL or own != stage.name or _parameters(stage, build, name)
            return Redo(own, name, None, None, ("not built yet",)) if is_asked else None
        before = self.earlier.stage(own, name)
        if own != stage.name or before is None:
            return Redo(own, name, None, before.parts if before else None, (), cause)
        if (now := _parameters(stage, build, name)) is None:
            return None
        is_partial = now.keys() == stage.declared.keys()
        known = {key: value for key, value in before.parameters.items() if key in now or not is_partial}
        why = tuple(differences(known, now))
        return Redo(own, name, None, before.parts, why, None if why else cause)

    def _reasons(self, turn: Turn, found: Planned) -> tuple[tuple[str, ...], Cause | None]:
        """Why what is planned is not there, and what it follows."""
        own = turn.step.stage
        if found.name not in self.earlier.keys(own):
            return ("not built yet",), None
        if found.record_of(own) == self.earlier.keys(own)[found.name]:
            return ("its files are not all there",), None
        before = self.earlier.stage(own, found.name)
        if before and (why := differences(before.parameters, found.parameters)):
            return tuple(why), None
        if cause := self._changed_files(turn, found.name):
            return (), cause
        if before and before.parts != found.count:
            return (f"{before.parts:,} parts -> {found.count:,}",), None
        return (f"what it reads is another: {', '.join(self._others(turn)) or 'its parts'}",), None

    def _changed_files(self, turn: Turn, name: str) -> Cause | None:
        """The changed files that a stage reads: those of the name, or any."""
        changed = [cause for cause in self.causes if cause[0] == INPUTS] if INPUTS in turn.step.after else []
        own = [cause for cause in changed if cause[1].partition(".")[0] == name]
        return next(iter(own or changed), None)

    def _others(self, turn: Turn) -> list[str]:
        """The stages that are there in another form than in the earlier build."""
        return [each for each in turn.step.after if each in self.records and self._is_another(each)]

    def _is_another(self, stage: str) -> bool:
        return stage != INPUTS and self.records[stage] != self.earlier.keys(stage)

    def _todo(self, stage: Stage, found: Planned, own: str) -> int | None:
        """How many parts are not there. The parts of a regroup are known by their rows: all, in a new folder."""
        if isinstance(stage, Regrouped) and own == stage.name:
            is_new = not self.sizes_below(f"{own}/{found.name}-{found.stamp}")
            return found.count if is_new else None
        return sum(not is_done for _, is_done in look(self.job.store, found.parts(), self.sizes_below))

    def no_longer(self) -> Iterator[Redo]:
        """What the earlier build had and this one asks for no more."""
        for stage, names in self.earlier.record["stages"].items():
            for name in names.keys() - self.records.get(stage, {}).keys():
                if not stage.endswith(homes.ENDING):
                    yield Redo(stage, name, 0, 0, ("no longer asked for",))


def _parameters(stage: Stage, build: Foreseen, name: str) -> Counts | None:
    """What is known of a stage's parameters: those that it declares, where others hang on what is not made yet."""
    try:
        return stage.parameters(build, name)
    except (Unmade, BuildFailed, InputError):
        return stage.declared
