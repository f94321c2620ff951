"""One line per check: its name, a tab, and what a program would see. The same for every Python program here."""

import asyncio
import datetime
import decimal
import traceback

import psycopg

CHECKS = []


def check(function):
    """A check gets a connection of its own and returns what it saw: nothing that differs from run to run."""
    CHECKS.append(function)
    return function


def error(exception):
    """What a program can read of an error."""
    if not isinstance(exception, psycopg.Error):
        return f"{type(exception).__name__}: {exception}"
    text = exception.diag.message_primary or str(exception).splitlines()[0]
    return f"{type(exception).__name__} {exception.sqlstate} {text}"


def fails(function, *arguments, **named):
    """The error with which this ends."""
    try:
        result = function(*arguments, **named)
    except psycopg.Error as exception:
        return error(exception)
    return f"no error: {result!r}"


async def fails_async(awaitable):
    try:
        result = await awaitable
    except psycopg.Error as exception:
        return error(exception)
    return f"no error: {result!r}"


def _say(name, seen):
    text = seen if isinstance(seen, str) else repr(seen)
    print(f"{name}\t{text}".replace("\n", "\\n"), flush=True)


def _unexpected(exception):
    where = traceback.extract_tb(exception.__traceback__)
    here = [frame.lineno for frame in where if "drivers" in frame.filename]
    return f"raised in line {here[-1] if here else '?'}: {error(exception)}"


def run(connect=psycopg.connect):
    for function in CHECKS:
        try:
            with connect(autocommit=True) as connection:
                seen = function(connection)
        except Exception as exception:
            seen = _unexpected(exception)
        _say(function.__name__, seen)


async def _run_async():
    for function in CHECKS:
        try:
            async with await psycopg.AsyncConnection.connect(autocommit=True) as connection:
                # A check that hangs is a finding too, and the ones behind it are still to be heard.
                seen = await asyncio.wait_for(function(connection), 30)
        except Exception as exception:
            seen = _unexpected(exception)
        _say(function.__name__, seen)


def run_async():
    asyncio.run(_run_async())


VALUES = [
    ("int", 2147483647),
    ("bigint", -9223372036854775808),
    ("smallint", -32768),
    ("numeric", decimal.Decimal("123456789012345678901234567890.123456789")),
    ("numeric", decimal.Decimal("NaN")),
    ("float8", 0.1),
    ("float4", 1.5),
    ("bool", True),
    ("text", "snow ☃ and 'quotes' and \\ and \ttab"),
    ("text", ""),
    ("text", None),
    ("bytea", bytes(range(256))),
    ("date", datetime.date(2024, 2, 29)),
    ("time", datetime.time(23, 59, 59, 999999)),
    ("timestamp", datetime.datetime(1999, 12, 31, 23, 59, 59, 1)),
    ("timestamptz", datetime.datetime(2024, 6, 1, 12, 0, tzinfo=datetime.timezone.utc)),
    ("interval", datetime.timedelta(days=3, seconds=7, microseconds=5)),
    ("int[]", [1, 2, None, 4]),
    ("text[]", ["a", "b,c", 'd"e', None]),
    ("int[]", [[1, 2], [3, 4]]),
]
