"""Messages for wrong usage of the command line: what is wrong, where, and what to do."""

from __future__ import annotations

import re

import click

from robustbench_aa.errors import UnknownName, near_matches

_NO_COMMAND = re.compile(r"No such command ['\"](?P<name>.*)['\"]\.?$")
_NO_CHOICE = re.compile(r"['\"](?P<value>.*)['\"] is not (one of )?['\"]")


def explain(error: click.ClickException) -> str:
    """Return the message for an error of click: one line, with near matches or where help is."""
    context = getattr(error, "ctx", None)
    if context is None:
        return _sentence(error.format_message())
    if error.message.startswith("Usage: "):  # click shows the help of a group without a command
        text = "no command is given"
    elif isinstance(error, click.NoSuchOption):
        text = _unknown_option(error.option_name, context)
    elif isinstance(context.command, click.Group) and (match := _NO_COMMAND.match(error.message)):
        return str(UnknownName("command", match["name"], context.command.list_commands(context)))
    elif choices := _choices(error):
        name, known = choices
        value = _NO_CHOICE.match(error.message)
        return str(UnknownName(name, value["value"] if value else "", known))
    else:
        text = _sentence(error.format_message())
    return text if text.endswith("?") else f"{text}; see {context.command_path} --help"


def _unknown_option(name: str, context: click.Context) -> str:
    options = [
        option.lstrip("-")
        for parameter in context.command.get_params(context)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    ]
    near = [f"--{option}" for option in near_matches(name.lstrip("-"), options)]
    return f"unknown option {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def _choices(error: click.ClickException) -> tuple[str, list[str]] | None:
    """Return the option with a value that is none of its choices, and the choices."""
    if not isinstance(error, click.BadParameter) or isinstance(error, click.MissingParameter):
        return None
    if error.param is None or not isinstance(error.param.type, click.Choice):
        return None
    return error.param.opts[0], [*map(str, error.param.type.choices)]


def _sentence(text: str) -> str:
    """Return a message of click as part of a sentence, in one line."""
    text = " ".join(text.split()).removesuffix(".")
    return text[:1].lower() + text[1:]
