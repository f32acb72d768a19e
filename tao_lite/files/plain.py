"""What plain data from a file has to look like: checks that are put together, and where the data differs."""

from collections.abc import Callable, Iterator, Mapping

Check = Callable[[object, str], Iterator[str]]
"""Given a value and the name of its place, what is wrong with it, the worst first."""


def problem(check: Check, value: object, name: str = "") -> str | None:
    """What is wrong with the value, by field; None where nothing is."""
    return next(check(value, name), None)


def of(*kinds: type, minimum: float | None = None, maximum: float | None = None) -> Check:
    """A value of one of these very types. An int is a float too, a bool is neither."""
    allowed = {*kinds, *([int] if float in kinds else [])}
    names = " or ".join(kind.__name__ for kind in kinds)

    def check(value: object, name: str) -> Iterator[str]:
        if type(value) not in allowed:
            yield f"{name} is of type {type(value).__name__}, must be {names}"
        elif minimum is not None and isinstance(value, (int, float)) and not value >= minimum:
            yield f"{name} is {value}, must be at least {minimum:g}"
        elif maximum is not None and isinstance(value, (int, float)) and not value <= maximum:
            yield f"{name} is {value}, must be at most {maximum:g}"

    return check


def among(*values: object) -> Check:
    """One of these very values."""

    def check(value: object, name: str) -> Iterator[str]:
        if not any(type(value) is type(one) and value == one for one in values):
            yield f"{name} is {str(value)[:40]!r}, must be {' or '.join(map(repr, values))}"

    return check


def listed(one: Check, *, least: int = 0, most: int | None = None) -> Check:
    """A list or tuple of such values, `least` to `most` of them."""

    def check(value: object, name: str) -> Iterator[str]:
        if not isinstance(value, (list, tuple)):
            yield f"{name} is of type {type(value).__name__}, must be list"
        elif len(value) < least or (most is not None and len(value) > most):
            yield f"{name} has {len(value)} values, must have {least}{'' if most == least else ' or more'}"
        else:
            for index, member in enumerate(value):
                yield from one(member, f"{name}[{index}]")

    return check


def mapped(key: type, one: Check) -> Check:
    """A mapping from keys of that type to such values."""

    def check(value: object, name: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{name} is of type {type(value).__name__}, must be dict"
            return
        for its_key, member in value.items():
            if type(its_key) is not key:
                yield f"{name} has a key of type {type(its_key).__name__}, must be {key.__name__}"
            yield from one(member, f"{name}.{its_key}")

    return check


def fields(
    required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *, is_open: bool = False
) -> Check:
    """A mapping with these fields and, unless it `is_open`, no others."""
    known = {**required, **(optional or {})}

    def check(value: object, name: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{name or 'the content'} is of type {type(value).__name__}, must be dict"
            return
        within = f"{name}." if name else ""
        yield from (f"{within}{field} is missing" for field in required if field not in value)
        for field, member in value.items():
            if field in known:
                yield from known[field](member, f"{within}{field}")
            elif not is_open:
                yield f"{within}{str(field)[:40]} is not known"

    return check


def or_empty(one: Check) -> Check:
    """Such a value, or an empty mapping."""

    def check(value: object, name: str) -> Iterator[str]:
        if not (isinstance(value, Mapping) and not value):
            yield from one(value, name)

    return check


def none_or(one: Check) -> Check:
    """Such a value, or None."""

    def check(value: object, name: str) -> Iterator[str]:
        if value is not None:
            yield from one(value, name)

    return check
