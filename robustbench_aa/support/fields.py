"""The fields of typed models as a user gives them: their types, and what is wrong with a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def is_list(field: FieldInfo) -> bool:
    """Return whether a field holds several values."""
    return get_origin(field.annotation) is Sequence


def value_type(field: FieldInfo) -> type:
    """Return the type of a field's value or, for a list, of its entries: `str`, `int` or `bool`."""
    annotation: Any = field.annotation
    while arguments := get_args(annotation):
        annotation = arguments[0]
    found: type = annotation
    return found


_EXPECTED = {
    (str, False): "a string",
    (str, True): "a list of strings",
    (int, False): "a whole number",
    (int, True): "a list of whole numbers",
    (bool, False): "true or false",
}
"""In words, the values of a field by their type and whether there are several."""


def explain(key: str, field: FieldInfo, error: ErrorDetails) -> str:
    """Return what is wrong with the value of a field, in one line.

    Args:
        key: name of the field.
        field: the field.
        error: what pydantic found.
    """
    context = error.get("ctx", {})
    if "error" in context:  # the message of a validator above
        return str(context["error"])
    if error["type"] == "multiple_argument_values":
        return f"{key} is given twice; give it once"
    if context.get("ge") == 1:
        return f"{key} {_shown(error['input'])} leaves nothing to measure; use at least 1"
    expected = _EXPECTED[value_type(field), is_list(field)]
    if error["type"] in ("greater_than_equal", "less_than"):
        return f"{key} must be {expected} of 64 bits"
    if type(error["input"]).__module__ != "builtins":
        expected += {"models": " or robustbench_aa.Classifier", "datasets": " or data sets"}.get(
            key, ""
        )
    relation = "not" if len(error["loc"]) == 1 else "but contains"
    single = relation == "not" and is_list(field) and isinstance(error["input"], str | int)
    advice = f"; give [{_shown(error['input'])}]" if single else ""
    return f"{key} must be {expected}, {relation} {_shown(error['input'])}{advice}"


def _shown(value: Any) -> str:
    if type(value).__module__ != "builtins":
        return f"an object of type {type(value).__name__}"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to print numbers of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"
