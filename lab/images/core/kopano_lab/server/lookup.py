"""Search in a folder: the search service is asked, and what it does not have yet is read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kopano_lab import texts
from kopano_lab.client import Client
from kopano_lab.errors import Refusal
from kopano_lab.wire import RpcError

if TYPE_CHECKING:
    from kopano_lab.server.database import Database
    from kopano_lab.server.mail import Mail


class Lookup:
    """Finds messages by their text; `socket` is that of the search service, or empty to do without."""

    def __init__(self, database: Database, mail: Mail, socket: str, timeout: int) -> None:
        self._database = database
        self._mail = mail
        self._socket = socket
        self._timeout = timeout

    def find(self, store_id: int, folder_id: int, field: str, wanted: str) -> list[int]:
        """The ids of the messages of a folder that have the text in the field."""
        if field not in (*texts.FIELDS, "text"):
            raise RpcError("bad_request", f"parameter 'field' must be text or one of {', '.join(texts.FIELDS)}")
        indexed, upto = self._asked(store_id, field, wanted)
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT messages.id, messages.change_number AS number FROM messages JOIN folders ON folders.id = folder_id "
                "WHERE folder_id = %s AND store_id = %s AND messages.deleted IS NULL ORDER BY uid",
                (folder_id, store_id),
            )
            rows = list(cursor.fetchall())
        return [
            row["id"] for row in rows if row["id"] in indexed or (row["number"] > upto and self._has(row["id"], field, wanted))
        ]

    def _asked(self, store_id: int, field: str, wanted: str) -> tuple[set[int], int]:
        """What the search service finds in the store, and up to which change it has seen everything."""
        if not self._socket:
            return set(), -1
        with self._database.transaction() as cursor:
            cursor.execute("SELECT guid FROM stores WHERE id = %s", (store_id,))
            row: dict[str, Any] = cursor.fetchone() or {"guid": ""}
        search = Client(self._socket, timeout=self._timeout)
        try:
            answer = search.call("search.find", store=row["guid"], field=field, text=wanted)[0]
        except (Refusal, RpcError) as problem:
            logging.info("The search service is not used: %s", problem)
            return set(), -1
        finally:
            search.close()
        return set(answer["messages"]), int(answer["upto"])

    def _has(self, message_id: int, field: str, wanted: str) -> bool:
        try:
            content = self._mail.read(None, message_id)[1]
            text = content.read_bytes() if isinstance(content, Path) else content
        except (RpcError, OSError):
            return False  # Deleted meanwhile.
        return texts.found(texts.fields(text), field, wanted)
