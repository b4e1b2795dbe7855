"""How a run is watched: metrics while it works, and who is told of its end."""

from typing import Literal

from pydantic import Field, field_validator

from artquant.config.section import Section

HOOK_ADDRESS = "http://host/... or https://host/..., or $NAME for a variable that holds it"
LogFormat = Literal["text", "json"]


def checked_address(value: str | None) -> str | None:
    """Return the address of a hook, or None. Raises ValueError for what is none."""
    if value is not None and (not value.startswith(("http://", "https://", "$")) or value in ("http://", "https://", "$")):
        raise ValueError(f"takes {HOOK_ADDRESS}")
    return value


class HookSpec(Section):
    """A word at the end. Nothing here can fail a run: what does not work is said on stderr."""

    webhook: str | None = Field(None, description=f"is sent the summary at the end, as JSON by POST: {HOOK_ADDRESS}")
    command: str | None = Field(None, description="a shell command at the end: the summary as JSON on its standard input")
    hook_seconds: float = Field(20.0, gt=0, description="how long the end of a run waits for the webhook, and for the command")

    _webhook_is_an_address = field_validator("webhook")(checked_address)


class WatchSpec(HookSpec):
    """Metrics, and a word at the end."""

    metrics_port: int | None = Field(None, ge=0, le=65535, description="serve /metrics here while the run works, for Prometheus; 0: any")
    metrics_host: str = Field("127.0.0.1", description="the address to serve it at; 0.0.0.0 in a container whose network policy guards it")
    metrics_file: str | None = Field(None, description="a file for the node exporter's textfile collector: /var/lib/node_exporter/art.prom")
    push_gateway: str | None = Field(None, description=f"a Prometheus push gateway: {HOOK_ADDRESS}")
    job: str = Field("artquant", pattern="^[A-Za-z0-9_.-]+$", description="the name of these runs at the push gateway and in alerts")
    heartbeat_seconds: float = Field(15.0, gt=0, description="how often the file and the gateway are renewed, and a line is logged as JSON")

    _gateway_is_an_address = field_validator("push_gateway")(checked_address)
