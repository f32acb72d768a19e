"""Machines that train together: how many there are, and where they meet."""

import fcntl
import itertools
import logging
import re
import socket
import struct
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from tao_lite.errors import LostError, RunError

_log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_GET_ADDRESS = 0x8915  # ioctl SIOCGIFADDR of Linux


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """From `least` to `most` machines, which meet at one of them. By default this one alone."""

    least: int = 1
    most: int = 1
    host: str = _LOOPBACK
    port: int = 0  # any

    @property
    def is_one(self) -> bool:
        return self.most == 1

    def words(self, timeout_seconds: int) -> list[str]:
        """torchrun's arguments; timeout_seconds is how long a machine waits for the others.

        By number: no machine's own name need resolve.

        Raises:
            LostError: the host has no address, or none that can be reached from here.
        """
        there, here = self._found(timeout_seconds)
        # Runs at one port of a machine are told apart by their number; several machines can't agree on one.
        number = str(uuid.uuid4()) if self.is_one else "tao_lite"
        settings = {"join_timeout": timeout_seconds, "read_timeout": timeout_seconds}
        # torchrun would ask what this machine's own name means, on Debian 127.0.1.1.
        if there != _LOOPBACK:
            settings["is_host"] = int(there == here and _is_free(there, self.port))
        return [
            *("--nnodes", f"{self.least}:{self.most}"),
            *("--rdzv_backend", "c10d", "--rdzv_endpoint", f"{there}:{self.port}", "--rdzv_id", number),
            *("--rdzv_conf", ",".join(f"{name}={value}" for name, value in settings.items()), "--local_addr", here),
        ]

    def environment(self) -> Mapping[str, str]:
        """By which network the ranks reach each other: gloo would look for the address of the machine's own name."""
        if sys.platform != "linux":
            return {}
        _, here = self._found(0)
        fitting = [name for _, name in socket.if_nameindex() if _address_of(name) == here]
        return {"GLOO_SOCKET_IFNAME": fitting[0]} if fitting else {}

    def _found(self, timeout_seconds: int) -> tuple[str, str]:
        """As _addresses: a machine of a cluster may have no name before it runs."""
        end = time.monotonic() + timeout_seconds
        for attempt in itertools.count():
            try:
                return self._addresses()
            except OSError as error:
                story = (
                    f"--rdzv_endpoint: {self.host} can't be reached ({error.strerror or error}); give the name or "
                    "address of the machine where all meet"
                )
                if time.monotonic() >= end:
                    raise LostError(story) from error
                if not attempt:
                    _log.warning("%s; trying again for %d s", story, timeout_seconds)
                time.sleep(1)
        raise AssertionError

    def _addresses(self) -> tuple[str, str]:
        """The host's address, and that of this machine as the host sees it; OSError where it has none."""
        there = socket.gethostbyname(self.host)
        # Connecting asks for a route, and sends nothing.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.connect((there, self.port or 1))
            return there, asked.getsockname()[0]


ALONE = Nodes()


def parse(number: str, endpoint: str | None) -> Nodes:
    """What --nnodes (N or LEAST:MOST) and --rdzv_endpoint (HOST:PORT) say.

    Raises:
        RunError: one of them says nothing, or says several machines that have nowhere to meet.
    """
    counted = re.fullmatch(r"([1-9]\d*)(?::([1-9]\d*))?", number, re.ASCII)
    least, most = (int(counted[1]), int(counted[2] or counted[1])) if counted else (0, 0)
    if not 1 <= least <= most:
        raise RunError(f"--nnodes is {number!r}; give the number of machines, or the least and the most, such as 2:4")
    if not endpoint:
        if most > 1:
            raise RunError(
                f"--nnodes is {number}: they need --rdzv_endpoint HOST:PORT to meet, a free port of one of them"
            )
        return ALONE
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise RunError(f"--rdzv_endpoint is {endpoint!r}; give HOST:PORT, one of the machines and a free port there")
    return Nodes(least=least, most=most, host=host, port=int(port))


def _is_free(address: str, port: int) -> bool:
    """Whether nobody listens at a port of this machine."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address, port))
        except OSError:
            return False
    return True


def _address_of(interface: str) -> str:
    """The first address of a network interface, or ""."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            found = fcntl.ioctl(asked.fileno(), _GET_ADDRESS, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(found[20:24])
