"""The mailbox that an IMAP client has selected, as the client knows it."""

from __future__ import annotations

from typing import Any

from twisted.mail.imap4 import MessageSet

from kopano_lab.gateway.account import Account, Mailbox

Numbered = tuple[int, dict[str, Any]]


class Selected:
    """Messages by their numbers; only a refresh changes these, and tells the client so."""

    def __init__(self, account: Account, mailbox: Mailbox, writable: bool) -> None:
        self._account = account
        self.folder = account.call("folder.state", folder=mailbox.folder["id"])[0]
        self.rows: list[dict[str, Any]] = self._list()
        self.writable = writable

    def _list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._account.call("message.list", folder=self.folder["id"])[0]
        return found

    def pick(self, messages: MessageSet, uid: bool) -> list[Numbered]:
        """The messages of a set, of numbers or uids."""
        if not self.rows:
            return []
        if messages.last is MessageSet._empty:
            messages.last = self.rows[-1]["uid"] if uid else len(self.rows)
        return [(number, row) for number, row in enumerate(self.rows, 1) if (row["uid"] if uid else number) in messages]

    def refresh(self) -> list[bytes]:
        """What has changed, as untagged answers."""
        folder = self._account.call("folder.state", folder=self.folder["id"])[0]
        if folder["changed"] == self.folder["changed"]:
            return []
        self.folder = folder
        new = {row["uid"]: row for row in self._list()}
        answers = [b"%d EXPUNGE" % number for number, row in reversed(list(enumerate(self.rows, 1))) if row["uid"] not in new]
        kept = [row for row in self.rows if row["uid"] in new]
        before = {row["uid"] for row in kept}
        added = [row for uid, row in new.items() if uid not in before]
        for number, row in enumerate(kept, 1):
            if row["flags"] != new[row["uid"]]["flags"]:
                answers.append(flags_of(number, new[row["uid"]]))
        self.rows = [new[row["uid"]] for row in kept] + added
        if added:
            answers.append(b"%d EXISTS" % len(self.rows))
        return answers

    def flagged(self, changed: list[dict[str, Any]]) -> None:
        """Keep the new flags of messages."""
        flags = {row["id"]: row["flags"] for row in changed}
        for row in self.rows:
            row["flags"] = flags.get(row["id"], row["flags"])


def flags_of(number: int, row: dict[str, Any], uid: bool = False) -> bytes:
    """The untagged answer that tells a message's flags."""
    more = b" UID %d" % row["uid"] if uid else b""
    return b"%d FETCH (FLAGS (%b)%b)" % (number, row["flags"].encode("ascii", "replace"), more)
