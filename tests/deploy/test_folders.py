"""The data folder: locks that outlive their taker exactly as long as its children, ports that stay, private files."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from daybook_local import folders
from daybook_local.processes import ServerFailed


def lock(path: Path, patience_seconds: float = 0) -> int:
    return folders.take_lock(path, patience_seconds=patience_seconds, refusal="somebody lives here")


def test_a_lock_is_refused_while_another_holds_it(tmp_path: Path) -> None:
    held = lock(tmp_path / "lock")
    with pytest.raises(ServerFailed, match="somebody lives here"):
        lock(tmp_path / "lock")
    os.close(held)
    os.close(lock(tmp_path / "lock"))


def test_a_lock_handed_to_a_child_lasts_until_the_child_ends(tmp_path: Path) -> None:
    held = lock(tmp_path / "lock")
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(held,))
    os.close(held)
    with pytest.raises(ServerFailed):
        lock(tmp_path / "lock")
    child.communicate()
    os.close(lock(tmp_path / "lock", patience_seconds=5))


def test_a_port_is_remembered_until_it_is_taken(tmp_path: Path) -> None:
    memory = tmp_path / "port"
    first = folders.choose_port(memory, first=23000)
    assert folders.choose_port(memory, first=29000) == first
    with socket.create_server(("127.0.0.1", first)):
        other = folders.choose_port(memory, first=first)
    assert other != first
    assert folders.choose_port(memory, first=first) == other


def test_the_usual_port_is_the_same_each_time_and_below_the_ports_of_outgoing_connections(tmp_path: Path) -> None:
    port = folders.usual_port(tmp_path)
    assert port == folders.usual_port(tmp_path)
    assert 20000 <= port < 30000


def test_private_files_are_for_their_owner_only_and_written_once(tmp_path: Path) -> None:
    path = tmp_path / "password"
    assert folders.read_or_write_private(path, lambda: "first") == "first"
    assert folders.read_or_write_private(path, lambda: "second") == "first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["password"]
