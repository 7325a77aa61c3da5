"""Who is connected, who is in which channel, and how messages get from one to another.

The messages are those of kwmserver's RTM protocol: JSON objects with `type` and `subtype`; a channel's hash shows that its
holder was given the channel by this server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

WEBRTC_VERSION = 20180703
CHATS_VERSION = 20201201
MAX_TEXT = 16384
Message = dict[str, Any]


class Wire(Protocol):
    """The way to a client."""

    async def send_json(self, data: Any) -> None:
        """Send one message."""


class Refused(Exception):
    """A message that is answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class User:
    """Who somebody is. A guest is let into one room; `may_create` says whether into an empty one."""

    id: str
    name: str
    auth: str = ""
    room: str | None = None
    may_create: bool = True


@dataclass(eq=False)
class Connection:
    """One client of a user."""

    user: User
    wire: Wire

    async def send(self, message: Message) -> None:
        """Send a message; a client that has gone is its own affair."""
        try:
            await self.wire.send_json(message)
        except (ConnectionError, RuntimeError):
            return


@dataclass(eq=False)
class Channel:
    """Members, by user id. A channel of a group is open to all who know its name, one of a call to two."""

    id: str
    group: str = ""
    members: dict[str, Connection] = field(default_factory=dict)


class Rooms:
    """All connections and channels."""

    def __init__(self) -> None:
        self._users: dict[str, list[Connection]] = {}
        self._channels: dict[str, Channel] = {}
        self._key = secrets.token_bytes(32)

    async def enter(self, connection: Connection) -> None:
        """A new connection."""
        user = connection.user
        self._users.setdefault(user.id, []).append(connection)
        await connection.send({"type": "hello", "self": {"id": user.id, "name": user.name, "auth": user.auth}})

    async def leave(self, connection: Connection) -> None:
        """The connection has ended."""
        others = [one for one in self._users.get(connection.user.id, []) if one is not connection]
        if others:
            self._users[connection.user.id] = others
        else:
            self._users.pop(connection.user.id, None)
        for channel in list(self._channels.values()):
            if channel.members.get(connection.user.id) is connection:
                await self._remove(channel, connection)

    async def handle(self, connection: Connection, text: str) -> bool:
        """A message of a client; False ends the connection."""
        message: Any = None
        try:
            message = json.loads(text)
            if not isinstance(message, dict):
                return False
            if message.get("type") == "ping":
                await connection.send({**message, "type": "pong"})
            elif message.get("type") == "webrtc":
                await self._webrtc(connection, message)
            elif message.get("type") == "chats":
                await self._chat(connection, message)
            else:
                return False
        except Refused as problem:
            # Who is there is nobody's business who cannot reach them.
            if problem.code != "no_session_for_user":
                error = {"code": problem.code, "msg": str(problem)}
                await connection.send({"type": "error", "reply_to": message.get("id", 0), "error": error})
        except (ValueError, TypeError, AttributeError, KeyError):
            return False
        return True

    async def _webrtc(self, connection: Connection, message: Message) -> None:
        user = connection.user
        if message.get("profile"):
            raise Refused("bad_message", "profile cannot be set by client")
        if message.get("source"):
            raise Refused("bad_message", "source must be empty")
        if user.room is not None and message.get("group") != user.room:
            raise Refused("access_restricted", "access denied")
        if not message.get("state"):
            raise Refused("bad_message", "state is empty")
        kind = message.get("subtype")
        if kind == "webrtc_group":
            await self._group(connection, message)
        elif kind == "webrtc_call":
            if not message.get("target"):
                raise Refused("bad_message", "target is empty")
            if message["target"] == user.id:
                raise Refused("bad_message", "target same as source")
            await (self._call if message.get("initiator") else self._answer)(connection, message)
        elif kind in ("webrtc_hangup", "webrtc_signal"):
            await self._signal(connection, message)
        else:
            raise Refused("bad_message", "unknown subtype")

    async def _group(self, connection: Connection, message: Message) -> None:
        """Enter a room, and learn who is there."""
        group, user = message.get("target"), connection.user
        if not group or not isinstance(group, str):
            raise Refused("bad_message", "target is empty")
        if message.get("group") != group:
            raise Refused("bad_message", "target and group mismatch")
        identifier = f"@{group}"
        channel = self._channels.get(identifier) or Channel(identifier, group)
        if not channel.members and not user.may_create:
            raise Refused("create_restricted", "access denied")
        self._channels[identifier] = channel
        before = channel.members.get(user.id)
        if before and before is not connection:
            await before.send(_channel(identifier, {"replaced": True}))
        channel.members[user.id] = connection
        members = {"group": {"group": group, "members": list(channel.members), "reset": True}}
        answer = _channel(identifier, members, self._hash("webrtc", user.id, group, identifier), message.get("id", 0))
        await connection.send(answer)
        if before is not connection:
            await self._tell_members(channel, user.id)
        if not before:
            await self._tell_chat(channel, user, "joined")

    async def _call(self, connection: Connection, message: Message) -> None:
        """Ring all clients of another user."""
        user, target = connection.user, message["target"]
        if message.get("channel") or message.get("hash"):
            raise Refused("bad_message", "channel and hash must be empty")
        if message.get("data") is not None:
            raise Refused("bad_message", "data must be empty")
        if not user.may_create:
            raise Refused("create_restricted", "access denied")
        channel = Channel(f"*{secrets.token_urlsafe(18)}", members={user.id: connection})
        self._channels[channel.id] = channel
        seal = self._hash("webrtc", user.id, target, channel.id)
        await connection.send(_channel(channel.id, None, seal, message.get("id", 0)))
        await self._send_all(
            self._users.get(target, []),
            _passed_on(message, user) | {"channel": channel.id, "hash": seal, "profile": {"name": user.name}},
        )

    async def _answer(self, connection: Connection, message: Message) -> None:
        """Accept or reject a call; in a room, greet a member."""
        user, data = connection.user, message.get("data")
        if not message.get("channel") or not message.get("hash") or not isinstance(data, dict):
            raise Refused("bad_message", "channel, hash or data is empty")
        channel = self._checked(user, message)
        passed_on = _passed_on(message, user) | {"profile": {"name": user.name}}
        if message.get("group"):
            if data.get("accept") is not True:
                raise Refused("bad_message", "accept required for group call")
            if channel.members.get(user.id) is not connection:
                raise Refused("bad_message", "connection not in channel")
            # The member gets a hash that is good between the two.
            passed_on["hash"] = self._hash("webrtc", user.id, message["target"], channel.id)
        else:
            if data.get("accept"):
                channel.members[user.id] = connection
            others = [one for one in self._users.get(user.id, []) if one is not connection]
            if not data.get("accept") and data.get("reason") == "reject_busy" and others:
                return
            ended = {"type": "webrtc", "subtype": "webrtc_call", "initiator": True, "channel": channel.id}
            await self._send_all(others, {**ended, "source": message["target"], "target": "", "v": WEBRTC_VERSION})
        target = channel.members.get(message["target"])
        if not target:
            raise Refused("no_session_for_user", "target not found")
        await target.send(passed_on)

    async def _signal(self, connection: Connection, message: Message) -> None:
        """Offers, candidates and the end of a call go to the other one as they are."""
        user = connection.user
        if not message.get("channel") or not message.get("hash") or message.get("data") is None:
            raise Refused("bad_message", "channel, hash or data is empty")
        channel = self._checked(user, message)
        to_all = bool(message.get("group")) and message.get("target") == message["group"]
        target = channel.members.get(message.get("target", ""))
        ringing = self._users.get(message.get("target", ""), [])
        if message["subtype"] == "webrtc_hangup":
            await self._remove(channel, connection)
            if to_all:
                return
            if not target:
                # The call has not been answered yet, so all clients of the other one are ringing.
                await self._send_all(ringing, _passed_on(message, user))
                return
        if not target:
            raise Refused("no_session_for_user", "target not found")
        await target.send(_passed_on(message, user))

    async def _chat(self, connection: Connection, message: Message) -> None:
        """A line of text for all in a channel."""
        user = connection.user
        channel = self._channels.get(message.get("channel", ""))
        if message.get("subtype") != "chats_message":
            raise Refused("bad_message", "unknown subtype")
        if not channel or channel.members.get(user.id) is not connection:
            raise Refused("bad_message", "connection not in channel")
        data = message.get("data") or {}
        text = str(data.get("text", "")).strip()
        if not text or len(text) > MAX_TEXT or data.get("kind"):
            raise Refused("bad_message", f"data must have a text of 1 to {MAX_TEXT} characters, and no kind")
        said = {"kind": "", "sender": user.id, "target": "", "ts": int(time.time()), "text": text, "id": secrets.token_urlsafe(9)}
        shown = {"type": "chats", "subtype": "chats_message", "channel": channel.id, "v": CHATS_VERSION, "data": said}
        await connection.send({**shown, "reply_to": message.get("id", 0)})
        others = [one for one in channel.members.values() if one is not connection]
        await self._send_all(others, {**shown, "profile": {"name": user.name}})
        queued = {"kind": "delivery_queued", "sender": "", "target": "", "ts": 0, "text": "", "id": said["id"]}
        await connection.send({**shown, "subtype": "chats_system", "data": queued})

    async def _remove(self, channel: Channel, connection: Connection) -> None:
        user = connection.user
        if channel.members.get(user.id) is not connection:
            return
        del channel.members[user.id]
        if not channel.members:
            self._channels.pop(channel.id, None)
        elif channel.group:
            await self._tell_members(channel, user.id)
            await self._tell_chat(channel, user, "left")

    async def _tell_members(self, channel: Channel, besides: str) -> None:
        members = {"group": {"group": channel.group, "members": list(channel.members), "reset": False}}
        others = [one for name, one in channel.members.items() if name != besides]
        await self._send_all(others, _channel(channel.id, members))

    async def _tell_chat(self, channel: Channel, user: User, what: str) -> None:
        said = {
            "kind": "system",
            "sender": user.id,
            "target": "",
            "ts": int(time.time()),
            "text": f"{user.name} has {what} the meeting.",
            "id": secrets.token_urlsafe(9),
            "extra": {"id": what},
        }
        shown = {"type": "chats", "subtype": "chats_system", "channel": channel.id, "v": CHATS_VERSION, "data": said}
        await self._send_all(list(channel.members.values()), {**shown, "profile": {"name": user.name}})

    def _checked(self, user: User, message: Message) -> Channel:
        """The channel of a message, if the sender was given it."""
        channel = self._channels.get(message["channel"])
        if not channel:
            raise Refused("bad_message", "channel not found")
        group, target = message.get("group", ""), message.get("target", "")
        if group != channel.group:
            raise Refused("bad_message", "invalid channel for group")
        shown = str(message["hash"]).encode()
        for other in (group, target):
            if other and hmac.compare_digest(shown, self._hash("webrtc", user.id, other, channel.id).encode()):
                return channel
        raise Refused("bad_message", "invalid hash")

    def _hash(self, kind: str, one: str, other: str, channel: str) -> str:
        # Good for both, whoever sends.
        content = json.dumps([kind, *sorted((one, other)), channel]).encode()
        return base64.b64encode(hmac.new(self._key, content, hashlib.sha256).digest()).decode()

    @staticmethod
    async def _send_all(connections: list[Connection], message: Message) -> None:
        for connection in list(connections):
            await connection.send(message)


def _channel(channel: str, data: Message | None, seal: str = "", reply_to: int = 0) -> Message:
    message: Message = {"type": "webrtc", "subtype": "webrtc_channel", "channel": channel, "v": WEBRTC_VERSION}
    if data is not None:
        message["data"] = data
    if seal:
        message["hash"] = seal
    if reply_to:
        message["reply_to"] = reply_to
    return message


def _passed_on(message: Message, user: User) -> Message:
    return {name: value for name, value in message.items() if name != "id"} | {"source": user.id}
