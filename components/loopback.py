"""Requests to this machine itself go there, whatever proxy the environment names."""

import os
from collections.abc import MutableMapping

LOOPBACK = ("127.0.0.1", "localhost")


def spare_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add this machine to those that are asked without a proxy, in both spellings that programs read."""
    named = [name for key in ("no_proxy", "NO_PROXY") for name in environment.get(key, "").split(",")]
    hosts = ",".join(dict.fromkeys(host.strip() for host in (*named, *LOOPBACK) if host.strip()))
    environment["no_proxy"] = environment["NO_PROXY"] = hosts
