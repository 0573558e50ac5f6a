"""Results as bytes, for the shared tier.

JSON by default, which can harm nobody who reads it. What JSON does not know is an object
with the member "$", which says the type; doc/protocol.md lists them. A result comes back
exactly as it was, or it is not shared: a named tuple or a driver's row is not.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import pickle
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Protocol

# What every JSON parser reads exactly.
_MAX_INT = 2**53 - 1


class NotShareable(Exception):
    """This value cannot be told to another process exactly."""


class Codec(Protocol):
    """Makes bytes of results, and results of bytes. Name: by which others know that they
    cannot read it."""

    name: str

    def dumps(self, value: Any) -> bytes: ...

    def loads(self, data: bytes) -> Any: ...


class JsonCodec:
    """Strings, numbers, booleans, None, lists and dictionaries, and Python's tuple, bytes,
    Decimal, UUID, date, time, datetime and timedelta."""

    name = "json"

    def dumps(self, value: Any) -> bytes:
        return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=_typed)


class PickleCodec:
    """Whatever pickle takes. Whoever can write to the store can then run code in every
    process that reads from it."""

    name = "pickle"

    def dumps(self, value: Any) -> bytes:
        try:
            return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise NotShareable(str(error)) from error

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


def _tagged(tag: str, value: Any) -> dict[str, Any]:
    return {"$": tag, "v": value}


def _int(value: int) -> Any:
    return value if -_MAX_INT <= value <= _MAX_INT else _tagged("int", str(value))


def _float(value: float) -> Any:
    return value if math.isfinite(value) else _tagged("float", repr(value))


def _dict(value: dict[Any, Any]) -> Any:
    if "$" not in value and all(type(key) is str for key in value):
        return {key: _plain(item) for key, item in value.items()}
    return _tagged("dict", [[_plain(key), _plain(item)] for key, item in value.items()])


def _datetime(value: datetime.datetime) -> Any:
    if value.fold:
        raise NotShareable("a datetime with fold")
    zone = value.tzinfo
    if zone is None or type(zone) is datetime.timezone and zone.tzname(None).startswith("UTC"):
        return _tagged("datetime", value.isoformat())
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        # Its offset, for those who do not know the zone.
        return {**_tagged("datetime", value.isoformat()), "zone": zone.key}
    raise NotShareable(f"a datetime with a {type(zone).__name__}")


def _time(value: datetime.time) -> Any:
    if value.fold or type(value.tzinfo) not in (type(None), datetime.timezone):
        raise NotShareable("a time with fold, or in a time zone with a name")
    return _tagged("time", value.isoformat())


_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: lambda value: value,
    bool: lambda value: value,
    type(None): lambda value: value,
    int: _int,
    float: _float,
    list: lambda value: [_plain(item) for item in value],
    dict: _dict,
    tuple: lambda value: _tagged("tuple", [_plain(item) for item in value]),
    bytes: lambda value: _tagged("bytes", base64.b64encode(value).decode()),
    decimal.Decimal: lambda value: _tagged("decimal", str(value)),
    uuid.UUID: lambda value: _tagged("uuid", str(value)),
    datetime.date: lambda value: _tagged("date", value.isoformat()),
    datetime.time: _time,
    datetime.datetime: _datetime,
    datetime.timedelta: lambda value: _tagged(
        "timedelta", [value.days, value.seconds, value.microseconds]),
}


def _plain(value: Any) -> Any:
    """What JSON knows. By the exact type: a subclass would come back as its base."""
    plain = _PLAIN.get(type(value))
    if plain is None:
        raise NotShareable(f"a {type(value).__module__}.{type(value).__qualname__}")
    return plain(value)


_TYPED: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "tuple": tuple,
    "dict": dict,
    "bytes": base64.b64decode,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "timedelta": lambda parts: datetime.timedelta(*parts),
}


def _typed(value: dict[str, Any]) -> Any:
    if "$" not in value:
        return value
    typed = _TYPED[value["$"]](value["v"])
    if "zone" in value:
        # The offset was told for others; together with the zone it is the same moment.
        typed = typed.replace(tzinfo=zoneinfo.ZoneInfo(value["zone"]))
    return typed


def name_text(parts: Any) -> str | None:
    """The text of a result's name that every process, and every language, makes of it;
    None if there is none."""
    try:
        text = json.dumps(_plain_name(parts), ensure_ascii=False, separators=(",", ":"))
        text.encode()
    except (NotShareable, UnicodeEncodeError):
        return None
    return text


def _plain_name(value: Any) -> Any:
    # Tuples and lists are one thing here: a name has no use for the difference.
    if type(value) in (tuple, list):
        return [_plain_name(item) for item in value]
    return _plain(value)
