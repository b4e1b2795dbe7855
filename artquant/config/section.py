"""What all settings share: a section refuses what it does not know, and does not change."""

import re

from pydantic import BaseModel, ConfigDict


def checked_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("takes letters, digits, dots, dashes and underscores")
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
