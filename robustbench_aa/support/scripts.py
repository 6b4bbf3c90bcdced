"""Python files of the user that define corruptions, data sets or models for the command line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from robustbench_aa.errors import RobustbenchError, UsageError, cause

_imported: dict[str, ModuleType] = {}


def import_script(path: str) -> ModuleType:
    """Run a Python file and return it as the module of its name.

    Its folder is searched for what it imports. A file of the same name that was imported by this
    function is replaced.

    Raises:
        UsageError: there is no such file, its name is that of another module, or it fails.
    """
    file = Path(path)
    if file.suffix != ".py" or not file.is_file():
        raise UsageError(f"no Python file {file}; check --import")
    name, folder = file.stem, str(file.parent.resolve())
    if name not in _imported:
        _check_name(name, file)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        # not by the loader, which may read bytecode of an earlier file of the same size and second
        exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    except Exception as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        kind = "" if isinstance(error, RobustbenchError) else f"{type(error).__name__}: "
        raise UsageError(f"{file} cannot be imported ({kind}{cause(error)}); correct it") from error
    finally:
        sys.path.remove(folder)
    _imported[name] = module
    return module


def imported_scripts() -> list[ModuleType]:
    """Return the modules that `import_script` has imported."""
    return [*_imported.values()]


def _check_name(name: str, file: Path) -> None:
    """Refuse the name of another module, which could no longer be imported."""
    if not name.isidentifier():
        raise UsageError(f"{file} has no name for a module; use letters, digits and _")
    known = sys.modules.get(name)
    spec = getattr(known, "__spec__", None) if known else importlib.util.find_spec(name)
    if known is None and spec is None:
        return
    origin = getattr(spec, "origin", None) or getattr(known, "__file__", None)
    if not origin or Path(origin).resolve() != file.resolve():
        raise UsageError(f"{file} has the name of another module, {name}; rename the file")
