"""The random plug-in: passwords, identifiers, bytes, texts, UUIDs and integers, all from the system's secure source."""

from __future__ import annotations

import base64
import secrets
import uuid

from lab.plugins.resource import Plugin, ResourceError, ResourceType
from lab.plugins.schema import UNKNOWN, Field, Properties, ResourceSchema, Value, at_least

_KEEPERS = Field("map", force_new=True)
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
# bcrypt itself looks at no more.
_BCRYPT_BYTES = 72


def _switch() -> Field:
    return Field("bool", default=True, force_new=True)


def _minimum() -> Field:
    return Field("int", default=0, force_new=True)


def _made(kind: str = "text", *, sensitive: bool = False) -> Field:
    return Field(kind, output_only=True, sensitive=sensitive)


def _schema(name: str, **fields: Field) -> ResourceSchema:
    token = f"random:index/random{name}:Random{name}"
    return ResourceSchema(token=token, bookkeeping=False, fields={"keepers": _KEEPERS, **fields})


def _characters(*, secret: bool) -> dict[str, Field]:
    return {
        "length": Field("int", required=True, force_new=True, check=at_least(1)),
        "lower": _switch(),
        "minLower": _minimum(),
        "minNumeric": _minimum(),
        "minSpecial": _minimum(),
        "minUpper": _minimum(),
        # The older name of numeric.
        "number": Field("bool", computed=True, force_new=True),
        "numeric": Field("bool", computed=True, force_new=True),
        "overrideSpecial": Field("text", force_new=True),
        "result": _made(sensitive=secret),
        "special": _switch(),
        "upper": _switch(),
    }


class RandomString(ResourceType):
    """A text of chosen kinds of characters."""

    schema = _schema("String", **_characters(secret=False))

    def check(self, inputs: Properties) -> list[tuple[str, str]]:
        """The length must hold the minima, and some kind of character must be allowed."""
        failures = []
        minima = [inputs.get(name, 0) for name in ("minUpper", "minLower", "minNumeric", "minSpecial")]
        length = inputs.get("length")
        if isinstance(length, int) and all(isinstance(part, int) for part in minima) and sum(minima) > length:
            failures.append(("length", f"'length' must be at least the sum of the minima, {sum(minima)}, got {length}"))
        numeric = inputs.get("numeric", inputs.get("number", True))
        if not any([numeric, *(inputs.get(name, True) for name in ("special", "upper", "lower"))]):
            failures.append(("numeric", "at least one of 'numeric', 'special', 'upper' and 'lower' must be true"))
        return failures

    def complete_plan(self, planned: Properties, inputs: Properties) -> None:
        """numeric and number mean the same and follow each other."""
        given = [inputs[name] for name in ("numeric", "number") if inputs.get(name) is not None]
        numeric = UNKNOWN if UNKNOWN in given else all(given)
        planned["numeric"] = planned["number"] = numeric

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Draw the text."""
        result = draw(planned)
        return result, {**planned, "result": result}


def draw(planned: Properties) -> str:
    """A text that keeps to the kinds and minima asked for, in random order."""
    special = planned["overrideSpecial"] or _SPECIAL
    kinds = [
        (_LOWER.upper(), planned["upper"], planned["minUpper"]),
        (_LOWER, planned["lower"], planned["minLower"]),
        (_DIGITS, planned["numeric"], planned["minNumeric"]),
        (special, planned["special"], planned["minSpecial"]),
    ]
    allowed = "".join(characters for characters, wanted, _ in kinds if wanted)
    drawn = [secrets.choice(characters) for characters, _, minimum in kinds for _ in range(minimum)]
    drawn += [secrets.choice(allowed) for _ in range(planned["length"] - len(drawn))]
    secrets.SystemRandom().shuffle(drawn)
    return "".join(drawn)


class RandomPassword(RandomString):
    """A secret text, with its bcrypt hash."""

    schema = _schema("Password", **_characters(secret=True), bcryptHash=_made(sensitive=True))

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Draw the password; the id says nothing of it."""
        # The only resource that needs this library.
        import bcrypt

        result = draw(planned)
        digest = bcrypt.hashpw(result.encode()[:_BCRYPT_BYTES], bcrypt.gensalt(10, prefix=b"2a"))
        return "none", {**planned, "result": result, "bcryptHash": digest.decode()}


class RandomBytes(ResourceType):
    """Secret bytes."""

    schema = _schema(
        "Bytes",
        length=Field("int", required=True, force_new=True, check=at_least(1)),
        base64=_made(sensitive=True),
        hex=_made(sensitive=True),
    )

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Draw the bytes. The genuine plug-in puts them into the id, where nothing can be secret; this one does not."""
        drawn = secrets.token_bytes(planned["length"])
        return "none", {**planned, "base64": base64.b64encode(drawn).decode(), "hex": drawn.hex()}


class RandomId(ResourceType):
    """Bytes that identify something, in four ways of writing."""

    schema = _schema(
        "Id",
        byteLength=Field("int", required=True, force_new=True, check=at_least(1)),
        prefix=Field("text", force_new=True),
        b64Std=_made(),
        b64Url=_made(),
        dec=_made(),
        hex=_made(),
    )

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Draw the bytes."""
        drawn = secrets.token_bytes(planned["byteLength"])
        prefix = planned["prefix"] or ""
        plain = base64.urlsafe_b64encode(drawn).decode().rstrip("=")
        return plain, {
            **planned,
            "b64Std": prefix + base64.b64encode(drawn).decode(),
            "b64Url": prefix + plain,
            "dec": prefix + str(int.from_bytes(drawn)),
            "hex": prefix + drawn.hex(),
        }


class RandomUuid(ResourceType):
    """A UUID."""

    schema = _schema("Uuid", result=_made())

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Draw the UUID."""
        result = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
        return result, {**planned, "result": result}


class RandomInteger(ResourceType):
    """A whole number from a range."""

    schema = _schema(
        "Integer",
        max=Field("int", required=True, force_new=True),
        min=Field("int", required=True, force_new=True),
        result=_made("int"),
        # A seed stands for Go's own sequence of numbers.
        seed=Field("text", force_new=True, implemented=False),
    )

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Draw the number."""
        low, high = planned["min"], planned["max"]
        if high < low:
            raise ResourceError("The minimum (min) value needs to be smaller than or equal to maximum (max) value.")
        result: Value = low + secrets.randbelow(high - low + 1)
        return str(result), {**planned, "result": result}


class RandomPlugin(Plugin):
    """Stands in for the genuine random plug-in."""

    name = "random"

    def __init__(self) -> None:
        types = (RandomPassword(), RandomString(), RandomBytes(), RandomId(), RandomUuid(), RandomInteger())
        self.resources = {resource.schema.token: resource for resource in types}


PLUGIN = RandomPlugin()
