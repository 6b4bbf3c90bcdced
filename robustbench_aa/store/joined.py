"""Runs that were made apart, read as one. Nothing is written or copied."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

from robustbench_aa.errors import RunError, SuiteError, UsageError
from robustbench_aa.store.kinds import check_kinds
from robustbench_aa.store.manifest import RECORDED, Identity, Manifest
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import exists, open_directory
from robustbench_aa.support.training_seeds import groups, training_seed, with_seed
from robustbench_aa.types import Shard

Member = tuple[Store, str]
"""A run and the name of a model in it."""
Network = tuple[str, str]
"""The label of a run and the name of a model in it."""


class JoinedStore(Store):
    """The prediction files of several runs, for reading.

    A model that several runs hold is one model, also if they name it differently; it has the name
    and the predictions of the first of these runs, and what that one lacks from the next. Different
    models of one name get the name of their run as well, as in `mine (run-a)`.

    Args:
        stores: the runs by label; labels are parts of names and messages.

    Attributes:
        members: by name of a model, the runs that hold it.
        notes: sentences on what was named otherwise or is held twice.

    Raises:
        RunError: the runs have different data, distortions or settings, or two data sets of one
            kind.
    """

    def __init__(self, stores: Mapping[str, Store]) -> None:
        names = _Names(stores)
        self.members, self.notes = names.members, names.notes
        manifests = [names.renamed(label) for label in stores]
        for (one, first), (other, second) in combinations(zip(stores, manifests, strict=True), 2):
            if reason := second.contradiction(first):
                raise RunError(
                    f"{one} and {other} cannot be compared: {one} {reason}; report on them apart"
                )
        super().__init__(next(iter(stores.values())).directory, _joined(manifests))
        try:
            check_kinds(self.manifest)
        except SuiteError as error:
            reason = str(error).partition(";")[0]
            raise RunError(
                f"{' and '.join(stores)} cannot be compared: {reason}; report on them apart"
            ) from error

    @classmethod
    def of_runs(cls, directories: Iterable[str | os.PathLike[str]]) -> JoinedStore:
        """Open runs for reading.

        Raises:
            UsageError: a run is named twice.
            RunError: a directory holds no run, or the runs cannot be compared.
        """
        paths = [open_directory(directory) for directory in directories]
        resolved = [path.resolve() for path in paths]
        for path in paths:
            if resolved.count(path.resolve()) > 1:
                raise UsageError(f"run {path} is named twice; leave one out")
        stores = [Store.of_run(path) for path in paths]
        return cls(dict(zip(_labels(paths), stores, strict=True)))

    @cached_property
    def stores(self) -> list[Store]:
        """The runs that hold any model."""
        return [*dict.fromkeys(store for held in self.members.values() for store, _ in held)]

    def path(self, model: str, cell: Cell, shard: Shard) -> Path:
        """Return the path of a shard's prediction file in the first run that has it."""
        held = self.members[model]
        holders = [one for one in held if cell.dataset in one[0].manifest.datasets] or held
        paths = [store.path(name, cell, shard) for store, name in holders]
        if len(paths) == 1:
            return paths[0]
        return next((path for path in paths if exists(path)), paths[0])


class _Names:
    """The names of the models of several runs.

    Args:
        stores: the runs by label.

    Attributes:
        members: as in `JoinedStore`.
        notes: as in `JoinedStore`.
    """

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self.members: dict[str, list[Member]] = {}
        self.notes: list[str] = []
        self._stores = stores
        self._names: dict[str, dict[str, str]] = {}
        shared = _shared(stores)
        clashing = _clashing(stores, shared)
        for label, store in stores.items():
            own = self._names[label] = {}
            for model in store.manifest.models:
                base, seed = training_seed(model)
                if (label, model) in shared:
                    first, same = shared[label, model]
                    own[model] = self._names[first][same]
                    self._note_shared(own[model], first, model, label)
                elif base in clashing:
                    own[model] = with_seed(f"{base} ({label})", seed)
                else:
                    own[model] = model
                self.members.setdefault(own[model], []).append((store, model))
        for base, labels in clashing.items():
            self.notes.append(
                f"{base} is another model in {' and '.join(labels)}; its name has the run in "
                "parentheses"
            )

    def _note_shared(self, name: str, first: str, model: str, label: str) -> None:
        called = "" if model == name else f", where it is called {model}"
        self.notes.append(f"{name} of {first} is also in {label}{called}; it is counted once")

    def renamed(self, label: str) -> Manifest:
        """Return the manifest of a run with the new names of its models."""
        manifest, names = self._stores[label].manifest, self._names[label]
        baseline = manifest.baseline
        if baseline is not None:
            networks = groups(manifest.models).get(baseline, [baseline])
            baseline = self._group([names.get(one, one) for one in networks])
        return dataclasses.replace(
            manifest,
            models={names[one]: identity for one, identity in manifest.models.items()},
            specifications={names[one]: text for one, text in manifest.specifications.items()},
            baseline=baseline,
            # those of the single runs, which say nothing about all together
            command=None,
            profile={},
        )

    def _group(self, networks: Sequence[str]) -> str | None:
        """Return the model of all runs together that has these networks as training seeds."""
        for model, members in groups(self.members).items():
            if {*networks} <= {*members}:
                return model
        return None


def _shared(stores: Mapping[str, Store]) -> dict[Network, Network]:
    """Return the networks that an earlier run holds as well, with those of the earlier run.

    Training seeds of one model are shared together or not at all, since the mean over them would
    change otherwise; but a model may have more seeds in a later run.
    """
    found: dict[Network, Network] = {}
    known: list[tuple[Identity, Network]] = []
    for label, store in stores.items():
        identities = {name: _compared(one) for name, one in store.manifest.models.items()}
        earlier = {name for _, (_, name) in known}
        for networks in groups(identities).values():
            same = {
                name: _best([one for held, one in known if held == identities[name]], name)
                for name in networks
            }
            united = all(
                one[1] == name if one else name not in earlier for name, one in same.items()
            )
            if united or all(same.values()):
                found |= {(label, name): one for name, one in same.items() if one is not None}
        new = [name for name in identities if (label, name) not in found]
        known += [(identities[name], (label, name)) for name in new]
    return found


def _best(candidates: Sequence[Network], name: str) -> Network | None:
    """Return the network of the same name, else the first."""
    return next((one for one in candidates if one[1] == name), next(iter(candidates), None))


def _clashing(
    stores: Mapping[str, Store], shared: Mapping[Network, Network]
) -> dict[str, list[str]]:
    """Return the models, without training seeds, that differ between runs, with their runs."""
    found: dict[str, dict[str, list[str]]] = {}
    for label, store in stores.items():
        for name in store.manifest.models:
            if (label, name) not in shared:
                runs = found.setdefault(training_seed(name)[0], {})
                runs.setdefault(name, []).append(label)
    return {
        base: [*dict.fromkeys(label for labels in runs.values() for label in labels)]
        for base, runs in found.items()
        if any(len(labels) > 1 for labels in runs.values())
    }


def _compared(described: Identity) -> Identity:
    return {key: value for key, value in described.items() if key not in RECORDED}


def _joined(manifests: Sequence[Manifest]) -> Manifest:
    """Return manifests that do not contradict each other as one, with the first one's baseline."""
    joined = manifests[0]
    for manifest in manifests[1:]:
        joined = manifest.joined(joined, Path())
    baselines = [one.baseline for one in manifests if one.baseline is not None]
    return dataclasses.replace(joined, baseline=next(iter(baselines), None))


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the name of each directory, or its path if two have the same name."""
    names = [path.resolve().name if isinstance(path, Path) else path.name for path in paths]
    return names if len({*names}) == len(names) else [str(path) for path in paths]
