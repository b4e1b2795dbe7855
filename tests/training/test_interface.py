"""Workers on several hosts meet over the network that Ray uses."""

import os

import pytest
import ray

from artquant.training import trainer


def test_gloo_is_told_the_interface_of_rays_address_unless_somebody_has_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")  # so that it is put back
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    trainer._name_interface()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    trainer._name_interface()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
    assert trainer._OwnNetwork().backend_cls is trainer._OwnNetworkBackend
